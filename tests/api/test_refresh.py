"""Refresh tokens: rotation, the grace for two tabs, and what happens to a stolen one."""

import asyncio
import itertools
from collections.abc import Callable
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.support.applications import Databases, RunSite, Site
from tests.support.budgets import budget
from user_management.population import Population

PATHS = ["/api/slm-auth/refresh", "/api/auth/refresh"]


async def log_in(site: Site, username: str = "marta") -> Any:
    response = await site.try_login(username)
    assert response.status_code == 200, response.text
    return response.json()


async def refresh(site: Site, token: str, path: str = PATHS[0]) -> httpx2.Response:
    return await site.client.post(path, json={"refresh_token": token})


async def me(site: Site, answer: dict[str, Any]) -> int:
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    return (await site.client.get("/api/slm-auth/me", headers=headers)).status_code


def refused(response: httpx2.Response) -> bool:
    problem = response.json()
    return (response.status_code, problem["code"], problem["detail"]) == (
        401,
        "not_authenticated",
        "The session has ended. Log in again.",
    )


@pytest.fixture
async def sql(site: Site) -> Callable[[str], str]:
    """Marta exists; her database."""
    await site.add_user(Population.SLM, "marta")
    found: Callable[[str], str] = site.databases[Population.SLM].sql
    return found


def pass_time(sql: Callable[[str], str], seconds: int) -> None:
    """All that was noted of sessions and tokens happened so much earlier."""
    sql(
        "UPDATE refresh_tokens SET"
        f" created_at = created_at - interval '{seconds} s',"
        f" used_at = used_at - interval '{seconds} s';"
        "UPDATE auth_sessions SET"
        f" created_at = created_at - interval '{seconds} s',"
        f" expires_at = expires_at - interval '{seconds} s'"
    )


@pytest.mark.parametrize("path", PATHS)
async def test_a_refresh_goes_on_with_the_session(
    site: Site, sql: Callable[[str], str], path: str
) -> None:
    first = await log_in(site)
    response = await refresh(site, first["refresh_token"], path)
    assert response.status_code == 200, response.text
    second = response.json()
    assert second["session_id"] == first["session_id"]
    assert second["refresh_token"] != first["refresh_token"]
    assert second["access_token"] != first["access_token"]
    assert (second["expires_in"], second["refresh_expires_in"]) == (1800, 3600)
    assert await me(site, second) == 200
    assert (await refresh(site, second["refresh_token"], path)).status_code == 200
    assert sql("SELECT count(*) FROM auth_sessions") == "1"


async def test_tokens_are_long_random_and_stored_as_hashes_only(
    site: Site, sql: Callable[[str], str]
) -> None:
    answers = [await log_in(site) for _ in range(5)]
    answers += [(await refresh(site, answer["refresh_token"])).json() for answer in answers]
    tokens = {answer["refresh_token"] for answer in answers}
    assert len(tokens) == 10
    # 256 bits each of code and seal, and when the session began in between.
    assert {len(token) for token in tokens} == {43 + 8 + 43}
    parts = {part for token in tokens for part in (token[:43], token[-43:])}
    assert len(parts) == 20
    everything = sql(
        "SELECT * FROM auth_sessions JOIN refresh_tokens ON session_id = id;"
        "SELECT encode(token_hash, 'escape') FROM refresh_tokens"
    )
    assert [part for part in parts if part in everything] == []


async def test_within_the_grace_the_same_token_comes_again(
    site: Site, sql: Callable[[str], str]
) -> None:
    first = await log_in(site)
    second = (await refresh(site, first["refresh_token"])).json()
    pass_time(sql, 8)
    again = (await refresh(site, first["refresh_token"])).json()
    assert again["refresh_token"] == second["refresh_token"]
    assert await me(site, again) == 200


async def test_within_the_grace_the_end_of_the_chain_comes(
    site: Site, sql: Callable[[str], str]
) -> None:
    first = await log_in(site)
    token = first["refresh_token"]
    for _ in range(3):
        token = (await refresh(site, token)).json()["refresh_token"]
    again = (await refresh(site, first["refresh_token"])).json()
    assert again["refresh_token"] == token
    pass_time(sql, 11)
    assert (await refresh(site, token)).status_code == 200


async def test_after_the_grace_a_used_token_ends_the_session(
    site: Site, sql: Callable[[str], str]
) -> None:
    first = await log_in(site)
    other = await log_in(site)
    second = (await refresh(site, first["refresh_token"])).json()
    pass_time(sql, 11)
    assert refused(await refresh(site, first["refresh_token"]))
    assert await me(site, second) == 401
    assert refused(await refresh(site, second["refresh_token"]))
    assert await me(site, other) == 200
    [row] = site.audit(Population.SLM, "suspicious_activity")
    assert row["details"]["reason"] == "refresh_token_reused"
    assert row["details"]["username"] == "marta"
    assert (row["resource_id"], row["outcome"]) == (first["session_id"], "failure")
    assert (row["user_id"], row["ip_address"]) == (None, "203.0.113.7")


