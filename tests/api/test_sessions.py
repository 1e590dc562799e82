"""Sessions: one's own and those of others, and that ending one acts at once."""

import uuid
from typing import Any

import httpx2
import pytest

from tests.support.applications import Databases, RunSite, Site
from user_management.permissions import Permission
from user_management.population import Population

OWN = "/api/slm-auth/sessions"
NEW_PASSWORD = "granite-otter-quilt-52"


async def log_in(
    site: Site, username: str = "marta", password: str | None = None
) -> tuple[Any, ...]:
    response = await site.try_login(username, password or site.password)
    assert response.status_code == 200, response.text
    answer = response.json()
    return {"Authorization": f"Bearer {answer['access_token']}"}, answer["session_id"]


async def me(site: Site, headers: dict[str, str]) -> int:
    return (await site.client.get("/api/slm-auth/me", headers=headers)).status_code


def begin_session(
    site: Site, population: Population, user_id: object, expires: str = "1 hour"
) -> str:
    """A session past the API; application users do not log in here."""
    session_id = str(uuid.uuid4())
    site.databases[population].sql(
        "INSERT INTO auth_sessions (id, user_id, expires_at)"
        f" VALUES ('{session_id}', '{user_id}', now() + interval '{expires}')"
    )
    return session_id


def ended(site: Site, population: Population, session_id: str) -> bool:
    sql = site.databases[population].sql
    answer: bool = (
        sql(f"SELECT ended_at IS NOT NULL FROM auth_sessions WHERE id = '{session_id}'") == "t"
    )
    return answer


@pytest.fixture(params=Population)
def population(request: pytest.FixtureRequest) -> Population:
    population: Population = request.param
    return population


