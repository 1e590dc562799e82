"""What the SLM server does is felt by the next request at the AutoBot backend, and the reverse."""

import asyncio
import threading
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.support.applications import Backend, Databases, RunBackend, Site
from user_management.population import Population
from user_management.services.audit_chain import anchor, read_head, seal
from user_management.services.audit_verification import Verification, verify

AUTOBOT = Population.AUTOBOT
USERS = "/api/autobot-users"
NEW_PASSWORD = "granite-otter-quilt-52"
WRONG = "not-the-password-11"


@pytest.fixture
async def marta(site: Site) -> UUID:
    """An application user."""
    return await site.add_user(AUTOBOT, "marta")


async def does(
    admin: httpx2.AsyncClient, method: str, path: str, **request: Any
) -> httpx2.Response:
    """What the administrator of the fleet does, who may."""
    response = await admin.request(method, path, **request)
    assert response.is_success, response.text
    return response


async def is_in(backend: Backend, login: dict[str, str]) -> bool:
    """Whether a login is still good: all that it opens says the same."""
    headers = backend.bearer(login["token"])
    me = (await backend.me(headers)).status_code
    check = (await backend.check(headers))["authenticated"]
    by_token = (await backend.client.post("/api/auth/refresh", headers=headers)).status_code
    by_refresh_token = (await backend.refresh(login["refresh_token"])).status_code
    answers = {me == 200, check, by_token == 200, by_refresh_token == 200}
    assert len(answers) == 1, (me, check, by_token, by_refresh_token)
    answer: bool = answers.pop()
    return answer


# From the SLM server to the backend


async def test_whom_the_slm_server_creates_logs_in(
    admin: httpx2.AsyncClient, backend: Backend
) -> None:
    created = await admin.post(
        USERS,
        json={
            "username": "testuser",
            "password": "TestPass123!",
            "email": "test@autobot.local",
            "is_admin": False,
        },
    )
    assert created.status_code == 201, created.text
    login = await backend.enter("testuser", "TestPass123!")
    assert login["user"]["user_id"] == created.json()["id"]
    assert login["must_change_password"] is False
    assert await is_in(backend, login)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PATCH", "", {"is_active": False}),
        ("DELETE", "", None),
        ("POST", "/reset-password", None),
        ("DELETE", "/sessions", None),
    ],
)
async def test_what_ends_a_login_ends_it_at_once(
    admin: httpx2.AsyncClient,
    site: Site,
    backend: Backend,
    marta: UUID,
    method: str,
    path: str,
    body: dict[str, Any] | None,
) -> None:
    await site.add_user(AUTOBOT, "other")
    logins = [await backend.enter("marta") for _ in range(2)]
    other = await backend.enter("other")
    assert await is_in(backend, logins[0])
    await does(admin, method, f"{USERS}/{marta}{path}", json=body)
    for login in logins:
        assert not await is_in(backend, login)
    assert await is_in(backend, other)
    expected = 200 if path == "/sessions" else 401
    assert (await backend.try_login("marta")).status_code == expected


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET is_active = false",
        "UPDATE users SET deleted_at = now()",
        "UPDATE organizations SET is_active = false",
        "UPDATE organizations SET deleted_at = now()",
        "UPDATE auth_sessions SET ended_at = now()",
        "UPDATE auth_sessions SET expires_at = now()",
        "DELETE FROM auth_sessions",
    ],
)
async def test_each_reason_suffices(site: Site, backend: Backend, change: str) -> None:
    """The SLM server ends sessions as well; here nothing but the one thing changes."""
    await site.add_user(AUTOBOT, "marta", org_id=site.add_organization("acme"))
    login = await backend.enter("marta")
    assert await is_in(backend, login)
    login = await backend.enter("marta")
    site.databases[AUTOBOT].sql(change)
    assert not await is_in(backend, login)


async def test_a_user_who_is_enabled_again_logs_in_again(
    admin: httpx2.AsyncClient, backend: Backend, marta: UUID
) -> None:
    login = await backend.enter("marta")
    await does(admin, "PATCH", f"{USERS}/{marta}", json={"is_active": False})
    assert (await backend.try_login("marta")).status_code == 401
    await does(admin, "PATCH", f"{USERS}/{marta}", json={"is_active": True})
    assert not await is_in(backend, login)
    assert await is_in(backend, await backend.enter("marta"))


