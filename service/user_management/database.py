"""One database: engine, sessions, and what happens when it does not answer.

Nobody waits longer than a few seconds for a dead database: connecting, waiting for the pool and
each statement have their own deadline, and after a failed connect a circuit refuses at once.
"""

import json
import logging
import time
from asyncio import Semaphore, timeout
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NewType
from uuid import UUID

import asyncpg
from sqlalchemy import event, exc, text
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session

from user_management.config import DatabaseSettings
from user_management.errors import DatabaseUnavailable, reason
from user_management.moments import able_to_read_any_moment
from user_management.population import Population
from user_management.tenancy import SCOPE, enter_scope, restrict

# Two databases with the same tables: mixing up their sessions is a type error.
SlmSession = NewType("SlmSession", AsyncSession)
AutobotSession = NewType("AutobotSession", AsyncSession)

# The schema that this release works with: Alembic's head.
EXPECTED_REVISION: Final = "0012"
VERSION_TABLE: Final = "user_management_version"
# What its comment says: the oldest code that the schema suits (migrations/env.py writes it).
SUITS: Final = "Suits code since revision {}."
_SCHEMA: Final = f"""
SELECT version_num, substring(obj_description('{VERSION_TABLE}'::regclass, 'pg_class')
                              FROM '^{SUITS.format("([0-9]+)").replace(".", "[.]")}$')
FROM {VERSION_TABLE}
"""  # noqa: S608

CONNECT_TIMEOUT: Final = 2.0  # seconds, for all hosts together
POOL_TIMEOUT: Final = 2.0  # seconds
READERS: Final = 4  # connections of `fetch_row`
# The server ends a slow statement itself; if even that does not happen, nobody is there.
STATEMENT_TIMEOUT: Final = 2.0  # seconds
COMMAND_TIMEOUT: Final = 2.5  # seconds
ACQUIRE_TIMEOUT: Final = 2.5  # seconds: pool and connect together
CIRCUIT_SECONDS: Final = 1.0
# What was made of a statement takes up to 0.1 MiB, and users can be listed by hundreds of filters
# and orders. SQLAlchemy keeps half as many again before it forgets those used least lately.
KEPT_STATEMENTS: Final = 32
# The server closes an idle connection at once; a dead one is not waited for.
CLOSE_TIMEOUT: Final = 0.2  # seconds

# Conditions that pass by themselves: the request may be tried again.
_TRANSIENT_CLASSES: Final = ("08", "53", "57", "25P03", "40")

# Conditions that another host may not have.
_NEXT_HOST: Final = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.TargetServerAttributeNotMatched,
)

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schema:
    """The revision of a database, and since which revision code runs on it; None where unknown."""

    revision: str | None
    suits_since: str | None = None

    @property
    def fits(self) -> bool:
        """Whether this release runs on it: it was made for it, or is ahead and says so."""
        if self.revision is None or self.suits_since is None:
            return self.revision == EXPECTED_REVISION
        # Revisions are numbers of four digits, in their order.
        return self.suits_since <= EXPECTED_REVISION <= self.revision


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await super().close(timeout=min(timeout or CLOSE_TIMEOUT, CLOSE_TIMEOUT))


def create_engine(
    settings: DatabaseSettings,
    *,
    deadlines: bool = True,
    application_name: str = "user_management",
    **options: Any,
) -> AsyncEngine:
    """An engine on asyncpg; `options` go to SQLAlchemy's `create_async_engine`.

    Without `deadlines` a statement may take as long as it likes: for migrations.
    Raises ConfigurationError when the CA file cannot be used.
    """
    connect = _connector(settings, deadlines=deadlines, application_name=application_name)
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        hide_parameters=True,
        json_deserializer=_from_json,
        query_cache_size=KEPT_STATEMENTS,
        **options,
    )


def _from_json(text: str) -> Any:
    # Nearly all preferences and settings are empty.
    return {} if text == "{}" else json.loads(text)


