"""One database, or both, are away: what still works, what is said, and how it comes back."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2
import pytest
from sqlalchemy import event
from sqlalchemy.pool import Pool, QueuePool

from tests.support.applications import ProxiedDatabase, RunBackend, RunDoor, RunSite, Site
from user_management.database import CIRCUIT_SECONDS, EXPECTED_REVISION, READERS, Database
from user_management.population import Population

SLM, AUTOBOT = Population.SLM, Population.AUTOBOT
T = TypeVar("T")
pytestmark = [pytest.mark.alone, pytest.mark.deadlines]


async def timed(request: Awaitable[T]) -> tuple[T, float]:
    """What is answered, and after how many seconds."""
    started = time.monotonic()
    response = await request
    return response, time.monotonic() - started


async def until_ok(
    client: httpx2.AsyncClient, path: str, headers: dict[str, str]
) -> httpx2.Response:
    """The answer once it is 200, within a few seconds."""
    for _ in range(40):
        response = await client.get(path, headers=headers)
        if response.status_code == 200:
            break
        await asyncio.sleep(0.1)
    return response


def assert_away(response: httpx2.Response, population: Population) -> None:
    assert response.status_code == 503
    problem = response.json()
    assert problem["code"] == "database_unavailable"
    assert f"the {population} users" in problem["detail"]
    assert int(response.headers["retry-after"]) >= 1


async def start(databases: dict[Population, ProxiedDatabase], *populations: Population) -> None:
    for population in populations:
        await databases[population].proxy.start()


async def test_the_server_starts_without_any_database(
    proxied: dict[Population, Any], run_site: RunSite
) -> None:
    async with run_site(proxied) as site:
        live, seconds = await timed(site.client.get("/health/live"))
        assert (live.status_code, live.json()) == (200, {"status": "ok"})
        assert seconds < 1
        ready = await site.client.get("/health/ready")
        assert ready.status_code == 503
        away = {
            "status": "unavailable",
            "revision": None,
            "expected_revision": EXPECTED_REVISION,
        }
        assert ready.json() == {
            "status": "not_ready",
            "release": None,
            "databases": {"slm": away, "autobot": away},
        }
        assert_away(await site.try_login("marta"), SLM)
        await start(proxied, SLM, AUTOBOT)
        assert (await until_ok(site.client, "/health/ready", {})).status_code == 200


@pytest.mark.parametrize("away", Population)
async def test_readiness_tells_which_database_is_away(
    proxied: dict[Population, Any], run_site: RunSite, away: Population
) -> None:
    async with run_site(proxied) as site:
        [there] = set(Population) - {away}
        await start(proxied, there)
        ready = await site.client.get("/health/ready")
        assert ready.status_code == 503
        states = {name: each["status"] for name, each in ready.json()["databases"].items()}
        assert states == {there: "ok", away: "unavailable"}


async def test_a_schema_ahead_that_suits_the_code_is_ready(site: Site) -> None:
    site.databases[AUTOBOT].sql("UPDATE user_management_version SET version_num = '9999'")
    ready = await site.client.get("/health/ready")
    assert (ready.status_code, ready.json()["databases"]["autobot"]["revision"]) == (200, "9999")
    site.databases[AUTOBOT].sql(
        "COMMENT ON TABLE user_management_version IS 'Suits code since revision 9998.'"
    )
    ready = await site.client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["databases"]["autobot"]["status"] == "wrong_revision"


async def test_readiness_tells_the_revision(site: Site) -> None:
    ready = await site.client.get("/health/ready")
    good = {"status": "ok", "revision": EXPECTED_REVISION, "expected_revision": EXPECTED_REVISION}
    assert (ready.status_code, ready.json()) == (
        200,
        {"status": "ready", "release": None, "databases": {"slm": good, "autobot": good}},
    )
    site.databases[AUTOBOT].sql("UPDATE user_management_version SET version_num = '0000'")
    ready = await site.client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json() == {
        "status": "not_ready",
        "release": None,
        "databases": {
            "slm": good,
            "autobot": good | {"status": "wrong_revision", "revision": "0000"},
        },
    }


@pytest.mark.parametrize("how", ["stop", "freeze"])
async def test_autobot_users_is_away(
    proxied: dict[Population, Any], run_site: RunSite, how: str
) -> None:
    async with run_site(proxied) as site:
        await start(proxied, SLM, AUTOBOT)
        headers = await site.administrate()
        users = "/api/autobot-users"
        assert (await site.client.get(users, headers=headers)).status_code == 200

        proxy = proxied[AUTOBOT].proxy
        if how == "stop":
            await proxy.stop()
        else:
            proxy.freeze()
        body = {"username": "marta", "email": "m@autobot.local", "password": "TestPass123!"}
        for method, path in (("GET", users), ("POST", users), ("GET", users)):
            response, seconds = await timed(
                site.client.request(
                    method, path, headers=headers, json=body if method == "POST" else None
                )
            )
            assert_away(response, AUTOBOT)
            assert seconds < 3

        # The fleet's administrators notice nothing, not even while many wait for the other one.
        waiting = [asyncio.create_task(site.client.get(users, headers=headers)) for _ in range(30)]
        for request in (
            site.login(site.administrator),
            site.client.get("/api/slm-users", headers=headers),
            site.client.get("/health/live"),
        ):
            _, seconds = await timed(request)
            assert seconds < 2
        assert {(await each).status_code for each in waiting} == {503}

        if how == "stop":
            await proxy.start()
        else:
            proxy.thaw()
        assert (await until_ok(site.client, users, headers)).status_code == 200
        created = await site.client.post(users, headers=headers, json=body)
        assert created.status_code == 201


@pytest.mark.parametrize("how", ["stop", "freeze"])
async def test_slm_users_is_away(
    proxied: dict[Population, Any], run_site: RunSite, how: str
) -> None:
    async with run_site(proxied) as site:
        await start(proxied, SLM, AUTOBOT)
        headers = await site.administrate()
        proxy = proxied[SLM].proxy
        if how == "stop":
            await proxy.stop()
        else:
            proxy.freeze()
        for request in (
            site.try_login(site.administrator),
            site.client.get("/api/slm-auth/me", headers=headers),
            # Who is calling is not known: nothing is done for them.
            site.client.get("/api/autobot-users", headers=headers),
        ):
            response, seconds = await timed(request)
            assert_away(response, SLM)
            assert seconds < 3
        assert (await site.client.get("/health/live")).status_code == 200
        if how == "stop":
            await proxy.start()
        else:
            proxy.thaw()
        assert (await until_ok(site.client, "/api/slm-auth/me", headers)).status_code == 200


async def test_a_database_that_is_lost_during_the_hash(
    site: Site, proxied: dict[Population, Any], run_door: RunDoor, held_hashing: threading.Event
) -> None:
    async with run_door(proxied) as door:
        population = door.resources.callers
        await start(proxied, population)
        await site.add_user(population, "marta")
        attempt = asyncio.create_task(door.try_login("marta"))
        await door.queued(1)
        await proxied[population].proxy.stop()
        held_hashing.set()
        response, seconds = await timed(attempt)
        assert_away(response, population)
        assert seconds < 3


async def test_no_connection_is_held_while_another_one_is_waited_for(
    admin: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    fetch_row = Database.fetch_row

    async def ask(database: Database, *arguments: Any) -> Any:
        seen.append("asked")
        row = await fetch_row(database, *arguments)
        seen.append("answered")
        return row

    monkeypatch.setattr(Database, "fetch_row", ask)

    def checkout(*_: object) -> None:
        seen.append("taken")

    def checkin(*_: object) -> None:
        seen.append("returned")

    event.listen(Pool, "checkout", checkout)
    event.listen(Pool, "checkin", checkin)
    try:
        response = await admin.get("/api/autobot-users")
    finally:
        event.remove(Pool, "checkout", checkout)
        event.remove(Pool, "checkin", checkin)
    assert response.status_code == 200
    # One of each database, one after the other.
    assert seen == ["asked", "answered", "taken", "returned"]


async def test_the_backend_starts_without_its_database(
    proxied: dict[Population, Any], run_backend: RunBackend, site: Site
) -> None:
    await site.add_user(AUTOBOT, "marta")
    async with run_backend(proxied[AUTOBOT]) as backend:
        live, seconds = await timed(backend.client.get("/health/live"))
        assert (live.status_code, live.json()) == (200, {"status": "ok"})
        assert seconds < 1
        ready = await backend.client.get("/health/ready")
        away = {
            "status": "unavailable",
            "revision": None,
            "expected_revision": EXPECTED_REVISION,
        }
        assert (ready.status_code, ready.json()) == (
            503,
            {"status": "not_ready", "release": None, "databases": {"autobot": away}},
        )
        assert_away(await backend.try_login("marta"), AUTOBOT)
        await start(proxied, AUTOBOT)
        assert (await until_ok(backend.client, "/health/ready", {})).status_code == 200
        assert (await backend.try_login("marta")).status_code == 200


@pytest.mark.parametrize("how", ["stop", "freeze"])
async def test_the_backends_database_is_away(
    proxied: dict[Population, Any], run_backend: RunBackend, site: Site, how: str
) -> None:
    await site.add_user(AUTOBOT, "marta")
    async with run_backend(proxied[AUTOBOT]) as backend:
        proxy = proxied[AUTOBOT].proxy
        await proxy.start()
        login = await backend.enter("marta")
        headers = backend.bearer(login["token"])
        assert (await backend.me(headers)).status_code == 200
        if how == "stop":
            await proxy.stop()
        else:
            proxy.freeze()
        post = backend.client.post
        requests: list[Callable[[], Awaitable[httpx2.Response]]] = [
            lambda: backend.try_login("marta"),
            lambda: backend.me(headers),
            lambda: backend.refresh(login["refresh_token"]),
            lambda: post("/api/auth/refresh", headers=headers),
            lambda: backend.client.get("/api/auth/check", headers=headers),
            lambda: post("/api/auth/logout", headers=headers),
            lambda: backend.change_password(headers, site.password, "granite-otter-quilt-52"),
        ]
        # Whoever comes first waits longest: each does, and then all of them at once.
        for request in requests:
            await asyncio.sleep(CIRCUIT_SECONDS + 0.1)
            response, seconds = await timed(request())
            assert_away(response, AUTOBOT)
            assert seconds < 3
        for response, seconds in await asyncio.gather(*(timed(each()) for each in requests * 5)):
            assert_away(response, AUTOBOT)
            assert seconds < 3

        # What needs no database does not miss it.
        assert (await backend.me({})).status_code == 401
        assert (await backend.check({}))["authenticated"] is False
        assert (await post("/api/auth/logout")).status_code == 200
        assert (await backend.client.get("/health/live")).status_code == 200
        ready, seconds = await timed(backend.client.get("/health/ready"))
        assert ready.status_code == 503
        assert seconds < 3

        if how == "stop":
            await proxy.start()
        else:
            proxy.thaw()
        assert (await until_ok(backend.client, "/api/auth/me", headers)).status_code == 200
        assert (await backend.client.get("/health/ready")).status_code == 200
        # Nothing was done for those who were told that it was not.
        assert (await backend.refresh(login["refresh_token"])).status_code == 200
        assert (await backend.try_login("marta")).status_code == 200
        database = backend.resources.databases[AUTOBOT]
        pool = database._engine.pool
        assert isinstance(pool, QueuePool)
        assert pool.checkedout() == 0
        assert database._reading._value == READERS
