"""The AutoBot backend: what AutoBot's frontend calls, with the rights of the backend's own role."""

import asyncio
import itertools
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest
from jose import jwt

from tests.support.applications import Backend, Databases, RunBackend, Site
from user_management.population import Population

AUTOBOT = Population.AUTOBOT
NEW_PASSWORD = "granite-otter-quilt-52"
SESSION_FIELDS = {"refresh_token", "refresh_expires_in", "session_id", "must_change_password"}
LOGIN_FIELDS = SESSION_FIELDS | {
    *("success", "message", "user", "token", "token_type", "expires_in"),
}
REFRESH_FIELDS = SESSION_FIELDS | {"success", "token", "token_type", "expiresIn"}
CHECK = {"auth_enabled": True, "deployment_mode": "multi_company"}


@pytest.fixture
async def marta(site: Site) -> UUID:
    """An application user."""
    return await site.add_user(AUTOBOT, "marta")


async def logout(backend: Backend, headers: dict[str, str], **body: Any) -> httpx2.Response:
    return await backend.client.post("/api/auth/logout", headers=headers, **body)


def assert_logged_out(response: httpx2.Response) -> None:
    assert (response.status_code, response.json()) == (
        200,
        {"success": True, "message": "Logged out"},
    )


def assert_nobody_logged_out(response: httpx2.Response) -> None:
    assert (response.status_code, response.json()) == (
        200,
        {"success": False, "message": "Nobody was logged in with this"},
    )


