"""The routes for roles and for who has them: the same rules for both populations."""

import asyncio
import uuid
from typing import Any

import httpx2
import pytest

from tests.support.applications import Site
from user_management.permissions import ALL_PERMISSIONS
from user_management.population import Population

ROLE_FIELDS = {
    "id", "name", "description", "is_system", "org_id", "priority", "permissions", "user_count",
    "created_at", "updated_at",
}  # fmt: skip
MANAGER = ("users:read", "admin:users")


@pytest.fixture(params=Population)
def population(request: pytest.FixtureRequest) -> Population:
    population: Population = request.param
    return population


@pytest.fixture
def roles(population: Population) -> str:
    return f"/api/{population}-roles"


@pytest.fixture
def users(population: Population) -> str:
    return f"/api/{population}-users"


async def create(admin: httpx2.AsyncClient, path: str, name: str, **fields: Any) -> Any:
    response = await admin.post(path, json={"name": name, **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def give(
    admin: httpx2.AsyncClient, path: str, user_id: object, role_id: object
) -> httpx2.Response:
    response = await admin.post(f"{path}/{user_id}/roles", json={"role_id": str(role_id)})
    assert response.status_code == 201, response.text
    return response


async def role_named(admin: httpx2.AsyncClient, path: str, name: str) -> dict[str, Any]:
    found = (await admin.get(path, params={"search": name})).json()["roles"]
    return next(role for role in found if role["name"] == name)


async def as_manager(site: Site, *permissions: str, **limits: Any) -> httpx2.AsyncClient:
    """A client of a fleet administrator who may manage roles, and what else is named."""
    await site.add_user(Population.SLM, "marta", permissions={*MANAGER, *permissions}, **limits)
    site.client.headers.update(await site.login("marta"))
    return site.client


def sessions(site: Site, population: Population, user_id: object) -> str:
    """How many sessions of a user have not ended."""
    found: str = site.databases[population].sql(
        f"SELECT count(*) FROM auth_sessions WHERE user_id = '{user_id}' AND ended_at IS NULL"
    )
    return found


def begin_session(site: Site, population: Population, user_id: object) -> None:
    site.databases[population].sql(
        "INSERT INTO auth_sessions (user_id, expires_at) "
        f"VALUES ('{user_id}', now() + interval '1 hour')"
    )


def refused(response: httpx2.Response, status: int, code: str, pointer: str | None = None) -> bool:
    problem = response.json()
    pointers = [fault["pointer"] for fault in problem.get("errors", [])]
    assert (response.status_code, problem["code"]) == (status, code), response.text
    assert pointers == ([] if pointer is None else [pointer])
    return True


async def test_the_permissions_that_there_are(admin: httpx2.AsyncClient) -> None:
    found = (await admin.get("/api/permissions")).json()["permissions"]
    assert [each["name"] for each in found] == sorted(ALL_PERMISSIONS)
    assert {"name": "users:delete", "description": "Delete users"} in found


async def test_create_and_read(
    admin: httpx2.AsyncClient, site: Site, population: Population, roles: str
) -> None:
    response = await admin.post(
        roles,
        json={
            "name": "Night watch",
            "description": "Who looks after things at night",
            "priority": 20,
            "permissions": ["users:read", "audit:read"],
        },
    )
    assert response.status_code == 201, response.text
    role = response.json()
    assert set(role) == ROLE_FIELDS
    assert response.headers["location"] == f"{roles}/{role['id']}"
    read = await admin.get(response.headers["location"])
    assert (read.json(), read.headers["etag"]) == (role, response.headers["etag"])
    assert role["permissions"] == ["audit:read", "users:read"]
    assert (role["name"], role["priority"]) == ("Night watch", 20)
    assert (role["is_system"], role["org_id"], role["user_count"]) == (False, None, 0)
    [row] = site.audit(population, "role_created")
    assert (row["resource_type"], row["resource_id"]) == ("role", role["id"])
    assert row["details"]["permissions"] == ["audit:read", "users:read"]


async def test_the_least_that_makes_a_role(admin: httpx2.AsyncClient, roles: str) -> None:
    role = await create(admin, roles, "x")
    assert (role["description"], role["priority"], role["permissions"]) == (None, 0, [])


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": " x"}, "/name"),
        ({"name": "x "}, "/name"),
        ({"name": "x\0y"}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"name": None}, "/name"),
        ({"description": "nul\0"}, "/description"),
        ({"description": "x" * 501}, "/description"),
        ({"priority": -1}, "/priority"),
        ({"priority": 1001}, "/priority"),
        ({"priority": "1"}, "/priority"),
        ({"permissions": ["users:fly"]}, "/permissions/0"),
        ({"permissions": "users:read"}, "/permissions"),
        ({"permissions": None}, "/permissions"),
        ({"is_system": True}, "/is_system"),
    ],
)
async def test_what_is_not_valid(
    admin: httpx2.AsyncClient, fields: dict[str, Any], pointer: str
) -> None:
    role = await create(admin, "/api/slm-roles", "watch")
    for response in (
        await admin.post("/api/slm-roles", json={"name": "other"} | fields),
        await admin.patch(f"/api/slm-roles/{role['id']}", json=fields),
    ):
        assert refused(response, 422, "validation_error", pointer)


