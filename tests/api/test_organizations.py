"""Organizations: the tenants of the application."""

import asyncio
import uuid
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.support.applications import Site
from user_management.population import Population

PATH = "/api/organizations"
RESPONSE_FIELDS = {
    "id", "name", "slug", "description", "settings", "subscription_tier", "max_users",
    "is_active", "created_at", "updated_at",
}  # fmt: skip


async def create(admin: httpx2.AsyncClient, name: str = "Acme", **fields: Any) -> Any:
    response = await admin.post(PATH, json={"name": name, **fields})
    assert response.status_code == 201, response.text
    return response.json()


async def add_member(admin: httpx2.AsyncClient, org_id: object, name: str) -> httpx2.Response:
    body = {"username": name, "email": f"{name}@autobot.local", "org_id": org_id}
    return await admin.post("/api/autobot-users", json=body)


async def limited(site: Site, org_id: UUID) -> dict[str, str]:
    """A header of an administrator who is limited to an organization."""
    await site.add_user(Population.SLM, "limited", org_id=org_id, roles=["admin"])
    return await site.login("limited")


def code_of(response: httpx2.Response) -> tuple[Any, ...]:
    return response.status_code, response.json()["code"]


async def test_create(admin: httpx2.AsyncClient, site: Site) -> None:
    response = await admin.post(PATH, json={"name": "Acme & Söhne"})
    assert response.status_code == 201, response.text
    made = response.json()
    assert set(made) == RESPONSE_FIELDS
    assert response.headers["location"] == f"{PATH}/{made['id']}"
    read = await admin.get(response.headers["location"])
    assert (read.json(), read.headers["etag"]) == (made, response.headers["etag"])
    assert (made["name"], made["slug"]) == ("Acme & Söhne", "acme-sohne")
    assert (made["subscription_tier"], made["max_users"]) == ("free", -1)
    assert (made["is_active"], made["settings"], made["description"]) == (True, {}, None)
    [event] = site.audit(Population.AUTOBOT, "org_created")
    assert event["org_id"] == event["resource_id"] == made["id"]


