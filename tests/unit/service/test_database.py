"""What happens when the database does not answer: deadlines, circuit, recovery."""

import asyncio
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import exc, literal, select, text

from user_management.config import DatabaseSettings
from user_management.database import (
    EXPECTED_REVISION,
    KEPT_STATEMENTS,
    Database,
    Schema,
    connection_released,
)
from user_management.errors import DatabaseUnavailable, InvalidCredentials, NotFound
from user_management.models import User
from user_management.population import Population

# How soon is given up is measured.
pytestmark = pytest.mark.alone

LIMIT = 3.0  # seconds: nobody waits longer for a dead database
AT_ONCE = 0.1  # seconds


@asynccontextmanager
async def opened(settings: DatabaseSettings, pool_size: int = 10) -> AsyncIterator[Database]:
    database = Database(Population.AUTOBOT, settings, pool_size=pool_size)
    try:
        yield database
    finally:
        await database.dispose()


async def ping(database: Database) -> None:
    async with database.session() as session:
        await session.execute(text("SELECT 1"))


async def refused_after(database: Database) -> float:
    """Seconds until DatabaseUnavailable."""
    start = time.monotonic()
    with pytest.raises(DatabaseUnavailable) as caught:
        await ping(database)
    assert caught.value.population is Population.AUTOBOT
    assert caught.value.retry_after >= 1
    return time.monotonic() - start


@pytest.fixture
def own_server(new_server: Callable[[], Any]) -> Iterator[Any]:
    """A server that the test may stop, freeze and start."""
    server = new_server()
    server.start()
    yield server
    server.remove()


def test_expected_revision_is_the_head_of_the_migrations() -> None:
    config = Config(Path(__file__).parents[3] / "alembic.ini", ini_section="slm")
    assert ScriptDirectory.from_config(config).get_current_head() == EXPECTED_REVISION


async def test_a_stopped_server_is_noticed_and_its_return_too(own_server: Any) -> None:
    async with opened(own_server.settings("postgres", "postgres")) as database:
        await ping(database)
        own_server.stop()
        assert await refused_after(database) < LIMIT
        assert await refused_after(database) < AT_ONCE
        own_server.start()
        await asyncio.sleep(1.1)
        await ping(database)
        await ping(database)


async def test_a_restart_between_two_requests_is_not_noticed(own_server: Any) -> None:
    async with opened(own_server.settings("postgres", "postgres")) as database:
        await asyncio.gather(*(ping(database) for _ in range(5)))
        own_server.stop()
        own_server.start()
        # The loop has seen the end of the connections by the time of the next request.
        await asyncio.sleep(0.1)
        await asyncio.gather(*(ping(database) for _ in range(5)))


def with_password(server: Any, name: str, *passwords: str) -> DatabaseSettings:
    """As the service, whose password is one of these at most."""
    given = dict(zip(("password", "other_password"), passwords, strict=False))
    base: DatabaseSettings = server.settings("postgres", name)
    return DatabaseSettings.model_validate(base.model_dump() | given)


@pytest.fixture
def strict_server(own_server: Any) -> Any:
    """A server that asks `service` for a password, which is `old`."""
    own_server.sql("CREATE ROLE service LOGIN PASSWORD 'old'")
    access = own_server.data / "pg_hba.conf"
    access.write_text(f"local all service scram-sha-256\n{access.read_text()}")
    own_server.sql("SELECT pg_reload_conf()")
    return own_server


