"""Names of roles that AutoBot gives a meaning: nobody gives one who has not as much of it."""

from collections.abc import Iterable
from typing import Any

import httpx2
import pytest

from tests.support.applications import Site
from user_management.autobot_roles import RANKED, AutobotRole
from user_management.population import Population

SLM, AUTOBOT = Population.SLM, Population.AUTOBOT
# All that managing users and their roles takes, and nothing that `operator` needs to allow.
MANAGER = ("users:read", "users:create", "users:update", "users:delete", "admin:users")
RESERVED = ("operator", "Operator", "OPERATOR", "\uff4fperator", "analyst", "editor", "Admin")


@pytest.fixture(params=Population)
def population(request: pytest.FixtureRequest) -> Population:
    population: Population = request.param
    return population


async def manager(site: Site, *, roles: Iterable[str] = (), **limits: Any) -> httpx2.AsyncClient:
    """A client of a fleet administrator who manages users, with more roles of their own."""
    await site.add_user(SLM, "marta", permissions=MANAGER, roles=roles, **limits)
    site.client.headers.update(await site.login("marta"))
    return site.client


def refused(response: httpx2.Response) -> bool:
    problem = response.json()
    assert (response.status_code, problem["code"]) == (403, "permission_denied"), response.text
    assert "AutoBot" in problem["detail"]
    return True


@pytest.mark.parametrize("name", RESERVED)
async def test_who_has_no_rank_makes_no_role_of_that_name(
    site: Site, population: Population, name: str
) -> None:
    client = await manager(site)
    roles = f"/api/{population}-roles"
    assert refused(await client.post(roles, json={"name": name}))
    made = (await client.post(roles, json={"name": "watch"})).json()
    assert refused(await client.patch(f"{roles}/{made['id']}", json={"name": name}))
    # It is the whole name.
    answer = await client.patch(f"{roles}/{made['id']}", json={"name": f"{name} of the night"})
    assert answer.status_code == 200


async def test_nor_one_of_an_organization(site: Site) -> None:
    org_id = site.add_organization("acme")
    client = await manager(site, org_id=org_id)
    assert refused(await client.post("/api/autobot-roles", json={"name": "operator"}))


async def test_nor_gives_it_nor_touches_who_has_it(site: Site, population: Population) -> None:
    role_id = str(site.add_role(population, "operator"))
    other_id = str(site.add_role(population, "watch"))
    holder = await site.add_user(population, "holder", roles=["operator", "watch"])
    plain = await site.add_user(population, "plain")
    client = await manager(site)
    roles, users = f"/api/{population}-roles", f"/api/{population}-users"
    new = {"username": "eve", "email": "eve@autobot.local", "role_ids": [role_id]}
    for answer in (
        await client.post(f"{users}/{plain}/roles", json={"role_id": role_id}),
        await client.post(users, json=new),
        await client.post(f"{users}/{holder}/reset-password"),
        await client.patch(f"{users}/{holder}", json={"email": "eve@autobot.local"}),
        await client.delete(f"{users}/{holder}"),
        await client.delete(f"{users}/{holder}/roles/{role_id}"),
        await client.patch(f"{roles}/{role_id}", json={"permissions": ["users:read"]}),
        await client.patch(f"{roles}/{role_id}", json={"name": "nobody"}),
        await client.delete(f"{roles}/{role_id}"),
        # Whoever has it, has this one too.
        await client.patch(f"{roles}/{other_id}", json={"permissions": ["users:read"]}),
        await client.delete(f"{roles}/{other_id}"),
    ):
        assert refused(answer)
    # What says nothing to AutoBot goes on.
    answer = await client.post(f"{users}/{plain}/roles", json={"role_id": other_id})
    assert answer.status_code == 201
    assert (await client.post(f"{users}/{plain}/reset-password")).status_code == 200


@pytest.mark.parametrize("held", RANKED)
async def test_who_has_a_rank_gives_it_and_those_below(
    site: Site, population: Population, held: str
) -> None:
    for name in RANKED:
        if name is not AutobotRole.ADMIN:
            for each in Population:
                site.add_role(each, name)
    given = await site.add_user(population, "plain")
    holders = {name: await site.add_user(population, name, roles=[name]) for name in RANKED}
    client = await manager(site, roles=[held])
    if held is not AutobotRole.ADMIN:
        # Permissions are another matter: `admin` has all of them.
        site.databases[population].sql(
            "DELETE FROM role_permissions USING roles"
            " WHERE role_id = roles.id AND roles.name = 'admin'"
        )
    users, roles = f"/api/{population}-users", f"/api/{population}-roles"
    found = (await client.get(roles)).json()["roles"]
    ids = {role["name"]: role["id"] for role in found}
    for rank, name in enumerate(RANKED):
        answers = [
            await client.post(f"{users}/{given}/roles", json={"role_id": ids[name]}),
            await client.post(f"{users}/{holders[name]}/reset-password"),
        ]
        if rank <= RANKED.index(held):
            assert [answer.status_code for answer in answers] == [201, 200], name
        else:
            assert all(refused(answer) for answer in answers), name


async def test_a_role_of_an_organization_gives_no_rank(site: Site) -> None:
    org_id = site.add_organization("acme")
    site.add_role(AUTOBOT, "operator", org_id=org_id)
    holder = await site.add_user(AUTOBOT, "holder", org_id=org_id, roles=["operator"])
    client = await manager(site)
    answer = await client.post(f"/api/autobot-users/{holder}/reset-password")
    assert answer.status_code == 200


async def test_a_platform_administrator_gives_every_rank(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    holder = await site.add_user(population, "holder")
    for name in ("operator", "analyst", "editor"):
        made = (await admin.post(f"/api/{population}-roles", json={"name": name})).json()
        answer = await admin.post(
            f"/api/{population}-users/{holder}/roles", json={"role_id": made["id"]}
        )
        assert answer.status_code == 201
    answer = await admin.post(f"/api/{population}-users/{holder}/reset-password")
    assert answer.status_code == 200


async def test_a_word_that_only_looks_like_one_gives_its_holder_nothing(site: Site) -> None:
    site.add_role(SLM, "Operator")
    client = await manager(site, roles=["Operator"])
    assert refused(await client.post("/api/autobot-roles", json={"name": "editor"}))
