"""Rows are locked in one order everywhere: those who change the same things wait for each other,
and never for ever.

Each test stops two requests half-way by a third lock, which it then gives back: where they lock in
different orders, each then waits for the other, and the server ends one of them.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from sqlalchemy import text

from tests.support.applications import Site
from user_management.population import Population

AUTOBOT = Population.AUTOBOT
ROLES = "/api/autobot-roles"
USERS = "/api/autobot-users"
TEAMS = "/api/autobot-teams"


@asynccontextmanager
async def held(site: Site, statement: str) -> AsyncIterator[None]:
    """Hold what the statement locks."""
    async with site.resources.databases[AUTOBOT].session() as session:
        await session.execute(text(statement))
        yield


async def stopped_by(
    site: Site, lock: str, *requests: Coroutine[Any, Any, httpx2.Response]
) -> list[httpx2.Response]:
    """Send requests that each wait for something once `lock` is held; their answers."""
    async with held(site, lock):
        sent = []
        for number, request in enumerate(requests, 1):
            sent.append(asyncio.create_task(request))
            await site.waiting(AUTOBOT, number)
    return await asyncio.gather(*sent)


async def test_a_new_role_and_a_new_user_of_the_same_organization(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    org_id = site.add_organization("acme")
    role_id = site.add_role(AUTOBOT, "watch", org_id=org_id)
    user = {
        "username": "marta",
        "email": "marta@autobot.local",
        "org_id": str(org_id),
        "role_ids": [str(role_id)],
    }
    answers = await stopped_by(
        site,
        f"SELECT FROM organizations WHERE id = '{org_id}' FOR SHARE",
        admin.post(USERS, json=user),
        admin.post(ROLES, json={"name": "guard", "org_id": str(org_id)}),
    )
    assert [answer.status_code for answer in answers] == [201, 201]


async def test_a_role_that_is_deleted_and_one_of_its_holders(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    role_id = site.add_role(AUTOBOT, "watch", ["users:read"])
    users = [
        await site.add_user(AUTOBOT, f"captain{n}", is_admin=True, roles=["watch"])
        for n in range(3)
    ]
    low, middle, high = sorted(users)
    for user_id in (high, middle, low):
        # The order in which the rows stand in the table.
        site.databases[AUTOBOT].sql(f"UPDATE users SET bio = 'x' WHERE id = '{user_id}'")
    answers = await stopped_by(
        site,
        f"SELECT FROM users WHERE id = '{middle}' FOR UPDATE",
        admin.delete(f"{ROLES}/{role_id}"),
        admin.patch(f"{USERS}/{high}", json={"is_active": False}),
    )
    assert [answer.status_code for answer in answers] == [204, 200]


async def test_users_who_join_a_team_and_one_of_them_who_is_deleted(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    org_id = site.add_organization("acme")
    users = [await site.add_user(AUTOBOT, f"user{n}", org_id=org_id) for n in range(3)]
    low, middle, high = sorted(users)
    site.databases[AUTOBOT].sql(
        f"UPDATE users SET is_platform_admin = true WHERE id IN ('{middle}', '{high}')"
    )
    team = await admin.post(TEAMS, json={"name": "crew", "organization_id": str(org_id)})
    members = {"add": [{"user_id": str(low)}, {"user_id": str(middle)}]}
    answers = await stopped_by(
        site,
        f"SELECT FROM users WHERE id = '{high}' FOR SHARE",
        admin.delete(f"{USERS}/{low}"),
        admin.patch(f"{TEAMS}/{team.json()['id']}/members", json=members),
    )
    assert [answer.status_code for answer in answers] == [204, 422]


async def test_whoever_waits_for_ever_all_the_same_is_told_to_try_again(site: Site) -> None:
    database = site.resources.databases[AUTOBOT]
    both_hold_one = asyncio.Barrier(2)

    async def lock(first: int, second: int) -> None:
        async with database.session() as session:
            await session.execute(text(f"SELECT pg_advisory_xact_lock({first})"))
            await both_hold_one.wait()
            await session.execute(text(f"SELECT pg_advisory_xact_lock({second})"))

    outcomes = await asyncio.gather(lock(1, 2), lock(2, 1), return_exceptions=True)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == [
        "DatabaseUnavailable",
        "NoneType",
    ]


async def test_a_user_who_joins_an_organization_with_its_team_while_it_is_deleted(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    org_id = site.add_organization("acme")
    user_id = await site.add_user(AUTOBOT, "marta")
    team = await admin.post(TEAMS, json={"name": "crew", "organization_id": str(org_id)})
    answers = await stopped_by(
        site,
        f"SELECT FROM users WHERE id = '{user_id}' FOR UPDATE",
        admin.post(f"{TEAMS}/{team.json()['id']}/members", json={"user_id": str(user_id)}),
        admin.delete(f"/api/organizations/{org_id}"),
    )
    assert [answer.status_code for answer in answers] == [201, 409]