def assert_problem(response: httpx2.Response, status: int, code: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code


# The story


async def test_what_autobots_frontend_does_from_login_to_logout(
    site: Site, backend: Backend, marta: UUID
) -> None:
    login = await backend.enter("marta")
    assert set(login) == LOGIN_FIELDS
    assert set(login["user"]) == {"username", "user_id", "role", "email", "last_login"}
    headers = backend.bearer(login["token"])

    me = (await backend.me(headers)).json()
    assert me.pop("last_login") == login["user"]["last_login"]
    assert me == {
        "username": "marta",
        "role": "user",
        "email": "marta@autobot.local",
        "auth_method": "jwt",
        "authenticated": True,
        "deployment_mode": "multi_company",
        "user_id": str(marta),
        "org_id": None,
        "permissions": [],
    }
    assert await backend.check(headers) == CHECK | {
        "authenticated": True,
        "role": "user",
        "must_change_password": False,
    }

    by_token = (await backend.client.post("/api/auth/refresh", headers=headers)).json()
    assert set(by_token) == REFRESH_FIELDS
    assert (by_token["success"], by_token["expiresIn"]) == (True, 1800)
    # The one that the frontend has stays good.
    assert by_token["refresh_token"] is None
    by_refresh_token = (await backend.refresh(login["refresh_token"])).json()
    assert set(by_refresh_token) == REFRESH_FIELDS
    assert by_refresh_token["refresh_token"] not in (None, login["refresh_token"])
    answers = (login, by_token, by_refresh_token)
    assert {answer["session_id"] for answer in answers} == {login["session_id"]}
    assert len({answer["token"] for answer in answers}) == 3
    headers = backend.bearer(by_refresh_token["token"])
    assert (await backend.me(headers)).json()["username"] == "marta"

    changed = await backend.change_password(headers, site.password, NEW_PASSWORD)
    assert (changed.status_code, changed.json()) == (
        200,
        {"success": True, "message": "Password changed"},
    )
    assert (await backend.me(headers)).status_code == 200
    assert (await backend.try_login("marta")).status_code == 401

    assert_logged_out(await logout(backend, headers, json={"session_id": login["session_id"]}))
    assert_problem(await backend.me(headers), 401, "not_authenticated")
    assert (await backend.check(headers))["authenticated"] is False
    for refused in (
        await backend.client.post("/api/auth/refresh", headers=headers),
        await backend.refresh(by_refresh_token["refresh_token"]),
        await backend.change_password(headers, NEW_PASSWORD, site.password),
    ):
        assert_problem(refused, 401, "not_authenticated")
    assert (await backend.try_login("marta", NEW_PASSWORD)).status_code == 200


# Login


@pytest.mark.usefixtures("marta")
@pytest.mark.parametrize("name", ["marta", "MARTA", " Marta ", "Marta@AutoBot.Local"])
async def test_a_login_by_name_or_address_in_any_case(backend: Backend, name: str) -> None:
    assert (await backend.enter(name))["user"]["username"] == "marta"


async def test_names_of_every_length_log_in(site: Site, backend: Backend) -> None:
    name = "a" * 100
    site.databases[AUTOBOT].sql(
        "INSERT INTO users (username, email, password_hash) SELECT"
        f" '{name}', 'long@autobot.local', '{site.resources.hasher._hash(site.password)}'"
    )
    assert (await backend.enter(name))["user"]["username"] == name


@pytest.mark.parametrize(
    "body",
    [
        {"password": "x"},
        {"username": "marta"},
        {"username": "marta", "password": "x", "role": "admin"},
        {"username": "mar\0ta", "password": "x"},
        {"username": 7, "password": "x"},
        ["marta", "x"],
        None,
    ],
)
async def test_a_login_of_another_form_is_not_valid(
    backend: Backend, body: dict[str, Any] | list[str] | None
) -> None:
    response = await backend.client.post(
        "/api/auth/login", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert_problem(response, 422, "validation_error")


async def test_what_a_login_answers(backend: Backend, marta: UUID) -> None:
    response = await backend.try_login("Marta")
    assert response.status_code == 200, response.text
    body = response.json()
    last_login = datetime.fromisoformat(body["user"].pop("last_login"))
    assert abs(datetime.now(UTC) - last_login) < timedelta(seconds=10)
    assert body["user"] == {
        "username": "marta",
        "user_id": str(marta),
        "role": "user",
        "email": "marta@autobot.local",
    }
    assert body["success"] is True
    assert body["message"]
    assert body["token_type"] == "bearer"
    assert body["expires_in"] == 1800
    assert body["refresh_expires_in"] == 3600
    assert body["must_change_password"] is False
    claims = jwt.get_unverified_claims(body["token"])
    assert claims["sid"] == body["session_id"]
    now = claims["iat"]
    assert {name: claims[name] for name in claims if name not in ("jti", "sid")} == {
        "iss": "https://backend.autobot.internal",
        "aud": "autobot-api",
        "sub": str(marta),
        "uid": str(marta),
        "iat": now,
        "nbf": now,
        "exp": now + 1800,
        "username": "marta",
        "role": "user",
        "email": "marta@autobot.local",
        "user_id": str(marta),
        "org_id": None,
    }


async def test_the_organization_is_told(site: Site, backend: Backend) -> None:
    organization = site.add_organization("acme")
    await site.add_user(AUTOBOT, "marta", org_id=organization)
    login = await backend.enter("marta")
    assert jwt.get_unverified_claims(login["token"])["org_id"] == str(organization)
    me = (await backend.me(backend.bearer(login["token"]))).json()
    assert me["org_id"] == str(organization)


async def test_fleet_administrators_do_not_log_in_here(site: Site, backend: Backend) -> None:
    await site.add_user(Population.SLM, "marta", is_admin=True)
    assert_problem(await backend.try_login("marta"), 401, "invalid_credentials")


@pytest.mark.usefixtures("marta")
async def test_a_weak_hash_is_replaced_at_login(
    site: Site, databases: Databases, run_backend: RunBackend
) -> None:
    async with run_backend(databases[AUTOBOT], bcrypt_cost=5) as backend:
        sql = databases[AUTOBOT].sql
        assert sql("SELECT password_hash FROM users").startswith("$2b$04$")
        await backend.login("marta")
        stored = sql("SELECT password_hash FROM users")
        assert stored.startswith("$2b$05$")
        await backend.login("marta")
        assert sql("SELECT password_hash FROM users") == stored
    assert site.audit(AUTOBOT, "password_changed") == []


# Who is calling


@pytest.mark.usefixtures("marta")
@pytest.mark.parametrize("header", ["X-Session-ID", "X-User-Role", "Cookie"])
async def test_no_other_header_opens_anything(backend: Backend, header: str) -> None:
    login = await backend.enter("marta")
    for value in (login["session_id"], login["token"], "admin", f"session_id={login['token']}"):
        headers = {header: value}
        assert_problem(await backend.me(headers), 401, "not_authenticated")
        assert (await backend.check(headers))["authenticated"] is False
        refused = await backend.client.post("/api/auth/refresh", headers=headers)
        assert_problem(refused, 401, "not_authenticated")
        refused = await backend.change_password(headers, "violet-anchor-77-meadow", NEW_PASSWORD)
        assert_problem(refused, 401, "not_authenticated")
        assert_nobody_logged_out(await logout(backend, headers))
    assert (await backend.me(backend.bearer(login["token"]))).status_code == 200


@pytest.mark.usefixtures("marta")
@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
async def test_another_scheme_opens_nothing(backend: Backend, scheme: str) -> None:
    token = (await backend.enter("marta"))["token"]
    headers = {"Authorization": f"{scheme} {token}".strip()}
    assert_problem(await backend.me(headers), 401, "not_authenticated")
    assert await backend.check(headers) == CHECK | {
        "authenticated": False,
        "role": None,
        "must_change_password": False,
    }


async def test_without_a_login_nobody_is_anybody(backend: Backend) -> None:
    refused = await backend.me({})
    assert_problem(refused, 401, "not_authenticated")
    assert refused.headers["www-authenticate"] == "Bearer"
    assert (await backend.check({}))["authenticated"] is False


# Refresh


@pytest.mark.usefixtures("marta")
@pytest.mark.parametrize("body", [{}, {"refresh_token": None}, {"refresh_token": ""}, []])
async def test_a_refresh_of_another_form_is_not_valid(
    backend: Backend, body: dict[str, Any] | list[Any]
) -> None:
    headers = await backend.login("marta")
    response = await backend.client.post("/api/auth/refresh", headers=headers, json=body)
    assert_problem(response, 422, "validation_error")


async def test_a_refresh_sees_what_became_of_the_user(
    site: Site, backend: Backend, marta: UUID
) -> None:
    login = await backend.enter("marta")
    organization = str(site.add_organization("acme"))
    site.databases[AUTOBOT].sql(
        "UPDATE users SET username = 'maria', email = 'maria@autobot.local',"
        f" org_id = '{organization}'"
    )
    headers = backend.bearer(login["token"])
    for response in (
        await backend.client.post("/api/auth/refresh", headers=headers),
        await backend.refresh(login["refresh_token"]),
    ):
        claims = jwt.get_unverified_claims(response.json()["token"])
        expected = {
            "username": "maria",
            "email": "maria@autobot.local",
            "org_id": organization,
            "user_id": str(marta),
            "role": "user",
        }
        assert {name: claims[name] for name in expected} == expected


@pytest.mark.usefixtures("marta")
async def test_a_used_refresh_token_ends_the_session_after_a_while(
    site: Site, backend: Backend
) -> None:
    login = await backend.enter("marta")
    again = (await backend.refresh(login["refresh_token"])).json()
    site.databases[AUTOBOT].sql("UPDATE refresh_tokens SET used_at = used_at - interval '11 s'")
    assert_problem(await backend.refresh(login["refresh_token"]), 401, "not_authenticated")
    assert_problem(await backend.refresh(again["refresh_token"]), 401, "not_authenticated")
    assert_problem(await backend.me(backend.bearer(again["token"])), 401, "not_authenticated")
    [row] = site.audit(AUTOBOT, "suspicious_activity")
    assert row["details"]["reason"] == "refresh_token_reused"


# Changing the password


@pytest.mark.usefixtures("marta")
async def test_a_change_asks_for_the_current_password(site: Site, backend: Backend) -> None:
    headers = await backend.login("marta")
    without = await backend.client.post(
        "/api/auth/change-password", headers=headers, json={"new_password": NEW_PASSWORD}
    )
    assert_problem(without, 422, "validation_error")
    assert without.json()["errors"][0]["pointer"] == "/current_password"
    wrong = await backend.change_password(headers, "not-the-password-11", NEW_PASSWORD)
    assert_problem(wrong, 403, "current_password_wrong")
    for new in (site.password, "short", "marta-marta-1"):
        refused = await backend.change_password(headers, site.password, new)
        assert_problem(refused, 422, "password_refused")
    assert (await backend.try_login("marta")).status_code == 200
    [row] = site.audit(AUTOBOT, "password_changed")
    assert (row["outcome"], row["details"]) == ("failure", {"reason": "invalid_password"})


async def test_a_change_ends_all_other_sessions(site: Site, backend: Backend, marta: UUID) -> None:
    other, own = await backend.enter("marta"), await backend.enter("marta")
    headers = backend.bearer(own["token"])
    changed = await backend.change_password(headers, site.password, NEW_PASSWORD)
    assert changed.status_code == 200, changed.text
    assert (await backend.me(headers)).status_code == 200
    assert (await backend.refresh(own["refresh_token"])).status_code == 200
    assert (await backend.me(backend.bearer(other["token"]))).status_code == 401
    assert (await backend.refresh(other["refresh_token"])).status_code == 401
    [row] = site.audit(AUTOBOT, "password_changed")
    assert (row["outcome"], row["user_id"]) == ("success", str(marta))


@pytest.mark.usefixtures("marta")
async def test_the_last_five_passwords_are_not_used_again(site: Site, backend: Backend) -> None:
    headers = await backend.login("marta")
    passwords = [site.password, *(f"granite-otter-quilt-{number}" for number in range(20, 26))]
    for current, new in itertools.pairwise(passwords):
        assert (await backend.change_password(headers, current, new)).status_code == 200
    for known in passwords[1:-1]:
        refused = await backend.change_password(headers, passwords[-1], known)
        assert_problem(refused, 422, "password_refused")
        assert "used this password before" in refused.json()["detail"]
    again = await backend.change_password(headers, passwords[-1], site.password)
    assert again.status_code == 200
    assert site.databases[AUTOBOT].sql("SELECT count(*) FROM password_history") == "5"


# Logout


@pytest.mark.usefixtures("marta")
@pytest.mark.parametrize("body", [{}, {"json": {}}, {"json": {"session_id": None}}])
async def test_a_logout_names_no_session_or_its_own(
    site: Site, backend: Backend, body: dict[str, Any]
) -> None:
    headers, other = await backend.login("marta"), await backend.login("marta")
    for _ in range(2):
        assert_logged_out(await logout(backend, headers, **body))
        assert (await backend.me(headers)).status_code == 401
    assert (await backend.me(other)).status_code == 200
    assert len(site.audit(AUTOBOT, "logout")) == 1


@pytest.mark.usefixtures("marta")
async def test_a_logout_ends_another_session_of_ones_own_that_is_named(
    site: Site, backend: Backend
) -> None:
    first, second, third = [await backend.enter("marta") for _ in range(3)]
    headers = backend.bearer(first["token"])
    assert_logged_out(await logout(backend, headers, json={"session_id": second["session_id"]}))
    statuses = [
        (await backend.me(backend.bearer(each["token"]))).status_code
        for each in (first, second, third)
    ]
    assert statuses == [401, 401, 200]
    ended = {row["resource_id"] for row in site.audit(AUTOBOT, "logout")}
    assert ended == {first["session_id"], second["session_id"]}


@pytest.mark.usefixtures("marta")
async def test_two_that_log_each_other_out_at_once(site: Site, backend: Backend) -> None:
    for _ in range(20):
        pair = [await backend.enter("marta") for _ in range(2)]
        answers = await asyncio.gather(
            *(
                logout(
                    backend, backend.bearer(one["token"]), json={"session_id": two["session_id"]}
                )
                for one, two in (pair, pair[::-1])
            )
        )
        for answer in answers:
            assert_logged_out(answer)
    ended = site.databases[AUTOBOT].sql(
        "SELECT count(*) FROM auth_sessions WHERE ended_at <= now()"
    )
    assert int(ended) == len(site.audit(AUTOBOT, "logout")) == 40


@pytest.mark.usefixtures("marta")
async def test_nobody_logs_somebody_else_out(site: Site, backend: Backend) -> None:
    await site.add_user(AUTOBOT, "other", is_admin=True)
    mine, theirs = await backend.login("marta"), await backend.enter("other")
    named = {"json": {"session_id": theirs["session_id"]}}
    for nobody in ({}, backend.bearer("garbage"), {"X-Session-ID": theirs["session_id"]}):
        assert_nobody_logged_out(await logout(backend, nobody, **named))
    assert (await backend.me(mine)).status_code == 200
    assert_logged_out(await logout(backend, mine, **named))
    assert (await backend.me(mine)).status_code == 401
    assert (await backend.me(backend.bearer(theirs["token"]))).status_code == 200
    assert [row["details"] for row in site.audit(AUTOBOT, "logout")] == [{}]


@pytest.mark.usefixtures("marta")
@pytest.mark.parametrize(
    "named",
    [
        str(uuid.UUID(int=0)),
        "Zm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyZm9vYmFyMDA",
        "'; DROP TABLE auth_sessions; --",
        "\0",
        "",
    ],
)
async def test_a_session_that_is_none_does_nothing(backend: Backend, named: str) -> None:
    headers = await backend.login("marta")
    for sent, judge in (({}, assert_nobody_logged_out), (headers, assert_logged_out)):
        response = await backend.client.post(
            "/api/auth/logout",
            headers=sent | {"Content-Type": "application/json"},
            content=json.dumps({"session_id": named}),
        )
        judge(response)
    assert (await backend.me(headers)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [{"session_id": 7}, {"session_id": "x" * 201}, {"session_id": "\ud800"}, {"id": "x"}, []],
)
async def test_a_logout_of_another_form_is_not_valid(
    backend: Backend, body: dict[str, Any] | list[Any]
) -> None:
    response = await backend.client.post(
        "/api/auth/logout",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    assert_problem(response, 422, "validation_error")


@pytest.mark.usefixtures("marta")
@pytest.mark.parametrize("expiry", ["expires_at", "ended_at"])
async def test_a_logout_from_a_session_that_is_over(
    site: Site, backend: Backend, expiry: str
) -> None:
    headers = await backend.login("marta")
    site.databases[AUTOBOT].sql(f"UPDATE auth_sessions SET {expiry} = now() - interval '1 s'")
    assert (await backend.me(headers)).status_code == 401
    assert_logged_out(await logout(backend, headers))
    assert site.audit(AUTOBOT, "logout") == []


async def test_a_logout_with_a_one_time_password(site: Site, backend: Backend, marta: UUID) -> None:
    site.give_one_time_password(marta, population=AUTOBOT)
    headers = await backend.login("marta")
    assert_problem(await backend.me(headers), 403, "password_change_required")
    assert_logged_out(await logout(backend, headers))
    assert_problem(await backend.me(headers), 401, "not_authenticated")
