"""The body of an upload, on disk."""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator
from typing import IO, Final

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from user_management.errors import StorageFull, UnusableFile

# On a disk, while /tmp may be memory.
_DIRECTORY: Final = "/var/tmp"  # noqa: S108  the file has no name


async def spool(request: Request) -> IO[bytes]:
    """The body as a file without a name. Raises UnusableFile when it is empty, StorageFull."""
    try:
        return await _written(request.stream())
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull from None
        raise
    except ClientDisconnect:
        raise HTTPException(400) from None


async def _written(content: AsyncIterator[bytes]) -> IO[bytes]:
    file: IO[bytes] = tempfile.TemporaryFile(dir=_DIRECTORY)  # noqa: SIM115  the caller's
    try:
        async for piece in content:
            await asyncio.to_thread(file.write, piece)
        if not await asyncio.to_thread(file.tell):
            raise UnusableFile("The file is empty.")
        await asyncio.to_thread(file.seek, 0)
    except BaseException:
        file.close()
        raise
    return file
