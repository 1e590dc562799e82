"""Pages by cursor, filters, and what a list costs."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from tests.support.applications import Databases, RunSite, Site
from user_management.population import Population
from user_management.services import user_search

PATH = "/api/autobot-users"


def add_users(site: Site, count: int, moment: str = "timestamptz '2020-01-01'") -> None:
    site.databases[Population.AUTOBOT].sql(
        "INSERT INTO users (username, email, created_at) SELECT 'user' || n, 'u' || n || '@x.y', "
        f"{moment} FROM generate_series(1, {count}) n"
    )


async def pages(client: httpx2.AsyncClient, **params: Any) -> AsyncIterator[dict[str, Any]]:
    """All pages, following the cursors."""
    while True:
        response = await client.get(PATH, params=params)
        assert response.status_code == 200, response.text
        answer = response.json()
        yield answer
        if answer["next_cursor"] is None:
            return
        params["cursor"] = answer["next_cursor"]


@pytest.mark.parametrize("moment", ["timestamptz '2020-01-01'", "now() - n * interval '1 day'"])
async def test_cursors_lead_through_the_whole_list_once(
    admin: httpx2.AsyncClient, site: Site, moment: str
) -> None:
    add_users(site, 23, moment)
    whole = (await admin.get(PATH)).json()
    assert whole["next_cursor"] is None
    seen = [page["users"] async for page in pages(admin, limit=5)]
    assert [len(users) for users in seen] == [5, 5, 5, 5, 3]
    assert [user for users in seen for user in users] == whole["users"]


async def test_a_list_shows_of_a_user_what_is_shown_of_them_alone(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    site.databases[Population.AUTOBOT].sql(
        """
        INSERT INTO organizations (name, slug) VALUES ('Books', 'books');
        INSERT INTO roles (name, description, priority) VALUES
            ('b', 'second of equals', 5), ('a', 'first of equals', 5), ('z', NULL, 9);
        INSERT INTO users (username, email) VALUES ('bare', 'bare@x.y');
        INSERT INTO users (
            username, email, display_name, bio, avatar_url, org_id, is_active, is_verified,
            mfa_enabled, is_platform_admin, preferences, last_login_at, created_at, updated_at
        ) SELECT
            'whole', 'whole@xn--bcher-kva.example', 'Wanda Whole', 'ä', '/wanda.png', id, false,
            true, true, true, '{"a": [1, null, {"ü": 0.5}]}', '2001-01-01', 'infinity',
            '0044-03-15 BC'
        FROM organizations;
        INSERT INTO user_roles (user_id, role_id)
        SELECT u.id, r.id FROM users u, roles r
        WHERE u.username = 'whole' AND r.name IN ('a', 'b', 'z')
        """
    )
    users = (await admin.get(PATH)).json()["users"]
    assert users == [(await admin.get(f"{PATH}/{user['id']}")).json() for user in users]
    whole = users[0]
    assert None not in whole.values()
    assert whole["email"] == "whole@bücher.example"
    assert [role["name"] for role in whole["roles"]] == ["z", "a", "b"]


async def test_a_full_last_page_leads_nowhere(admin: httpx2.AsyncClient, site: Site) -> None:
    add_users(site, 4)
    answer = (await admin.get(PATH, params={"limit": 4})).json()
    assert (len(answer["users"]), answer["next_cursor"]) == (4, None)


async def test_what_is_added_or_removed_meanwhile_moves_no_page(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    add_users(site, 6, "now() - n * interval '1 day'")
    first = (await admin.get(PATH, params={"limit": 3})).json()
    site.databases[Population.AUTOBOT].sql(
        "INSERT INTO users (username, email) VALUES ('newest', 'n@x.y');"
        f"UPDATE users SET deleted_at = now() WHERE id = '{first['users'][2]['id']}'"
    )
    params = {"limit": 3, "cursor": first["next_cursor"]}
    second = (await admin.get(PATH, params=params)).json()
    assert [user["username"] for user in second["users"]] == ["user4", "user5", "user6"]


def forged(cursor: str) -> Iterator[str]:
    yield "x"
    yield cursor[:-4]
    yield cursor + "AAAA"
    data = bytearray(base64.urlsafe_b64decode(cursor))
    for position in (0, 9, len(data) - 1):
        changed = bytearray(data)
        changed[position] ^= 1
        yield base64.urlsafe_b64encode(bytes(changed)).decode()
    yield "%00"
    yield "é" * 8


async def test_forged_cursors_are_refused(admin: httpx2.AsyncClient, site: Site) -> None:
    add_users(site, 3)
    cursor = (await admin.get(PATH, params={"limit": 1})).json()["next_cursor"]
    for wrong in forged(cursor):
        response = await admin.get(PATH, params={"cursor": wrong})
        assert response.status_code == 422, wrong
        [fault] = response.json()["errors"]
        assert (fault["in"], fault["pointer"]) == ("query", "/cursor")


async def test_a_cursor_of_another_installation_is_refused(
    admin: httpx2.AsyncClient, site: Site, databases: Databases, run_site: RunSite
) -> None:
    add_users(site, 3)
    cursor = (await admin.get(PATH, params={"limit": 1})).json()["next_cursor"]
    async with run_site(databases) as other:
        headers = await other.login(other.administrator)
        response = await other.client.get(PATH, params={"cursor": cursor}, headers=headers)
    assert response.status_code == 422


SORTS = [
    *("-created_at", "created_at", "username", "-username"),
    *("email", "-email", "last_login_at", "-last_login_at"),
]
each_sort = pytest.mark.parametrize("sort", SORTS)
EARLY = datetime.min.replace(tzinfo=UTC)


def add_people(site: Site) -> None:
    """Thirty people: neither names nor moments are in the order of the others, three share each
    moment, every fifth never logged in, every seventh is deleted.
    """
    site.databases[Population.AUTOBOT].sql(
        "INSERT INTO users (username, email, created_at, last_login_at, deleted_at) SELECT"
        " 'user' || n * 7 % 31 || '_', 'u' || n * 11 % 31 || '@x.y',"
        " timestamptz '2020-01-01' + n % 10 * interval '1 day',"
        " CASE WHEN n % 5 > 0 THEN timestamptz '2021-01-01' + n * 3 % 8 * interval '1 s' END,"
        " CASE WHEN n % 7 = 0 THEN now() END FROM generate_series(1, 30) n"
    )


def in_order(users: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """What the documentation says of the order."""
    column = sort.removeprefix("-")

    def place(user: dict[str, Any]) -> tuple[Any, uuid.UUID]:
        value = user[column]
        if column.endswith("_at"):
            value = EARLY if value is None else datetime.fromisoformat(value)
        return value, uuid.UUID(user["id"])

    return sorted(users, key=place, reverse=sort.startswith("-"))


@each_sort
async def test_each_order_is_whole_by_cursors_and_by_skip(
    admin: httpx2.AsyncClient, site: Site, sort: str
) -> None:
    add_people(site)
    everybody = (await admin.get(PATH)).json()["users"]
    assert len(everybody) == 26
    expected = in_order(everybody, sort)
    assert (await admin.get(PATH, params={"sort": sort})).json()["users"] == expected
    by_cursor = [page["users"] async for page in pages(admin, sort=sort, limit=4)]
    assert [user for users in by_cursor for user in users] == expected
    skipped = await admin.get(PATH, params={"sort": sort, "skip": 5, "limit": 7})
    assert skipped.json()["users"] == expected[5:12]


@each_sort
async def test_each_order_goes_with_each_filter(
    admin: httpx2.AsyncClient, site: Site, monkeypatch: pytest.MonkeyPatch, sort: str
) -> None:
    """Of the window alone, and beyond it."""
    add_people(site)
    site.databases[Population.AUTOBOT].sql(
        "UPDATE users SET is_active = false WHERE username < 'user2'"
    )
    users = (await admin.get(PATH)).json()["users"]
    meant = in_order([user for user in users if not user["is_active"]], sort)
    assert 5 < len(meant) < len(users)
    for window in (3, 10_000):
        monkeypatch.setattr(user_search, "WINDOW", window)
        params = {"sort": sort, "is_active": False, "search": "user", "limit": 4}
        found = [page["users"] async for page in pages(admin, **params)]
        assert [user for users in found for user in users] == meant


@each_sort
async def test_whoever_comes_in_between_moves_nobody(
    admin: httpx2.AsyncClient, site: Site, sort: str
) -> None:
    add_people(site)
    expected = in_order((await admin.get(PATH)).json()["users"], sort)
    first = (await admin.get(PATH, params={"sort": sort, "limit": 10})).json()
    sql = site.databases[Population.AUTOBOT].sql
    # Before all that was shown, and behind everybody.
    last = sort.startswith("-")
    for name, moment, login in (("a", "1999-01-01", "NULL"), ("z", "2999-01-01", "'2999-01-01'")):
        sql(
            "INSERT INTO users (username, email, created_at, last_login_at)"
            f" VALUES ('{name}', '{name}@x.y', '{moment}', {login})"
        )
    sql(f"UPDATE users SET deleted_at = now() WHERE id = '{expected[9]['id']}'")
    params = {"sort": sort, "limit": 100, "cursor": first["next_cursor"]}
    rest = (await admin.get(PATH, params=params)).json()["users"]
    names = [user["username"] for user in rest]
    behind = "a" if last else "z"
    assert ("a" if not last else "z") not in names or sort == "last_login_at"
    assert behind in names
    assert [name for name in names if name not in ("a", "z")] == [
        user["username"] for user in expected[10:]
    ]


@each_sort
async def test_a_cursor_belongs_to_its_order(
    admin: httpx2.AsyncClient, site: Site, sort: str
) -> None:
    add_people(site)
    params: dict[str, str | int] = {"sort": sort, "limit": 1}
    cursor = (await admin.get(PATH, params=params)).json()["next_cursor"]
    for other in SORTS:
        response = await admin.get(PATH, params={"sort": other, "cursor": cursor})
        assert response.status_code == (200 if other == sort else 422), other
        if other != sort:
            [fault] = response.json()["errors"]
            assert (fault["in"], fault["pointer"]) == ("query", "/cursor")
    others = await admin.get("/api/organizations", params={"cursor": cursor})
    assert others.status_code == (200 if sort == "-created_at" else 422)


@pytest.mark.parametrize("sort", ["display_name", "USERNAME", "--email", "", "username,email"])
async def test_an_unknown_order_is_refused(admin: httpx2.AsyncClient, sort: str) -> None:
    response = await admin.get(PATH, params={"sort": sort})
    assert response.status_code == 422
    [fault] = response.json()["errors"]
    assert (fault["in"], fault["pointer"]) == ("query", "/sort")


@pytest.mark.parametrize("name", ["é" * 255, "", "a:b", "\U0001f600" * 255])
async def test_a_cursor_holds_whatever_is_stored_as_an_address(
    admin: httpx2.AsyncClient, site: Site, name: str
) -> None:
    site.databases[Population.AUTOBOT].sql(
        "INSERT INTO users (username, email) VALUES"
        f" ('one', '{name}'), ('two', '{name[:-1]}\U0001f601')"
    )
    found = [page["users"] async for page in pages(admin, sort="email", limit=1)]
    assert [[user["username"] for user in users] for users in found] == [["one"], ["two"]]


@each_sort
async def test_who_is_limited_to_an_organization_sorts_its_users(site: Site, sort: str) -> None:
    add_people(site)
    org_id = site.add_organization("acme")
    site.databases[Population.AUTOBOT].sql(
        f"UPDATE users SET org_id = '{org_id}' WHERE username LIKE '%1%'"
    )
    await site.administrate()
    await site.add_user(Population.SLM, "helper", org_id=org_id, permissions=["users:read"])
    site.client.headers |= await site.login("helper")
    everybody = (await site.client.get(PATH)).json()["users"]
    assert len(everybody) > 5
    found = [page["users"] async for page in pages(site.client, sort=sort, limit=2)]
    assert [user for users in found for user in users] == in_order(everybody, sort)


async def test_either_a_cursor_or_skip(admin: httpx2.AsyncClient, site: Site) -> None:
    add_users(site, 3)
    cursor = (await admin.get(PATH, params={"limit": 1})).json()["next_cursor"]
    response = await admin.get(PATH, params={"cursor": cursor, "skip": 1})
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "/skip")


async def test_nothing_is_counted_unless_asked_for(
    admin: httpx2.AsyncClient, site: Site, statements: list[str]
) -> None:
    add_users(site, 3)
    await admin.get(PATH, params={"search": "user"})
    assert not any("count(" in statement.lower() for statement in statements)
    await admin.get(PATH, params={"search": "user", "include_total": "true"})
    assert any("count(" in statement.lower() for statement in statements)


async def names(client: httpx2.AsyncClient, **params: Any) -> set[str]:
    response = await client.get(PATH, params=params)
    assert response.status_code == 200, response.text
    return {user["username"] for user in response.json()["users"]}


async def test_filters(admin: httpx2.AsyncClient, site: Site) -> None:
    ids = {name: str(uuid.uuid4()) for name in ("ada", "bob", "cay", "org", "team", "role")}
    now = datetime.now(UTC)
    site.databases[Population.AUTOBOT].sql(
        f"""
        INSERT INTO organizations (id, name, slug) VALUES ('{ids["org"]}', 'Acme', 'acme');
        INSERT INTO users (id, username, email, is_active, org_id, last_login_at) VALUES
            ('{ids["ada"]}', 'ada', 'ada@x.y', true, '{ids["org"]}', now() - interval '1 day'),
            ('{ids["bob"]}', 'bob', 'bob@x.y', false, NULL, now() - interval '10 days'),
            ('{ids["cay"]}', 'cay', 'cay@x.y', true, NULL, NULL);
        INSERT INTO teams (id, org_id, name) VALUES ('{ids["team"]}', '{ids["org"]}', 'Crew');
        INSERT INTO team_memberships (team_id, user_id) VALUES ('{ids["team"]}', '{ids["ada"]}');
        INSERT INTO user_roles (user_id, role_id)
            SELECT '{ids["bob"]}', id FROM roles WHERE name = 'readonly';
        """
    )
    week_ago = (now - timedelta(days=7)).isoformat()
    assert await names(admin, is_active=True) == {"ada", "cay"}
    assert await names(admin, is_active=False) == {"bob"}
    assert await names(admin, role="readonly") == {"bob"}
    assert await names(admin, role="admin") == set()
    assert await names(admin, org_id=ids["org"]) == {"ada"}
    assert await names(admin, team_id=ids["team"]) == {"ada"}
    assert await names(admin, last_login_before=week_ago) == {"bob"}
    assert await names(admin, last_login_after=week_ago) == {"ada"}
    assert await names(admin, is_active=True, last_login_after=week_ago, search="a") == {"ada"}


@pytest.mark.parametrize(
    "query",
    [
        {"last_login_before": "2026-01-01T00:00:00"},
        {"last_login_after": "yesterday"},
        {"last_login_after": "9999999999999999"},
        {"org_id": "acme"},
        {"team_id": "x"},
        {"role": "a\0b"},
        {"is_active": "perhaps"},
        {"include_total": "maybe"},
    ],
)
async def test_filters_that_make_no_sense_are_refused(
    admin: httpx2.AsyncClient, query: dict[str, str]
) -> None:
    response = await admin.get(PATH, params=query)
    assert response.status_code == 422, response.text
    assert response.json()["errors"][0]["pointer"] == f"/{next(iter(query))}"


async def test_fifty_creations_of_one_name_make_one_user(admin: httpx2.AsyncClient) -> None:
    new = {"username": "marta", "email": "marta@autobot.local"}
    answers = await asyncio.gather(*(admin.post(PATH, json=new) for _ in range(50)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201] + [409] * 49