async def test_ones_own_sessions_newest_first(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    other = await site.add_user(Population.SLM, "other")
    begin_session(site, Population.SLM, other)
    begin_session(site, Population.SLM, user_id, "-1 second")
    sessions = [await log_in(site) for _ in range(3)]
    await site.client.post("/api/slm-auth/logout", headers=sessions[1][0])
    response = await site.client.get(OWN, headers=sessions[0][0])
    found = response.json()["sessions"]
    assert [row["id"] for row in found] == [sessions[2][1], sessions[0][1]]
    assert [row["is_current"] for row in found] == [False, True]
    assert set(found[0]) == {
        *("id", "created_at", "refreshed_at", "expires_at"),
        *("ip_address", "user_agent", "is_current"),
    }
    assert (found[0]["ip_address"], found[0]["user_agent"]) == ("203.0.113.7", "pytest")


async def test_ending_one_of_ones_own_sessions(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    (mine, _), (lost, lost_id) = await log_in(site), await log_in(site)
    response = await site.client.delete(f"{OWN}/{lost_id}", headers=mine)
    assert (response.status_code, response.content) == (204, b"")
    assert (await me(site, mine), await me(site, lost)) == (200, 401)
    [row] = site.audit(Population.SLM, "logout")
    assert (row["resource_type"], row["resource_id"]) == ("session", lost_id)
    again = await site.client.delete(f"{OWN}/{lost_id}", headers=mine)
    assert (again.status_code, again.json()["detail"]) == (404, "Session not found.")


async def test_ending_the_current_session_is_a_logout(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    mine, session_id = await log_in(site)
    assert (await site.client.delete(f"{OWN}/{session_id}", headers=mine)).status_code == 204
    assert await me(site, mine) == 401


async def test_nobody_ends_the_session_of_somebody_else(site: Site) -> None:
    for name in ("marta", "other"):
        await site.add_user(Population.SLM, name)
    (mine, _), (theirs, theirs_id) = await log_in(site), await log_in(site, "other")
    assert (await site.client.delete(f"{OWN}/{theirs_id}", headers=mine)).status_code == 404
    assert (await site.client.delete(OWN, headers=mine)).status_code == 204
    assert await me(site, theirs) == 200


async def test_ending_all_other_sessions(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    (first, _), (mine, _), (third, _) = [await log_in(site) for _ in range(3)]
    assert (await site.client.delete(OWN, headers=mine)).status_code == 204
    assert [await me(site, each) for each in (first, mine, third)] == [401, 200, 401]
    [row] = site.audit(Population.SLM, "logout")
    assert (row["resource_id"], row["details"]) == (str(user_id), {"sessions_ended": 2})


async def test_administrators_see_and_end_sessions(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    user_id = await site.add_user(population, "marta")
    other = begin_session(site, population, await site.add_user(population, "other"))
    first, second = (begin_session(site, population, user_id) for _ in range(2))
    where = f"/api/{population}-users/{user_id}/sessions"
    found = (await admin.get(where)).json()["sessions"]
    assert {row["id"] for row in found} == {first, second}
    assert not any(row["is_current"] for row in found)
    assert (await admin.delete(f"{where}/{other}")).status_code == 404
    assert (await admin.delete(f"{where}/{first}")).status_code == 204
    assert [ended(site, population, each) for each in (first, second, other)] == [
        True,
        False,
        False,
    ]
    assert (await admin.delete(where)).status_code == 204
    assert [ended(site, population, each) for each in (first, second, other)] == [True, True, False]
    assert (await admin.get(where)).json() == {"sessions": []}
    one, both = site.audit(population, "logout")
    assert (one["resource_id"], one["details"]["username"]) == (first, "marta")
    assert (both["resource_id"], both["details"]["sessions_ended"]) == (str(user_id), 1)
    for row in (one, both):
        actor = row["details"].get("actor", {}).get("username")
        assert actor == (site.administrator if population is Population.AUTOBOT else None)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("suffix", ["sessions", "sessions/{0}"])
async def test_sessions_of_nobody(
    admin: httpx2.AsyncClient, site: Site, population: Population, method: str, suffix: str
) -> None:
    if (method, suffix) == ("GET", "sessions/{0}"):
        suffix = "sessions"
    where = f"/api/{population}-users/{uuid.uuid4()}/{suffix.format(uuid.uuid4())}"
    assert (await admin.request(method, where)).status_code == 404
    deleted = await site.add_user(population, "marta")
    site.databases[population].sql(f"UPDATE users SET deleted_at = now() WHERE id = '{deleted}'")
    where = f"/api/{population}-users/{deleted}/{suffix.format(uuid.uuid4())}"
    assert (await admin.request(method, where)).status_code == 404


@pytest.mark.parametrize(
    ("method", "suffix", "needed"),
    [
        ("GET", "/sessions", Permission.USERS_READ),
        ("GET", "/lock", Permission.USERS_READ),
        ("DELETE", "/sessions", Permission.USERS_UPDATE),
        ("DELETE", "/sessions/{session_id}", Permission.USERS_UPDATE),
        ("POST", "/reset-password", Permission.USERS_UPDATE),
        ("POST", "/unlock", Permission.USERS_UPDATE),
    ],
)
async def test_who_may(
    site: Site, population: Population, method: str, suffix: str, needed: str
) -> None:
    target = await site.add_user(population, "target")
    where = f"/api/{population}-users/{target}{suffix}".format(
        session_id=begin_session(site, population, target)
    )
    for name, permissions, expected in (
        ("none", [], 403),
        ("others", set(Permission) - {needed}, 403),
        ("just", [needed], None),
    ):
        await site.add_user(Population.SLM, name, permissions=permissions)
        headers, _ = await log_in(site, name)
        status = (await site.client.request(method, where, headers=headers)).status_code
        assert status == expected or (expected is None and status in (200, 204)), name


@pytest.mark.parametrize(
    ("method", "suffix"),
    [
        ("DELETE", "/sessions"),
        ("DELETE", "/sessions/{session_id}"),
        ("POST", "/reset-password"),
        ("POST", "/unlock"),
    ],
)
async def test_nobody_rules_over_those_who_hold_more(
    site: Site, population: Population, method: str, suffix: str
) -> None:
    target = await site.add_user(population, "target", is_admin=True)
    session_id = begin_session(site, population, target)
    await site.add_user(
        Population.SLM, "helper", permissions=[Permission.USERS_READ, Permission.USERS_UPDATE]
    )
    headers, _ = await log_in(site, "helper")
    where = f"/api/{population}-users/{target}{suffix}".format(session_id=session_id)
    response = await site.client.request(method, where, headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    assert not ended(site, population, session_id)


async def test_who_is_limited_to_an_organization_reaches_its_users_only(site: Site) -> None:
    ours, theirs = site.add_organization("ours"), site.add_organization("theirs")
    users = {
        org_id: await site.add_user(Population.AUTOBOT, f"user_of_{number}", org_id=org_id)
        for number, org_id in enumerate((ours, theirs))
    }
    await site.add_user(Population.SLM, "helper", org_id=ours, permissions=list(Permission))
    headers, _ = await log_in(site, "helper")
    for org_id, allowed in ((ours, True), (theirs, False)):
        user_id = users[org_id]
        session_id = begin_session(site, Population.AUTOBOT, user_id)
        for method, suffix in (
            ("GET", "sessions"),
            ("GET", "lock"),
            ("DELETE", f"sessions/{session_id}"),
            ("DELETE", "sessions"),
            ("POST", "unlock"),
            ("POST", "reset-password"),
        ):
            where = f"/api/autobot-users/{user_id}/{suffix}"
            status = (await site.client.request(method, where, headers=headers)).status_code
            assert (status in (200, 204)) if allowed else (status == 404), suffix
        assert ended(site, Population.AUTOBOT, session_id) is allowed
    rows = site.audit(Population.AUTOBOT, "password_reset_requested")
    assert [row["org_id"] for row in rows] == [str(ours)]


@pytest.mark.parametrize("way", ["logout", "end", "end_others", "end_all", "reset", "change"])
async def test_every_worker_knows_at_once(
    site: Site, databases: Databases, run_site: RunSite, way: str
) -> None:
    """A second application on the same databases and with the same key, as a second worker is."""
    user_id = await site.add_user(Population.SLM, "marta")
    administrator = await site.administrate()
    mine, session_id = await log_in(site)
    other, _ = await log_in(site)
    requests = {
        "logout": ("POST", "/api/slm-auth/logout", mine, None),
        "end": ("DELETE", f"{OWN}/{session_id}", other, None),
        "end_others": ("DELETE", OWN, other, None),
        "end_all": ("DELETE", f"/api/slm-users/{user_id}/sessions", administrator, None),
        "reset": ("POST", f"/api/slm-users/{user_id}/reset-password", administrator, None),
        "change": (
            *("POST", "/api/slm-auth/change-password", other),
            {"current_password": site.password, "new_password": NEW_PASSWORD},
        ),
    }
    async with run_site(databases, slm_signing_key=site.settings.slm_signing_key) as second:
        assert await me(second, mine) == 200
        method, path, headers, body = requests[way]
        response = await site.client.request(method, path, headers=headers, json=body)
        assert response.status_code in (200, 204), response.text
        assert await me(second, mine) == 401
