"""Teams of application users, and who is in them."""

import asyncio
import uuid
from typing import Any

import httpx2
import pytest

from tests.support.applications import Site
from user_management.population import Population

PATH = "/api/autobot-teams"
RESPONSE_FIELDS = {
    "id", "org_id", "organization_id", "name", "description", "settings", "is_default",
    "member_count", "created_at", "updated_at",
}  # fmt: skip


@pytest.fixture
async def acme(admin: httpx2.AsyncClient) -> str:
    """An organization's id."""
    found: str = (await admin.post("/api/organizations", json={"name": "Acme"})).json()["id"]
    return found


@pytest.fixture
async def team(admin: httpx2.AsyncClient, acme: str) -> str:
    """The path of a team of that organization."""
    made = await create(admin, "Ops", organization_id=acme)
    return f"{PATH}/{made['id']}"


async def create(admin: httpx2.AsyncClient, name: str, **fields: Any) -> Any:
    response = await admin.post(PATH, json={"name": name, **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def add_user(admin: httpx2.AsyncClient, org_id: object, name: str) -> str:
    body = {"username": name, "email": f"{name}@autobot.local", "org_id": org_id}
    response = await admin.post("/api/autobot-users", json=body)
    assert response.status_code == 201, response.text
    found: str = response.json()["id"]
    return found


async def add_users(admin: httpx2.AsyncClient, org_id: object, *names: str) -> list[str]:
    return [await add_user(admin, org_id, name) for name in names]


async def join(admin: httpx2.AsyncClient, team: str, user_id: object, role: str = "member") -> None:
    response = await admin.post(f"{team}/members", json={"user_id": user_id, "role": role})
    assert response.status_code == 201, response.text


async def roles(admin: httpx2.AsyncClient, team: str) -> dict[str, str]:
    """Members' names and what they are."""
    listed = (await admin.get(f"{team}/members")).json()
    return {member["username"]: member["role"] for member in listed["members"]}


def code_of(response: httpx2.Response) -> tuple[Any, ...]:
    return response.status_code, response.json()["code"]


def pointer_of(response: httpx2.Response) -> str:
    assert response.status_code == 422, response.text
    found: str = response.json()["errors"][0]["pointer"]
    return found


async def test_create(admin: httpx2.AsyncClient, site: Site, acme: str) -> None:
    body = {
        "name": "Ops",
        "description": "Those who are woken at night",
        "settings": {"pager": True},
        "is_default": True,
        "organization_id": acme,
    }
    response = await admin.post(PATH, json=body)
    assert response.status_code == 201, response.text
    made = response.json()
    assert set(made) == RESPONSE_FIELDS
    assert {name: made[name] for name in body} == body
    assert (made["org_id"], made["member_count"]) == (acme, 0)
    assert response.headers["location"] == f"{PATH}/{made['id']}"
    read = await admin.get(response.headers["location"])
    assert (read.json(), read.headers["etag"]) == (made, response.headers["etag"])
    [event] = site.audit(Population.AUTOBOT, "team_created")
    assert (event["org_id"], event["resource_id"]) == (acme, made["id"])


async def test_create_as_clients_of_autobot_do(admin: httpx2.AsyncClient, acme: str) -> None:
    made = await create(admin, "Ops", org_id=acme)
    assert made["organization_id"] == acme


async def test_without_an_organization_it_is_the_default_one(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    answers = await asyncio.gather(*(create(admin, f"Team {n}", description="x") for n in range(8)))
    [org_id] = {made["organization_id"] for made in answers}
    organization = (await admin.get("/api/organizations/slug/default")).json()
    assert (organization["id"], organization["name"]) == (org_id, "Default Organization")
    [event] = site.audit(Population.AUTOBOT, "org_created")
    assert event["org_id"] == org_id


async def test_create_with_an_owner(admin: httpx2.AsyncClient, site: Site, acme: str) -> None:
    marta = await add_user(admin, acme, "marta")
    made = await create(admin, "Ops", organization_id=acme, owner_id=marta)
    assert made["member_count"] == 1
    assert await roles(admin, f"{PATH}/{made['id']}") == {"marta": "owner"}
    [event] = site.audit(Population.AUTOBOT, "team_member_added")
    assert event["details"]["username"] == "marta"
    assert (await admin.get(f"{PATH}/{made['id']}")).json() == made


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": "Ops\n"}, "/name"),
        ({"name": "nul\0nul"}, "/name"),
        ({"name": "x" * 256}, "/name"),
        ({"description": "x" * 501}, "/description"),
        ({"settings": {"a": "nul\0"}}, "/settings"),
        ({"is_default": "yes"}, "/is_default"),
        ({"organization_id": "acme"}, "/organization_id"),
        ({"organization_id": str(uuid.uuid4())}, "/organization_id"),
        ({"owner_id": str(uuid.uuid4())}, "/owner_id"),
        ({"members": []}, "/members"),
    ],
)
async def test_create_names_what_is_not_valid(
    admin: httpx2.AsyncClient, site: Site, change: dict[str, Any], pointer: str
) -> None:
    response = await admin.post(PATH, json={"name": "Ops"} | change)
    assert pointer_of(response) == pointer
    # Not even the default organization was made on the way.
    assert site.databases[Population.AUTOBOT].sql("SELECT count(*) FROM organizations") == "0"


async def test_a_name_is_taken_once_per_organization_and_freed_by_deleting(
    admin: httpx2.AsyncClient, acme: str
) -> None:
    made = await create(admin, "Ops", organization_id=acme)
    again = await admin.post(PATH, json={"name": "OPS", "organization_id": acme})
    assert code_of(again) == (409, "duplicate")
    other = await create(admin, "Dev", organization_id=acme)
    renamed = await admin.patch(f"{PATH}/{other['id']}", json={"name": "oPS"})
    assert code_of(renamed) == (409, "duplicate")
    await create(admin, "Ops")
    assert (await admin.delete(f"{PATH}/{made['id']}")).status_code == 204
    await create(admin, "OPS", organization_id=acme)


async def test_a_repeated_request_creates_once(admin: httpx2.AsyncClient, acme: str) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"name": "Ops", "organization_id": acme}
    answers = await asyncio.gather(
        *(admin.post(PATH, json=body, headers=headers) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


async def test_list_in_pages_newest_first(admin: httpx2.AsyncClient, site: Site, acme: str) -> None:
    site.databases[Population.AUTOBOT].sql(
        f"INSERT INTO teams (org_id, name, created_at) SELECT '{acme}', 'Team ' || n, "
        "timestamptz '2020-01-01' + n * interval '1 day' FROM generate_series(1, 5) n"
    )
    first = (await admin.get(PATH, params={"limit": 2, "include_total": True})).json()
    assert [each["name"] for each in first["teams"]] == ["Team 5", "Team 4"]
    assert (first["total"], first["limit"], first["offset"]) == (5, 2, 0)
    second = (await admin.get(PATH, params={"cursor": first["next_cursor"]})).json()
    assert [each["name"] for each in second["teams"]] == ["Team 3", "Team 2", "Team 1"]
    assert (second["total"], second["next_cursor"]) == (None, None)


async def test_search_and_filter(admin: httpx2.AsyncClient, acme: str) -> None:
    await create(admin, "Night Ops", organization_id=acme)
    await create(admin, "100%", organization_id=acme)
    await create(admin, "Ops")

    async def found(**query: Any) -> list[str]:
        listed = (await admin.get(PATH, params=query)).json()["teams"]
        return sorted(each["name"] for each in listed)

    assert await found(search="OPS") == ["Night Ops", "Ops"]
    assert await found(search="%") == ["100%"]
    assert await found(search="ops", org_id=acme) == ["Night Ops"]
    assert await found(org_id=str(uuid.uuid4())) == []


async def test_members_are_counted_in_the_statement_that_lists_teams(
    admin: httpx2.AsyncClient, acme: str, statements: list[str]
) -> None:
    users = await add_users(admin, acme, "marta", "omar", "zoe")
    for number in range(3):
        made = await create(admin, f"Team {number}", organization_id=acme)
        for user_id in users[:number]:
            await join(admin, f"{PATH}/{made['id']}", user_id)
    statements.clear()
    listed = (await admin.get(PATH)).json()["teams"]
    assert [each["member_count"] for each in listed] == [2, 1, 0]
    assert sum("FROM teams" in statement for statement in statements) == 1
    assert len(statements) == 2, statements


async def test_update_every_field(admin: httpx2.AsyncClient, site: Site, team: str) -> None:
    changes = {
        "name": "Night Ops",
        "description": "x",
        "settings": {"a": [1, None]},
        "is_default": True,
    }
    response = await admin.patch(team, json=changes)
    assert response.status_code == 200, response.text
    changed = response.json()
    assert {name: changed[name] for name in changes} == changes
    assert (await admin.get(team)).json() == changed
    [event] = site.audit(Population.AUTOBOT, "team_updated")
    assert event["org_id"] == changed["org_id"]
    assert event["details"]["changes"]["name"] == {"old": "Ops", "new": "Night Ops"}
    cleared = await admin.patch(team, json={"description": None, "settings": {}})
    assert (cleared.json()["description"], cleared.json()["settings"]) == (None, {})


async def test_update_nothing(admin: httpx2.AsyncClient, site: Site, team: str) -> None:
    before = (await admin.get(team)).json()
    for changes in ({}, {"name": "Ops"}):
        response = await admin.patch(team, json=changes)
        assert (response.status_code, response.json()) == (200, before)
    assert site.audit(Population.AUTOBOT, "team_updated") == []


@pytest.mark.parametrize(
    "changes",
    [{"name": None}, {"settings": None}, {"is_default": None}, {"organization_id": None}],
)
async def test_update_refuses_what_is_not_valid(
    admin: httpx2.AsyncClient, team: str, changes: dict[str, Any]
) -> None:
    assert pointer_of(await admin.patch(team, json=changes)) == f"/{next(iter(changes))}"


async def test_nobody_overwrites_what_they_have_not_seen(
    admin: httpx2.AsyncClient, acme: str, team: str
) -> None:
    marta, omar = await add_users(admin, acme, "marta", "omar")
    stale = {"If-Match": (await admin.get(team)).headers["etag"]}
    # Who is in a team is part of it.
    await join(admin, team, marta)
    for method, path, body in (
        ("PATCH", team, {"name": "x"}),
        ("DELETE", team, None),
        ("POST", f"{team}/members", {"user_id": omar}),
        ("PATCH", f"{team}/members", {"remove": [marta]}),
        ("PATCH", f"{team}/members/{marta}", {"role": "owner"}),
        ("DELETE", f"{team}/members/{marta}", None),
    ):
        refused = await admin.request(method, path, json=body, headers=stale)
        assert code_of(refused) == (412, "precondition_failed"), (method, path)
    assert await roles(admin, team) == {"marta": "member"}
    current = {"If-Match": (await admin.get(team)).headers["etag"]}
    changed = await admin.patch(
        f"{team}/members", json={"add": [{"user_id": omar}]}, headers=current
    )
    assert changed.status_code == 200
    current = {"If-Match": changed.headers["etag"]}
    assert (await admin.delete(team, headers=current)).status_code == 204


async def test_delete_is_soft(admin: httpx2.AsyncClient, site: Site, acme: str, team: str) -> None:
    await join(admin, team, await add_user(admin, acme, "marta"))
    response = await admin.delete(team)
    assert (response.status_code, response.content) == (204, b"")
    row = site.databases[Population.AUTOBOT].sql(
        "SELECT deleted_at IS NOT NULL, (SELECT count(*) FROM team_memberships) FROM teams"
    )
    assert row == "t|1"
    assert (await admin.get(PATH)).json()["teams"] == []
    [event] = site.audit(Population.AUTOBOT, "team_deleted")
    assert (event["org_id"], event["details"]["name"]) == (acme, "Ops")


async def test_who_was_in_a_deleted_team_is_free_to_move(
    admin: httpx2.AsyncClient, acme: str, team: str
) -> None:
    marta = await add_user(admin, acme, "marta")
    await join(admin, team, marta)
    other = (await admin.post("/api/organizations", json={"name": "Other"})).json()["id"]
    where = f"/api/autobot-users/{marta}"
    assert pointer_of(await admin.patch(where, json={"org_id": other})) == "/org_id"
    await admin.delete(team)
    assert (await admin.patch(where, json={"org_id": other})).status_code == 200


async def test_what_is_not_there_is_not_found(
    admin: httpx2.AsyncClient, acme: str, team: str
) -> None:
    marta = await add_user(admin, acme, "marta")
    await admin.delete(team)
    for where in (f"{PATH}/{uuid.uuid4()}", team):
        for method, suffix, body in (
            ("GET", "", None),
            ("PATCH", "", {"name": "x"}),
            ("DELETE", "", None),
            ("GET", "/members", None),
            ("POST", "/members", {"user_id": marta}),
            ("PATCH", "/members", {"add": [{"user_id": marta}]}),
            ("PATCH", f"/members/{marta}", {"role": "owner"}),
            ("DELETE", f"/members/{marta}", None),
        ):
            response = await admin.request(method, where + suffix, json=body)
            assert code_of(response) == (404, "not_found"), (method, suffix)


async def test_add_a_member(admin: httpx2.AsyncClient, site: Site, acme: str, team: str) -> None:
    marta = await add_user(admin, acme, "marta")
    response = await admin.post(f"{team}/members", json={"user_id": marta})
    assert response.status_code == 201, response.text
    added = response.json()
    assert added["message"] == "Member added successfully"
    assert added["member"] == added["member"] | {
        "user_id": marta,
        "username": "marta",
        "email": "marta@autobot.local",
        "display_name": "marta",
        "role": "member",
    }
    assert (await admin.get(f"{team}/members")).json()["members"] == [added["member"]]
    assert (await admin.get(team)).json()["member_count"] == 1
    [event] = site.audit(Population.AUTOBOT, "team_member_added")
    assert event["org_id"] == acme
    assert event["resource_id"] == team.rpartition("/")[2]
    assert event["details"] == event["details"] | {
        "user_id": marta,
        "username": "marta",
        "role": "member",
    }
    again = await admin.post(f"{team}/members", json={"user_id": marta, "role": "owner"})
    assert code_of(again) == (409, "duplicate")
    assert await roles(admin, team) == {"marta": "member"}


async def test_a_repeated_request_adds_once(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    body = {"user_id": await add_user(admin, acme, "marta")}
    headers = {"Idempotency-Key": "once"}
    first, again = [
        await admin.post(f"{team}/members", json=body, headers=headers) for _ in range(2)
    ]
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    assert len(site.audit(Population.AUTOBOT, "team_member_added")) == 1


async def test_members_are_users_of_the_organization(
    admin: httpx2.AsyncClient, acme: str, team: str
) -> None:
    deleted = await add_user(admin, acme, "deleted")
    await admin.delete(f"/api/autobot-users/{deleted}")
    other = (await admin.post("/api/organizations", json={"name": "Other"})).json()["id"]
    strangers = [
        str(uuid.uuid4()),
        deleted,
        await add_user(admin, other, "stranger"),
    ]
    for user_id in strangers:
        body = {"user_id": user_id}
        assert pointer_of(await admin.post(f"{team}/members", json=body)) == "/user_id"
        bulk = await admin.patch(f"{team}/members", json={"add": [body]})
        assert pointer_of(bulk) == "/add/0/user_id"
        created = {"name": "New", "organization_id": acme, "owner_id": user_id}
        assert pointer_of(await admin.post(PATH, json=created)) == "/owner_id"
    assert await roles(admin, team) == {}


async def test_whoever_is_in_no_organization_joins_it_with_the_team(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    """AutoBot's own clients create users and teams without naming an organization."""
    nobodys = await add_user(admin, None, "nobodys")
    added = await admin.post(f"{team}/members", json={"user_id": nobodys})
    assert added.status_code == 201, added.text
    user = (await admin.get(f"/api/autobot-users/{nobodys}")).json()
    assert user["org_id"] == acme
    [row] = site.audit(Population.AUTOBOT, "user_updated")
    assert (row["resource_id"], row["org_id"]) == (nobodys, acme)
    assert row["details"]["changes"] == {"org_id": {"old": None, "new": acme}}


async def test_who_holds_more_is_not_moved_into_an_organization_with_the_team(
    site: Site, admin: httpx2.AsyncClient, team: str
) -> None:
    held = ["users:read", "users:delete"]
    marta = str(await site.add_user(Population.AUTOBOT, "marta", permissions=held))
    held = ["teams:read", "teams:manage", "users:read", "users:update"]
    await site.add_user(Population.SLM, "clerk", permissions=held)
    headers = await site.login("clerk")
    body = {"user_id": marta}
    for refused in (
        await admin.post(f"{team}/members", json=body, headers=headers),
        await admin.patch(f"{team}/members", json={"add": [body]}, headers=headers),
    ):
        assert code_of(refused) == (403, "permission_denied")
    assert (await admin.get(f"/api/autobot-users/{marta}")).json()["org_id"] is None


async def test_nobody_joins_an_organization_that_is_full(
    admin: httpx2.AsyncClient, acme: str, team: str
) -> None:
    await admin.patch(f"/api/organizations/{acme}", json={"max_users": 0})
    nobodys = await add_user(admin, None, "nobodys")
    refused = await admin.post(f"{team}/members", json={"user_id": nobodys})
    assert (refused.status_code, refused.json()["code"]) == (409, "quota_exceeded")
    assert (await admin.get(f"/api/autobot-users/{nobodys}")).json()["org_id"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/user_id"),
        ({"user_id": 1}, "/user_id"),
        ({"user_id": str(uuid.uuid4()), "role": "boss"}, "/role"),
        ({"user_id": str(uuid.uuid4()), "role": None}, "/role"),
        ({"user_id": str(uuid.uuid4()), "team_id": "x"}, "/team_id"),
    ],
)
async def test_adding_names_what_is_not_valid(
    admin: httpx2.AsyncClient, team: str, body: dict[str, Any], pointer: str
) -> None:
    assert pointer_of(await admin.post(f"{team}/members", json=body)) == pointer


async def test_members_in_pages(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    site.databases[Population.AUTOBOT].sql(
        "WITH added AS (INSERT INTO users (org_id, username, email) "
        f"SELECT '{acme}', 'user' || n, 'u' || n || '@x' FROM generate_series(1, 5) n "
        "RETURNING id, username) "
        "INSERT INTO team_memberships (team_id, user_id, role, created_at) "
        f"SELECT '{team.rpartition('/')[2]}', id, CASE username WHEN 'user2' THEN 'owner' "
        "ELSE 'member' END, timestamptz '2020-01-01' + right(username, 1)::int * interval '1 day' "
        "FROM added"
    )

    async def page(**query: Any) -> tuple[list[str], dict[str, Any]]:
        answer = (await admin.get(f"{team}/members", params=query)).json()
        return [member["username"] for member in answer["members"]], answer

    names, first = await page(limit=2, include_total=True)
    assert (names, first["total"]) == (["user5", "user4"], 5)
    names, last = await page(cursor=first["next_cursor"])
    assert (names, last["next_cursor"]) == (["user3", "user2", "user1"], None)
    assert (await page(role="owner"))[0] == ["user2"]
    assert (await page(skip=4))[0] == ["user1"]
    assert (await admin.get(f"{team}/members", params={"role": "boss"})).status_code == 422


async def test_change_what_a_member_is(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    marta = await add_user(admin, acme, "marta")
    await join(admin, team, marta)
    where = f"{team}/members/{marta}"
    for _ in range(2):
        response = await admin.patch(where, json={"role": "admin"})
        assert (response.status_code, response.json()["role"]) == (200, "admin")
    [event] = site.audit(Population.AUTOBOT, "team_member_role_changed")
    assert event["org_id"] == acme
    assert event["details"]["changes"] == {"role": {"old": "member", "new": "admin"}}
    stranger = f"{team}/members/{await add_user(admin, acme, 'stranger')}"
    assert code_of(await admin.patch(stranger, json={"role": "admin"})) == (404, "not_found")
    assert pointer_of(await admin.patch(where, json={"role": "boss"})) == "/role"


async def test_remove_a_member(admin: httpx2.AsyncClient, site: Site, acme: str, team: str) -> None:
    marta = await add_user(admin, acme, "marta")
    await join(admin, team, marta)
    where = f"{team}/members/{marta}"
    assert (await admin.delete(where)).status_code == 204
    assert await roles(admin, team) == {}
    [event] = site.audit(Population.AUTOBOT, "team_member_removed")
    assert (event["org_id"], event["details"]["user_id"]) == (acme, marta)
    assert code_of(await admin.delete(where)) == (404, "not_found")
    await join(admin, team, marta)


async def test_change_several_at_once(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    marta, omar, zoe, kim = await add_users(admin, acme, "marta", "omar", "zoe", "kim")
    await join(admin, team, marta, "owner")
    await join(admin, team, omar)
    response = await admin.patch(
        f"{team}/members",
        json={
            "add": [{"user_id": zoe, "role": "admin"}, {"user_id": kim}],
            "change": [{"user_id": omar, "role": "owner"}],
            # Not the last owner, as it turns out.
            "remove": [marta],
        },
    )
    assert response.status_code == 200, response.text
    assert response.json()["member_count"] == 3
    assert response.json() == (await admin.get(team)).json()
    assert await roles(admin, team) == {"omar": "owner", "zoe": "admin", "kim": "member"}
    events = site.audit(Population.AUTOBOT, "team_member_%")[2:]
    assert sorted((row["action"], row["details"]["username"]) for row in events) == [
        ("team_member_added", "kim"),
        ("team_member_added", "zoe"),
        ("team_member_removed", "marta"),
        ("team_member_role_changed", "omar"),
    ]


async def test_several_at_once_or_none(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    marta, omar, zoe = await add_users(admin, acme, "marta", "omar", "zoe")
    await join(admin, team, marta, "owner")
    await join(admin, team, omar)
    new = [{"user_id": zoe}]
    for body, expected in (
        ({"add": [*new, {"user_id": str(uuid.uuid4())}]}, "/add/1/user_id"),
        (
            {"add": new, "change": [{"user_id": str(uuid.uuid4()), "role": "owner"}]},
            "/change/0/user_id",
        ),
        ({"add": new, "remove": [omar, str(uuid.uuid4())]}, "/remove/1"),
        ({"add": new, "remove": [zoe]}, "/remove/0"),
        ({"add": new, "remove": [omar, omar]}, "/remove/1"),
        ({"add": new, "kick": [omar]}, "/kick"),
    ):
        assert pointer_of(await admin.patch(f"{team}/members", json=body)) == expected
    for body, code in (
        ({"add": [*new, {"user_id": omar}]}, "duplicate"),
        ({"add": new, "remove": [marta]}, "last_owner"),
        ({"add": new, "change": [{"user_id": marta, "role": "admin"}]}, "last_owner"),
    ):
        refused = await admin.patch(f"{team}/members", json=body)
        assert code_of(refused) == (409, code)
    assert await roles(admin, team) == {"marta": "owner", "omar": "member"}
    assert len(site.audit(Population.AUTOBOT, "team_member_%")) == 2


async def test_changing_no_member_changes_nothing(admin: httpx2.AsyncClient, team: str) -> None:
    before = (await admin.get(team)).json()
    response = await admin.patch(f"{team}/members", json={})
    assert (response.status_code, response.json()) == (200, before)


async def test_the_last_owner_stays(admin: httpx2.AsyncClient, acme: str, team: str) -> None:
    marta, omar = await add_users(admin, acme, "marta", "omar")
    # A team that has no owner yet may go on without.
    await join(admin, team, omar)
    assert (await admin.delete(f"{team}/members/{omar}")).status_code == 204
    await join(admin, team, omar)
    await join(admin, team, marta, "owner")
    last = f"{team}/members/{marta}"
    assert code_of(await admin.delete(last)) == (409, "last_owner")
    assert code_of(await admin.patch(last, json={"role": "admin"})) == (409, "last_owner")
    assert (await admin.patch(last, json={"role": "owner"})).status_code == 200
    await admin.patch(f"{team}/members/{omar}", json={"role": "owner"})
    assert (await admin.delete(last)).status_code == 204
    assert await roles(admin, team) == {"omar": "owner"}


async def test_of_two_owners_who_leave_at_once_one_stays(
    admin: httpx2.AsyncClient, acme: str, team: str
) -> None:
    marta, omar = await add_users(admin, acme, "marta", "omar")
    ways = [
        lambda user: admin.delete(f"{team}/members/{user}"),
        lambda user: admin.patch(f"{team}/members/{user}", json={"role": "member"}),
        lambda user: admin.patch(f"{team}/members", json={"remove": [user]}),
    ]
    for number in range(9):
        for user in (marta, omar):
            await admin.post(f"{team}/members", json={"user_id": user})
            await admin.patch(f"{team}/members/{user}", json={"role": "owner"})
        answers = await asyncio.gather(ways[number % 3](marta), ways[number // 3](omar))
        refused = [answer for answer in answers if answer.status_code == 409]
        assert [code_of(answer)[1] for answer in refused] == ["last_owner"]


async def test_an_owner_who_is_deleted_is_not_counted(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    marta, omar = await add_users(admin, acme, "marta", "omar")
    await join(admin, team, marta, "owner")
    await join(admin, team, omar)
    # As programs of AutoBot do it.
    site.databases[Population.AUTOBOT].sql(
        f"UPDATE users SET deleted_at = now(), is_active = false WHERE id = '{marta}'"
    )
    assert (await admin.get(team)).json()["member_count"] == 1
    assert await roles(admin, team) == {"omar": "member"}
    listed = (await admin.get(f"{team}/members", params={"include_total": True})).json()
    assert listed["total"] == 1
    gone = f"{team}/members/{marta}"
    assert code_of(await admin.delete(gone)) == (404, "not_found")
    assert code_of(await admin.patch(gone, json={"role": "member"})) == (404, "not_found")
    # The team is without an owner now, as a new one is.
    assert (await admin.patch(f"{team}/members/{omar}", json={"role": "owner"})).status_code == 200
    demoted = await admin.patch(f"{team}/members/{omar}", json={"role": "member"})
    assert code_of(demoted) == (409, "last_owner")
    kept = "SELECT count(*) FROM team_memberships"
    assert site.databases[Population.AUTOBOT].sql(kept) == "2"


async def test_nobody_joins_while_they_are_deleted_or_move(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    other = (await admin.post("/api/organizations", json={"name": "Other"})).json()["id"]
    for number in range(6):
        user = await add_user(admin, acme, f"user{number}")
        where = f"/api/autobot-users/{user}"
        leaves = admin.delete(where) if number % 2 else admin.patch(where, json={"org_id": other})
        left, _ = await asyncio.gather(
            leaves, admin.post(f"{team}/members", json={"user_id": user})
        )
        assert left.status_code in {200, 204, 422}
    abroad = site.databases[Population.AUTOBOT].sql(
        "SELECT count(*) FROM team_memberships m JOIN users u ON u.id = m.user_id "
        "JOIN teams t ON t.id = m.team_id WHERE u.org_id <> t.org_id"
    )
    assert abroad == "0"


async def test_teams_of_a_user(admin: httpx2.AsyncClient, acme: str) -> None:
    marta, omar = await add_users(admin, acme, "marta", "omar")
    for name, role in (("Ops", "owner"), ("Dev", "member"), ("Gone", "member"), ("Other", None)):
        made = await create(admin, name, organization_id=acme)
        await join(admin, f"{PATH}/{made['id']}", omar)
        if role is not None:
            await join(admin, f"{PATH}/{made['id']}", marta, role)
        if name == "Gone":
            await admin.delete(f"{PATH}/{made['id']}")
    where = f"/api/autobot-users/{marta}/teams"
    answer = (await admin.get(where, params={"include_total": True})).json()
    assert [(each["name"], each["role"]) for each in answer["teams"]] == [
        ("Dev", "member"),
        ("Ops", "owner"),
    ]
    assert set(answer["teams"][0]) == RESPONSE_FIELDS | {"role", "joined_at"}
    assert (answer["total"], answer["teams"][0]["member_count"]) == (2, 2)
    first = (await admin.get(where, params={"limit": 1})).json()
    rest = (await admin.get(where, params={"cursor": first["next_cursor"]})).json()
    assert [each["name"] for each in first["teams"] + rest["teams"]] == ["Dev", "Ops"]
    left = await admin.delete(f"/api/autobot-users/{marta}", params={"new_owner": omar})
    assert left.status_code == 204
    for user_id in (marta, uuid.uuid4()):
        response = await admin.get(f"/api/autobot-users/{user_id}/teams")
        assert code_of(response) == (404, "not_found")


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("teams:read", {"list", "get", "list members", "list of user"}),
        ("teams:create", {"create"}),
        ("teams:manage", {"update", "add", "change several", "change", "remove"}),
        ("teams:delete", {"delete"}),
    ],
)
async def test_which_permission_is_needed(site: Site, permission: str, allowed: set[str]) -> None:
    await site.add_user(Population.SLM, "marta", permissions=[permission])
    headers = await site.login("marta")
    somebody = str(uuid.uuid4())
    where = f"{PATH}/{uuid.uuid4()}"
    for name, method, path, body in (
        ("create", "POST", PATH, {"name": "Ops"}),
        ("list", "GET", PATH, None),
        ("get", "GET", where, None),
        ("update", "PATCH", where, {}),
        ("delete", "DELETE", where, None),
        ("list members", "GET", f"{where}/members", None),
        ("add", "POST", f"{where}/members", {"user_id": somebody}),
        ("change several", "PATCH", f"{where}/members", {}),
        ("change", "PATCH", f"{where}/members/{somebody}", {"role": "owner"}),
        ("remove", "DELETE", f"{where}/members/{somebody}", None),
        ("list of user", "GET", f"/api/autobot-users/{somebody}/teams", None),
    ):
        response = await site.client.request(method, path, json=body, headers=headers)
        assert (response.status_code != 403) == (name in allowed), name


async def as_team_manager(site: Site, *more: str) -> httpx2.AsyncClient:
    """A client of a fleet administrator who may manage teams, and what else is named."""
    held = {"users:read", "teams:read", "teams:create", "teams:manage", *more}
    await site.add_user(Population.SLM, "marta", permissions=held)
    site.client.headers.update(await site.login("marta"))
    return site.client


def ways_to_take_in(
    team: str, org_id: object, user_id: object
) -> list[tuple[str, str, dict[str, Any]]]:
    """Requests that would make a user of no organization one of the team's."""
    created = {"name": "New", "owner_id": user_id}
    if org_id is not None:
        created["organization_id"] = org_id
    return [
        ("POST", f"{team}/members", {"user_id": user_id}),
        ("PATCH", f"{team}/members", {"add": [{"user_id": user_id}]}),
        ("POST", PATH, created),
    ]


async def test_to_move_somebody_into_an_organization_takes_the_right_to_change_users(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    nobodys = await add_user(admin, None, "nobodys")
    client = await as_team_manager(site)
    for method, path, body in ways_to_take_in(team, acme, nobodys):
        answer = await client.request(method, path, json=body)
        assert code_of(answer) == (403, "permission_denied")
        assert "users:update" in answer.json()["detail"]
    assert (await client.get(f"/api/autobot-users/{nobodys}")).json()["org_id"] is None


async def test_who_may_change_users_may_move_them_with_a_team(
    admin: httpx2.AsyncClient, site: Site, acme: str, team: str
) -> None:
    nobodys = await add_user(admin, None, "nobodys")
    client = await as_team_manager(site, "users:update")
    await join(client, team, nobodys)
    assert (await client.get(f"/api/autobot-users/{nobodys}")).json()["org_id"] == acme


async def test_into_the_default_organization_as_autobots_clients_do(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    people = await add_users(admin, None, "one", "two", "three")
    made = await create(admin, "Ops")
    client = await as_team_manager(site)
    ways = [ways_to_take_in(f"{PATH}/{made['id']}", None, user_id) for user_id in people]
    for number, user_id in enumerate(people):
        method, path, body = ways[number][number]
        answer = await client.request(method, path, json=body)
        assert answer.is_success, answer.text
        user = (await client.get(f"/api/autobot-users/{user_id}")).json()
        assert user["org_id"] == made["org_id"]