def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords with which connections are tried from now on."""
    tried: list[str] = []
    connect = asyncpg.connect

    async def noted(**arguments: Any) -> Any:
        tried.append(arguments["password"])
        return await connect(**arguments)

    monkeypatch.setattr(asyncpg, "connect", noted)
    return tried


@pytest.mark.parametrize("way", ["ping", "fetch_row"])
async def test_a_new_password_is_not_noticed_by_who_knows_both(
    strict_server: Any, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    tried = attempts(monkeypatch)
    async with opened(with_password(strict_server, "service", "old", "new")) as database:

        async def ask() -> None:
            await (ping(database) if way == "ping" else database.fetch_row("SELECT 1"))

        await ask()
        strict_server.sql("ALTER ROLE service PASSWORD 'new'")
        await database.dispose()
        await ask()
        await database.dispose()
        await ask()
    # Tried once when it is refused, and the other way round from then on.
    assert tried == ["old", "old", "new", "new"]


async def test_without_a_right_password_each_is_tried_once(
    strict_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = attempts(monkeypatch)
    async with opened(with_password(strict_server, "service", "wrong", "worse")) as database:
        with pytest.raises(DatabaseUnavailable):
            await database.fetch_row("SELECT 1")
    assert tried == ["wrong", "worse"]


async def test_where_nobody_answers_the_other_password_is_not_tried(
    own_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = attempts(monkeypatch)
    own_server.stop()
    async with opened(with_password(own_server, "postgres", "one", "other")) as database:
        with pytest.raises(DatabaseUnavailable):
            await database.fetch_row("SELECT 1")
    assert tried == ["one"]


async def test_a_server_that_never_was_there_is_refused_and_then_found(own_server: Any) -> None:
    own_server.stop()
    async with opened(own_server.settings("postgres", "postgres")) as database:
        assert await refused_after(database) < LIMIT
        own_server.start()
        await asyncio.sleep(1.1)
        await ping(database)


async def test_a_frozen_server_is_given_up_on_every_way(own_server: Any) -> None:
    async with opened(own_server.settings("postgres", "postgres")) as database:
        await asyncio.gather(*(ping(database) for _ in range(3)))
        with own_server.frozen():
            # One of the open connections shows it for all; then a new one; then none at all.
            assert await refused_after(database) < LIMIT
            assert await refused_after(database) < LIMIT
            assert await refused_after(database) < AT_ONCE
        await asyncio.sleep(1.1)
        await ping(database)


async def test_connections_that_died_silently_are_replaced(own_server: Any) -> None:
    async with opened(own_server.settings("postgres", "postgres")) as database:
        await asyncio.gather(*(ping(database) for _ in range(3)))
        with own_server.frozen(new_connections=False):
            assert await refused_after(database) < LIMIT
            start = time.monotonic()
            await asyncio.gather(*(ping(database) for _ in range(3)))
            assert time.monotonic() - start < 1.5


async def test_freezing_in_mid_request_ends_the_request(tls_server: Callable[..., Any]) -> None:
    tls = tls_server()
    async with opened(tls.settings()) as database:
        start = time.monotonic()
        with pytest.raises(DatabaseUnavailable):  # noqa: PT012
            async with database.session() as session:
                await session.execute(text("SELECT 1"))
                with tls.server.frozen():
                    start = time.monotonic()
                    await session.execute(text("SELECT 2"))
        assert time.monotonic() - start < LIMIT
        await ping(database)


async def test_waiting_for_the_pool_and_connecting_have_one_deadline(tmp_path: Path) -> None:
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_unix_server(
        lambda _, writer: silent.append(writer), tmp_path / ".s.PGSQL.5432"
    )
    settings = DatabaseSettings(hosts=(str(tmp_path),), database="d", user="u", password="p")

    async def later(database: Database) -> float:
        await asyncio.sleep(0.3)
        return await refused_after(database)

    async with server, opened(settings, pool_size=1) as database:
        assert max(await asyncio.gather(refused_after(database), later(database))) < LIMIT
        for writer in silent:
            writer.transport.abort()


async def test_a_lost_connection_in_mid_request_ends_the_request(own_server: Any) -> None:
    async with opened(own_server.settings("postgres", "postgres")) as database:
        with pytest.raises(DatabaseUnavailable):  # noqa: PT012
            async with database.session() as session:
                await session.execute(text("SELECT 1"))
                own_server.stop()
                await session.execute(text("SELECT 2"))


class TlsServer:
    """A server on 127.0.0.1 with a certificate, and how to reach it."""

    def __init__(self, server: Any, authority: Any, *options: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.certificate: Path = authority.certificate
        for source in authority.leaf("127.0.0.1"):
            copy = server.data / source.name
            shutil.copy(source, copy)
            shutil.chown(copy, server.data.owner())
            copy.chmod(0o600)
        self.server = server
        server.start(
            "listen_addresses=127.0.0.1",
            "ssl=on",
            "ssl_cert_file=leaf.crt",
            "ssl_key_file=leaf.key",
            *options,
            port=self.port,
        )

    def settings(self, **values: Any) -> DatabaseSettings:
        return DatabaseSettings.model_validate(
            {
                "hosts": "127.0.0.1",
                "ports": self.port,
                "database": "postgres",
                "user": "postgres",
                "password": "p",
                "sslrootcert": self.certificate,
            }
            | values
        )


@pytest.fixture
def tls_server(
    new_server: Callable[[], Any], certificate_authority: Callable[[str], Any]
) -> Iterator[Callable[..., TlsServer]]:
    """Make servers with certificates of one CA: `tls_server("name=value", …)`."""
    authority = certificate_authority("ca")
    made: list[Any] = []

    def make(*options: str) -> TlsServer:
        made.append(new_server())
        return TlsServer(made[-1], authority, *options)

    yield make
    for server in made:
        server.remove()


async def test_tcp_is_encrypted_and_verified(tls_server: Callable[..., TlsServer]) -> None:
    server = tls_server()
    async with opened(server.settings()) as database, database.session() as session:
        used = text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl")
        assert await session.scalar(used) == "TLSv1.3"


@pytest.mark.parametrize("fault", ["other CA", "other name", "no TLS"])
async def test_a_server_that_cannot_prove_itself_is_refused(
    tls_server: Callable[..., TlsServer],
    certificate_authority: Callable[[str], Any],
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    server = tls_server(*(["ssl=off"] if fault == "no TLS" else []))
    settings = {
        "other CA": server.settings(sslrootcert=certificate_authority("other").certificate),
        "other name": server.settings(hosts="localhost"),
        "no TLS": server.settings(),
    }[fault]
    async with opened(settings) as database:
        assert await refused_after(database) < LIMIT
    reason = {
        "other CA": "CERTIFICATE_VERIFY_FAILED",
        "other name": "Hostname mismatch",
        "no TLS": "rejected SSL upgrade",
    }[fault]
    assert reason in caplog.text


async def test_the_next_host_is_tried_in_time(tls_server: Callable[..., TlsServer]) -> None:
    alive = tls_server()
    silent: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: silent.append(writer), "127.0.0.1", 0)
    dead = server.sockets[0].getsockname()[1]
    settings = alive.settings(
        hosts="127.0.0.1,127.0.0.1,127.0.0.1", ports=f"{dead},{dead},{alive.port}"
    )
    async with server, opened(settings) as database:
        start = time.monotonic()
        await ping(database)
        assert time.monotonic() - start < LIMIT
        # The next connections do not pay for it again.
        await asyncio.gather(*(ping(database) for _ in range(5)))
        assert len(silent) == 2
        for writer in silent:
            writer.transport.abort()


async def test_a_host_that_cannot_write_is_passed_over(
    tls_server: Callable[..., TlsServer],
) -> None:
    standby, primary = tls_server("default_transaction_read_only=on"), tls_server()
    settings = standby.settings(
        hosts="127.0.0.1,127.0.0.1",
        ports=f"{standby.port},{primary.port}",
        target_session_attrs="read-write",
    )
    async with opened(settings) as database, database.session() as session:
        assert await session.scalar(text("SHOW port")) == str(primary.port)


@pytest.mark.parametrize("network", ["unix", "tcp"])
async def test_a_listener_that_says_nothing_is_given_up_on(tmp_path: Path, network: str) -> None:
    silent: list[asyncio.StreamWriter] = []

    def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.append(writer)

    if network == "unix":
        server = await asyncio.start_unix_server(accept, tmp_path / ".s.PGSQL.5432")
        place: dict[str, Any] = {"hosts": (str(tmp_path),)}
    else:
        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        place = {"hosts": ("127.0.0.1",), "ports": server.sockets[0].getsockname()[1]}
    settings = DatabaseSettings(**place, database="d", user="u", password="p")
    async with server, opened(settings) as database:
        assert 1.0 < await refused_after(database) < LIMIT
        assert await refused_after(database) < AT_ONCE
        for writer in silent:
            writer.transport.abort()


async def test_an_open_circuit_lets_one_probe_through_each_second(tmp_path: Path) -> None:
    attempts = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        writer.transport.abort()

    server = await asyncio.start_unix_server(hang_up, tmp_path / ".s.PGSQL.5432")
    settings = DatabaseSettings(hosts=(str(tmp_path),), database="d", user="u", password="p")
    async with server, opened(settings) as database:
        await refused_after(database)
        assert attempts == 1
        await asyncio.gather(*(refused_after(database) for _ in range(20)))
        assert attempts == 1
        await asyncio.sleep(1.1)
        await asyncio.gather(*(refused_after(database) for _ in range(20)))
        assert attempts == 2


async def test_a_cancelled_probe_does_not_close_the_door(own_server: Any) -> None:
    async with opened(own_server.settings("postgres", "postgres")) as database:
        own_server.stop()
        await refused_after(database)
        own_server.start()
        await asyncio.sleep(1.1)
        with own_server.frozen():
            probe = asyncio.create_task(ping(database))
            await asyncio.sleep(0.2)
            probe.cancel()
            with pytest.raises(asyncio.CancelledError):
                await probe
        await ping(database)


async def test_a_cancelled_request_is_cancelled(postgres: Any) -> None:
    async with opened(postgres.settings("postgres", "postgres"), pool_size=1) as database:

        async def sleep() -> None:
            async with database.session() as session:
                await session.execute(text("SELECT pg_sleep(1)"))

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(sleep(), 0.2)
        request = asyncio.create_task(sleep())
        await asyncio.sleep(0.2)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await ping(database)


async def test_an_exhausted_pool_refuses_but_the_circuit_stays_closed(postgres: Any) -> None:
    settings = postgres.settings("postgres", "postgres")
    async with opened(settings, pool_size=1) as database:
        async with database.session():
            assert await refused_after(database) < LIMIT
        await ping(database)


async def test_a_slow_statement_is_cut_off(postgres: Any) -> None:
    async with opened(postgres.settings("postgres", "postgres")) as database:
        start = time.monotonic()
        with pytest.raises(DatabaseUnavailable):
            async with database.session() as session:
                await session.execute(text("SELECT pg_sleep(10)"))
        assert time.monotonic() - start < LIMIT
        await asyncio.sleep(0.5)
        async with database.session() as session:
            running = text("SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'")
            assert await session.scalar(running) == 0


async def test_the_servers_own_statement_deadline_is_told_the_same_way(postgres: Any) -> None:
    async with opened(postgres.settings("postgres", "postgres")) as database:
        with pytest.raises(DatabaseUnavailable):  # noqa: PT012
            async with database.session() as session:
                await session.execute(text("SET LOCAL statement_timeout = '50ms'"))
                await session.execute(text("SELECT pg_sleep(2)"))


async def test_a_faulty_statement_is_not_taken_for_an_outage(postgres: Any) -> None:
    async with opened(postgres.settings("postgres", "postgres")) as database:
        with pytest.raises(exc.ProgrammingError):
            async with database.session() as session:
                await session.execute(text("SELECT * FROM nowhere"))
        await ping(database)


async def test_statements_without_end_do_not_fill_the_memory(postgres: Any) -> None:
    settings = postgres.settings("postgres", "postgres")
    async with opened(settings) as database, database.session() as session:
        for number in range(3 * KEPT_STATEMENTS):
            await session.execute(select(literal(1).label(f"column{number}")))
        kept = database._engine.sync_engine._compiled_cache
        assert kept is not None
        assert KEPT_STATEMENTS <= len(kept) <= 1.5 * KEPT_STATEMENTS


async def test_an_error_of_the_caller_is_not_taken_for_an_outage(postgres: Any) -> None:
    async with opened(postgres.settings("postgres", "postgres")) as database:
        with pytest.raises(TimeoutError):
            async with database.session():
                raise TimeoutError
        await ping(database)


async def usernames(database: Database) -> list[str]:
    async with database.session() as session:
        return list(await session.scalars(select(User.username)))


@pytest.mark.parametrize(
    ("error", "kept"),
    [(None, ["ada"]), (NotFound, []), (RuntimeError, []), (InvalidCredentials, ["ada"])],
)
async def test_an_error_undoes_what_was_written_unless_it_says_otherwise(
    autobot_database: Any, error: type[Exception] | None, kept: list[str]
) -> None:
    async with opened(autobot_database.service) as database:

        async def write() -> None:
            async with database.session() as session:
                session.add(User(username="ada", email="ada@autobot.local"))
                await session.flush()
                if error:
                    raise error

        if error:
            with pytest.raises(error):
                await write()
        else:
            await write()
        assert await usernames(database) == kept


async def test_a_released_connection_serves_others_meanwhile(autobot_database: Any) -> None:
    autobot_database.sql("INSERT INTO users (username, email) VALUES ('ada', 'ada@x')")
    async with opened(autobot_database.service, pool_size=1) as database:
        async with database.session() as session:
            user = (await session.scalars(select(User))).one()
            async with connection_released(session):
                assert await usernames(database) == ["ada"]
                assert user.username == "ada"
            user.display_name = "Ada"
        async with database.session() as session:
            assert await session.scalar(select(User.display_name)) == "Ada"


async def test_a_connection_with_changes_is_not_released(autobot_database: Any) -> None:
    async with opened(autobot_database.service) as database:
        with pytest.raises(RuntimeError, match="before changing"):  # noqa: PT012
            async with database.session() as session:
                session.add(User(username="ada", email="ada@x"))
                async with connection_released(session):
                    pass
        assert await usernames(database) == []


# What took nothing away since: the oldest code that the schema of this release suits.
SUITS_SINCE = "0005"


async def test_the_schema_is_read_by_the_service(
    autobot_database: Any, provisioned: Callable[..., Any]
) -> None:
    async with opened(autobot_database.service) as database:
        assert await database.schema() == Schema(EXPECTED_REVISION, SUITS_SINCE)
    async with opened(provisioned(Population.AUTOBOT).service) as database:
        assert await database.schema() == Schema(None)


@pytest.mark.parametrize(
    ("revision", "suits_since", "fits"),
    [
        (EXPECTED_REVISION, EXPECTED_REVISION, True),
        (EXPECTED_REVISION, None, True),
        ("9998", "0001", True),
        ("9998", EXPECTED_REVISION, True),
        ("9998", "9997", False),
        ("9998", None, False),
        ("0001", "0001", False),
        (None, None, False),
    ],
)
def test_a_schema_ahead_fits_where_it_says_so(
    revision: str | None, suits_since: str | None, fits: bool
) -> None:
    assert Schema(revision, suits_since).fits is fits


async def test_the_reason_is_logged_without_secrets(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = DatabaseSettings(
        hosts=(str(tmp_path),), database="d", user="u", password="hush-hush"
    )
    async with opened(settings) as database:
        await refused_after(database)
    assert "The database of the autobot users is unavailable" in caplog.text
    assert "FileNotFoundError" in caplog.text
    assert "hush-hush" not in caplog.text
