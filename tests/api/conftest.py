"""The applications, with two databases of their own for each test."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from sqlalchemy import Engine, event

import user_management.database
from tests.support.applications import (
    Backend,
    Databases,
    Door,
    ProxiedDatabase,
    RunBackend,
    RunDoor,
    RunSite,
    Site,
    SocketProxy,
    new_signing_key,
    running,
    running_backend,
)
from tests.support.database_server import ProvisionedDatabase
from user_management.population import Population
from user_management.security.hashing import PasswordHasher
from user_management.services import limits

# What the application gives up after where a database says nothing.
DEADLINES = (
    *("CONNECT_TIMEOUT", "POOL_TIMEOUT", "STATEMENT_TIMEOUT"),
    *("COMMAND_TIMEOUT", "ACQUIRE_TIMEOUT"),
)


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy is no dead database: deadlines are five minutes and more.

    Not in tests of the deadlines themselves, which are marked so.
    """
    if request.node.get_closest_marker("deadlines") is None:
        for name in DEADLINES:
            longer = 300 * getattr(user_management.database, name)
            monkeypatch.setattr(user_management.database, name, longer)


@pytest.fixture
def signing_key() -> str:
    """A P-256 key as PEM text."""
    return new_signing_key()


@pytest.fixture
def run_site() -> RunSite:
    """Start the application with settings of one's own: `run_site(databases, name=value)`."""
    return running


@pytest.fixture
def databases(
    slm_database: ProvisionedDatabase, autobot_database: ProvisionedDatabase
) -> Databases:
    """Both databases, by population."""
    return {Population.SLM: slm_database, Population.AUTOBOT: autobot_database}


@pytest.fixture
async def site(databases: Databases) -> AsyncIterator[Site]:
    """The application on two empty databases."""
    async with running(databases) as started:
        yield started


@pytest.fixture
def run_backend() -> RunBackend:
    """Start the backend with settings of one's own: `run_backend(database, name=value)`."""
    return running_backend


@pytest.fixture
async def backend(databases: Databases) -> AsyncIterator[Backend]:
    """The AutoBot backend, on the database of `site`."""
    async with running_backend(databases[Population.AUTOBOT]) as started:
        yield started


@pytest.fixture(params=["slm", "backend"])
def run_door(request: pytest.FixtureRequest) -> RunDoor:
    """Start each application that lets people in: `run_door(databases, name=value)`.

    `door.resources.callers` are those whom it lets in, users of `site`.
    """
    if request.param == "slm":
        return running
    return lambda databases, **changes: running_backend(databases[Population.AUTOBOT], **changes)


@pytest.fixture
async def door(run_door: RunDoor, databases: Databases) -> AsyncIterator[Door]:
    """Each application that lets people in, on the databases of `site`."""
    async with run_door(databases) as started:
        yield started


@pytest.fixture
async def admin(site: Site) -> httpx2.AsyncClient:
    """A client that is logged in as the administrator of the fleet."""
    site.client.headers.update(await site.administrate())
    return site.client


@pytest.fixture
async def proxied(databases: Databases) -> AsyncIterator[dict[Population, Any]]:
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

    def on_execute(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    def on_commit(_connection: object) -> None:
        seen.append("COMMIT")

    event.listen(Engine, "before_cursor_execute", on_execute)
    event.listen(Engine, "commit", on_commit)
    yield seen
    event.remove(Engine, "before_cursor_execute", on_execute)
    event.remove(Engine, "commit", on_commit)


@pytest.fixture
def held_hashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """The passwords of those who log in are not hashed until the event is set."""
    gate = threading.Event()
    hash_anew = PasswordHasher._hash_anew

    def held(*arguments: Any) -> str | None:
        assert gate.wait(600)
        return hash_anew(*arguments)

    monkeypatch.setattr(PasswordHasher, "_hash_anew", held)
    yield gate
    gate.set()


@pytest.fixture
def held_clock(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The time at which the clock of the limits stands still: waiting times are exact."""
    moment = datetime.now(UTC)
    monkeypatch.setattr(limits, "datetime", SimpleNamespace(now=lambda _zone: moment))
    return moment


@pytest.fixture
def during_the_hash(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Population, str], None]:
    """Let a statement be carried out while the next passwords are hashed to be stored."""
    hash_ = site.resources.hasher.hash

    def let(population: Population, statement: str) -> None:
        async def change_and_hash(password: str) -> str:
            site.databases[population].sql(statement)
            return await hash_(password)

        monkeypatch.setattr(site.resources.hasher, "hash", change_and_hash)

    return let