async def test_one_session_is_ended(
    admin: httpx2.AsyncClient, backend: Backend, marta: UUID
) -> None:
    first, second = await backend.enter("marta"), await backend.enter("marta")
    await does(admin, "DELETE", f"{USERS}/{marta}/sessions/{first['session_id']}")
    assert not await is_in(backend, first)
    assert await is_in(backend, second)


async def test_a_new_name_is_the_one_to_log_in_with(
    admin: httpx2.AsyncClient, backend: Backend, marta: UUID
) -> None:
    login = await backend.enter("marta")
    await does(
        admin,
        "PATCH",
        f"{USERS}/{marta}",
        json={"username": "maria", "email": "maria@autobot.local"},
    )
    me = (await backend.me(backend.bearer(login["token"]))).json()
    assert (me["username"], me["email"]) == ("maria", "maria@autobot.local")
    assert (await backend.try_login("marta")).status_code == 401
    assert (await backend.try_login("marta@autobot.local")).status_code == 401
    assert (await backend.try_login("maria@autobot.local")).status_code == 200


async def test_from_a_reset_to_a_password_of_ones_own(
    admin: httpx2.AsyncClient, site: Site, backend: Backend, marta: UUID
) -> None:
    reset = await does(admin, "POST", f"{USERS}/{marta}/reset-password")
    one_time = reset.json()["one_time_password"]
    login = await backend.enter("marta", one_time)
    assert login["must_change_password"] is True
    headers = backend.bearer(login["token"])

    closed = await backend.me(headers)
    assert (closed.status_code, closed.json()["code"]) == (403, "password_change_required")
    check = await backend.check(headers)
    assert (check["authenticated"], check["must_change_password"]) == (True, True)
    for response in (
        await backend.client.post("/api/auth/refresh", headers=headers),
        await backend.refresh(login["refresh_token"]),
    ):
        assert response.json()["must_change_password"] is True
        token = response.json()["token"]
        assert (await backend.me(backend.bearer(token))).status_code == 403

    for known in (one_time, site.password):
        refused = await backend.change_password(headers, one_time, known)
        assert (refused.status_code, refused.json()["code"]) == (422, "password_refused")
    changed = await backend.change_password(headers, one_time, NEW_PASSWORD)
    assert changed.status_code == 200, changed.text
    assert (await backend.me(headers)).status_code == 200
    assert (await backend.check(headers))["must_change_password"] is False
    assert (await backend.try_login("marta", one_time)).status_code == 401
    assert (await backend.enter("marta", NEW_PASSWORD))["must_change_password"] is False
    assert len(site.audit(AUTOBOT, "password_reset_completed")) == 1


async def test_a_one_time_password_expires_with_its_session(
    admin: httpx2.AsyncClient, site: Site, backend: Backend, marta: UUID
) -> None:
    reset = await does(admin, "POST", f"{USERS}/{marta}/reset-password")
    one_time = reset.json()["one_time_password"]
    headers = await backend.login("marta", one_time)
    site.databases[AUTOBOT].sql("UPDATE user_credentials SET one_time_expires_at = now()")
    assert (await backend.change_password(headers, one_time, NEW_PASSWORD)).status_code == 401
    assert (await backend.try_login("marta", one_time)).status_code == 401


async def test_a_login_during_a_reset_begins_no_session(
    admin: httpx2.AsyncClient, backend: Backend, marta: UUID, held_hashing: threading.Event
) -> None:
    attempt = asyncio.create_task(backend.try_login("marta"))
    await backend.queued(1)
    await does(admin, "POST", f"{USERS}/{marta}/reset-password")
    held_hashing.set()
    assert (await attempt).status_code == 401


async def test_a_change_during_a_reset_changes_nothing(
    admin: httpx2.AsyncClient,
    site: Site,
    backend: Backend,
    marta: UUID,
    held_hashing: threading.Event,
) -> None:
    held_hashing.set()
    headers = await backend.login("marta")
    held_hashing.clear()
    change = asyncio.create_task(backend.change_password(headers, site.password, NEW_PASSWORD))
    await backend.queued(1)
    reset = await does(admin, "POST", f"{USERS}/{marta}/reset-password")
    held_hashing.set()
    assert (await change).status_code == 403
    assert (await backend.try_login("marta", NEW_PASSWORD)).status_code == 401
    login = await backend.enter("marta", reset.json()["one_time_password"])
    assert login["must_change_password"] is True


