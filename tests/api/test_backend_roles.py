"""The one role that AutoBot is told, derived from those that a user has."""

from typing import Any
from uuid import UUID

import httpx2
import pytest
from jose import jwt

from tests.support.applications import Backend, Site
from user_management.population import Population

AUTOBOT = Population.AUTOBOT
OF_THE_SITE = ("operator", "analyst", "editor", "Admin", "administrator", "Member")

# What somebody has, with whether they belong to an organization → what AutoBot is told.
CASES: dict[str, tuple[dict[str, Any], bool, str]] = {
    "platform administrator": ({"is_admin": True}, False, "admin"),
    "platform administrator of an organization": ({"is_admin": True}, True, "admin"),
    "platform administrator with a lower role": (
        {"is_admin": True, "roles": ["readonly"]},
        False,
        "admin",
    ),
    **{
        name: ({"roles": [name]}, False, name)
        for name in ("admin", "operator", "analyst", "editor", "user", "readonly")
    },
    "no role": ({}, False, "user"),
    "no role in an organization": ({}, True, "user"),
    "several": ({"roles": ["readonly", "editor", "operator", "user"]}, False, "operator"),
    "the two lowest": ({"roles": ["readonly", "user"]}, False, "user"),
    "analyst before editor": ({"roles": ["editor", "analyst"]}, False, "analyst"),
    "one that AutoBot does not know": ({"roles": ["Member"]}, False, "readonly"),
    "names are read to the letter": ({"roles": ["Admin", "administrator"]}, False, "readonly"),
    "one known and one not": ({"roles": ["Member", "editor"]}, False, "editor"),
    "permissions and no known name": (
        {"permissions": ["admin:access", "users:create"]},
        False,
        "readonly",
    ),
    **{
        f"{name} in an organization": ({"roles": [name]}, True, told)
        for name, told in {
            "admin": "user",
            "operator": "user",
            "analyst": "user",
            "editor": "user",
            "user": "user",
            "readonly": "readonly",
            "Member": "readonly",
        }.items()
    },
}


@pytest.fixture
def organization(site: Site) -> UUID:
    """An organization, and roles of the site."""
    for name in OF_THE_SITE:
        site.add_role(AUTOBOT, name)
    return site.add_organization("acme")


async def told(backend: Backend, username: str) -> set[str | None]:
    """Every role that AutoBot is told when the user logs in and goes on."""
    login = await backend.enter(username)
    headers = backend.bearer(login["token"])
    me = await backend.me(headers)
    check = await backend.check(headers)
    by_token = await backend.client.post("/api/auth/refresh", headers=headers)
    by_refresh_token = await backend.refresh(login["refresh_token"])
    tokens = [login, by_token.json(), by_refresh_token.json()]
    return {
        *(login["user"]["role"], me.json()["role"], check["role"]),
        *(jwt.get_unverified_claims(answer["token"])["role"] for answer in tokens),
    }


@pytest.mark.parametrize("case", CASES)
async def test_what_autobot_is_told(
    site: Site, backend: Backend, organization: UUID, case: str
) -> None:
    has, is_member, expected = CASES[case]
    org_id = organization if is_member else None
    await site.add_user(AUTOBOT, "marta", org_id=org_id, **has)
    assert await told(backend, "marta") == {expected}


@pytest.mark.parametrize("name", ["admin", "operator", "user"])
@pytest.mark.parametrize(
    ("others", "expected"), [([], "readonly"), (["readonly"], "readonly"), (["user"], "user")]
)
async def test_an_organization_names_its_roles_as_it_likes(
    site: Site,
    backend: Backend,
    organization: UUID,
    name: str,
    others: list[Any] | list[str],
    expected: str,
) -> None:
    marta = await site.add_user(AUTOBOT, "marta", org_id=organization, roles=others)
    named = site.add_role(AUTOBOT, name, org_id=organization)
    site.databases[AUTOBOT].sql(
        f"INSERT INTO user_roles (user_id, role_id) VALUES ('{marta}', '{named}')"
    )
    assert await told(backend, "marta") == {expected}