async def test_a_stolen_token_that_is_tried_again_and_again_fills_no_log(
    site: Site, sql: Callable[[str], str]
) -> None:
    first = await log_in(site)
    await refresh(site, first["refresh_token"])
    pass_time(sql, 11)
    for _ in range(5):
        assert refused(await refresh(site, first["refresh_token"]))
    assert len(site.audit(Population.SLM, "suspicious_activity")) == 1


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET is_active = false",
        "UPDATE users SET deleted_at = now()",
        "UPDATE auth_sessions SET ended_at = now()",
        "UPDATE auth_sessions SET expires_at = now()",
        "DELETE FROM auth_sessions",
        "INSERT INTO user_credentials (user_id, must_change_password, one_time_expires_at)"
        " SELECT id, true, now() FROM users",
        "INSERT INTO organizations (id, name, slug, is_active)"
        " VALUES ('00000000-0000-0000-0000-000000000001', 'Closed', 'closed', false);"
        "UPDATE users SET org_id = '00000000-0000-0000-0000-000000000001'",
    ],
)
async def test_every_reason_is_refused_alike(
    site: Site, sql: Callable[[str], str], change: str
) -> None:
    answer = await log_in(site)
    sql(change)
    assert refused(await refresh(site, answer["refresh_token"]))
    assert site.audit(Population.SLM, "suspicious_activity") == []


@pytest.mark.parametrize("token", ["unknown", "x" * 43, "x" * 86, "é" * 86, "x" * 200])
async def test_an_unknown_token(site: Site, token: str) -> None:
    assert refused(await refresh(site, token))


@pytest.mark.parametrize(
    "change",
    [
        lambda token, _: token[:43],
        lambda token, _: token[:-1],
        lambda token, _: f"{token}x",
        lambda token, _: token[:43] + token[43:].swapcase(),
        lambda token, _: token[:43] + "é" * 43,
        lambda token, other: token[:43] + other[43:],
    ],
    ids=["none", "shorter", "longer", "other case", "other letters", "of another token"],
)
async def test_a_code_without_its_seal_is_unknown(
    site: Site, sql: Callable[[str], str], change: Callable[[Any, Any], Any]
) -> None:
    """It uses nothing up: whoever has the token goes on."""
    token, other = [(await log_in(site))["refresh_token"] for _ in range(2)]
    assert refused(await refresh(site, change(token, other)))
    assert sql("SELECT count(*) FROM refresh_tokens WHERE used_at IS NOT NULL") == "0"
    assert (await refresh(site, token)).status_code == 200


@pytest.mark.usefixtures("sql")
async def test_an_access_token_is_no_refresh_token_and_the_reverse(site: Site) -> None:
    answer = await log_in(site)
    assert (await refresh(site, answer["access_token"])).status_code in (401, 422)
    headers = {"Authorization": f"Bearer {answer['refresh_token']}"}
    assert (await site.client.get("/api/slm-auth/me", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    "body", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": "x\0"},
             {"refresh_token": "x" * 201}, {"refresh_token": "x", "more": 1}, []],
)  # fmt: skip
@pytest.mark.parametrize("path", PATHS)
async def test_a_refresh_of_another_form_is_not_valid(
    site: Site, path: str, body: dict[str, Any] | list[Any]
) -> None:
    response = await site.client.post(path, json=body)
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")


async def test_autobots_clients_refresh_with_their_access_token(
    site: Site, sql: Callable[[str], str]
) -> None:
    answer = await log_in(site)
    pass_time(sql, 600)
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    response = await site.client.post("/api/auth/refresh", headers=headers)
    assert response.status_code == 200, response.text
    again = response.json()
    assert again["session_id"] == answer["session_id"]
    assert (again["refresh_token"], again["refresh_expires_in"]) == (None, 3600)
    assert await me(site, again) == 200
    # The refresh token stays good.
    assert (await refresh(site, answer["refresh_token"])).status_code == 200


async def test_without_any_token_nothing_is_refreshed(
    site: Site, sql: Callable[[str], str]
) -> None:
    answer = await log_in(site)
    assert (await site.client.post("/api/auth/refresh")).status_code == 401
    sql("UPDATE auth_sessions SET ended_at = now()")
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    assert (await site.client.post("/api/auth/refresh", headers=headers)).status_code == 401


@pytest.mark.usefixtures("sql")
async def test_a_refresh_token_counts_whatever_else_is_sent(site: Site) -> None:
    answer = await log_in(site)
    response = await site.client.post(
        "/api/auth/refresh",
        json={"refresh_token": answer["refresh_token"]},
        headers={"Authorization": "Bearer expired"},
    )
    assert response.status_code == 200


async def test_a_session_that_idles_ends(site: Site, sql: Callable[[str], str]) -> None:
    answer = await log_in(site)
    pass_time(sql, 3590)
    answer = (await refresh(site, answer["refresh_token"])).json()
    assert answer["refresh_expires_in"] == 3600
    pass_time(sql, 3600)
    assert refused(await refresh(site, answer["refresh_token"]))
    assert await me(site, answer) == 401