async def test_a_user_who_is_disabled_during_a_change_changes_nothing(
    admin: httpx2.AsyncClient,
    site: Site,
    backend: Backend,
    marta: UUID,
    held_hashing: threading.Event,
) -> None:
    held_hashing.set()
    headers = await backend.login("marta")
    held_hashing.clear()
    change = asyncio.create_task(backend.change_password(headers, site.password, NEW_PASSWORD))
    await backend.queued(1)
    await does(admin, "PATCH", f"{USERS}/{marta}", json={"is_active": False})
    held_hashing.set()
    assert (await change).status_code == 403
    await does(admin, "PATCH", f"{USERS}/{marta}", json={"is_active": True})
    assert (await backend.try_login("marta", NEW_PASSWORD)).status_code == 401
    assert (await backend.try_login("marta")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/deactivate"), ("PATCH", "")], ids=["deactivate", "patch"]
)
async def test_a_closed_organization_keeps_its_users_out(
    admin: httpx2.AsyncClient, site: Site, backend: Backend, method: str, path: str
) -> None:
    organization = site.add_organization("acme")
    await site.add_user(AUTOBOT, "member", org_id=organization)
    await site.add_user(AUTOBOT, "elsewhere", org_id=site.add_organization("other"))
    member, elsewhere = await backend.enter("member"), await backend.enter("elsewhere")
    where = f"/api/organizations/{organization}"
    body = {"json": {"is_active": False}} if method == "PATCH" else {}
    await does(admin, method, f"{where}{path}", **body)
    assert not await is_in(backend, member)
    assert await is_in(backend, elsewhere)
    assert (await backend.try_login("member")).status_code == 401
    await does(admin, "POST", f"{where}/activate")
    assert (await backend.try_login("member")).status_code == 200


@pytest.mark.usefixtures("held_clock")
async def test_an_administrator_of_the_fleet_unlocks(
    admin: httpx2.AsyncClient, site: Site, backend: Backend, marta: UUID
) -> None:
    headers = await backend.login("marta")
    # From another browser: hers has a limit of its own.
    backend.client.cookies.clear()
    failures = backend.settings.login_failures_per_pair
    for _ in range(failures):
        assert (await backend.try_login("marta", WRONG)).status_code == 401
        refused = await backend.change_password(headers, WRONG, NEW_PASSWORD)
        assert refused.status_code == 403
    blocked = [
        await backend.try_login("marta"),
        await backend.change_password(headers, site.password, NEW_PASSWORD),
    ]
    for response in blocked:
        assert (response.status_code, response.json()["code"]) == (429, "too_many_attempts")
        assert response.headers["retry-after"] == "30"
    await does(admin, "POST", f"{USERS}/{marta}/unlock")
    assert (await backend.try_login("marta")).status_code == 200
    changed = await backend.change_password(headers, site.password, NEW_PASSWORD)
    assert changed.status_code == 200
    scopes = {row["details"]["scope"] for row in site.audit(AUTOBOT, "account_locked")}
    assert scopes == {"pair", "password"}


async def test_all_backends_count_together(
    databases: Databases, run_backend: RunBackend, backend: Backend, marta: UUID
) -> None:
    del marta
    async with run_backend(databases[AUTOBOT]) as second:
        for each in (backend, second, backend, second, backend):
            assert (await each.try_login("marta", WRONG)).status_code == 401
        statuses = [(await each.try_login("marta")).status_code for each in (backend, second)]
    assert statuses == [429, 429]


async def test_all_backends_with_one_key_know_at_once(
    databases: Databases, run_backend: RunBackend, backend: Backend, marta: UUID
) -> None:
    del marta
    key = backend.settings.autobot_signing_key
    async with run_backend(databases[AUTOBOT], autobot_signing_key=key) as second:
        headers = await backend.login("marta")
        assert (await second.me(headers)).status_code == 200
        await backend.client.post("/api/auth/logout", headers=headers)
        assert (await second.me(headers)).status_code == 401


# From the backend to the SLM server