async def test_the_roles_of_others_do_not_count(
    site: Site, backend: Backend, organization: UUID
) -> None:
    await site.add_user(AUTOBOT, "marta")
    await site.add_user(AUTOBOT, "other", roles=["admin"])
    await site.add_user(AUTOBOT, "colleague", roles=["readonly"], org_id=organization)
    assert await told(backend, "marta") == {"user"}


@pytest.mark.parametrize("has", [{"is_admin": True}, {"roles": ["operator"]}, {}])
async def test_whoever_must_change_their_password_is_nothing_more_yet(
    site: Site, backend: Backend, organization: UUID, has: dict[str, Any]
) -> None:
    del organization
    marta = await site.add_user(AUTOBOT, "marta", **has)
    site.give_one_time_password(marta, population=AUTOBOT)
    login = await backend.enter("marta")
    headers = backend.bearer(login["token"])
    by_token = await backend.client.post("/api/auth/refresh", headers=headers)
    by_refresh_token = await backend.refresh(login["refresh_token"])
    assert {
        *(login["user"]["role"], (await backend.check(headers))["role"]),
        *(
            jwt.get_unverified_claims(answer["token"])["role"]
            for answer in (login, by_token.json(), by_refresh_token.json())
        ),
    } == {"readonly"}


async def test_nobody_has_no_role(backend: Backend) -> None:
    assert await backend.check({}) == {
        "authenticated": False,
        "role": None,
        "must_change_password": False,
        "auth_enabled": True,
        "deployment_mode": "multi_company",
    }


async def test_a_role_that_the_slm_server_gives_is_seen_by_the_next_request(
    admin: httpx2.AsyncClient, site: Site, backend: Backend, organization: UUID
) -> None:
    del organization
    marta = await site.add_user(AUTOBOT, "marta")
    headers = await backend.login("marta")
    found = (await admin.get("/api/autobot-roles", params={"search": "analyst"})).json()["roles"]
    roles = f"/api/autobot-users/{marta}/roles"
    given = await admin.post(roles, json={"role_id": found[0]["id"]})
    assert given.status_code == 201, given.text
    assert (await backend.me(headers)).json()["role"] == "analyst"
    assert (await backend.check(headers))["role"] == "analyst"
    taken = await admin.delete(f"{roles}/{found[0]['id']}")
    assert taken.status_code in (200, 204), taken.text
    assert (await backend.me(headers)).json()["role"] == "user"


async def test_permissions_are_those_of_all_roles(
    admin: httpx2.AsyncClient, site: Site, backend: Backend
) -> None:
    marta = await site.add_user(AUTOBOT, "marta", roles=["readonly"], permissions=["chat:use"])
    headers = await backend.login("marta")
    readonly = [
        *("chat:history", "files:download", "files:view", "knowledge:read"),
        *("settings:read", "teams:read", "users:read"),
    ]
    assert (await backend.me(headers)).json()["permissions"] == sorted([*readonly, "chat:use"])
    own = site.databases[AUTOBOT].sql("SELECT id FROM roles WHERE name = 'role of marta'")
    await admin.patch(f"/api/autobot-roles/{own}", json={"permissions": []})
    assert (await backend.me(headers)).json()["permissions"] == readonly
    await admin.delete(f"/api/autobot-users/{marta}/roles/{own}")
    assert (await backend.me(headers)).json()["permissions"] == readonly


async def test_a_claim_about_the_role_decides_nothing(site: Site, backend: Backend) -> None:
    marta = await site.add_user(AUTOBOT, "marta", is_admin=True)
    headers = await backend.login("marta")
    site.databases[AUTOBOT].sql(f"UPDATE users SET is_platform_admin = false WHERE id = '{marta}'")
    me = (await backend.me(headers)).json()
    assert (me["role"], me["permissions"]) == ("user", [])
