"""The process that imports an upload, and its report as the response."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

import slm_server
from slm_server.imports.worker import Job
from user_management.transfer.report import line
from user_management_web.problems import problem, problem_body

_PIECE: Final = 2**16  # bytes
_PATIENCE: Final = 1.0  # seconds between two looks whether the client is still there
_PROBLEM: Final = b'{"problem":'
# Where the package is: the process runs the same release, wherever a link leads meanwhile.
_HOME: Final = Path(slm_server.__file__).parents[1]
_INTERRUPTED: Final = (
    "The import was interrupted; what it has written until then stays. Send the file again: an "
    "import that is repeated goes on."
)


async def import_report(request: Request, job: Job) -> Response:
    """Do the job in a process of its own: its report, or the problem that it begins with.

    The process ends when the client goes away.
    """
    worker = await _Worker.start(job)
    try:
        beginning = await _unless_gone(request, worker.beginning())
    except BaseException:
        await worker.end()
        raise
    if not beginning:
        await worker.end()
        return problem("internal_error", _INTERRUPTED)
    if beginning.startswith(_PROBLEM):
        await worker.end()
        return _alone(json.loads(beginning)["problem"])
    return _Report(worker, beginning)


class _Worker:
    """The process, and its report as bytes."""

    def __init__(self, process: Process, report: asyncio.StreamReader) -> None:
        self._process = process
        self._report = report

    @classmethod
    async def start(cls, job: Job) -> "_Worker":
        """Start one on a job, whose file it takes over."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", Job.__module__),
            cwd=_HOME,
            stdin=PIPE,
            stdout=PIPE,
            pass_fds=[job.file],
        )
        worker = cls(process, _opened(process.stdout))
        entrance = _opened(process.stdin)
        entrance.write(job.model_dump_json().encode())
        entrance.close()
        return worker

    async def beginning(self) -> bytes:
        """The first bytes; all of them where they begin with a problem; none if it failed."""
        piece = await self._report.read(_PIECE)
        return piece + await self._report.read() if piece.startswith(_PROBLEM) else piece

    async def pieces(self, beginning: bytes) -> AsyncIterator[bytes]:
        """The report in whole lines; the last one sums up or is a problem."""
        piece, rest = beginning, b""
        while piece:
            whole, newline, rest = (rest + piece).rpartition(b"\n")
            yield whole + newline
            piece = await self._report.read(_PIECE)
        if await self._process.wait() != 0:
            yield line({"problem": problem_body("internal_error", _INTERRUPTED)}).encode()

    async def end(self) -> None:
        """End the process, if it has not ended; the database rolls back what is not committed."""
        if self._process.returncode is None:
            self._process.kill()
        # It has not ended before its pipe is empty.
        while await self._report.read(_PIECE):
            pass
        await self._process.wait()


class _Report(StreamingResponse):
    """A report that is being written."""

    def __init__(self, worker: _Worker, beginning: bytes) -> None:
        super().__init__(worker.pieces(beginning), media_type="application/x-ndjson")
        self._worker = worker

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._worker.end()


async def _unless_gone(request: Request, work: Any) -> bytes:
    """What the work gives. Raises HTTPException as soon as nobody waits for it any more."""
    task: asyncio.Task[bytes] = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=_PATIENCE))[0]:
            if await request.is_disconnected():
                raise HTTPException(400)
        return task.result()
    finally:
        task.cancel()
        await asyncio.wait({task})


def _alone(found: dict[str, Any]) -> JSONResponse:
    """A problem that comes instead of a report."""
    headers = {"Retry-After": "1"} if found["status"] == 503 else {}
    return problem(found["code"], found["detail"], headers=headers)


def _opened(pipe: Any) -> Any:
    """A pipe that was asked for."""
    assert pipe is not None  # noqa: S101
    return pipe
