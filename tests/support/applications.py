"""The applications in this process, as tests of their APIs start, call and maltreat them."""

import asyncio
import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from autobot_backend.app import create_app as create_backend
from slm_server.app import create_app
from tests.support.database_server import ProvisionedDatabase
from user_management.config import Settings
from user_management.population import Population
from user_management.schemas.users import UserCreate
from user_management.services import OPERATOR, RequestContext, UserService
from user_management_web.resources import Resources

# The lowest that bcrypt takes: what is tested here are rules, not hashes.
BCRYPT_COST = 4
PASSWORD = "violet-anchor-77-meadow"
ADMINISTRATOR = "captain"
# Applications that serve no test at the moment, by what makes them.
_idle: defaultdict[Callable[[], FastAPI], list[FastAPI]] = defaultdict(list)


def new_signing_key() -> str:
    """A new P-256 key as PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _array(words: Iterable[str]) -> str:
    return "'{" + ",".join(f'"{word}"' for word in words) + "}'::text[]"


@dataclass
class Door(ABC):
    """A running application that lets people in, and a client of it."""

    app: FastAPI
    settings: Settings
    client: httpx2.AsyncClient

    @property
    def resources(self) -> Resources:
        resources: Resources = self.app.state.resources
        return resources

    @staticmethod
    def bearer(token: str) -> dict[str, str]:
        """The header that proves who is calling."""
        return {"Authorization": f"Bearer {token}"}

    @abstractmethod
    async def try_login(self, username: str, password: str = PASSWORD) -> httpx2.Response:
        """Log in; what is answered."""

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
        events: list[dict[str, Any]] = json.loads(rows)
        return events


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
        found: dict[str, Any] = response.json()
        return found

    async def login(self, username: str, password: str = PASSWORD) -> dict[str, str]:
        """Log in; the header that proves it."""
        return self.bearer((await self.enter(username, password))["token"])

    async def me(self, headers: dict[str, str]) -> httpx2.Response:
        return await self.client.get("/api/auth/me", headers=headers)

    async def check(self, headers: dict[str, str]) -> dict[str, Any]:
        """Whether somebody is logged in, which is always answered."""
        response = await self.client.get("/api/auth/check", headers=headers)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

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
        found: str = self.database.sql(statements)
        return found


class GivenSettings(Settings):
    """Settings of which nothing comes from the environment."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        *_others: PydanticBaseSettingsSource,
        **_named: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)


def settings_for(databases: dict[Population, Any], **changes: Any) -> Settings:
    """Settings of a service on these databases; nothing comes from the environment."""
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
    with patch("user_management_web.application.load_settings", lambda: settings):
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


Databases = dict[Population, ProvisionedDatabase]
RunSite = Callable[..., AbstractAsyncContextManager[Site]]
RunBackend = Callable[..., AbstractAsyncContextManager[Backend]]
RunDoor = Callable[..., AbstractAsyncContextManager[Door]]