async def test_a_session_ends_however_often_it_is_refreshed(
    site: Site, sql: Callable[[str], str]
) -> None:
    answer = await log_in(site)
    for _ in range(12):
        pass_time(sql, 3570)
        response = await refresh(site, answer["refresh_token"])
        assert response.status_code == 200
        answer = response.json()
    left = answer["refresh_expires_in"]
    assert 340 <= left <= 360, "12 hours less 12 times 3570 s"
    assert answer["expires_in"] == left, "no access token is said to outlive its session"
    pass_time(sql, 361)
    assert refused(await refresh(site, answer["refresh_token"]))
    assert await me(site, answer) == 401


async def test_the_limits_of_sessions_are_settings(databases: Databases, run_site: RunSite) -> None:
    limits = {"session_idle_minutes": 45, "session_absolute_hours": 1}
    async with run_site(databases, access_token_expire_minutes=40, **limits) as site:
        await site.add_user(Population.SLM, "marta")
        sql = databases[Population.SLM].sql
        answer = await log_in(site)
        assert (answer["expires_in"], answer["refresh_expires_in"]) == (2400, 2700)
        pass_time(sql, 1800)
        answer = (await refresh(site, answer["refresh_token"])).json()
        assert 1790 <= answer["refresh_expires_in"] <= 1800
        assert answer["expires_in"] == answer["refresh_expires_in"]


async def test_a_shorter_limit_holds_for_sessions_that_have_begun(
    databases: Databases, run_site: RunSite, site: Site, sql: Callable[[str], str]
) -> None:
    answer = await log_in(site)
    pass_time(sql, 3599)
    sql("UPDATE auth_sessions SET expires_at = now() + interval '1 hour'")
    pass_time(sql, 1)
    async with run_site(databases, session_absolute_hours=1) as stricter:
        assert refused(await refresh(stricter, answer["refresh_token"]))
    # The token was not used up in vain.
    assert (await refresh(site, answer["refresh_token"])).json()["refresh_token"] is not None
    assert sql("SELECT count(*) FROM refresh_tokens") == "2"


async def test_a_one_time_password_is_not_refreshed_into_more(
    site: Site, sql: Callable[[str], str]
) -> None:
    user_id = UUID(sql("SELECT id FROM users"))
    site.give_one_time_password(user_id)
    answer = await log_in(site)
    answer = (await refresh(site, answer["refresh_token"])).json()
    assert answer["must_change_password"] is True
    assert await me(site, answer) == 403


async def test_a_refresh_sees_what_became_of_the_user(
    site: Site, sql: Callable[[str], str]
) -> None:
    answer = await log_in(site)
    sql("UPDATE users SET username = 'maria', is_platform_admin = true")
    answer = (await refresh(site, answer["refresh_token"])).json()
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    found = (await site.client.get("/api/auth/me", headers=headers)).json()
    assert found == {"username": "maria", "is_admin": True}


async def test_fifty_tabs_at_once_get_one_successor(site: Site, sql: Callable[[str], str]) -> None:
    answer = await log_in(site)
    answers = await asyncio.gather(*(refresh(site, answer["refresh_token"]) for _ in range(50)))
    assert {response.status_code for response in answers} == {200}
    assert len({response.json()["refresh_token"] for response in answers}) == 1
    assert sql("SELECT count(*) FROM refresh_tokens") == "2"
    assert sql("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == "1"


async def test_two_tabs_refresh_at_once_again_and_again(
    site: Site, sql: Callable[[str], str]
) -> None:
    """Each keeps what it was given, as tabs that do not talk to each other do."""
    token = (await log_in(site))["refresh_token"]
    tabs = [token, token]
    for number in range(budget(small=100, full=1000)):
        answers = await asyncio.gather(*(refresh(site, tab) for tab in tabs))
        assert [answer.status_code for answer in answers] == [200, 200], number
        given = [answer.json()["refresh_token"] for answer in answers]
        # Now and then one of them missed the last rounds.
        tabs = [given[0], tabs[1]] if number % 7 else given
    assert sql("SELECT count(*) FROM auth_sessions WHERE ended_at IS NULL") == "1"


async def test_a_session_that_ends_meanwhile_is_not_prolonged(
    site: Site, sql: Callable[[str], str]
) -> None:
    """Refreshing and logging out at once: whoever is second, the session has ended."""
    for _, path in zip(range(20), itertools.cycle(PATHS), strict=False):
        answer = await log_in(site)
        headers = {"Authorization": f"Bearer {answer['access_token']}"}
        await asyncio.gather(
            refresh(site, answer["refresh_token"], path),
            site.client.post("/api/slm-auth/logout", headers=headers),
        )
        assert await me(site, answer) == 401
    assert sql("SELECT count(*) FROM auth_sessions WHERE ended_at IS NULL") == "0"