async def test_sessions_of_the_backend_are_listed(
    admin: httpx2.AsyncClient, backend: Backend, marta: UUID
) -> None:
    logins = [await backend.enter("marta") for _ in range(3)]
    await backend.client.post("/api/auth/logout", headers=backend.bearer(logins[1]["token"]))
    await backend.refresh(logins[0]["refresh_token"])
    found = (await does(admin, "GET", f"{USERS}/{marta}/sessions")).json()["sessions"]
    assert [row["id"] for row in found] == [logins[2]["session_id"], logins[0]["session_id"]]
    assert [row["refreshed_at"] is not None for row in found] == [False, True]
    for row in found:
        assert (row["ip_address"], row["user_agent"]) == ("203.0.113.7", "pytest")
        assert row["is_current"] is False


async def test_the_last_login_is_shown(
    admin: httpx2.AsyncClient, backend: Backend, marta: UUID
) -> None:
    before = (await does(admin, "GET", f"{USERS}/{marta}")).json()
    login = await backend.enter("marta")
    after = (await does(admin, "GET", f"{USERS}/{marta}")).json()
    assert (before["last_login_at"], after["last_login_at"]) == (None, login["user"]["last_login"])
    # A login is no change to the account.
    assert after["updated_at"] == before["updated_at"]


async def listed(admin: httpx2.AsyncClient, action: str) -> list[dict[str, Any]]:
    """The events of application users, as the SLM server shows them, oldest first."""
    query = {"population": "autobot", "action": action}
    response = await does(admin, "GET", "/api/audit-logs", params=query)
    found: list[dict[str, Any]] = response.json()["logs"][::-1]
    return found


async def test_the_audit_log_of_the_backend_is_read_at_the_slm_server(
    admin: httpx2.AsyncClient, site: Site, backend: Backend
) -> None:
    organization = site.add_organization("acme")
    marta = str(await site.add_user(AUTOBOT, "marta", org_id=organization))
    login = await backend.enter("marta")
    headers = backend.bearer(login["token"])
    # From another browser: hers has a limit of its own.
    backend.client.cookies.clear()
    await backend.try_login("nobody")
    for _ in range(backend.settings.login_failures_per_pair):
        await backend.try_login("marta", WRONG)
    await backend.change_password(headers, WRONG, NEW_PASSWORD)
    await backend.change_password(headers, site.password, NEW_PASSWORD)
    await backend.client.post("/api/auth/logout", headers=headers)

    actor = {"population": "autobot", "user_id": marta, "username": "marta"}
    [success] = await listed(admin, "login_success")
    assert (success["actor"], success["org_id"]) == (actor, str(organization))
    assert (success["resource_type"], success["resource_id"]) == ("session", login["session_id"])
    unknown, *wrong = await listed(admin, "login_failed")
    assert (unknown["resource_id"], unknown["details"]["reason"]) == (None, "user_not_found")
    assert {row["details"]["reason"] for row in wrong} == {"invalid_password"}
    assert {row["resource_id"] for row in wrong} == {marta}
    assert {row["actor"] for row in (unknown, *wrong)} == {None}
    [locked] = await listed(admin, "account_locked")
    assert (locked["resource_id"], locked["details"]["scope"]) == (marta, "pair")
    changes = await listed(admin, "password_changed")
    assert [row["outcome"] for row in changes] == ["failure", "success"]
    [logout] = await listed(admin, "logout")
    assert logout["resource_id"] == login["session_id"]
    for row in (*changes, logout):
        assert (row["actor"], row["org_id"]) == (actor, str(organization))
    for row in (success, unknown, *wrong, locked, *changes, logout):
        assert (row["ip_address"], row["user_agent"]) == ("203.0.113.7", "pytest")


async def test_what_the_backend_writes_is_sealed_like_everything_else(
    site: Site, backend: Backend, marta: UUID
) -> None:
    del marta
    headers = await backend.login("marta")
    await backend.try_login("marta", WRONG)
    await backend.client.post("/api/auth/logout", headers=headers)

    async def verified() -> Verification:
        async with (
            site.resources.session(AUTOBOT) as session,
            site.resources.session(Population.SLM) as other,
        ):
            return await verify(session, other)

    async with (
        site.resources.session(AUTOBOT) as session,
        site.resources.session(Population.SLM) as other,
    ):
        sealed = await seal(session)
        assert sealed is not None
        assert sealed.rows == len(site.audit(AUTOBOT)) == 4
        await anchor(session, other, await read_head(session))
    assert (await verified()).is_intact
    site.databases[AUTOBOT].sql(
        "UPDATE audit_logs SET outcome = 'success' WHERE action = 'login_failed'"
    )
    assert not (await verified()).is_intact
