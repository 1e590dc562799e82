"""A team that has an owner keeps one, whichever way somebody goes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import httpx2
import pytest
from typer.testing import CliRunner, Result

from slm_server.cli import app
from tests.support.applications import Databases, Site
from user_management.population import Population

AUTOBOT = Population.AUTOBOT
TEAMS = "/api/autobot-teams"
USERS = "/api/autobot-users"
ORGANIZATIONS = "/api/organizations"


class Acme:
    """An organization with people and teams."""

    def __init__(self, client: httpx2.AsyncClient, site: Site, org_id: UUID) -> None:
        self.client, self.site, self.org_id = client, site, org_id

    async def user(self, name: str) -> str:
        return str(await self.site.add_user(AUTOBOT, name, org_id=self.org_id, password=None))

    async def team(self, name: str, **members: str) -> str:
        """A team; members are roles by user id."""
        body = {"name": name, "organization_id": str(self.org_id)}
        made = await self.client.post(TEAMS, json=body)
        assert made.status_code == 201, made.text
        team = f"{TEAMS}/{made.json()['id']}"
        for user_id, role in members.items():
            body = {"user_id": user_id, "role": role}
            answer = await self.client.post(f"{team}/members", json=body)
            assert answer.status_code == 201, answer.text
        return team

    async def roles(self, team: str) -> dict[str, str]:
        listed = (await self.client.get(f"{team}/members")).json()["members"]
        return {member["username"]: member["role"] for member in listed}


@pytest.fixture
def acme(admin: httpx2.AsyncClient, site: Site) -> Acme:
    return Acme(admin, site, site.add_organization("acme"))


def delete(
    client: httpx2.AsyncClient, user_id: object, **params: Any
) -> Awaitable[httpx2.Response]:
    return client.delete(f"{USERS}/{user_id}", params=params)


def disable(
    client: httpx2.AsyncClient, user_id: object, **params: Any
) -> Awaitable[httpx2.Response]:
    return client.patch(f"{USERS}/{user_id}", json={"is_active": False}, params=params)


Go = Callable[..., Awaitable[httpx2.Response]]
GOING = pytest.mark.parametrize("go", [delete, disable])


def refused(
    answer: httpx2.Response, *names: str, status: int = 409, code: str = "last_owner"
) -> str:
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    for name in names:
        assert name in problem["detail"]
    found: str = problem["detail"]
    return found


@GOING
async def test_who_is_the_only_owner_of_teams_stays(acme: Acme, go: Go) -> None:
    marta, omar = await acme.user("marta"), await acme.user("omar")
    ops = await acme.team("Night Ops", **{marta: "owner", omar: "admin"})
    await acme.team("Crew", **{marta: "owner"})
    await acme.team("Shared", **{marta: "owner", omar: "owner"})
    gone = await acme.team("Gone", **{marta: "owner"})
    await acme.client.delete(gone)
    detail = refused(
        await go(acme.client, marta), "the teams Crew, Night Ops", "or name the new owner"
    )
    assert "Shared" not in detail
    assert "Gone" not in detail
    user = (await acme.client.get(f"{USERS}/{marta}")).json()
    assert user["is_active"]
    # As the message says.
    await acme.client.patch(f"{ops}/members/{omar}", json={"role": "owner"})
    refused(await go(acme.client, marta), "the team Crew")


async def test_of_many_teams_some_are_named(acme: Acme) -> None:
    marta = await acme.user("marta")
    for number in range(12):
        await acme.team(f"team {number:02}", **{marta: "owner"})
    refused(await delete(acme.client, marta), "team 00, team 01", "team 09 and 2 more")


@GOING
async def test_teams_are_handed_to_who_is_named(acme: Acme, go: Go) -> None:
    marta, omar = await acme.user("marta"), await acme.user("omar")
    ops = await acme.team("Ops", **{marta: "owner", omar: "member"})
    crew = await acme.team("Crew", **{marta: "owner"})
    shared = await acme.team("Shared", **{marta: "owner", await acme.user("zoe"): "owner"})
    assert (await go(acme.client, marta, new_owner=omar)).is_success
    assert (await acme.roles(ops))["omar"] == "owner"
    assert (await acme.roles(crew))["omar"] == "owner"
    # It would have kept an owner.
    assert "omar" not in await acme.roles(shared)
    told = {
        (row["action"], row["details"]["username"])
        for row in acme.site.audit(AUTOBOT, "team_member_%")[-2:]
    }
    assert told == {("team_member_role_changed", "omar"), ("team_member_added", "omar")}


@GOING
async def test_who_cannot_take_over(acme: Acme, go: Go) -> None:
    marta, disabled = await acme.user("marta"), await acme.user("disabled")
    await disable(acme.client, disabled)
    stranger = await acme.site.add_user(AUTOBOT, "stranger", password=None)
    await acme.team("Ops", **{marta: "owner"})
    for user_id in (disabled, stranger, marta, "00000000-0000-0000-0000-000000000000"):
        answer = await go(acme.client, marta, new_owner=str(user_id))
        refused(answer, status=422, code="validation_error")
        [fault] = answer.json()["errors"]
        assert (fault["in"], fault["pointer"]) == ("query", "/new_owner")
    assert (await acme.client.get(f"{USERS}/{marta}")).json()["is_active"]


@GOING
async def test_only_who_manages_teams_hands_them_over(acme: Acme, site: Site, go: Go) -> None:
    marta, omar = await acme.user("marta"), await acme.user("omar")
    await acme.team("Ops", **{marta: "owner"})
    await site.add_user(
        Population.SLM, "clerk", permissions=["users:read", "users:update", "users:delete"]
    )
    acme.client.headers.update(await site.login("clerk"))
    refused(await go(acme.client, marta), "Ops")
    answer = await go(acme.client, marta, new_owner=omar)
    refused(answer, "teams:manage", status=403, code="permission_denied")


async def test_who_cannot_log_in_is_no_owner_that_suffices(acme: Acme) -> None:
    marta, omar = await acme.user("marta"), await acme.user("omar")
    ops = await acme.team("Ops", **{marta: "owner", omar: "owner"})
    assert (await disable(acme.client, omar)).status_code == 200
    refused(await disable(acme.client, marta), "Ops")
    refused(await delete(acme.client, marta), "Ops")
    refused(await acme.client.delete(f"{ops}/members/{marta}"), "Ops")
    demoted = await acme.client.patch(f"{ops}/members/{marta}", json={"role": "member"})
    refused(demoted, "Ops")
    # One who cannot log in may go as long as another stays.
    assert (await delete(acme.client, omar)).status_code == 204


async def test_an_owner_on_paper_stays_where_there_is_no_other(acme: Acme, site: Site) -> None:
    marta = await acme.user("marta")
    await acme.team("Ops", **{marta: "owner"})
    # As programs of AutoBot do it.
    site.databases[AUTOBOT].sql(f"UPDATE users SET is_active = false WHERE id = '{marta}'")
    refused(await delete(acme.client, marta), "Ops")
    assert (await disable(acme.client, marta)).status_code == 200


@GOING
async def test_of_two_owners_who_go_at_once_one_stays(acme: Acme, go: Go) -> None:
    for number in range(4):
        people = [await acme.user(f"user_{number}_{letter}") for letter in "ab"]
        team = await acme.team(f"Ops {number}", **dict.fromkeys(people, "owner"))
        other = [go, lambda client, user, at=team: client.delete(f"{at}/members/{user}")]
        answers = await asyncio.gather(
            go(acme.client, people[0]), other[number % 2](acme.client, people[1])
        )
        assert sorted(answer.is_success for answer in answers) == [False, True]
        refused(next(answer for answer in answers if not answer.is_success))


async def test_each_hands_over_to_the_other_at_once(acme: Acme) -> None:
    for number in range(3):
        one, two = [await acme.user(f"user_{number}_{letter}") for letter in "ab"]
        await acme.team(f"First {number}", **{one: "owner"})
        await acme.team(f"Second {number}", **{two: "owner"})
        answers = await asyncio.gather(
            delete(acme.client, one, new_owner=two), delete(acme.client, two, new_owner=one)
        )
        assert sorted(answer.status_code for answer in answers) == [204, 422]


def deactivate(
    client: httpx2.AsyncClient, org_id: object, **params: Any
) -> Awaitable[httpx2.Response]:
    return client.post(f"{ORGANIZATIONS}/{org_id}/deactivate", params=params)


def patch(client: httpx2.AsyncClient, org_id: object, **params: Any) -> Awaitable[httpx2.Response]:
    return client.patch(f"{ORGANIZATIONS}/{org_id}", json={"is_active": False}, params=params)


@pytest.mark.parametrize("close", [deactivate, patch])
async def test_an_organization_with_teams_is_deactivated_together_with_them(
    acme: Acme, close: Go
) -> None:
    marta, omar = await acme.user("marta"), await acme.user("omar")
    ops = await acme.team("Ops", **{marta: "owner"})
    await acme.team("Nobody's", **{omar: "member"})
    detail = refused(await close(acme.client, acme.org_id), "Ops", "with its teams")
    assert "Nobody's" not in detail
    assert (await acme.client.get(f"{ORGANIZATIONS}/{acme.org_id}")).json()["is_active"]
    assert (await close(acme.client, acme.org_id, with_teams="true")).status_code == 200
    # Nothing is lost by whoever goes meanwhile.
    refused(await delete(acme.client, marta), "Ops")
    await acme.client.post(f"{ORGANIZATIONS}/{acme.org_id}/activate")
    assert await acme.roles(ops) == {"marta": "owner"}


async def test_only_who_manages_teams_deactivates_them(acme: Acme, site: Site) -> None:
    await acme.team("Ops", **{await acme.user("marta"): "owner"})
    await site.add_user(Population.SLM, "clerk", permissions=["admin:organization"])
    acme.client.headers.update(await site.login("clerk"))
    answer = await deactivate(acme.client, acme.org_id, with_teams="true")
    refused(answer, "teams:manage", status=403, code="permission_denied")


async def test_a_team_of_another_organization_is_never_left_alone(acme: Acme, site: Site) -> None:
    """In AutoBot's data an owner may be of another organization than the team."""
    other = site.add_organization("other")
    guest = await site.add_user(AUTOBOT, "guest", org_id=other, password=None)
    team = await acme.team("Ops")
    site.databases[AUTOBOT].sql(
        "INSERT INTO team_memberships (team_id, user_id, role)"
        f" VALUES ('{team.rpartition('/')[2]}', '{guest}', 'owner')"
    )
    refused(await deactivate(acme.client, other, with_teams="true"), "Ops")