async def test_a_name_is_taken_once_in_any_case(admin: httpx2.AsyncClient, roles: str) -> None:
    role = await create(admin, roles, "Night Watch")
    assert refused(await admin.post(roles, json={"name": "nIGHT wATCH"}), 409, "duplicate")
    assert refused(await admin.post(roles, json={"name": "ADMIN"}), 409, "duplicate")
    other = await create(admin, roles, "Other")
    renamed = await admin.patch(f"{roles}/{other['id']}", json={"name": "night watch"})
    assert refused(renamed, 409, "duplicate")
    own = await admin.patch(f"{roles}/{other['id']}", json={"name": "OTHER"})
    assert (own.status_code, own.json()["name"]) == (200, "OTHER")
    assert (await admin.delete(f"{roles}/{role['id']}")).status_code == 204
    await create(admin, roles, "night watch")


async def test_of_twenty_at_once_one_gets_the_name(admin: httpx2.AsyncClient, roles: str) -> None:
    answers = await asyncio.gather(*(admin.post(roles, json={"name": "watch"}) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19


async def test_organizations_have_names_of_their_own(admin: httpx2.AsyncClient, site: Site) -> None:
    path = "/api/autobot-roles"
    one, two = site.add_organization("one"), site.add_organization("two")
    for org_id in (one, two):
        role = await create(admin, path, "watch", org_id=str(org_id))
        assert role["org_id"] == str(org_id)
    again = {"name": "Watch", "org_id": str(one)}
    assert refused(await admin.post(path, json=again), 409, "duplicate")
    # Nobody can have two roles of one name.
    assert refused(await admin.post(path, json={"name": "watch"}), 409, "duplicate")
    taken = {"name": "readonly", "org_id": str(one)}
    assert refused(await admin.post(path, json=taken), 409, "duplicate")
    site.databases[Population.AUTOBOT].sql("UPDATE organizations SET deleted_at = now()")
    assert (await admin.get(f"{path}/{role['id']}")).status_code == 404
    await create(admin, path, "watch")


async def test_an_organization_must_exist(admin: httpx2.AsyncClient) -> None:
    role = {"name": "watch", "org_id": str(uuid.uuid4())}
    for path in ("/api/autobot-roles", "/api/slm-roles"):
        assert refused(await admin.post(path, json=role), 422, "validation_error", "/org_id")


async def test_a_repeated_request_creates_one_role(admin: httpx2.AsyncClient, roles: str) -> None:
    body, key = {"name": "watch"}, {"Idempotency-Key": "once"}
    first = await admin.post(roles, json=body, headers=key)
    again = await admin.post(roles, json=body, headers=key)
    assert (again.status_code, again.json()) == (201, first.json())
    other = await admin.post(roles, json={"name": "other"}, headers=key)
    assert refused(other, 422, "idempotency_key_reused")


async def test_list_newest_first_in_pages(admin: httpx2.AsyncClient, roles: str) -> None:
    made = [(await create(admin, roles, f"Watch {n}"))["id"] for n in range(5)]
    first = (await admin.get(roles, params={"limit": 2, "search": "WATCH"})).json()
    assert [role["id"] for role in first["roles"]] == [made[4], made[3]]
    assert (first["total"], first["limit"], first["offset"]) == (None, 2, 0)
    query: dict[str, Any] = {"limit": 2, "search": "watch", "cursor": first["next_cursor"]}
    second = (await admin.get(roles, params=query)).json()
    assert [role["id"] for role in second["roles"]] == [made[2], made[1]]
    last = (await admin.get(roles, params=query | {"cursor": second["next_cursor"]})).json()
    assert ([role["id"] for role in last["roles"]], last["next_cursor"]) == ([made[0]], None)
    skipped: dict[str, str | int] = {"skip": 4, "search": "watch", "include_total": True}
    rest = (await admin.get(roles, params=skipped)).json()
    assert ([role["id"] for role in rest["roles"]], rest["total"]) == ([made[0]], 5)
    everything = (await admin.get(roles)).json()["roles"]
    assert {"admin", "user", "readonly"} < {role["name"] for role in everything}


async def test_search_takes_no_wildcards(admin: httpx2.AsyncClient, roles: str) -> None:
    await create(admin, roles, "100% mine")
    for search, found in (("%", 1), ("_", 0), ("0% M", 1)):
        answer = (await admin.get(roles, params={"search": search})).json()
        assert len(answer["roles"]) == found, search


async def test_update_every_field(
    admin: httpx2.AsyncClient, site: Site, population: Population, roles: str
) -> None:
    role = await create(admin, roles, "watch", permissions=["users:read", "audit:read"])
    changes = {
        "name": "Day watch",
        "description": "at day",
        "priority": 7,
        "permissions": ["chat:use", "users:read"],
    }
    response = await admin.patch(f"{roles}/{role['id']}", json=changes)
    assert response.status_code == 200, response.text
    updated = response.json()
    assert {name: updated[name] for name in changes} == changes
    assert updated["updated_at"] > role["updated_at"]
    assert (await admin.get(f"{roles}/{role['id']}")).json() == updated
    [row] = site.audit(population, "role_updated")
    assert row["details"]["changes"]["permissions"] == {
        "old": ["audit:read", "users:read"],
        "new": ["chat:use", "users:read"],
    }
    cleared = await admin.patch(
        f"{roles}/{role['id']}", json={"permissions": [], "description": None}
    )
    assert (cleared.json()["permissions"], cleared.json()["description"]) == ([], None)


async def test_update_nothing(
    admin: httpx2.AsyncClient, site: Site, population: Population, roles: str
) -> None:
    role = await create(admin, roles, "watch", permissions=["users:read"])
    for changes in ({}, {"name": "watch", "priority": 0, "permissions": ["users:read"]}):
        response = await admin.patch(f"{roles}/{role['id']}", json=changes)
        assert (response.status_code, response.json()) == (200, role)
    assert site.audit(population, "role_updated") == []


@pytest.mark.parametrize("change", [{"priority": 3}, {"permissions": ["chat:use"]}])
async def test_nobody_overwrites_what_they_have_not_seen(
    admin: httpx2.AsyncClient, roles: str, change: dict[str, Any]
) -> None:
    created = await admin.post(roles, json={"name": "watch"})
    where = created.headers["location"]
    seen = {"If-Match": created.headers["etag"]}
    changed = await admin.patch(where, json=change, headers=seen)
    assert changed.status_code == 200
    assert changed.headers["etag"] != created.headers["etag"]
    for late in (
        await admin.patch(where, json={"priority": 4}, headers=seen),
        await admin.delete(where, headers=seen),
    ):
        assert refused(late, 412, "precondition_failed")
    current = {"If-Match": changed.headers["etag"]}
    assert (await admin.delete(where, headers=current)).status_code == 204


async def test_system_roles_stay_as_they_are(admin: httpx2.AsyncClient, roles: str) -> None:
    for name in ("admin", "user", "readonly"):
        role = await role_named(admin, roles, name)
        where = f"{roles}/{role['id']}"
        assert refused(await admin.patch(where, json={"priority": 1}), 409, "system_role")
        assert refused(await admin.delete(where), 409, "system_role")
        assert (await admin.get(where)).json() == role


async def test_a_role_that_is_not_there(
    admin: httpx2.AsyncClient, roles: str, users: str, site: Site, population: Population
) -> None:
    nowhere = f"{roles}/{uuid.uuid4()}"
    user = await site.add_user(population, "omar")
    for response in (
        await admin.get(nowhere),
        await admin.patch(nowhere, json={}),
        await admin.delete(nowhere),
        await admin.delete(f"{users}/{user}/roles/{uuid.uuid4()}"),
        await admin.get(f"{users}/{uuid.uuid4()}/roles"),
        await admin.delete(f"{users}/{uuid.uuid4()}/roles/{uuid.uuid4()}"),
        await admin.post(f"{users}/{uuid.uuid4()}/roles", json={"role_id": str(uuid.uuid4())}),
    ):
        assert refused(response, 404, "not_found")
    unknown = await admin.post(f"{users}/{user}/roles", json={"role_id": str(uuid.uuid4())})
    assert refused(unknown, 422, "validation_error", "/role_id")


async def test_give_and_take(
    admin: httpx2.AsyncClient, site: Site, population: Population, roles: str, users: str
) -> None:
    user = await site.add_user(population, "omar")
    role = await create(admin, roles, "watch", permissions=["users:read"], priority=5)
    before = await admin.get(f"{users}/{user}")
    given = await give(admin, users, user, role["id"])
    assert [each["name"] for each in given.json()["roles"]] == ["watch"]
    after = await admin.get(f"{users}/{user}")
    assert after.json()["roles"] == given.json()["roles"]
    assert before.headers["etag"] != after.headers["etag"] == given.headers["etag"]
    assert (await admin.get(f"{roles}/{role['id']}")).json()["user_count"] == 1
    again = await admin.post(f"{users}/{user}/roles", json={"role_id": role["id"]})
    assert refused(again, 409, "duplicate")

    begin_session(site, population, user)
    taken = await admin.delete(f"{users}/{user}/roles/{role['id']}")
    assert (taken.status_code, taken.content) == (204, b"")
    left = await admin.get(f"{users}/{user}/roles")
    assert left.json() == {"roles": []}
    assert left.headers["etag"] != after.headers["etag"]
    assert sessions(site, population, user) == "0"
    for action in ("role_assigned", "role_revoked"):
        [row] = site.audit(population, action)
        assert (row["resource_type"], row["resource_id"]) == ("user", str(user))
        assert row["details"] | {
            "username": "omar", "role": "watch", "role_id": role["id"]
        } == row["details"]  # fmt: skip


async def test_who_gave_a_role_is_known(admin: httpx2.AsyncClient, site: Site) -> None:
    for population in Population:
        user = await site.add_user(population, "omar")
        role = await create(admin, f"/api/{population}-roles", "watch")
        await give(admin, f"/api/{population}-users", user, role["id"])
    giver = (
        "SELECT coalesce(username, 'nobody here') "
        "FROM user_roles LEFT JOIN users ON id = assigned_by"
    )
    assert site.databases[Population.SLM].sql(giver) == site.administrator
    assert site.databases[Population.AUTOBOT].sql(giver) == "nobody here"


async def test_a_repeated_request_gives_once(
    admin: httpx2.AsyncClient, site: Site, population: Population, roles: str, users: str
) -> None:
    user = await site.add_user(population, "omar")
    role = await create(admin, roles, "watch")
    body, key = {"role_id": role["id"]}, {"Idempotency-Key": "once"}
    answers = [await admin.post(f"{users}/{user}/roles", json=body, headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert len(site.audit(population, "role_assigned")) == 1


async def test_of_ten_who_give_a_role_at_once_one_does(
    admin: httpx2.AsyncClient, site: Site, population: Population, roles: str, users: str
) -> None:
    user = await site.add_user(population, "omar")
    role = await create(admin, roles, "watch")
    body = {"role_id": role["id"]}
    answers = await asyncio.gather(
        *(admin.post(f"{users}/{user}/roles", json=body) for _ in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9


async def test_a_role_that_allows_nothing_is_taken_without_a_logout(
    admin: httpx2.AsyncClient, site: Site, roles: str, users: str
) -> None:
    population = Population.SLM if "slm" in roles else Population.AUTOBOT
    user = await site.add_user(population, "omar")
    role = await create(admin, roles, "title")
    await give(admin, users, user, role["id"])
    begin_session(site, population, user)
    await admin.delete(f"{users}/{user}/roles/{role['id']}")
    assert sessions(site, population, user) == "1"


async def test_deleting_a_role_takes_it_from_everybody(
    admin: httpx2.AsyncClient, site: Site, population: Population, roles: str, users: str
) -> None:
    role = await create(admin, roles, "watch", permissions=["users:read"])
    holders = [await site.add_user(population, name, roles=["watch"]) for name in ("a_1", "b_2")]
    other = await site.add_user(population, "other")
    for user in (*holders, other):
        begin_session(site, population, user)
    before = await admin.get(f"{users}/{holders[0]}")
    assert (await admin.delete(f"{roles}/{role['id']}")).status_code == 204
    assert (await admin.get(f"{roles}/{role['id']}")).status_code == 404
    after = await admin.get(f"{users}/{holders[0]}")
    assert after.json()["roles"] == []
    assert after.headers["etag"] != before.headers["etag"]
    assert [sessions(site, population, user) for user in (*holders, other)] == ["0", "0", "1"]
    [row] = site.audit(population, "role_deleted")
    assert row["details"]["revoked_from"] == 2


async def test_giving_while_the_role_is_deleted_never_fails_inside(
    admin: httpx2.AsyncClient, site: Site, roles: str, users: str
) -> None:
    population = Population.SLM if "slm" in roles else Population.AUTOBOT
    people = [await site.add_user(population, f"user_{n}") for n in range(6)]
    for _ in range(3):
        role = await create(admin, roles, "watch", permissions=["users:read"])
        body = {"role_id": role["id"]}
        *given, deleted = await asyncio.gather(
            *(admin.post(f"{users}/{user}/roles", json=body) for user in people),
            admin.delete(f"{roles}/{role['id']}"),
        )
        assert deleted.status_code == 204
        assert {answer.status_code for answer in given} <= {201, 422}


async def test_a_change_of_a_role_acts_on_tokens_issued_before(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    role = await create(admin, "/api/slm-roles", "watch", permissions=["audit:read"])
    await site.add_user(Population.SLM, "omar", roles=["watch"])
    omar = await site.login("omar")

    async def sees_users() -> int:
        return (await site.client.get("/api/slm-users", headers=omar)).status_code

    assert await sees_users() == 403
    where = f"/api/slm-roles/{role['id']}"
    await admin.patch(where, json={"permissions": ["users:read"]})
    assert await sees_users() == 200
    await admin.patch(where, json={"permissions": []})
    assert await sees_users() == 403


async def test_losing_a_role_acts_on_tokens_issued_before(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    omar = await site.add_user(Population.SLM, "omar", permissions=["users:read"])
    token = await site.login("omar")
    assert (await site.client.get("/api/slm-users", headers=token)).status_code == 200
    [role] = (await admin.get(f"/api/slm-users/{omar}/roles")).json()["roles"]
    await admin.delete(f"/api/slm-users/{omar}/roles/{role['id']}")
    answer = await site.client.get("/api/slm-users", headers=token)
    assert refused(answer, 401, "not_authenticated")


async def test_nobody_gives_what_they_do_not_hold(
    site: Site, population: Population, roles: str, users: str
) -> None:
    user = await site.add_user(population, "omar")
    more = site.add_role(population, "more", ["users:read", "audit:read"])
    manager = await as_manager(site, "chat:use")
    await create(manager, roles, "fair", permissions=["chat:use"])
    for response in (
        await manager.post(roles, json={"name": "unfair", "permissions": ["audit:read"]}),
        await manager.post(f"{users}/{user}/roles", json={"role_id": str(more)}),
        await manager.patch(f"{roles}/{more}", json={"permissions": []}),
        await manager.patch(f"{roles}/{more}", json={"name": "less"}),
        await manager.delete(f"{roles}/{more}"),
    ):
        assert refused(response, 403, "permission_denied")
    fair = await role_named(manager, roles, "fair")
    raised = {"permissions": ["chat:use", "audit:read"]}
    assert refused(
        await manager.patch(f"{roles}/{fair['id']}", json=raised), 403, "permission_denied"
    )
    assert (await manager.get(f"{roles}/{fair['id']}")).json() == fair


@pytest.mark.parametrize("superior", [{"is_admin": True}, {"permissions": ["audit:read"]}])
async def test_nobody_changes_those_who_hold_more(
    site: Site, population: Population, roles: str, users: str, superior: dict[str, Any]
) -> None:
    manager = await as_manager(site, "chat:use")
    role = await create(manager, roles, "watch", permissions=["chat:use"])
    user = await site.add_user(population, "omar", **superior)
    body = {"role_id": role["id"]}
    denied = await manager.post(f"{users}/{user}/roles", json=body)
    assert refused(denied, 403, "permission_denied")
    site.databases[population].sql(
        f"INSERT INTO user_roles (user_id, role_id) VALUES ('{user}', '{role['id']}')"
    )
    for response in (
        await manager.delete(f"{users}/{user}/roles/{role['id']}"),
        # Whoever changes a role changes all who have it.
        await manager.delete(f"{roles}/{role['id']}"),
        await manager.patch(f"{roles}/{role['id']}", json={"permissions": []}),
    ):
        assert refused(response, 403, "permission_denied")
    renamed = await manager.patch(f"{roles}/{role['id']}", json={"name": "Watch"})
    assert renamed.status_code == 200


async def test_who_takes_a_role_from_themselves_is_logged_out(site: Site) -> None:
    manager = await as_manager(site)
    own = (await manager.get("/api/slm-auth/me")).json()["id"]
    [role] = (await manager.get(f"/api/slm-users/{own}/roles")).json()["roles"]
    assert (await manager.delete(f"/api/slm-users/{own}/roles/{role['id']}")).status_code == 204
    assert (await manager.get("/api/slm-auth/me")).status_code == 401


async def test_reading_and_managing_are_two_rights(
    site: Site, population: Population, roles: str, users: str
) -> None:
    user = await site.add_user(population, "omar")
    await site.add_user(Population.SLM, "reader", permissions=["users:read"])
    reader = site.client
    reader.headers.update(await site.login("reader"))
    for path in (roles, f"{users}/{user}/roles", "/api/permissions"):
        assert (await reader.get(path)).status_code == 200
    role_id = str(uuid.uuid4())
    for response in (
        await reader.post(roles, json={"name": "x"}),
        await reader.patch(f"{roles}/{role_id}", json={}),
        await reader.delete(f"{roles}/{role_id}"),
        await reader.post(f"{users}/{user}/roles", json={"role_id": role_id}),
        await reader.delete(f"{users}/{user}/roles/{role_id}"),
    ):
        assert refused(response, 403, "permission_denied")


async def test_a_limited_administrator_manages_roles_of_their_organization(site: Site) -> None:
    roles, users = "/api/autobot-roles", "/api/autobot-users"
    own, foreign = site.add_organization("own"), site.add_organization("foreign")
    hidden = site.add_role(Population.AUTOBOT, "hidden", org_id=foreign)
    shared = site.add_role(Population.AUTOBOT, "shared", ["users:read"])
    outsider = await site.add_user(Population.AUTOBOT, "outsider", org_id=foreign, roles=["shared"])
    user = await site.add_user(Population.AUTOBOT, "omar", org_id=own)
    manager = await as_manager(site, "chat:use", org_id=own)

    role = await create(manager, roles, "watch", permissions=["chat:use"])
    assert role["org_id"] == str(own)
    elsewhere = {"name": "else", "org_id": str(foreign)}
    assert refused(await manager.post(roles, json=elsewhere), 422, "validation_error", "/org_id")
    names = {each["name"] for each in (await manager.get(roles)).json()["roles"]}
    assert names == {"admin", "user", "readonly", "shared", "watch"}
    body = {"priority": 1}
    for response in (
        await manager.get(f"{roles}/{hidden}"),
        await manager.patch(f"{roles}/{hidden}", json=body),
        await manager.delete(f"{roles}/{hidden}"),
        await manager.get(f"{users}/{outsider}/roles"),
        await manager.post(f"{users}/{outsider}/roles", json={"role_id": role["id"]}),
        await manager.delete(f"{users}/{outsider}/roles/{shared}"),
    ):
        assert refused(response, 404, "not_found")
    for response in (
        await manager.patch(f"{roles}/{shared}", json=body),
        await manager.delete(f"{roles}/{shared}"),
        await manager.get("/api/slm-roles"),
    ):
        assert refused(response, 403, "permission_denied")
    unfit = await manager.post(f"{users}/{user}/roles", json={"role_id": str(hidden)})
    assert refused(unfit, 422, "validation_error", "/role_id")

    assert (await manager.get(f"{roles}/{shared}")).json()["user_count"] == 0
    for role_id in (role["id"], shared):
        await give(manager, users, user, role_id)
    assert (await manager.get(f"{roles}/{shared}")).json()["user_count"] == 1
    changed = await manager.patch(f"{roles}/{role['id']}", json={"permissions": ["users:read"]})
    assert changed.json()["permissions"] == ["users:read"]
    begin_session(site, Population.AUTOBOT, user)
    assert (await manager.delete(f"{users}/{user}/roles/{shared}")).status_code == 204
    assert sessions(site, Population.AUTOBOT, user) == "0"
    assert (await manager.delete(f"{roles}/{role['id']}")).status_code == 204
    rows = site.audit(Population.AUTOBOT, "role_%")
    assert {row["org_id"] for row in rows} == {str(own)}


async def test_a_role_of_an_organization_is_for_its_users(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    own, foreign = site.add_organization("own"), site.add_organization("foreign")
    role = await create(admin, "/api/autobot-roles", "watch", org_id=str(own))
    await give(
        admin,
        "/api/autobot-users",
        await site.add_user(Population.AUTOBOT, "omar", org_id=own),
        role["id"],
    )
    for name, org_id in (("stranger", foreign), ("nobodys", None)):
        user = await site.add_user(Population.AUTOBOT, name, org_id=org_id)
        unfit = await admin.post(f"/api/autobot-users/{user}/roles", json={"role_id": role["id"]})
        assert refused(unfit, 422, "validation_error", "/role_id")