def _connector(
    settings: DatabaseSettings, *, deadlines: bool, application_name: str
) -> Callable[[], Awaitable[asyncpg.Connection]]:
    """What opens a connection to the first host that will do.

    Where there is another password it is tried when the server refuses the first, and is the first
    from then on: services are told of a new password before the server is.
    """
    arguments = settings.connect_arguments()
    del arguments["password"]
    server_settings = {
        "application_name": application_name,
        "statement_timeout": f"{STATEMENT_TIMEOUT if deadlines else 0:.0f}s",
    }
    hosts = deque(zip(arguments.pop("host"), arguments.pop("port"), strict=True))
    passwords = deque(settings.passwords)

    async def log_in(host: str, port: int) -> asyncpg.Connection:
        for password in list(passwords):
            try:
                connection = await asyncpg.connect(
                    **arguments,
                    host=host,
                    port=port,
                    password=password,
                    # A host that is silently gone must leave time to try the next one.
                    timeout=CONNECT_TIMEOUT / len(hosts),
                    command_timeout=COMMAND_TIMEOUT if deadlines else None,
                    server_settings=server_settings,
                    connection_class=_Connection,
                )
            except asyncpg.InvalidPasswordError as error:
                refusal = error
                if passwords[0] == password:
                    passwords.rotate(-1)
            else:
                return await able_to_read_any_moment(connection)
        raise refusal

    async def connect() -> asyncpg.Connection:
        for host, port in list(hosts):
            try:
                return await log_in(host, port)
            except _NEXT_HOST as error:
                failure = error
                if hosts[0] == (host, port):
                    hosts.rotate(-1)
        raise failure

    return connect


class _Session(Session):
    """A session that knows which organization it is limited to."""


event.listen(_Session, "after_begin", enter_scope)
event.listen(_Session, "do_orm_execute", restrict)


class _Circuit:
    """Closed: everybody may try. Open: nobody, until one probe per second is let through."""

    def __init__(self) -> None:
        self._retry_at: float | None = None

    @contextmanager
    def attempt(self, population: Population) -> Iterator[None]:
        """Guard one attempt to connect. Raises DatabaseUnavailable at once while open."""
        now = time.monotonic()
        if self._retry_at is not None:
            if now < self._retry_at:
                raise DatabaseUnavailable(population)
            # This caller is the probe; the others stay out for as long as it may take.
            self._retry_at = now + ACQUIRE_TIMEOUT
        try:
            yield
        except DatabaseUnavailable:
            self._retry_at = time.monotonic() + CIRCUIT_SECONDS
            raise
        except BaseException:
            # Nothing was learned: a caller that goes away must not keep the others out.
            if self._retry_at is not None:
                self._retry_at = now
            raise
        self._retry_at = None


