"""The routes for users: the same rules for both populations."""

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from tests.support.applications import Site
from user_management.population import Population

RESPONSE_FIELDS = {
    "id", "email", "username", "display_name", "bio", "avatar_url", "org_id", "is_active",
    "is_verified", "mfa_enabled", "is_platform_admin", "preferences", "roles", "last_login_at",
    "created_at", "updated_at",
}  # fmt: skip


@pytest.fixture(params=Population)
def population(request: pytest.FixtureRequest) -> Population:
    population: Population = request.param
    return population


@pytest.fixture
def path(population: Population) -> str:
    return f"/api/{population}-users"


def new_user(name: str, **fields: Any) -> dict[str, Any]:
    return {"username": name, "email": f"{name}@autobot.local", **fields}


async def create(admin: httpx2.AsyncClient, path: str, name: str, **fields: Any) -> Any:
    response = await admin.post(path, json=new_user(name, **fields))
    assert response.status_code == 201, response.text
    return response.json()


async def test_create(
    admin: httpx2.AsyncClient, site: Site, population: Population, path: str
) -> None:
    response = await admin.post(
        path,
        json={"username": "TestUser", "email": "Test@AutoBot.Local", "password": "TestPass123!"},
    )
    assert response.status_code == 201, response.text
    user = response.json()
    assert set(user) == RESPONSE_FIELDS
    assert response.headers["location"] == f"{path}/{user['id']}"
    assert (await admin.get(response.headers["location"])).json() == user
    assert (user["username"], user["email"]) == ("testuser", "test@autobot.local")
    assert user["display_name"] == "TestUser"
    assert (user["is_active"], user["is_platform_admin"], user["roles"]) == (True, False, [])
    other = next(each for each in Population if each is not population)
    count = "SELECT count(*) FROM users WHERE username = 'testuser'"
    assert site.databases[population].sql(count) == "1"
    assert site.databases[other].sql(count) == "0"
    stored = site.databases[population].sql(
        "SELECT password_hash FROM users WHERE username = 'testuser'"
    )
    assert stored.startswith("$2b$04$")


async def test_create_without_a_password(
    admin: httpx2.AsyncClient, site: Site, population: Population, path: str
) -> None:
    user = await create(admin, path, "marta", display_name="Marta", is_platform_admin=True)
    assert (user["display_name"], user["is_platform_admin"]) == ("Marta", True)
    stored = site.databases[population].sql(
        "SELECT password_hash IS NULL FROM users WHERE username = 'marta'"
    )
    assert stored == "t"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"username": "ab"}, "/username"),
        ({"username": "a" * 101}, "/username"),
        ({"username": "with space"}, "/username"),
        ({"username": "marta\n"}, "/username"),
        ({"username": "märta"}, "/username"),
        ({"username": None}, "/username"),
        ({"email": "no-at-sign"}, "/email"),
        ({"email": "two@@example.org"}, "/email"),
        ({"email": "a..b@example.org"}, "/email"),
        ({"email": "x@example.org\n"}, "/email"),
        ({"email": "x" * 250 + "@y.org"}, "/email"),
        ({"display_name": "nul\0"}, "/display_name"),
        ({"display_name": "x" * 256}, "/display_name"),
        ({"is_admin": "yes"}, "/is_admin"),
        ({"is_admin": True, "is_platform_admin": True}, "/is_platform_admin"),
        ({"org_id": str(uuid.uuid4())}, "/org_id"),
        ({"password_hash": "$2b$04$x"}, "/password_hash"),
    ],
)
async def test_create_names_what_is_not_valid(
    admin: httpx2.AsyncClient, change: dict[str, Any], pointer: str
) -> None:
    response = await admin.post("/api/slm-users", json=new_user("marta") | change)
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["code"] == "validation_error"
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]


