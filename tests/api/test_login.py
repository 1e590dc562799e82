"""Login, who is calling, logout, changing the password."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import bcrypt
import httpx2
import pytest

from tests.support.applications import Databases, Door, RunDoor, RunSite, Site
from user_management.permissions import Permission
from user_management.population import Population

NEW_PASSWORD = "granite-otter-quilt-52"


@pytest.mark.parametrize("path", ["/api/slm-auth/login", "/api/auth/login"])
@pytest.mark.parametrize("field", ["username", "username_or_email"])
@pytest.mark.parametrize("name", ["marta", "MARTA", "Marta@AutoBot.Local"])
async def test_login_by_name_or_address_in_any_case(
    site: Site, path: str, field: str, name: str
) -> None:
    await site.add_user(Population.SLM, "marta")
    response = await site.client.post(path, json={field: name, "password": site.password})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert answer.pop("access_token").count(".") == 2
    assert len(answer.pop("refresh_token")) == 94
    sql = site.databases[Population.SLM].sql
    assert answer.pop("session_id") == sql("SELECT id FROM auth_sessions")
    assert answer == {
        "token_type": "bearer",
        "expires_in": 1800,
        "refresh_expires_in": 3600,
        "must_change_password": False,
    }


@pytest.mark.parametrize(
    "body",
    [
        {"password": "x"},
        {"username": "marta"},
        {"username": "marta", "username_or_email": "marta", "password": "x"},
        {"username": "marta", "password": "x", "admin": True},
        {"username": "mar\0ta", "password": "x"},
        {"username": "\ud800", "password": "x"},
        {"username": 7, "password": "x"},
        ["marta", "x"],
        None,
    ],
)
async def test_a_login_of_another_form_is_not_valid(
    site: Site, body: dict[str, Any] | list[str] | None
) -> None:
    response = await site.client.post(
        "/api/slm-auth/login",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 422
    assert response.json()["code"] == "validation_error"


async def test_me_shows_the_caller(admin: httpx2.AsyncClient, site: Site) -> None:
    answer = (await admin.get("/api/slm-auth/me")).json()
    assert datetime.now(UTC) - datetime.fromisoformat(answer.pop("last_login_at")) < timedelta(
        minutes=1
    )
    assert answer.pop("id")
    assert answer == {
        "username": site.administrator,
        "email": f"{site.administrator}@autobot.local",
        "is_admin": True,
        "permissions": sorted(Permission),
        "org_id": None,
        "user_type": "slm_admin",
        "must_change_password": False,
    }


async def test_a_user_who_is_no_administrator_is_told_so(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    answer = await site.client.get("/api/slm-auth/me", headers=await site.login("marta"))
    assert answer.json()["is_admin"] is False


async def test_application_users_do_not_log_in_here(site: Site) -> None:
    await site.add_user(Population.AUTOBOT, "marta")
    assert (await site.try_login("marta")).status_code == 401


async def test_a_login_is_no_change_to_the_account(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    sql = site.databases[Population.SLM].sql
    before = sql("SELECT updated_at FROM users")
    await site.login("marta")
    assert sql("SELECT updated_at FROM users") == before
    assert sql("SELECT last_login_at > created_at FROM users") == "t"


def headers_of(response: httpx2.Response) -> list[tuple[str, str]]:
    """All but the one that no two answers share."""
    return sorted(item for item in response.headers.items() if item[0] != "x-request-id")


async def test_a_refused_login_gives_nothing_away(
    site: Site, door: Door, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes: list[bytes] = []
    compute = bcrypt.hashpw

    def count(password: bytes, salt: bytes) -> bytes:
        hashes.append(salt)
        return compute(password, salt)

    ways = await site.ways_not_in(door.resources.callers)
    ways["too_long_for_plain_bcrypt"] = ("invalid_password", "x" * 100)
    monkeypatch.setattr(bcrypt, "hashpw", count)
    seen = {}
    for reason, (name, password) in ways.items():
        statements.clear()
        hashes.clear()
        response = await door.try_login(name, password)
        seen[reason] = (
            response.status_code,
            response.content,
            headers_of(response),
            list(statements),
            len(hashes),
        )
    expected = seen["invalid_password"]
    assert expected[0] == 401
    assert b"Incorrect username or password." in expected[1]
    assert ("www-authenticate", "Bearer") in expected[2]
    assert [statement.split()[0] for statement in expected[3]] == [
        *("SELECT", "SELECT", "SELECT", "COMMIT"),  # user, limits, what the hash was made with
        *("SELECT", "SELECT", "INSERT", "INSERT", "COMMIT"),  # limits, hash, failure, log
    ]
    assert expected[4] == 1
    assert {reason: value for reason, value in seen.items() if value != expected} == {}


async def test_the_audit_log_keeps_each_refusal_and_its_reason(site: Site, door: Door) -> None:
    ways = await site.ways_not_in(door.resources.callers)
    for name, password in ways.values():
        await door.try_login(name, password)
    rows = {
        row["details"]["username"]: row
        for row in site.audit(door.resources.callers, "login_failed")
    }
    expected: dict[str | None, str] = {
        # What was typed for a name that does not exist may be a password.
        None: "user_not_found",
        **{reason: reason for reason in ways if reason not in ("deleted", "user_not_found")},
    }
    assert {name: row["details"]["reason"] for name, row in rows.items()} == expected
    assert len(site.audit(door.resources.callers, "login_failed")) == len(ways)
    for name, row in rows.items():
        assert row["outcome"] == "failure"
        assert row["user_id"] is None
        assert (row["resource_id"] is None) == (name is None)
        assert (row["ip_address"], row["user_agent"]) == ("203.0.113.7", "pytest")


async def test_a_login_is_in_the_audit_log(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    await site.client.post(
        "/api/slm-auth/login",
        json={"username": "marta", "password": site.password},
        headers={"User-Agent": "x" * 600},
    )
    [row] = site.audit(Population.SLM, "login_success")
    assert row["user_id"] == str(user_id)
    assert row["ip_address"] == "203.0.113.7"
    assert row["user_agent"] == "x" * 500
    assert row["resource_type"] == "session"
    sql = site.databases[Population.SLM].sql
    assert sql("SELECT id FROM auth_sessions") == row["resource_id"]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET is_active = false",
        "UPDATE users SET deleted_at = now()",
        "UPDATE users SET password_hash = 'x'",
    ],
)
async def test_a_user_who_changes_during_the_hash_does_not_get_in(
    site: Site, held_hashing: threading.Event, change: str
) -> None:
    await site.add_user(Population.SLM, "marta")
    attempt = asyncio.create_task(site.try_login("marta"))
    await site.queued(1)
    site.databases[Population.SLM].sql(change)
    held_hashing.set()
    assert (await attempt).status_code == 401
    assert site.databases[Population.SLM].sql("SELECT count(*) FROM auth_sessions") == "0"
    assert len(site.audit(Population.SLM, "login_failed")) == 1


async def test_a_weak_hash_is_replaced_at_login(databases: Databases, run_site: RunSite) -> None:
    async with run_site(databases, bcrypt_cost=6) as site:
        await site.add_user(Population.SLM, "marta")
        sql = databases[Population.SLM].sql
        weak = bcrypt.hashpw(site.password.encode(), bcrypt.gensalt(5, prefix=b"2a")).decode()
        sql(f"UPDATE users SET password_hash = '{weak}'")
        await site.login("marta")
        stored = sql("SELECT password_hash FROM users")
        assert stored.startswith("$2b$06$")
        await site.login("marta")
        assert sql("SELECT password_hash FROM users") == stored


async def test_hashing_holds_no_connection(site: Site, held_hashing: threading.Event) -> None:
    held_hashing.set()
    headers = await site.administrate()
    held_hashing.clear()
    logins = [asyncio.create_task(site.try_login(site.administrator)) for _ in range(32)]
    await site.queued(32)
    answers = [
        await site.client.get(path, headers=headers)
        for path in ("/health/live", "/health/ready", "/api/slm-auth/me", "/api/slm-users")
    ]
    assert not any(login.done() for login in logins)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200]
    held_hashing.set()
    assert {(await login).status_code for login in logins} == {200}


async def test_a_full_queue_is_said_at_once(
    site: Site, databases: Databases, run_door: RunDoor, held_hashing: threading.Event
) -> None:
    async with run_door(databases, hash_threads=1) as door:
        await site.add_user(door.resources.callers, "marta")
        logins: list[asyncio.Task[httpx2.Response]] = []
        # A few at a time, so that none of them waits too long for a connection.
        while len(logins) < 65:
            logins += [asyncio.create_task(door.try_login("marta")) for _ in range(5)]
            await door.queued(len(logins))
        refused = await door.try_login("marta")
        assert refused.status_code == 503
        assert refused.json()["code"] == "hash_queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        held_hashing.set()
        assert {(await login).status_code for login in logins} == {200}


async def test_passwords_of_128_characters_and_shared_beginnings(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    beginning = "é" * 36  # 72 bytes
    passwords = [beginning + ending for ending in ("-first-ending", "-other-ending")]
    long = "".join(chr(0x4E00 + number) for number in range(128))
    for name, password in zip(("one", "two", "long"), (*passwords, long), strict=True):
        created = await admin.post(
            "/api/slm-users",
            json={"username": name, "email": f"{name}@autobot.local", "password": password},
        )
        assert created.status_code == 201, created.text
    assert (await site.try_login("one", passwords[0])).status_code == 200
    assert (await site.try_login("one", passwords[1])).status_code == 401
    assert (await site.try_login("two", passwords[0])).status_code == 401
    assert (await site.try_login("one", beginning)).status_code == 401
    assert (await site.try_login("long", long)).status_code == 200
    assert (await site.try_login("long", long[:-1])).status_code == 401


async def test_logout_ends_the_session_at_once_and_no_other(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    first, second = await site.login("marta"), await site.login("marta")
    response = await site.client.post("/api/slm-auth/logout", headers=first)
    assert (response.status_code, response.content) == (204, b"")
    for method, path in (("GET", "/api/slm-auth/me"), ("POST", "/api/slm-auth/logout")):
        refused = await site.client.request(method, path, headers=first)
        assert refused.status_code == 401
        assert refused.json()["code"] == "not_authenticated"
    assert (await site.client.get("/api/slm-auth/me", headers=second)).status_code == 200
    [row] = site.audit(Population.SLM, "logout")
    assert row["user_id"] == str(user_id)
    assert row["ip_address"] == "203.0.113.7"


async def test_a_session_expires(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    headers = await site.login("marta")
    site.databases[Population.SLM].sql("UPDATE auth_sessions SET expires_at = now()")
    assert (await site.client.get("/api/slm-auth/me", headers=headers)).status_code == 401


async def test_who_is_calling_is_one_statement(
    admin: httpx2.AsyncClient, statements: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = []
    fetch = asyncpg.Connection.fetchrow

    async def fetchrow(connection: Any, statement: str, *arguments: object) -> Any:
        plain.append(statement)
        return await fetch(connection, statement, *arguments)

    monkeypatch.setattr(asyncpg.Connection, "fetchrow", fetchrow)
    assert (await admin.get("/api/slm-auth/me")).status_code == 200
    assert (len(plain), statements) == (1, [])


async def change_password(
    site: Site, headers: dict[str, str], current: str, new: str
) -> httpx2.Response:
    return await site.client.post(
        "/api/slm-auth/change-password",
        headers=headers,
        json={"current_password": current, "new_password": new},
    )


async def test_changing_the_password_ends_all_other_sessions(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    other, own = await site.login("marta"), await site.login("marta")
    changed = await change_password(site, own, site.password, NEW_PASSWORD)
    assert (changed.status_code, changed.content) == (204, b"")
    assert (await site.client.get("/api/slm-auth/me", headers=own)).status_code == 200
    assert (await site.client.get("/api/slm-auth/me", headers=other)).status_code == 401
    assert (await site.try_login("marta")).status_code == 401
    assert (await site.try_login("marta", NEW_PASSWORD)).status_code == 200
    [row] = site.audit(Population.SLM, "password_changed")
    assert (row["outcome"], row["user_id"]) == ("success", str(user_id))
    assert "hash" not in str(row["details"])


async def test_a_wrong_current_password_changes_nothing_and_is_recorded(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    headers = await site.login("marta")
    refused = await change_password(site, headers, "not-the-password-11", NEW_PASSWORD)
    assert refused.status_code == 403
    assert refused.json()["code"] == "current_password_wrong"
    assert (await site.try_login("marta")).status_code == 200
    [row] = site.audit(Population.SLM, "password_changed")
    assert row["outcome"] == "failure"


@pytest.mark.parametrize(
    "new", ["violet-anchor-77-meadow", "short", "ChangeMe123!", "marta-marta-1", "x" * 200]
)
async def test_a_new_password_must_be_new_and_good(site: Site, new: str) -> None:
    await site.add_user(Population.SLM, "marta")
    headers = await site.login("marta")
    refused = await change_password(site, headers, site.password, new)
    assert refused.status_code == 422
    assert refused.json()["code"] == "password_refused"
    assert (await site.try_login("marta")).status_code == 200


async def test_two_changes_at_once_do_not_both_succeed(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    headers = await site.login("marta")
    answers = await asyncio.gather(
        change_password(site, headers, site.password, NEW_PASSWORD),
        change_password(site, headers, site.password, f"{NEW_PASSWORD}-b"),
    )
    assert sorted(answer.status_code for answer in answers) == [204, 403]


async def test_a_one_time_password_allows_nothing_but_its_change(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "marta", is_admin=True)
    site.give_one_time_password(user_id)
    response = await site.try_login("marta")
    assert response.json()["must_change_password"] is True
    headers = {"Authorization": f"Bearer {response.json()['access_token']}"}
    for method, path in (
        ("GET", "/api/slm-auth/me"),
        ("GET", "/api/slm-auth/sessions"),
        ("GET", "/api/slm-users"),
        ("GET", "/api/autobot-users"),
        ("GET", "/api/openapi.json"),
    ):
        refused = await site.client.request(method, path, headers=headers)
        assert refused.status_code == 403, path
        assert refused.json()["code"] == "password_change_required"
    changed = await change_password(site, headers, site.password, NEW_PASSWORD)
    assert changed.status_code == 204
    me = await site.client.get("/api/slm-auth/me", headers=headers)
    assert (me.status_code, me.json()["must_change_password"]) == (200, False)
    assert (await site.client.get("/api/slm-users", headers=headers)).status_code == 200
    again = await site.try_login("marta", NEW_PASSWORD)
    assert again.json()["must_change_password"] is False


async def test_a_session_of_a_one_time_password_ends_with_it(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    site.give_one_time_password(user_id)
    headers = await site.login("marta")
    site.databases[Population.SLM].sql("UPDATE user_credentials SET one_time_expires_at = now()")
    refused = await change_password(site, headers, site.password, NEW_PASSWORD)
    assert refused.status_code == 401
