"""Every event that the service writes: what causes it, and what the log then tells.

Whoever lets the service write another event adds its cause here.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from slm_server.cli import app
from tests.support.applications import Databases, Site
from user_management.models import AuditAction, AuditResourceType
from user_management.population import Population

SERVICE = Path(__file__).parents[2] / "service"
NEW_PASSWORD = "amber-lantern-41-harbour"
WRONG = "copper-sailor-12-window"


@dataclass(frozen=True)
class Cause:
    """What brings an event about, and who is then its actor."""

    act: Callable[..., Awaitable[Any]]
    resource: AuditResourceType
    has_actor: bool = True
    outcome: str = "success"
    # Of one thing, which has an id and may have an organization; else of all of them.
    is_of_one: bool = True
    populations: tuple[Population, ...] = tuple(Population)


async def create(client: httpx2.AsyncClient, users: str, org_id: object = None) -> str:
    """A new user's address."""
    new = {
        "username": "marta",
        "email": "marta@autobot.local",
        "password": NEW_PASSWORD,
        "org_id": org_id and str(org_id),
    }
    response = await client.post(users, json=new)
    assert response.status_code == 201, response.text
    return f"{users}/{response.json()['id']}"


async def update(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.patch(await create(client, users, org_id), json={"bio": "x"})


async def deactivate(client: httpx2.AsyncClient, users: str, org_id: object) -> str:
    user = await create(client, users, org_id)
    await client.patch(user, json={"is_active": False})
    return user


async def activate(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.patch(await deactivate(client, users, org_id), json={"is_active": True})


async def delete(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.delete(await create(client, users, org_id))


def roles_of(users: str) -> str:
    return users.replace("-users", "-roles")


async def create_role(client: httpx2.AsyncClient, users: str, org_id: object = None) -> str:
    """A new role's id."""
    new = {"name": "guards", "permissions": ["audit:read"], "org_id": org_id and str(org_id)}
    response = await client.post(roles_of(users), json=new)
    assert response.status_code == 201, response.text
    found: str = response.json()["id"]
    return found


async def update_role(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    role = await create_role(client, users, org_id)
    await client.patch(f"{roles_of(users)}/{role}", json={"priority": 3})


async def delete_role(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.delete(f"{roles_of(users)}/{await create_role(client, users, org_id)}")


async def assign_role(client: httpx2.AsyncClient, users: str, org_id: object) -> str:
    """The address of the role that a new user has."""
    user, role = await create(client, users, org_id), await create_role(client, users, org_id)
    await client.post(f"{user}/roles", json={"role_id": role})
    return f"{user}/roles/{role}"


async def revoke_role(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.delete(await assign_role(client, users, org_id))


async def reset_password(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.post(f"{await create(client, users, org_id)}/reset-password")


async def unlock(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.post(f"{await create(client, users, org_id)}/unlock")


async def create_organization(client: httpx2.AsyncClient, *_: object) -> None:
    await client.post("/api/organizations", json={"name": "New", "slug": "new"})


async def update_organization(client: httpx2.AsyncClient, _users: str, org_id: object) -> None:
    await client.patch(f"/api/organizations/{org_id}", json={"description": "x"})


async def delete_organization(client: httpx2.AsyncClient, _users: str, org_id: object) -> None:
    await client.delete(f"/api/organizations/{org_id}")


async def create_team(client: httpx2.AsyncClient, _users: str, org_id: object) -> str:
    """A new team's address."""
    new = {"name": "Guards", "organization_id": str(org_id)}
    response = await client.post("/api/autobot-teams", json=new)
    assert response.status_code == 201, response.text
    return f"/api/autobot-teams/{response.json()['id']}"


async def update_team(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.patch(await create_team(client, users, org_id), json={"description": "x"})


async def delete_team(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.delete(await create_team(client, users, org_id))


async def add_member(client: httpx2.AsyncClient, users: str, org_id: object) -> str:
    """The address of the only member of a new team."""
    team = await create_team(client, users, org_id)
    user_id = (await create(client, users, org_id)).rpartition("/")[2]
    await client.post(f"{team}/members", json={"user_id": user_id})
    return f"{team}/members/{user_id}"


async def change_member(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.patch(await add_member(client, users, org_id), json={"role": "admin"})


async def remove_member(client: httpx2.AsyncClient, users: str, org_id: object) -> None:
    await client.delete(await add_member(client, users, org_id))


async def fail_login(client: httpx2.AsyncClient, *_: object) -> None:
    await client.post("/api/slm-auth/login", json={"username": "captain", "password": WRONG})


async def logout(client: httpx2.AsyncClient, *_: object) -> None:
    await client.post("/api/slm-auth/logout")


def changing_password(current: str) -> Callable[..., Awaitable[None]]:
    async def change(client: httpx2.AsyncClient, *_: object) -> None:
        await client.post(
            "/api/slm-auth/change-password",
            json={"current_password": current, "new_password": NEW_PASSWORD},
        )

    return change


def confirming(current: str) -> Callable[..., Awaitable[None]]:
    async def confirm(client: httpx2.AsyncClient, *_: object) -> None:
        await client.post("/api/slm-auth/confirm", json={"current_password": current})

    return confirm


async def export_log(client: httpx2.AsyncClient, users: str, _org_id: object) -> None:
    population = "autobot" if "autobot" in users else "slm"
    await client.get("/api/audit-logs/export", params={"population": population})


async def export_users(client: httpx2.AsyncClient, users: str, _org_id: object) -> None:
    await client.get(f"{users}/export")


async def nothing(*_: object) -> None:
    """Logging in is cause enough."""


LOG, ORGANIZATION, ROLE, TEAM, SESSION, USER = (
    AuditResourceType.AUDIT_LOG,
    AuditResourceType.ORGANIZATION,
    AuditResourceType.ROLE,
    AuditResourceType.TEAM,
    AuditResourceType.SESSION,
    AuditResourceType.USER,
)
FLEET = (Population.SLM,)
APPLICATION = (Population.AUTOBOT,)

CAUSES: list[tuple[AuditAction, Cause]] = [
    (AuditAction.LOGIN_SUCCESS, Cause(nothing, SESSION, populations=FLEET)),
    (
        AuditAction.LOGIN_FAILED,
        Cause(fail_login, USER, has_actor=False, outcome="failure", populations=FLEET),
    ),
    (AuditAction.LOGOUT, Cause(logout, SESSION, populations=FLEET)),
    (
        AuditAction.PASSWORD_CHANGED,
        Cause(changing_password("violet-anchor-77-meadow"), USER, populations=FLEET),
    ),
    (
        AuditAction.PASSWORD_CHANGED,
        Cause(changing_password(WRONG), USER, outcome="failure", populations=FLEET),
    ),
    (
        AuditAction.AUTHENTICATION_CONFIRMED,
        Cause(confirming("violet-anchor-77-meadow"), SESSION, populations=FLEET),
    ),
    (
        AuditAction.AUTHENTICATION_CONFIRMED,
        Cause(confirming(WRONG), USER, outcome="failure", populations=FLEET),
    ),
    (AuditAction.USER_CREATED, Cause(create, USER)),
    (AuditAction.USER_UPDATED, Cause(update, USER)),
    (AuditAction.USER_ACTIVATED, Cause(activate, USER)),
    (AuditAction.USER_DEACTIVATED, Cause(deactivate, USER)),
    (AuditAction.USER_DELETED, Cause(delete, USER)),
    (AuditAction.ROLE_CREATED, Cause(create_role, ROLE)),
    (AuditAction.ROLE_UPDATED, Cause(update_role, ROLE)),
    (AuditAction.ROLE_DELETED, Cause(delete_role, ROLE)),
    (AuditAction.ROLE_ASSIGNED, Cause(assign_role, USER)),
    (AuditAction.ROLE_REVOKED, Cause(revoke_role, USER)),
    (AuditAction.PASSWORD_RESET_REQUESTED, Cause(reset_password, USER)),
    (AuditAction.ACCOUNT_UNLOCKED, Cause(unlock, USER)),
    (AuditAction.ORG_CREATED, Cause(create_organization, ORGANIZATION, populations=APPLICATION)),
    (AuditAction.ORG_UPDATED, Cause(update_organization, ORGANIZATION, populations=APPLICATION)),
    (AuditAction.ORG_DELETED, Cause(delete_organization, ORGANIZATION, populations=APPLICATION)),
    (AuditAction.TEAM_CREATED, Cause(create_team, TEAM, populations=APPLICATION)),
    (AuditAction.TEAM_UPDATED, Cause(update_team, TEAM, populations=APPLICATION)),
    (AuditAction.TEAM_DELETED, Cause(delete_team, TEAM, populations=APPLICATION)),
    (AuditAction.TEAM_MEMBER_ADDED, Cause(add_member, TEAM, populations=APPLICATION)),
    (AuditAction.TEAM_MEMBER_ROLE_CHANGED, Cause(change_member, TEAM, populations=APPLICATION)),
    (AuditAction.TEAM_MEMBER_REMOVED, Cause(remove_member, TEAM, populations=APPLICATION)),
    (AuditAction.AUDIT_EXPORTED, Cause(export_log, LOG, is_of_one=False)),
    (AuditAction.USERS_EXPORTED, Cause(export_users, USER, is_of_one=False)),
]
# What takes more than a request is caused in the tests of that file.
ELSEWHERE = {
    AuditAction.ACCOUNT_LOCKED: "test_limits.py",
    AuditAction.PASSWORD_RESET_COMPLETED: "test_password_life_cycle.py",
    AuditAction.SUSPICIOUS_ACTIVITY: "test_refresh.py",
    AuditAction.USER_ERASED: "test_housekeeping.py",
}

EVENTS = [
    pytest.param(action, cause, population, id=f"{population}-{action}-{cause.outcome}")
    for action, cause in CAUSES
    for population in cause.populations
]


@pytest.mark.parametrize(("action", "cause", "population"), EVENTS)
async def test_an_event_tells_who_from_where_and_what_and_no_secret(
    admin: httpx2.AsyncClient,
    site: Site,
    action: str,
    cause: Cause,
    population: Population,
) -> None:
    org_id = None
    if population is Population.AUTOBOT and cause.is_of_one:
        org_id = site.add_organization("mine")
    await cause.act(admin, f"/api/{population}-users", org_id)

    events = [row for row in site.audit(population, action) if row["ip_address"] is not None]
    assert len(events) == 1, action
    [event] = events
    assert event["outcome"] == cause.outcome
    assert event["resource_type"] == cause.resource
    assert (event["resource_id"] is not None) == cause.is_of_one
    assert (event["ip_address"], event["user_agent"]) == ("203.0.113.7", "pytest")
    # What happens to an organization belongs to itself.
    expected = event["resource_id"] if cause.resource is ORGANIZATION else org_id
    assert event["org_id"] == (None if expected is None else str(expected))
    administrator = site.databases[Population.SLM].sql(
        f"SELECT id FROM users WHERE username = '{site.administrator}'"
    )
    foreign = {"population": "slm", "user_id": administrator, "username": site.administrator}
    is_local = population is Population.SLM
    assert event["user_id"] == (administrator if cause.has_actor and is_local else None)
    assert event["details"].get("actor") == (foreign if cause.has_actor and not is_local else None)
    token = admin.headers["Authorization"].removeprefix("Bearer ")
    for secret in (site.password, NEW_PASSWORD, WRONG, "$2b$", token):
        assert secret not in str(site.audit(population))


@pytest.mark.parametrize("population", Population)
def test_what_a_command_does_is_an_event(
    databases: Databases, population: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = databases[population]
    for name, value in database.environment(database.service).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BCRYPT_COST", "4")
    command = ["admin", "create", "--population", population, "--username", "captain"]
    command += ["--email", "captain@autobot.local", "--json"]
    CliRunner().invoke(app, command, catch_exceptions=False)
    database.sql("UPDATE user_credentials SET one_time_expires_at = now()")
    CliRunner().invoke(app, command, catch_exceptions=False)
    events = database.sql(
        "SELECT action, outcome, resource_type, user_id, ip_address, details ->> 'actor'"
        " FROM audit_logs ORDER BY created_at"
    )
    assert events.splitlines() == [
        "user_created|success|user|||",
        "password_reset_requested|success|user|||",
    ]


def test_the_catalogue_is_complete() -> None:
    """Every action that the source names has a cause here, and none is listed that it lacks."""
    named = {
        AuditAction[name]
        for path in SERVICE.glob("*/**/*.py")
        for name in re.findall(r"\bAuditAction\.([A-Z_]+)", path.read_text())
    }
    assert named == {action for action, _ in CAUSES} | ELSEWHERE.keys()
    for action, file in ELSEWHERE.items():
        assert action in (Path(__file__).parent / file).read_text()
