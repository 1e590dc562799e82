"""The middlewares of every request, as plain ASGI: none of them buffers or wraps it."""

import logging
import re
import secrets
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from user_management_web.problems import problem, problem_of_status

_access = logging.getLogger("user_management.access")
_errors = logging.getLogger("user_management.errors")

_REQUEST_ID: Final = b"x-request-id"
_PLAIN_WORD: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})
_INTERNAL_ERROR: Final = "Something went wrong here. The log of the service says more."


@dataclass(frozen=True, slots=True)
class Body:
    """What a request may carry: so many KiB, of one of these media types."""

    kibibytes: int
    media_types: tuple[str, ...]

    @property
    def limit(self) -> int:
        """The size in bytes."""
        return self.kibibytes * 1024

    @property
    def too_large(self) -> str:
        """What is said of a larger one."""
        size = self.kibibytes
        shown = f"{size} KiB" if size < 1024 else f"{size // 1024} MiB"
        return f"The request body is too large. Send at most {shown}."

    @property
    def wrong_type(self) -> str:
        """What is said of one of another type."""
        return f"Send the request body as {' or '.join(self.media_types)}."


JSON: Final = Body(64, ("application/json",))


def add_middlewares(app: FastAPI, files: Mapping[str, Body]) -> None:
    """Give an application them all; by path, `files` are bodies that are no JSON."""
    # The last one added is the outermost.
    app.add_middleware(BodyType, files=files)
    app.add_middleware(BodyLimit, files=files)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestLog)
    app.add_middleware(NoStore)


class RequestLog:
    """One line per request, and the last resort when one fails.

    Each request has an id: the caller's `X-Request-ID` if it is a plain word, else a new one. It
    stands in the answer and in the log. A log line has no query string and no other header: both
    may hold what is nobody's business.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 0
        request_id = _request_id(scope)

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (_REQUEST_ID, request_id)]
            await send(message)

        try:
            await self._app(scope, receive, observe)
        except Exception as error:
            _errors.error(
                "Unexpected %s",
                type(error).__name__,
                extra={"error": describe_error(error), "request_id": request_id.decode()},
            )
            if not status:
                response = problem("internal_error", _INTERNAL_ERROR)
                await response(scope, receive, observe)
        finally:
            client = scope.get("client")
            _access.info(
                "%s %s",
                scope["method"],
                scope["path"],
                extra={
                    "status": status,
                    "milliseconds": round((time.perf_counter() - started) * 1000, 1),
                    "client": client[0] if client else None,
                    "request_id": request_id.decode(),
                },
            )


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == _REQUEST_ID and _PLAIN_WORD.fullmatch(value):
            given: bytes = value
            return given
    return secrets.token_hex(16).encode()


def describe_error(error: BaseException) -> list[str]:
    """Where an exception and its causes came from.

    Of the message only the first line: PostgreSQL puts the values of the row into the others.
    """
    lines: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        first_line = str(cause).partition("\n")[0]
        lines.append(f"{type(cause).__name__}: {first_line}")
        lines.extend(
            f"  {frame.filename}:{frame.lineno} in {frame.name}"
            for frame in traceback.extract_tb(cause.__traceback__)
        )
        cause = cause.__cause__ or cause.__context__
    return lines


class NoStore:
    """Nothing that the API says may be kept by a cache, unless the route says otherwise."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def add_header(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, add_header)


class HeadAsGet:
    """HEAD is GET without the body (RFC 9110, section 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def drop_body(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"}, receive, drop_body)


class BodyLimit:
    """Bodies have a limit, also when their length is not said beforehand."""

    def __init__(self, app: ASGIApp, files: Mapping[str, Body]) -> None:
        self._app = app
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = self._files.get(scope["path"], JSON)
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > body.limit:
            await problem_of_status(413, body.too_large)(scope, receive, send)
            return
        received = 0

        async def count() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > body.limit:
                raise HTTPException(413, body.too_large)
            return message

        await self._app(scope, count, send)


class BodyType:
    """Bodies are JSON, or where one is expected a file. What a browser's form can send without
    asking first is refused.
    """

    def __init__(self, app: ASGIApp, files: Mapping[str, Body]) -> None:
        self._app = app
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in _METHODS_WITH_BODY:
            headers = Headers(scope=scope)
            has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
            media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
            body = self._files.get(scope["path"], JSON)
            if has_body and media_type not in body.media_types:
                await problem_of_status(415, body.wrong_type)(scope, receive, send)
                return
        await self._app(scope, receive, send)
