"""The application in this process, with two databases of its own for each test."""

import asyncio
import json
import shutil
import tempfile
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI
from pydantic_settings import BaseSettings
from sqlalchemy import Engine, event

import user_management.database
from autobot_backend.app import create_app as create_backend
from slm_server.app import create_app
from user_management.config import Settings
from user_management.middleware.resources import Resources
from user_management.population import Population
from user_management.schemas.users import UserCreate
from user_management.security.hashing import PasswordHasher
from user_management.services import OPERATOR, RequestContext, UserService, limits

# The lowest that bcrypt takes: what is tested here are rules, not hashes.
BCRYPT_COST = 4
PASSWORD = "violet-anchor-77-meadow"
ADMINISTRATOR = "captain"
# What the application gives up after where a database says nothing.
DEADLINES = (
    *("CONNECT_TIMEOUT", "POOL_TIMEOUT", "STATEMENT_TIMEOUT"),
    *("COMMAND_TIMEOUT", "ACQUIRE_TIMEOUT"),
)
# Applications that serve no test at the moment, by what makes them.
_idle: defaultdict[Callable[[], FastAPI], list[FastAPI]] = defaultdict(list)


def new_signing_key() -> str:
    """A new P-256 key as PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _array(words: Iterable[str]) -> str:
    return "'{" + ",".join(f'"{word}"' for word in words) + "}'::text[]"


@dataclass
class Door:
    """A running application that lets people in, and a client of it."""

    app: FastAPI
    settings: Settings
    client: httpx2.AsyncClient

    @property
    def resources(self) -> Resources:
        return self.app.state.resources

    @staticmethod
    def bearer(token: str) -> dict[str, str]:
        """The header that proves who is calling."""
        return {"Authorization": f"Bearer {token}"}

    async def queued(self, number: int) -> None:
        """Wait until so many passwords wait for a thread, or have one."""
        hasher = self.resources.hasher
        for _ in range(3000):
            if hasher._pending == number:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"{hasher._pending} passwords are waiting, not {number}")


@dataclass
class Site(Door):
    """The SLM server, the databases, and shortcuts for what tests do most."""

    databases: dict[Population, Any]
    password: str = PASSWORD
    administrator: str = ADMINISTRATOR

    async def add_user(
        self,
        population: Population,
        username: str,
        *,
        is_admin: bool = False,
        password: str | None = PASSWORD,
        org_id: UUID | None = None,
        roles: Iterable[str] = (),
        permissions: Iterable[str] = (),
    ) -> UUID:
        """Create a user past the API, with roles that exist, and permissions in one of their own.

        A fleet administrator with `org_id` is limited to that organization of AutoBot.
        """
        operator = RequestContext(authority=OPERATOR)
        async with self.resources.databases[population].session() as session:
            user = await UserService(session, operator, self.resources.hasher).create(
                UserCreate(
                    username=username,
                    email=f"{username}@autobot.local",
                    password=password,
                    is_admin=is_admin,
                    org_id=org_id,
                )
            )
        given = list(roles)
        if permissions := list(permissions):
            given.append(f"role of {username}")
            self.add_role(population, given[-1], permissions)
        self.databases[population].sql(
            "INSERT INTO user_roles (user_id, role_id) "
            f"SELECT '{user.id}', id FROM roles WHERE name = ANY ({_array(given)})"
        )
        return user.id

    def add_role(
        self,
        population: Population,
        name: str,
        permissions: Iterable[str] = (),
        org_id: UUID | None = None,
    ) -> UUID:
        """Create a role past the API."""
        organization = f"'{org_id}'" if org_id else "NULL"
        made = self.databases[population].sql(
            "WITH role AS ("
            f"INSERT INTO roles (name, org_id) VALUES ('{name}', {organization}) RETURNING id"
            "), contents AS ("
            "INSERT INTO role_permissions SELECT role.id, permissions.id FROM role, permissions "
            f"WHERE permissions.name = ANY ({_array(permissions)})"
            ") SELECT id FROM role"
        )
        return UUID(made)

    def add_organization(self, name: str) -> UUID:
        """Create an organization of AutoBot past the API."""
        made = self.databases[Population.AUTOBOT].sql(
            "WITH made AS ("
            f"INSERT INTO organizations (name, slug) VALUES ('{name}', '{name}') RETURNING id"
            ") SELECT id FROM made"
        )
        return UUID(made)

    async def try_login(
        self, username: str, password: str = PASSWORD, path: str = "/api/slm-auth/login"
    ) -> httpx2.Response:
        return await self.client.post(path, json={"username": username, "password": password})

    async def login(self, username: str, password: str = PASSWORD) -> dict[str, str]:
        """Log in; the header that proves it."""
        response = await self.try_login(username, password)
        assert response.status_code == 200, response.text
        return self.bearer(response.json()["access_token"])

    async def administrate(self) -> dict[str, str]:
        """Create the administrator and log them in."""
        await self.add_user(Population.SLM, ADMINISTRATOR, is_admin=True)
        return await self.login(ADMINISTRATOR)

    async def waiting(self, population: Population, number: int) -> None:
        """Wait until so many transactions wait for a lock."""
        for _ in range(1500):
            found = self.databases[population].sql(
                "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted AND pid IN "
                "(SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
            )
            if int(found) == number:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{found} transactions wait, not {number}")

    def give_one_time_password(
        self, user_id: UUID, expires: str = "72 hours", population: Population = Population.SLM
    ) -> None:
        """Make the password that a user has a one-time password."""
        self.databases[population].sql(
            "INSERT INTO user_credentials (user_id, must_change_password, one_time_expires_at) "
            f"VALUES ('{user_id}', true, now() + interval '{expires}')"
        )

    async def ways_not_in(self, population: Population) -> dict[str, tuple[str, str]]:
        """Make users who are refused: name and password, by the reason that the audit log has."""
        users = {
            reason: await self.add_user(
                population, reason, password=None if reason == "no_password_set" else PASSWORD
            )
            for reason in (
                *("invalid_password", "account_inactive", "deleted"),
                *("no_password_set", "one_time_password_expired"),
            )
        }
        sql = self.databases[population].sql
        sql(f"UPDATE users SET is_active = false WHERE id = '{users['account_inactive']}'")
        sql(f"UPDATE users SET deleted_at = now() WHERE id = '{users['deleted']}'")
        self.give_one_time_password(
            users["one_time_password_expired"], "-1 second", population=population
        )
        if population is Population.AUTOBOT:
            users["organization_inactive"] = await self.add_user(
                population, "organization_inactive", org_id=self.add_organization("closed")
            )
            sql("UPDATE organizations SET is_active = false")
        ways = {reason: (reason, PASSWORD) for reason in users}
        return ways | {
            "invalid_password": ("invalid_password", "not-the-password-11"),
            "user_not_found": ("nobody", PASSWORD),
        }

    def audit(self, population: Population, action: str = "%") -> list[dict[str, Any]]:
        """The audit log, oldest first."""
        rows = self.databases[population].sql(
            "SELECT coalesce(json_agg(to_jsonb(l) ORDER BY created_at, id), '[]') "
            f"FROM audit_logs l WHERE action LIKE '{action}'"
        )
        return json.loads(rows)


@dataclass
class Backend(Door):
    """The AutoBot backend on the database of a Site, with the rights of its own role."""

    async def try_login(self, username: str, password: str = PASSWORD) -> httpx2.Response:
        return await self.client.post(
            "/api/auth/login", json={"username": username, "password": password}
        )

    async def enter(self, username: str, password: str = PASSWORD) -> dict[str, Any]:
        """Log in; what is answered."""
        response = await self.try_login(username, password)
        assert response.status_code == 200, response.text
        return response.json()

    async def login(self, username: str, password: str = PASSWORD) -> dict[str, str]:
        """Log in; the header that proves it."""
        return self.bearer((await self.enter(username, password))["token"])

    async def me(self, headers: dict[str, str]) -> httpx2.Response:
        return await self.client.get("/api/auth/me", headers=headers)

    async def check(self, headers: dict[str, str]) -> dict[str, Any]:
        """Whether somebody is logged in, which is always answered."""
        response = await self.client.get("/api/auth/check", headers=headers)
        assert response.status_code == 200, response.text
        return response.json()

    async def refresh(self, token: str) -> httpx2.Response:
        return await self.client.post("/api/auth/refresh", json={"refresh_token": token})

    async def change_password(
        self, headers: dict[str, str], current: str, new: str
    ) -> httpx2.Response:
        return await self.client.post(
            "/api/auth/change-password",
            headers=headers,
            json={"current_password": current, "new_password": new},
        )


class SocketProxy:
    """A socket between the application and PostgreSQL that a test can cut and freeze."""

    def __init__(self, target: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="px-"))
        self._path = self.directory / ".s.PGSQL.5432"
        self._target = Path(target) / ".s.PGSQL.5432"
        self._flowing = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._flowing.set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def stop(self) -> None:
        """Refuse connections and cut those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.close()

    def freeze(self) -> None:
        """Accept and say nothing."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    async def remove(self) -> None:
        self.thaw()
        await self.stop()
        shutil.rmtree(self.directory)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                await self._flowing.wait()
                writer.write(data)
                await writer.drain()
        self._writers.discard(writer)
        writer.close()


@dataclass(frozen=True)
class ProxiedDatabase:
    """A database that is reached through a proxy."""

    database: Any
    proxy: SocketProxy

    @property
    def service(self) -> Any:
        return self._through_the_proxy(self.database.service)

    @property
    def backend(self) -> Any:
        return self._through_the_proxy(self.database.backend)

    def _through_the_proxy(self, settings: Any) -> Any:
        return settings.model_copy(update={"hosts": (str(self.proxy.directory),)})

    def sql(self, statements: str) -> str:
        return self.database.sql(statements)


class GivenSettings(Settings):
    """Settings of which nothing comes from the environment."""

    @classmethod
    def settings_customise_sources(
        cls, _settings_cls: type[BaseSettings], init_settings: Any, **_others: Any
    ) -> tuple[Any, ...]:
        return (init_settings,)


def settings_for(databases: dict[Population, Any], **changes: Any) -> Settings:
    """Settings of a service on these databases."""
    values: dict[str, Any] = {
        "slm_signing_key": new_signing_key(),
        "bcrypt_cost": BCRYPT_COST,
        "hash_threads": 2,
    }
    for population, database in databases.items():
        values |= {f"{population}_users_database_url": None}
        values |= connection(population, database.service)
    return GivenSettings(**(values | changes))


def connection(population: Population, settings: Any) -> dict[str, Any]:
    """How to reach a database, as settings of a service."""
    return {
        f"{population}_postgres_host": settings.hosts[0],
        f"{population}_postgres_db": settings.database,
        f"{population}_postgres_user": settings.user,
        f"{population}_postgres_password": settings.password,
    }


@asynccontextmanager
async def running(
    databases: dict[Population, Any], *, seals: bool = False, **changes: Any
) -> AsyncIterator[Site]:
    """Start the application on these databases.

    Audit rows are sealed, and locks looked after, only with `seals`: the statements of the
    background would mingle with those that a test looks at.
    """
    settings = settings_for(databases, **changes)
    create = create_app if seals else create_app_that_does_not_seal
    async with started(create, settings) as app, client_of(app, "https://slm.example") as client:
        yield Site(app, settings, client, databases)


def create_app_that_does_not_seal() -> FastAPI:
    with patch("slm_server.app._background", lambda _: nullcontext()):
        return create_app()


@asynccontextmanager
async def started(create: Callable[[], FastAPI], settings: Settings) -> AsyncIterator[FastAPI]:
    """An application with these settings.

    FastAPI takes longer to make one than most tests to run: one that has served a test serves the
    next. What a test does to it ends with its settings and resources, which each start makes anew.
    """
    app = _idle[create].pop() if _idle[create] else create()
    with patch("user_management.middleware.application.load_settings", lambda: settings):
        async with app.router.lifespan_context(app):
            yield app
    _idle[create].append(app)


@asynccontextmanager
async def running_backend(database: Any, **changes: Any) -> AsyncIterator[Backend]:
    """Start the AutoBot backend on the application users' database."""
    values: dict[str, Any] = {
        "autobot_signing_key": new_signing_key(),
        "bcrypt_cost": BCRYPT_COST,
        "hash_threads": 2,
    }
    values |= connection(Population.AUTOBOT, database.backend)
    settings = GivenSettings(**(values | changes))
    async with (
        started(create_backend, settings) as app,
        client_of(app, "https://backend.example") as client,
    ):
        yield Backend(app, settings, client)


