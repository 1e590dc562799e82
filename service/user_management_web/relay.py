"""What WebSockets pass through on their way to AutoBot: they end when their session does.

nginx asks who is calling when a WebSocket begins, and never again. So it hands it to this program,
which passes all bytes on in both directions, and asks the database about the session meanwhile:
who says something over it uses their session, which lasts. It needs no key: nginx says which
session it is, in headers that no client can send this far.
"""

import asyncio
import logging
import re
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

import asyncpg

from user_management.config import load_settings
from user_management.database import READERS, Database
from user_management.errors import DatabaseUnavailable, DomainError, reason
from user_management.policy import Policy
from user_management.population import Population
from user_management.services.login.caller import (
    AuthenticatedUser,
    SessionOf,
    authenticate,
    prolong_in_use,
)
from user_management_web.logs import configure_logging

# A session that has ended keeps no WebSocket longer than this, and the time of one statement.
CHECKED_EVERY: Final = 20.0  # seconds
_HEAD_BYTES: Final = 64 * 1024
_PIECE_BYTES: Final = 64 * 1024
_DEADLINE: Final = 10.0  # seconds: for the head of a request, and to reach AutoBot
_STALLED: Final = 60.0  # seconds: who reads nothing for so long is gone
_BACKLOG: Final = 1024  # as the socket's unit says
_SOCKET: Final = 3  # what systemd hands over

_TARGET: Final = re.compile(rb"\r\nX-Relay-To: *([A-Za-z0-9.-]+):([0-9]+)(?=\r\n)", re.IGNORECASE)
_SESSION: Final = re.compile(
    rb"\r\nX-Relay-Session: *([0-9a-f-]{36})\.([0-9a-f-]{36})(?=\r\n)", re.IGNORECASE
)
_REFUSED: Final = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

_logger = logging.getLogger("user_management.relay")


class Relay:
    """Passes WebSockets on, as long as their session lasts and `check` does not object.

    `check` raises a DomainError for who may no longer pass.
    """

    def __init__(
        self, database: Database, policy: Policy, check: Callable[[AuthenticatedUser], object]
    ) -> None:
        self._database = database
        self._policy = policy
        self._check = check
        self._open: dict[SessionOf, set[StreamWriter]] = {}
        # Whose client has said something since their sessions were last looked at.
        self._heard: set[SessionOf] = set()

    async def serve(self, listener: socket.socket) -> None:
        """Take connections from nginx until cancelled."""
        server = await asyncio.start_unix_server(
            self._pass_on, sock=listener, limit=_HEAD_BYTES, backlog=_BACKLOG
        )
        async with server, asyncio.TaskGroup() as group:
            group.create_task(self._look_after())
            await server.serve_forever()

    async def _look_after(self) -> None:
        while True:
            await asyncio.sleep(CHECKED_EVERY)
            for some in batched(list(self._open), READERS):
                await asyncio.gather(*map(self._close_if_over, some))

    async def _close_if_over(self, session: SessionOf) -> None:
        try:
            user = await authenticate(self._database, session)
            self._check(user)
            if session in self._heard:
                await prolong_in_use(self._database, self._policy, user)
                self._heard.discard(session)
        except DatabaseUnavailable:
            # Nobody knows. It is asked again, and nobody begins anew meanwhile.
            return
        except asyncpg.PostgresError:
            _logger.exception("A session cannot be looked up")
        except DomainError as error:
            writers = self._open.get(session, set())
            _logger.info("Closed %d WebSockets: %s", len(writers), reason(error))
            for writer in writers:
                # At once: who does not read would keep what is to be said.
                writer.transport.abort()

    async def _pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        with suppress(OSError):
            async with _closing(writer):
                await self._to_target(reader, writer)

    async def _to_target(self, reader: StreamReader, writer: StreamWriter) -> None:
        try:
            async with asyncio.timeout(_DEADLINE):
                head = await reader.readuntil(b"\r\n\r\n")
                target, named = _TARGET.search(head), _SESSION.search(head)
                if target is None or named is None:
                    raise ValueError("nginx did not say whose it is, or where it leads")
                far_reader, far_writer = await asyncio.open_connection(
                    target[1].decode(), int(target[2]), limit=_HEAD_BYTES
                )
        except (OSError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as e:
            _logger.warning("A WebSocket was not passed on: %s", reason(e))
            writer.write(_REFUSED)
            return
        session = SessionOf(UUID(named[1].decode()), UUID(named[2].decode()))
        async with _closing(far_writer):
            mine = self._open.setdefault(session, set())
            mine |= {writer, far_writer}
            try:
                far_writer.write(_SESSION.sub(b"", _TARGET.sub(b"", head)))
                await _both_ways(
                    (reader, writer),
                    (far_reader, far_writer),
                    lambda: self._heard.add(session),
                )
            finally:
                mine -= {writer, far_writer}
                if not mine and self._open.get(session) is mine:
                    del self._open[session]
                    self._heard.discard(session)


def batched(sessions: list[SessionOf], size: int) -> Iterator[list[SessionOf]]:
    """So many at a time: each has a connection to the database."""
    for start in range(0, len(sessions), size):
        yield sessions[start : start + size]


@asynccontextmanager
async def _closing(writer: StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        # Who does not read keeps what is to be said, and that its connection.
        asyncio.get_running_loop().call_later(_DEADLINE, writer.transport.abort)


async def _both_ways(
    near: tuple[StreamReader, StreamWriter],
    far: tuple[StreamReader, StreamWriter],
    heard: Callable[[], object],
) -> None:
    """Until either side has ended: a WebSocket has no half. `heard` is told of what comes near."""
    ways = {
        asyncio.create_task(_one_way(near[0], far[1], heard)),
        asyncio.create_task(_one_way(far[0], near[1], lambda: None)),
    }
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _one_way(reader: StreamReader, writer: StreamWriter, heard: Callable[[], object]) -> None:
    while piece := await reader.read(_PIECE_BYTES):
        heard()
        writer.write(piece)
        async with asyncio.timeout(_STALLED):
            await writer.drain()


def run(population: Population, check: Callable[[AuthenticatedUser], object]) -> None:
    """Serve the socket that systemd hands over, for people of one population.

    Raises ConfigurationError when a setting is missing or wrong; the database need not be up.
    """
    configure_logging("relay")
    settings = load_settings()
    database = Database(population, settings.database(population))
    with socket.socket(fileno=_SOCKET) as listener, suppress(KeyboardInterrupt):
        asyncio.run(Relay(database, settings.policy, check).serve(listener))