@pytest.mark.parametrize(
    "email", ["a@b", "x@autobot.local", "x@host.internal", "x+y@z.test", "o'neil@example.org"]
)
async def test_special_use_domains_are_addresses(admin: httpx2.AsyncClient, email: str) -> None:
    response = await admin.post("/api/slm-users", json=new_user("marta") | {"email": email})
    assert response.status_code == 201, response.text


@pytest.mark.parametrize("password", ["ChangeMe123!", "kurz", "marta-marta-1", "x" * 129])
async def test_create_refuses_a_bad_password(
    admin: httpx2.AsyncClient, site: Site, population: Population, path: str, password: str
) -> None:
    response = await admin.post(path, json=new_user("marta", password=password))
    assert response.status_code == 422
    assert response.json()["code"] == "password_refused"
    assert password not in response.text
    count = "SELECT count(*) FROM users WHERE username = 'marta'"
    assert site.databases[population].sql(count) == "0"


@pytest.mark.parametrize(
    "change", [{"username": "Other"}, {"email": "other@autobot.local"}], ids=["email", "username"]
)
async def test_a_name_is_taken_once_and_freed_by_deleting(
    admin: httpx2.AsyncClient, path: str, change: dict[str, str]
) -> None:
    user = await create(admin, path, "marta")
    again = await admin.post(path, json=new_user("MARTA") | change)
    assert again.status_code == 409
    assert again.json()["code"] == "duplicate"
    assert (await admin.delete(f"{path}/{user['id']}")).status_code == 204
    assert (await admin.post(path, json=new_user("MARTA") | change)).status_code == 201


async def test_of_fifty_at_once_one_gets_the_name(admin: httpx2.AsyncClient, path: str) -> None:
    answers = await asyncio.gather(*(admin.post(path, json=new_user("marta")) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 49


async def test_list_in_pages_newest_first(
    admin: httpx2.AsyncClient, site: Site, population: Population, path: str
) -> None:
    site.databases[population].sql(
        "INSERT INTO users (username, email, created_at) SELECT 'user' || n, 'u' || n || '@x.y', "
        "timestamptz '2020-01-01' + n * interval '1 day' FROM generate_series(1, 7) n"
    )
    query: dict[str, Any] = {"skip": 1, "limit": 3, "search": "USER"}
    answer = (await admin.get(path, params=query)).json()
    assert [user["username"] for user in answer["users"]] == ["user6", "user5", "user4"]
    assert (answer["total"], answer["limit"], answer["offset"]) == (None, 3, 1)
    assert set(answer["users"][0]) == RESPONSE_FIELDS
    assert (await admin.get(path, params=query | {"include_total": True})).json()["total"] == 7
    everybody = (await admin.get(path, params={"include_total": True})).json()
    assert everybody["total"] == len(everybody["users"]) == 7 + (population is Population.SLM)
    assert (everybody["limit"], everybody["offset"]) == (100, 0)


async def test_users_made_at_one_moment_have_an_order_too(
    admin: httpx2.AsyncClient, site: Site, path: str, population: Population
) -> None:
    site.databases[population].sql(
        "INSERT INTO users (username, email, created_at) SELECT 'user' || n, 'u' || n || '@x.y', "
        "timestamptz '2020-01-01' FROM generate_series(1, 20) n"
    )
    seen = [
        (await admin.get(path, params={"skip": n, "limit": 1, "search": "user"})).json()["users"]
        for n in range(20)
    ]
    ids = [page[0]["id"] for page in seen]
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("MAR", {"marta", "omar"}),
        ("marta@", {"marta"}),
        ("captain o'", {"omar"}),
        ("a_b", {"a_b"}),
        ("00%", {"omar"}),
        ("k\\s", {"a_b"}),
        ("nobody", set()),
        # Less than three characters are a beginning.
        ("MA", {"marta"}),
        ("ar", set()),
        ("a_", {"a_b"}),
        ("_", set()),
        ("%", set()),
        ("c", {"omar"}),
        ("", {"marta", "omar", "a_b"}),
    ],
)
async def test_search_takes_no_wildcards(
    admin: httpx2.AsyncClient, search: str, found: set[str]
) -> None:
    path = "/api/autobot-users"
    await create(admin, path, "marta")
    await create(admin, path, "omar", display_name="Captain O'100%")
    await create(admin, path, "a_b", display_name="back\\slash")
    await create(admin, path, "axb")
    query: dict[str, Any] = {"search": search, "include_total": True}
    answer = (await admin.get(path, params=query)).json()
    found = found if search else found | {"axb"}
    assert {user["username"] for user in answer["users"]} == found
    assert answer["total"] == len(found)