def client_of(app: FastAPI, base_url: str) -> httpx2.AsyncClient:
    """A client of an application in this process."""
    return httpx2.AsyncClient(
        transport=httpx2.ASGITransport(app, client=("203.0.113.7", 1234)),
        base_url=base_url,
        headers={"User-Agent": "pytest"},
    )


@pytest.fixture(autouse=True)
def patient(request, monkeypatch) -> None:
    """A machine that is busy is no dead database: deadlines are ten times as long.

    Not in tests of the deadlines themselves, which are marked so.
    """
    if request.node.get_closest_marker("deadlines") is None:
        for name in DEADLINES:
            longer = 10 * getattr(user_management.database, name)
            monkeypatch.setattr(user_management.database, name, longer)


@pytest.fixture
def signing_key() -> str:
    """A P-256 key as PEM text."""
    return new_signing_key()


@pytest.fixture
def run_site():
    """Start the application with settings of one's own: `run_site(databases, name=value)`."""
    return running


@pytest.fixture
def databases(slm_database, autobot_database):
    """Both databases, by population."""
    return {Population.SLM: slm_database, Population.AUTOBOT: autobot_database}


@pytest.fixture
async def site(databases) -> AsyncIterator[Site]:
    """The application on two empty databases."""
    async with running(databases) as started:
        yield started