def test_the_command_line_says_the_same(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)
    databases[AUTOBOT].sql(
        "WITH org AS (INSERT INTO organizations (name, slug) VALUES ('acme', 'acme') RETURNING id),"
        " people AS (INSERT INTO users (org_id, username, email)"
        " SELECT org.id, name, name || '@x.y' FROM org, unnest(ARRAY['marta', 'omar']) AS name"
        " RETURNING id, username),"
        " team AS (INSERT INTO teams (org_id, name) SELECT id, 'Ops' FROM org RETURNING id)"
        " INSERT INTO team_memberships (team_id, user_id, role)"
        " SELECT team.id, people.id, 'owner' FROM team, people WHERE username = 'marta'"
    )

    def slm(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["users", *arguments, "-p", "autobot"])

    for command in (["delete", "marta", "--yes"], ["disable", "marta"]):
        done = slm(*command)
        assert done.exit_code == 1
        assert "the team Ops" in " ".join(done.output.split())
    assert slm("disable", "marta", "--new-owner", "omar").exit_code == 0
    owners = databases[AUTOBOT].sql(
        "SELECT username FROM team_memberships m JOIN users u ON u.id = m.user_id"
        " WHERE role = 'owner' ORDER BY 1"
    )
    assert owners.split() == ["marta", "omar"]