async def test_the_list_shows_disabled_users_but_no_deleted_ones(
    admin: httpx2.AsyncClient, path: str
) -> None:
    disabled = await create(admin, path, "disabled")
    deleted = await create(admin, path, "deleted")
    await admin.patch(f"{path}/{disabled['id']}", json={"is_active": False})
    await admin.delete(f"{path}/{deleted['id']}")
    users = (await admin.get(path, params={"search": "ed@"})).json()["users"]
    assert [(user["username"], user["is_active"]) for user in users] == [("disabled", False)]


@pytest.mark.parametrize(
    "query",
    ["skip=-1", "skip=x", "limit=0", "limit=1001", "skip=99999999999999999999", "search=%00"],
)
async def test_a_list_query_is_checked(admin: httpx2.AsyncClient, query: str) -> None:
    response = await admin.get(f"/api/slm-users?{query}")
    assert response.status_code == 422
    [fault] = response.json()["errors"]
    assert fault["in"] == "query"
    assert fault["pointer"] == "/" + query.partition("=")[0]


async def test_totals_are_exact_up_to_a_bound_and_estimated_above(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    def add(first: int, last: int) -> None:
        site.databases[Population.AUTOBOT].sql(
            "INSERT INTO users (username, email) SELECT 'user' || n, 'u' || n || '@x.y' "
            f"FROM generate_series({first}, {last}) n"
        )

    async def total() -> Any:
        params: dict[str, str | int] = {"limit": 1, "search": "user", "include_total": True}
        return (await admin.get("/api/autobot-users", params=params)).json()["total"]

    add(1, 10_000)
    assert await total() == 10_000
    add(10_001, 40_000)
    site.databases[Population.AUTOBOT].sql("ANALYZE users")
    assert 20_000 < await total() < 80_000


async def test_update_every_field(admin: httpx2.AsyncClient, path: str) -> None:
    user = await create(admin, path, "marta")
    changes = {
        "email": "New@AutoBot.Local",
        "username": "Marta_2",
        "display_name": "Marta the second",
        "bio": "line\nline",
        "avatar_url": "https://autobot.local/m.png",
        "preferences": {"theme": "dark", "chat": {"size": 1.5, "on": [True, None]}},
        "is_active": False,
        "is_admin": True,
    }
    response = await admin.patch(f"{path}/{user['id']}", json=changes)
    assert response.status_code == 200, response.text
    updated = response.json()
    changes |= {"email": "new@autobot.local", "username": "marta_2"}
    changes["is_platform_admin"] = changes.pop("is_admin")
    assert {name: updated[name] for name in changes} == changes
    assert updated["updated_at"] > user["updated_at"]
    assert (await admin.get(f"{path}/{user['id']}")).json() == updated


async def test_update_nothing(
    admin: httpx2.AsyncClient, site: Site, population: Population, path: str
) -> None:
    user = await create(admin, path, "marta")
    same = {"username": "MARTA", "email": "MARTA@autobot.local", "is_active": True}
    for changes in ({}, same):
        response = await admin.patch(f"{path}/{user['id']}", json=changes)
        assert (response.status_code, response.json()) == (200, user)
    assert site.audit(population, "user_updated") == []


async def test_texts_can_be_cleared_and_others_cannot(admin: httpx2.AsyncClient) -> None:
    user = await create(admin, "/api/slm-users", "marta")
    where = f"/api/slm-users/{user['id']}"
    texts = {"display_name": None, "bio": None, "avatar_url": None}
    assert (await admin.patch(where, json=texts)).status_code == 200
    for name in ("email", "username", "preferences", "is_active", "is_admin"):
        assert (await admin.patch(where, json={name: None})).status_code == 422, name


@pytest.mark.parametrize(
    "changes",
    [
        {"password": "TestPass123!"},
        {"password_hash": "x"},
        {"is_verified": True},
        {"id": str(uuid.uuid4())},
        {"is_active": 1},
        {"email": "no-at-sign"},
        {"username": "ab"},
        {"bio": "nul\0"},
        {"bio": "x" * 501},
        {"avatar_url": "javascript:alert(1)"},
        {"preferences": {"key": "nul\0"}},
        {"preferences": {"nul\0": 1}},
        {"preferences": []},
    ],
)
async def test_update_refuses_what_is_not_valid(
    admin: httpx2.AsyncClient, changes: dict[str, Any]
) -> None:
    user = await create(admin, "/api/slm-users", "marta")
    response = await admin.patch(f"/api/slm-users/{user['id']}", json=changes)
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"].startswith(f"/{next(iter(changes))}")


@pytest.mark.parametrize(
    "value", ['"\\ud800"', "NaN", "1e999", "[" * 40 + "]" * 40, '{"\\ud800": 1}']
)
async def test_preferences_are_what_the_database_can_hold(
    admin: httpx2.AsyncClient, value: str
) -> None:
    user = await create(admin, "/api/slm-users", "marta")
    response = await admin.patch(
        f"/api/slm-users/{user['id']}",
        content=f'{{"preferences": {{"key": {value}}}}}',
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 422, response.text


async def test_an_unchanged_address_need_not_meet_todays_rule(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    user = await create(admin, "/api/slm-users", "marta")
    site.databases[Population.SLM].sql(
        "UPDATE users SET email = 'Märta @old' WHERE username = 'marta'"
    )
    where = f"/api/slm-users/{user['id']}"
    kept = await admin.patch(where, json={"email": "Märta @old", "bio": "still here"})
    assert (kept.status_code, kept.json()["email"]) == (200, "Märta @old")
    changed = await admin.patch(where, json={"email": "märta @older"})
    assert changed.status_code == 422
    assert changed.json()["errors"][0]["pointer"] == "/email"


async def test_update_to_a_taken_name(admin: httpx2.AsyncClient, path: str) -> None:
    await create(admin, path, "marta")
    other = await create(admin, path, "other")
    for change in ({"username": "MARTA"}, {"email": "Marta@autobot.local"}):
        response = await admin.patch(f"{path}/{other['id']}", json=change)
        assert (response.status_code, response.json()["code"]) == (409, "duplicate")


async def test_delete_is_soft(
    admin: httpx2.AsyncClient, site: Site, population: Population, path: str
) -> None:
    user = await create(admin, path, "marta")
    response = await admin.delete(f"{path}/{user['id']}")
    assert (response.status_code, response.content) == (204, b"")
    row = site.databases[population].sql(
        "SELECT deleted_at IS NOT NULL, is_active FROM users WHERE username = 'marta'"
    )
    assert row == "t|f"


async def test_what_is_not_there_is_not_found(admin: httpx2.AsyncClient, path: str) -> None:
    deleted = await create(admin, path, "marta")
    await admin.delete(f"{path}/{deleted['id']}")
    for user_id in (uuid.uuid4(), deleted["id"]):
        for method, body in (("GET", None), ("PATCH", {"bio": "x"}), ("DELETE", None)):
            response = await admin.request(method, f"{path}/{user_id}", json=body)
            assert (response.status_code, response.json()["detail"]) == (404, "User not found.")
    assert (await admin.get(f"{path}/not-a-uuid")).status_code == 422


async def test_roles_are_shown_highest_first(
    admin: httpx2.AsyncClient, site: Site, population: Population, path: str
) -> None:
    user = await create(admin, path, "marta")
    site.databases[population].sql(
        "INSERT INTO roles (name, priority, is_system) VALUES ('low', 1, true), ('high', 9, false);"
        f"INSERT INTO user_roles (user_id, role_id) SELECT '{user['id']}', id FROM roles"
        " WHERE name IN ('low', 'high')"
    )
    for shown in (
        (await admin.get(f"{path}/{user['id']}")).json(),
        (await admin.get(path, params={"search": "marta"})).json()["users"][0],
        (await admin.patch(f"{path}/{user['id']}", json={"bio": "x"})).json(),
    ):
        assert [role["name"] for role in shown["roles"]] == ["high", "low"]
        assert set(shown["roles"][0]) == {"id", "name", "description", "is_system"}


async def test_only_administrators_of_the_fleet(site: Site, path: str) -> None:
    await site.add_user(Population.SLM, "marta")
    headers = await site.login("marta")
    requests = [
        ("POST", path, new_user("other")),
        ("GET", path, None),
        ("GET", f"{path}/{uuid.uuid4()}", None),
        ("PATCH", f"{path}/{uuid.uuid4()}", {"is_admin": True}),
        ("DELETE", f"{path}/{uuid.uuid4()}", None),
    ]
    for method, where, body in requests:
        denied = await site.client.request(method, where, json=body, headers=headers)
        assert (denied.status_code, denied.json()["code"]) == (403, "permission_denied")
        unknown = await site.client.request(method, where, json=body)
        assert (unknown.status_code, unknown.json()["code"]) == (401, "not_authenticated")


@pytest.mark.parametrize("way", ["disable", "delete", "demote"])
async def test_what_happens_to_an_administrator_acts_on_the_next_request(
    admin: httpx2.AsyncClient, site: Site, way: str
) -> None:
    user_id = await site.add_user(Population.SLM, "marta", is_admin=True)
    headers = await site.login("marta")
    assert (await site.client.get("/api/slm-users", headers=headers)).status_code == 200
    where = f"/api/slm-users/{user_id}"
    if way == "delete":
        assert (await admin.delete(where)).status_code == 204
    else:
        change = {"is_active": False} if way == "disable" else {"is_admin": False}
        assert (await admin.patch(where, json=change)).status_code == 200
    refused = await site.client.get("/api/slm-users", headers=headers)
    assert refused.status_code == 401
    if way == "disable":
        await admin.patch(where, json={"is_active": True})
        still = await site.client.get("/api/slm-auth/me", headers=headers)
        assert still.status_code == 401, "the session ended, it did not pause"
        assert (await site.try_login("marta")).status_code == 200


async def test_sessions_of_application_users_end_too(admin: httpx2.AsyncClient, site: Site) -> None:
    for way in ("disable", "delete"):
        user_id = await site.add_user(Population.AUTOBOT, way)
        site.databases[Population.AUTOBOT].sql(
            "INSERT INTO auth_sessions (user_id, expires_at) "
            f"VALUES ('{user_id}', now() + interval '1 hour')"
        )
        where = f"/api/autobot-users/{user_id}"
        if way == "disable":
            await admin.patch(where, json={"is_active": False})
        else:
            await admin.delete(where)
    ended = site.databases[Population.AUTOBOT].sql(
        "SELECT end_reason FROM auth_sessions WHERE ended_at IS NOT NULL ORDER BY created_at"
    )
    assert ended.split() == ["user_deactivated", "user_deleted"]


async def only_administrator(admin: httpx2.AsyncClient, site: Site, population: Population) -> str:
    """Path of the population's only administrator."""
    if population is Population.AUTOBOT:
        await site.add_user(population, site.administrator, is_admin=True)
    found = await admin.get(f"/api/{population}-users", params={"search": site.administrator})
    return f"/api/{population}-users/{found.json()['users'][0]['id']}"


async def test_the_last_administrator_stays(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    where = await only_administrator(admin, site, population)
    await site.add_user(population, "disabled_admin", is_admin=True)
    site.databases[population].sql(
        "UPDATE users SET is_active = false WHERE username = 'disabled_admin'"
    )
    for method, body in (
        ("DELETE", None),
        ("PATCH", {"is_active": False}),
        ("PATCH", {"is_admin": False}),
    ):
        response = await admin.request(method, where, json=body)
        assert (response.status_code, response.json()["code"]) == (409, "last_administrator")
    harmless = {"bio": "x", "is_active": True, "is_admin": True}
    assert (await admin.patch(where, json=harmless)).status_code == 200


async def test_an_administrator_who_cannot_log_in_does_not_count(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    where = await only_administrator(admin, site, population)
    powerless = await site.add_user(population, "powerless", is_admin=True, password=None)
    assert (await admin.delete(where)).status_code == 409
    assert (await admin.delete(f"/api/{population}-users/{powerless}")).status_code == 204


async def test_of_two_administrators_removed_at_once_one_stays(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    path = "/api/autobot-users"
    ways = [
        lambda user: admin.delete(f"{path}/{user}"),
        lambda user: admin.patch(f"{path}/{user}", json={"is_active": False}),
        lambda user: admin.patch(f"{path}/{user}", json={"is_admin": False}),
    ]
    for number in range(9):
        users = [
            await site.add_user(Population.AUTOBOT, f"admin_{number}_{n}", is_admin=True)
            for n in range(2)
        ]
        answers = await asyncio.gather(
            ways[number % 3](users[0]), ways[(number // 3) % 3](users[1])
        )
        assert sorted(answer.status_code for answer in answers)[1] == 409
        site.databases[Population.AUTOBOT].sql("UPDATE users SET is_platform_admin = false")


@pytest.mark.parametrize("population", list(Population))
async def test_roles_are_given_by_those_only_who_manage_roles(
    site: Site, population: Population
) -> None:
    role_id = site.add_role(population, "watch", ["users:read"])
    held = ["users:create", "users:read"]
    await site.add_user(Population.SLM, "clerk", permissions=held)
    await site.add_user(Population.SLM, "manager", permissions=[*held, "admin:users"])
    for caller, status in (("clerk", 403), ("manager", 201)):
        response = await site.client.post(
            f"/api/{population}-users",
            json=new_user("marta") | {"role_ids": [str(role_id)]},
            headers=await site.login(caller),
        )
        assert response.status_code == status, response.text


@pytest.mark.parametrize("population", list(Population))
async def test_a_role_that_becomes_more_during_the_hash_is_not_given(
    site: Site, population: Population, during_the_hash: Callable[[Population, str], None]
) -> None:
    role_id = site.add_role(population, "watch", ["users:read"])
    held = ["users:create", "users:read", "admin:users"]
    await site.add_user(Population.SLM, "manager", permissions=held)
    headers = await site.login("manager")
    during_the_hash(
        population,
        f"INSERT INTO role_permissions SELECT '{role_id}', id FROM permissions"
        " WHERE name = 'users:delete'",
    )
    response = await site.client.post(
        f"/api/{population}-users",
        json=new_user("marta") | {"role_ids": [str(role_id)], "password": site.password},
        headers=headers,
    )
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")
    names = site.databases[population].sql("SELECT username FROM users")
    assert "marta" not in names.splitlines()


async def test_who_may_not_delete_an_administrator_does_not_learn_that_it_is_the_last(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    await site.add_user(Population.SLM, "clerk", permissions=["users:delete"])
    found = await admin.get("/api/slm-users", params={"search": site.administrator})
    where = f"/api/slm-users/{found.json()['users'][0]['id']}"
    refused = await site.client.delete(where, headers=await site.login("clerk"))
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