async def test_create_with_everything(admin: httpx2.AsyncClient) -> None:
    given: dict[str, Any] = {
        "name": "Acme",
        "slug": "the-acme",
        "description": "Anvils",
        "settings": {"theme": {"dark": True}},
        "subscription_tier": "pro",
        "max_users": 3,
        "is_active": False,
    }
    made = await create(admin, **given)
    assert {name: made[name] for name in given} == given


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": " "}, "/name"),
        ({"name": "Acme "}, "/name"),
        ({"name": "nul\0nul"}, "/name"),
        ({"name": "x" * 256}, "/name"),
        ({"name": "会社"}, "/slug"),
        ({"slug": "Acme"}, "/slug"),
        ({"slug": ""}, "/slug"),
        ({"description": "nul\0"}, "/description"),
        ({"settings": {"nul\0": 1}}, "/settings"),
        ({"settings": []}, "/settings"),
        ({"subscription_tier": "gold"}, "/subscription_tier"),
        ({"max_users": -2}, "/max_users"),
        ({"max_users": 2**31}, "/max_users"),
        ({"max_users": "5"}, "/max_users"),
        ({"max_users": 5.5}, "/max_users"),
        ({"is_active": 1}, "/is_active"),
        ({"deleted_at": None}, "/deleted_at"),
    ],
)
async def test_create_names_what_is_not_valid(
    admin: httpx2.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    response = await admin.post(PATH, json={"name": "Acme"} | change)
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"] == pointer


async def test_a_slug_is_taken_once_and_freed_by_deleting(admin: httpx2.AsyncClient) -> None:
    made = await create(admin, "Acme")
    assert code_of(await admin.post(PATH, json={"name": "ACME!"})) == (409, "duplicate")
    assert (await create(admin, "ACME!", slug="acme-2"))["slug"] == "acme-2"
    assert (await admin.delete(f"{PATH}/{made['id']}")).status_code == 204
    assert (await create(admin, "ACME!"))["slug"] == "acme"


async def test_of_many_at_once_one_gets_the_slug(admin: httpx2.AsyncClient) -> None:
    answers = await asyncio.gather(*(admin.post(PATH, json={"name": "Acme"}) for _ in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19


async def test_a_repeated_request_creates_once(admin: httpx2.AsyncClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await admin.post(PATH, json={"name": "Acme"}, headers=headers)
    again = await admin.post(PATH, json={"name": "Acme"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json() == again.json()
    other = await admin.post(PATH, json={"name": "Other"}, headers=headers)
    assert code_of(other) == (422, "idempotency_key_reused")


async def test_read_by_slug(admin: httpx2.AsyncClient) -> None:
    # A slug that is also the end of another address.
    for name in ("Acme", "stats"):
        made = await create(admin, name)
        response = await admin.get(f"{PATH}/slug/{made['slug']}")
        assert (response.status_code, response.json()) == (200, made)
    assert (await admin.get(f"{PATH}/slug/nothing")).status_code == 404


async def test_list_in_pages_newest_first(admin: httpx2.AsyncClient, site: Site) -> None:
    site.databases[Population.AUTOBOT].sql(
        "INSERT INTO organizations (name, slug, is_active, created_at) "
        "SELECT 'Name ' || n, 'slug-' || n, n <> 3, "
        "timestamptz '2020-01-01' + n * interval '1 day' FROM generate_series(1, 5) n"
    )
    first = (await admin.get(PATH, params={"limit": 2, "include_total": True})).json()
    assert [each["slug"] for each in first["organizations"]] == ["slug-5", "slug-4"]
    assert (first["total"], first["limit"], first["offset"]) == (5, 2, 0)
    second = (await admin.get(PATH, params={"cursor": first["next_cursor"]})).json()
    assert [each["slug"] for each in second["organizations"]] == ["slug-3", "slug-2", "slug-1"]
    assert (second["total"], second["next_cursor"]) == (None, None)
    skipped = (await admin.get(PATH, params={"skip": 4})).json()
    assert [each["slug"] for each in skipped["organizations"]] == ["slug-1"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"search": "ACM"}, {"acme", "acme-anvils-inc"}),
        ({"search": "anvils-inc"}, {"acme-anvils-inc"}),
        ({"search": "%"}, {"per-cent"}),
        ({"search": "_"}, set()),
        ({"is_active": "false"}, {"per-cent"}),
        ({"is_active": "true", "search": "e"}, {"acme", "acme-anvils-inc"}),
    ],
)
async def test_search_and_filter(
    admin: httpx2.AsyncClient, query: dict[str, str], found: set[str]
) -> None:
    await create(admin, "Acme")
    await create(admin, "Anvils", slug="acme-anvils-inc")
    await create(admin, "100% sure", slug="per-cent", is_active=False)
    answer = (await admin.get(PATH, params=query)).json()
    assert {each["slug"] for each in answer["organizations"]} == found


async def test_update_every_field(admin: httpx2.AsyncClient, site: Site) -> None:
    made = await create(admin)
    changes = {
        "name": "Acme II",
        "description": "Anvils",
        "settings": {"limit": 1.5},
        "subscription_tier": "enterprise",
        "max_users": 7.0,
        "is_active": False,
    }
    response = await admin.patch(f"{PATH}/{made['id']}", json=changes)
    assert response.status_code == 200, response.text
    changed = response.json()
    assert {name: changed[name] for name in changes} == changes
    assert changed["slug"] == "acme"
    [event] = site.audit(Population.AUTOBOT, "org_updated")
    assert event["org_id"] == made["id"]
    assert event["details"]["changes"]["max_users"] == {"old": -1, "new": 7}
    assert event["details"]["changes"].keys() == changes.keys()


async def test_update_nothing(admin: httpx2.AsyncClient, site: Site) -> None:
    made = await create(admin)
    for changes in ({}, {"name": "Acme"}):
        response = await admin.patch(f"{PATH}/{made['id']}", json=changes)
        assert (response.status_code, response.json()) == (200, made)
    assert site.audit(Population.AUTOBOT, "org_updated") == []


async def test_nobody_overwrites_what_they_have_not_seen(admin: httpx2.AsyncClient) -> None:
    made = await create(admin)
    where = f"{PATH}/{made['id']}"
    stale = {"If-Match": (await admin.get(where)).headers["etag"]}
    fresh = await admin.patch(where, json={"name": "Acme II"}, headers=stale)
    assert fresh.status_code == 200
    for method, path, body in (
        ("PATCH", where, {"name": "x"}),
        ("POST", f"{where}/deactivate", None),
        ("POST", f"{where}/activate", None),
        ("DELETE", where, None),
    ):
        refused = await admin.request(method, path, json=body, headers=stale)
        assert code_of(refused) == (412, "precondition_failed")
    current = {"If-Match": fresh.headers["etag"]}
    assert (await admin.delete(where, headers=current)).status_code == 204


async def test_deactivating_ends_the_sessions_of_its_users_and_of_nobody_else(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    made, other = await create(admin), await create(admin, "Other")
    for org_id, name in ((made["id"], "marta"), (other["id"], "omar")):
        assert (await add_member(admin, org_id, name)).status_code == 201
    database = site.databases[Population.AUTOBOT]
    database.sql(
        "INSERT INTO auth_sessions (user_id, expires_at) "
        "SELECT id, now() + interval '1 hour' FROM users"
    )
    response = await admin.post(f"{PATH}/{made['id']}/deactivate")
    assert (response.status_code, response.json()["is_active"]) == (200, False)
    ended = database.sql(
        "SELECT username, end_reason FROM auth_sessions JOIN users ON users.id = user_id "
        "WHERE ended_at IS NOT NULL"
    )
    assert ended == "marta|org_deactivated"
    response = await admin.post(f"{PATH}/{made['id']}/activate")
    assert (response.status_code, response.json()["is_active"]) == (200, True)
    events = [row["details"]["changes"] for row in site.audit(Population.AUTOBOT, "org_updated")]
    assert events == [
        {"is_active": {"old": True, "new": False}},
        {"is_active": {"old": False, "new": True}},
    ]


async def test_delete_is_soft_and_takes_the_teams_along(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    made = await create(admin)
    team = await admin.post(
        "/api/autobot-teams", json={"name": "Ops", "organization_id": made["id"]}
    )
    response = await admin.delete(f"{PATH}/{made['id']}")
    assert (response.status_code, response.content) == (204, b"")
    row = site.databases[Population.AUTOBOT].sql(
        "SELECT o.deleted_at IS NOT NULL, o.is_active, t.deleted_at IS NOT NULL "
        "FROM organizations o JOIN teams t ON t.org_id = o.id"
    )
    assert row == "t|f|t"
    assert (await admin.get(f"/api/autobot-teams/{team.json()['id']}")).status_code == 404
    [event] = site.audit(Population.AUTOBOT, "org_deleted")
    assert event["org_id"] == made["id"]
    assert event["details"] == event["details"] | {
        "name": "Acme",
        "slug": "acme",
        "teams": [team.json()["id"]],
    }


async def test_an_organization_with_users_stays(admin: httpx2.AsyncClient) -> None:
    made = await create(admin)
    user = (await add_member(admin, made["id"], "marta")).json()
    where = f"{PATH}/{made['id']}"
    assert code_of(await admin.delete(where)) == (409, "organization_in_use")
    await admin.delete(f"/api/autobot-users/{user['id']}")
    assert (await admin.delete(where)).status_code == 204


async def test_no_user_comes_while_the_organization_goes(admin: httpx2.AsyncClient) -> None:
    for number in range(10):
        made = await create(admin, f"Acme {number}")
        deleted, user = await asyncio.gather(
            admin.delete(f"{PATH}/{made['id']}"), add_member(admin, made["id"], f"marta{number}")
        )
        assert (deleted.status_code, user.status_code) in {(204, 422), (409, 201)}


async def test_figures(admin: httpx2.AsyncClient) -> None:
    made = await create(admin, max_users=2)
    users = [(await add_member(admin, made["id"], name)).json() for name in ("marta", "omar")]
    await admin.post("/api/autobot-teams", json={"name": "Ops", "organization_id": made["id"]})

    async def figures() -> Any:
        response = await admin.get(f"{PATH}/{made['id']}/stats")
        assert response.status_code == 200
        return response.json()

    assert await figures() == {
        "organization_id": made["id"],
        "name": "Acme",
        "slug": "acme",
        "subscription_tier": "free",
        "users": {"current": 2, "max": 2, "can_add": False},
        "teams": {"current": 1},
        "is_active": True,
        "created_at": made["created_at"],
    }
    await admin.delete(f"/api/autobot-users/{users[0]['id']}")
    assert (await figures())["users"] == {"current": 1, "max": 2, "can_add": True}
    await admin.patch(f"{PATH}/{made['id']}", json={"max_users": -1})
    assert (await figures())["users"] == {"current": 1, "max": "unlimited", "can_add": True}


async def test_of_twenty_users_at_once_five_fit(admin: httpx2.AsyncClient, site: Site) -> None:
    made = await create(admin, max_users=5)
    answers = await asyncio.gather(*(add_member(admin, made["id"], f"user{n}") for n in range(20)))
    assert sorted(answer.status_code for answer in answers) == [201] * 5 + [409] * 15
    assert {code_of(a)[1] for a in answers if a.status_code == 409} == {"quota_exceeded"}
    assert site.databases[Population.AUTOBOT].sql("SELECT count(*) FROM users") == "5"
    # Who is deleted makes room.
    gone = next(answer.json()["id"] for answer in answers if answer.status_code == 201)
    await admin.delete(f"/api/autobot-users/{gone}")
    assert (await add_member(admin, made["id"], "another")).status_code == 201


async def test_what_is_not_there_is_not_found(admin: httpx2.AsyncClient) -> None:
    deleted = await create(admin)
    await admin.delete(f"{PATH}/{deleted['id']}")
    for org_id in (uuid.uuid4(), deleted["id"]):
        for method, suffix, body in (
            ("GET", "", None),
            ("GET", "/stats", None),
            ("PATCH", "", {"name": "x"}),
            ("POST", "/activate", None),
            ("POST", "/deactivate", None),
            ("DELETE", "", None),
        ):
            response = await admin.request(method, f"{PATH}/{org_id}{suffix}", json=body)
            assert code_of(response) == (404, "not_found"), (method, suffix)
    assert (await admin.get(f"{PATH}/slug/acme")).status_code == 404
    assert (await admin.get(PATH)).json()["organizations"] == []


async def test_an_administrator_of_one_organization(admin: httpx2.AsyncClient, site: Site) -> None:
    mine, other = await create(admin), await create(admin, "Other")
    admin.headers.update(await limited(site, mine["id"]))
    listed = (await admin.get(PATH, params={"include_total": True})).json()
    assert ([each["id"] for each in listed["organizations"]], listed["total"]) == ([mine["id"]], 1)
    where = f"{PATH}/{mine['id']}"
    changes = {"name": "Mine", "description": "x", "settings": {"a": 1}}
    assert (await admin.patch(where, json=changes)).status_code == 200
    for method, path, body in (
        ("PATCH", where, {"max_users": 100}),
        ("PATCH", where, {"name": "x", "subscription_tier": "pro"}),
        ("PATCH", where, {"is_active": False}),
        ("POST", f"{where}/deactivate", None),
        ("POST", f"{where}/activate", None),
        ("DELETE", where, None),
        ("POST", PATH, {"name": "Mine, too"}),
    ):
        refused = await admin.request(method, path, json=body)
        assert code_of(refused) == (403, "permission_denied"), (method, path, body)
    assert (await admin.get(where)).json()["name"] == "Mine"
    assert (await admin.get(f"{PATH}/{other['id']}")).status_code == 404
    assert (await admin.get(f"{PATH}/slug/other")).status_code == 404


@pytest.mark.parametrize(
    ("permission", "allowed"),
    [("teams:read", {"GET"}), ("admin:organization", {"POST", "PATCH", "DELETE"})],
)
async def test_which_permission_is_needed(site: Site, permission: str, allowed: set[str]) -> None:
    await site.add_user(Population.SLM, "marta", permissions=[permission])
    headers = await site.login("marta")
    where = f"{PATH}/{uuid.uuid4()}"
    for method, path, body in (
        ("GET", PATH, None),
        ("GET", where, None),
        ("GET", f"{where}/stats", None),
        ("GET", f"{PATH}/slug/acme", None),
        ("POST", PATH, {"name": "Acme"}),
        ("PATCH", where, {}),
        ("POST", f"{where}/activate", None),
        ("POST", f"{where}/deactivate", None),
        ("DELETE", where, None),
    ):
        response = await site.client.request(method, path, json=body, headers=headers)
        assert (response.status_code != 403) == (method in allowed), (method, path)