class Database:
    """The database of one population: sessions, health and the circuit in front of it."""

    def __init__(
        self,
        population: Population,
        settings: DatabaseSettings,
        *,
        pool_size: int = 10,
        deadlines: bool = True,
    ) -> None:
        """Without `deadlines` a statement may take as long as it likes: for work in bulk."""
        self.population = population
        self._circuit = _Circuit()
        self._engine = create_engine(
            settings,
            deadlines=deadlines,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
        )
        self._connect = _connector(settings, deadlines=True, application_name="user_management")
        self._readers: list[asyncpg.Connection] = []
        self._reading = Semaphore(READERS)
        event.listen(self._engine.sync_engine, "handle_error", self._translate)
        event.listen(self._engine.sync_engine, "checkout", _refuse_closed)
        self._sessions = async_sessionmaker(
            self._engine, expire_on_commit=False, sync_session_class=_Session
        )

    @asynccontextmanager
    async def session(self, org_id: UUID | None = None) -> AsyncIterator[AsyncSession]:
        """A session with its connection: commits at the end, rolls back on an error.

        With `org_id` it sees and writes rows of that organization only. An error whose attribute
        `commits` is true keeps what was written. Raises DatabaseUnavailable when the database does
        not answer in time.
        """
        async with self._sessions(info={"database": self, SCOPE: org_id}) as session:
            await self._acquire(session)
            try:
                yield session
            except Exception as error:
                if getattr(error, "commits", False):
                    await session.commit()
                raise
            await session.commit()

    async def _acquire(self, session: AsyncSession) -> None:
        try:
            with self._circuit.attempt(self.population):
                try:
                    async with timeout(ACQUIRE_TIMEOUT):
                        await session.connection()
                except (
                    OSError,
                    exc.DBAPIError,
                    asyncpg.PostgresError,
                    asyncpg.InterfaceError,
                ) as error:
                    raise self._unavailable(error) from error
        except exc.TimeoutError as error:
            # The pool is exhausted: the database lives, so the circuit stays closed.
            raise self._unavailable(error) from error

    def _unavailable(self, error: BaseException) -> DatabaseUnavailable:
        _logger.warning(
            "The database of the %s users is unavailable: %s: %s",
            self.population,
            type(error).__name__,
            reason(error),
        )
        return DatabaseUnavailable(self.population)

    def _translate(self, context: ExceptionContext) -> DatabaseUnavailable | None:
        """Turn what the caller cannot help into DatabaseUnavailable."""
        error = context.original_exception
        if context.connection is None or not isinstance(error, Exception):
            # Still connecting, or the caller was cancelled.
            return None
        if isinstance(error, OSError):
            # Deadline or network: this connection is lost.
            context.is_disconnect = True
            # The others in the pool lead to the same server.
            context.invalidate_pool_on_disconnect = True
        transient = str(getattr(error, "sqlstate", None) or "").startswith(_TRANSIENT_CLASSES)
        return self._unavailable(error) if context.is_disconnect or transient else None

    async def fetch_row(self, statement: str, *arguments: object) -> asyncpg.Record | None:
        """The first row of a SELECT, past SQLAlchemy: a session costs more than the statement
        that every request begins with.

        Raises DatabaseUnavailable when there is no answer within COMMAND_TIMEOUT, waiting and
        connecting included.
        """
        try:
            async with timeout(COMMAND_TIMEOUT), self._reading:
                reader = await self._reader()
                try:
                    row = await reader.fetchrow(statement, *arguments)
                except BaseException:
                    reader.terminate()
                    raise
                self._readers.append(reader)
                return row
        except (OSError, asyncpg.InterfaceError) as error:
            # The others lead to the same server.
            self._forget_readers()
            raise self._unavailable(error) from error
        except asyncpg.PostgresError as error:
            if not error.sqlstate.startswith(_TRANSIENT_CLASSES):
                raise
            raise self._unavailable(error) from error

    async def _reader(self) -> asyncpg.Connection:
        while self._readers:
            reader = self._readers.pop()
            # The server's good-bye is seen without a round trip.
            if not reader.is_closed():
                return reader
        with self._circuit.attempt(self.population):
            try:
                return await self._connect()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                raise self._unavailable(error) from error

    def _forget_readers(self) -> None:
        while self._readers:
            self._readers.pop().terminate()

    async def schema(self) -> Schema:
        """What the schema is. Raises DatabaseUnavailable."""
        async with self.session() as session:
            return await read_schema(session)

    async def dispose(self) -> None:
        """Close all connections."""
        self._forget_readers()
        await self._engine.dispose()


async def read_schema(session: AsyncSession) -> Schema:
    """What the schema is; without a revision where it was never migrated."""
    if not await session.scalar(
        text("SELECT to_regclass(:table) IS NOT NULL"), {"table": VERSION_TABLE}
    ):
        return Schema(None)
    row = (await session.execute(text(_SCHEMA))).one_or_none()
    return Schema(*row) if row else Schema(None)


@asynccontextmanager
async def connection_released(session: AsyncSession) -> AsyncIterator[None]:
    """Give the connection back while the caller does something slow (hashing a password).

    What was written so far is committed, so write nothing before it that may have to be undone.
    Objects that were read stay readable. Raises RuntimeError when the session holds changes,
    DatabaseUnavailable when no connection is to be had afterwards.
    """
    if session.new or session.dirty or session.deleted:
        raise RuntimeError("Release the connection before changing anything.")
    await session.commit()
    yield
    database: Database = session.info["database"]
    await database._acquire(session)


def _refuse_closed(driver: Any, *_: object) -> None:
    # The server's good-bye is seen without a round trip; the pool then connects anew.
    if driver.driver_connection.is_closed():
        raise exc.InvalidatePoolError
