"""The clients: HTTP over a unix socket, with as little work for each request as can be.

A client library would be slower than the server: this one sends more than 10,000 requests a
second to a server that does nothing (see `ceiling`, which is among the figures).
"""

import asyncio
import json
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

PATIENCE = 120.0  # seconds

Choose = Callable[[], bytes]


@dataclass
class Answers:
    """Waiting times in seconds, from the moment when a request was due, and failures."""

    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def quantile(self, share: float) -> float:
        """Milliseconds within which `share` of the requests were answered."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan


@dataclass(frozen=True, slots=True)
class Response:
    """An answer, whole."""

    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def request(
    method: str,
    path: str,
    *,
    token: str = "",
    body: object = None,
    text: str = "",
    kind: str = "application/json",
    address: str = "",
) -> bytes:
    """A whole request: with a JSON body or a text of some kind, if there is one, and with the
    client's address that a proxy would name.
    """
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if address:
        lines.append(f"X-Forwarded-For: {address}")
    content = text or (json.dumps(body) if body is not None else "")
    if content:
        lines += [f"Content-Type: {kind}", f"Content-Length: {len(content.encode())}"]
    return "\r\n".join((*lines, "", content)).encode()


class Connection(asyncio.Protocol):
    """One connection that is kept; one request after another."""

    def __init__(self) -> None:
        self._received = b""
        self._answer: asyncio.Future[Response] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, body = self._received.partition(b"\r\n\r\n")
        if not blank or self._answer is None:
            return
        _, _, length = head.lower().partition(b"\r\ncontent-length:")
        if len(body) < int(length.split(b"\r\n", 1)[0] or 0):
            return
        self._received = b""
        if not self._answer.done():
            self._answer.set_result(Response(int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError("closed by the server"))

    async def send(self, message: bytes) -> Response:
        """Raises OSError, TimeoutError."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        async with asyncio.timeout(PATIENCE):
            return await self._answer

    async def ask(self, message: bytes, answers: Answers, due: float | None = None) -> None:
        """Send a request and note how long after `due` it was answered, or why it was not."""
        due = due or time.perf_counter()
        try:
            response = await self.send(message)
        except OSError as error:  # TimeoutError is one
            answers.failures[type(error).__name__] += 1
            self.close()
            return
        if response.status < 300:
            answers.seconds.append(time.perf_counter() - due)
        else:
            answers.failures[f"HTTP {response.status}: {response.body[:400].decode()}"] += 1

    def close(self) -> None:
        self.is_open = False
        self._transport.close()


@asynccontextmanager
async def connections(socket: Path, count: int = 1) -> AsyncIterator[list[Connection]]:
    """Connections to a server."""
    loop = asyncio.get_running_loop()
    opened: list[Connection] = []
    try:
        for _ in range(count):
            _, connection = await loop.create_unix_connection(Connection, str(socket))
            opened.append(connection)
        yield opened
    finally:
        for connection in opened:
            connection.close()


async def fetch(socket: Path, message: bytes) -> Response:
    """One request on a connection of its own."""
    async with connections(socket) as [connection]:
        return await connection.send(message)


async def status_of(socket: Path, message: bytes) -> int:
    """The status of an answer of any length, which is thrown away.

    The connection is new, as each one of the proxy is, and is closed after it. Raises OSError,
    TimeoutError.
    """
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        head, blank, content = message.partition(b"\r\n\r\n")
        writer.write(head + b"\r\nConnection: close" + blank + content)
        async with asyncio.timeout(PATIENCE):
            status = int((await reader.readline())[9:12])
        while await reader.read(2**16):
            pass
        return status
    finally:
        writer.close()


@asynccontextmanager
async def clients(socket: Path, choices: Iterable[Choose], answers: Answers) -> AsyncIterator[None]:
    """While the block runs: a client for each of `choices`, which says its next request."""

    async def go_on(connection: Connection, choose: Choose) -> None:
        while connection.is_open:
            await connection.ask(choose(), answers)

    chosen = list(choices)
    async with connections(socket, len(chosen)) as opened:
        tasks = [asyncio.create_task(go_on(*pair)) for pair in zip(opened, chosen, strict=True)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def poll(socket: Path, message: bytes, interval: float, answers: Answers) -> None:
    """Ask at fixed times, until cancelled.

    Waiting counts from the fixed time, so a slow answer also delays the requests after it.
    """
    async with connections(socket) as [connection]:
        due = time.perf_counter()
        while connection.is_open:
            await asyncio.sleep(max(0, due - time.perf_counter()))
            await connection.ask(message, answers, due)
            due += interval


class Idle(asyncio.Protocol):
    """A server that does nothing, to see what the clients can do."""

    ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        del data
        self._transport.write(self.ANSWER)


async def ceiling(directory: Path, seconds: float) -> float:
    """Requests per second of the clients and a server that does nothing, in one process."""
    socket = directory / "idle.sock"
    message = request("GET", "/", token="-" * 500)
    answers = Answers()
    server = await asyncio.get_running_loop().create_unix_server(Idle, str(socket))
    async with server, clients(socket, [lambda: message] * 16, answers):
        await asyncio.sleep(seconds)
    return len(answers.seconds) / seconds