@pytest.fixture
def run_backend():
    """Start the backend with settings of one's own: `run_backend(database, name=value)`."""
    return running_backend


@pytest.fixture
async def backend(databases) -> AsyncIterator[Backend]:
    """The AutoBot backend, on the database of `site`."""
    async with running_backend(databases[Population.AUTOBOT]) as started:
        yield started


@pytest.fixture(params=["slm", "backend"])
def run_door(request):
    """Start each application that lets people in: `run_door(databases, name=value)`.

    `door.resources.callers` are those whom it lets in, users of `site`.
    """
    if request.param == "slm":
        return running
    return lambda databases, **changes: running_backend(databases[Population.AUTOBOT], **changes)


@pytest.fixture
async def door(run_door, databases) -> AsyncIterator[Door]:
    """Each application that lets people in, on the databases of `site`."""
    async with run_door(databases) as started:
        yield started


@pytest.fixture
async def admin(site) -> httpx2.AsyncClient:
    """A client that is logged in as the administrator of the fleet."""
    site.client.headers.update(await site.administrate())
    return site.client


@pytest.fixture
async def proxied(databases) -> AsyncIterator[dict[Population, Any]]:
    """Both databases, each behind a SocketProxy that is not started yet."""
    behind = {
        population: ProxiedDatabase(database, SocketProxy(database.service.hosts[0]))
        for population, database in databases.items()
    }
    yield behind
    for database in behind.values():
        await database.proxy.remove()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """The SQL that is sent from now on, COMMIT included."""
    seen: list[str] = []

    def on_execute(_connection, _cursor, statement, *_rest) -> None:
        seen.append(statement)

    def on_commit(_connection) -> None:
        seen.append("COMMIT")

    event.listen(Engine, "before_cursor_execute", on_execute)
    event.listen(Engine, "commit", on_commit)
    yield seen
    event.remove(Engine, "before_cursor_execute", on_execute)
    event.remove(Engine, "commit", on_commit)


@pytest.fixture
def held_hashing(monkeypatch) -> Iterator[threading.Event]:
    """The passwords of those who log in are not hashed until the event is set."""
    gate = threading.Event()
    hash_anew = PasswordHasher._hash_anew

    def held(*arguments: Any) -> str | None:
        assert gate.wait(30)
        return hash_anew(*arguments)

    monkeypatch.setattr(PasswordHasher, "_hash_anew", held)
    yield gate
    gate.set()


@pytest.fixture
def held_clock(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The time at which the clock of the limits stands still: waiting times are exact."""
    moment = datetime.now(UTC)

    class Held(datetime):
        @classmethod
        def now(cls, _tz: tzinfo | None = None) -> datetime:
            return moment

    monkeypatch.setattr(limits, "datetime", Held)
    return moment


@pytest.fixture
def during_the_hash(site, monkeypatch) -> Callable[[Population, str], None]:
    """Let a statement be carried out while the next passwords are hashed to be stored."""
    hash_ = site.resources.hasher.hash

    def let(population: Population, statement: str) -> None:
        async def change_and_hash(password: str) -> str:
            site.databases[population].sql(statement)
            return await hash_(password)

        monkeypatch.setattr(site.resources.hasher, "hash", change_and_hash)

    return let
