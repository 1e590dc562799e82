"""Passwords from the first to the last: history, resets, old hashes, and closed organizations."""

import asyncio
import re
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import bcrypt
import httpx2
import pytest

from tests.support.applications import Databases, RunSite, Site
from user_management.database import Database
from user_management.errors import InvalidCredentials, NotAuthenticated
from user_management.population import Population
from user_management.security.tokens import AccessClaims
from user_management.services import RequestContext
from user_management.services.login.caller import authenticate
from user_management.services.login.gate import LoginGate
from user_management.services.login.password_login import PasswordLoginService

PASSWORDS = [f"granite-otter-quilt-{number}" for number in range(20, 30)]


async def change(site: Site, headers: dict[str, str], current: str, new: str) -> httpx2.Response:
    return await site.client.post(
        "/api/slm-auth/change-password",
        headers=headers,
        json={"current_password": current, "new_password": new},
    )


@pytest.fixture(params=Population)
def population(request: pytest.FixtureRequest) -> Population:
    population: Population = request.param
    return population


async def walk(site: Site, headers: dict[str, str], passwords: Iterable[str]) -> None:
    """Change from one password to the next."""
    current = site.password
    for password in passwords:
        response = await change(site, headers, current, password)
        assert response.status_code == 204, response.text
        current = password


async def test_the_last_five_passwords_are_not_used_again(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    headers = await site.login("marta")
    used = PASSWORDS[:6]
    await walk(site, headers, used)
    for password in used[:5]:
        refused = await change(site, headers, used[-1], password)
        assert (refused.status_code, refused.json()["code"]) == (422, "password_refused")
        assert "used this password before" in refused.json()["detail"]
    # The sixth before the current one is long enough ago.
    assert (await change(site, headers, used[-1], site.password)).status_code == 204
    sql = site.databases[Population.SLM].sql
    assert sql("SELECT count(*) FROM password_history") == "5"
    assert sql("SELECT count(*) FROM password_history WHERE password_hash LIKE '$2b$04$%'") == "5"


async def test_another_way_to_write_the_current_password_is_no_other(site: Site) -> None:
    await site.add_user(Population.SLM, "marta", password="violet-anchör-77-meadow")
    headers = await site.login("marta", "violet-anchör-77-meadow")
    decomposed = "violet-ancho\u0308r-77-meadow"
    refused = await change(site, headers, "violet-anchör-77-meadow", decomposed)
    assert refused.json()["code"] == "password_refused"


async def test_the_length_of_the_history_is_a_setting(
    databases: Databases, run_site: RunSite
) -> None:
    async with run_site(databases, password_history=1) as site:
        await site.add_user(Population.SLM, "marta")
        headers = await site.login("marta")
        await walk(site, headers, PASSWORDS[:2])
        assert (await change(site, headers, PASSWORDS[1], PASSWORDS[0])).status_code == 422
        assert (await change(site, headers, PASSWORDS[1], site.password)).status_code == 204
    async with run_site(databases, password_history=0) as site:
        headers = await site.login("marta")
        await walk(site, headers, [PASSWORDS[1], site.password, PASSWORDS[1]])
        assert databases[Population.SLM].sql("SELECT count(*) FROM password_history") == "0"


async def test_the_history_is_ones_own(site: Site) -> None:
    for name in ("marta", "other"):
        await site.add_user(Population.SLM, name)
    await walk(site, await site.login("marta"), PASSWORDS[:2])
    await walk(site, await site.login("other"), PASSWORDS[:2])


async def test_a_login_that_renews_a_hash_is_no_new_password(
    databases: Databases, run_site: RunSite
) -> None:
    async with run_site(databases, bcrypt_cost=5) as site:
        await site.add_user(Population.SLM, "marta")
        sql = databases[Population.SLM].sql
        weak = bcrypt.hashpw(site.password.encode(), bcrypt.gensalt(4)).decode()
        sql(f"UPDATE users SET password_hash = '{weak}'")
        await site.login("marta")
        assert sql("SELECT password_hash FROM users").startswith("$2b$05$")
        assert sql("SELECT count(*) FROM password_history") == "0"


async def reset(
    client: httpx2.AsyncClient, population: Population, user_id: object
) -> httpx2.Response:
    return await client.post(f"/api/{population}-users/{user_id}/reset-password")


async def test_an_administrator_starts_a_reset_and_chooses_nothing(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    user_id = await site.add_user(population, "marta")
    sql = site.databases[population].sql
    before = sql("SELECT password_hash FROM users WHERE username = 'marta'")
    response = await reset(admin, population, user_id)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert set(answer) == {"one_time_password", "expires_at"}
    assert re.fullmatch(r"([a-z2-9]{4}-){6}[a-z2-9]{4}", answer["one_time_password"])
    left = datetime.fromisoformat(answer["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=71, minutes=59) < left <= timedelta(hours=72)
    assert sql("SELECT password_hash FROM users WHERE username = 'marta'") != before
    assert sql("SELECT password_hash FROM password_history") == before
    [row] = site.audit(population, "password_reset_requested")
    assert (row["resource_id"], row["outcome"]) == (str(user_id), "success")
    everything = sql("SELECT users, audit_logs FROM users, audit_logs")
    assert answer["one_time_password"] not in everything
    another = (await reset(admin, population, user_id)).json()["one_time_password"]
    assert another != answer["one_time_password"]
    assert sql("SELECT count(*) FROM password_history") == "1", "one-time passwords are not kept"


async def test_no_route_takes_a_password_that_an_administrator_chose_for_a_reset(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    where = f"/api/slm-users/{user_id}"
    assert (await admin.patch(where, json={"password": PASSWORDS[0]})).status_code == 422
    response = await admin.post(f"{where}/reset-password", json={"password": PASSWORDS[0]})
    assert response.json().get("one_time_password") != PASSWORDS[0]
    assert (await site.try_login("marta", PASSWORDS[0])).status_code == 401


async def test_from_the_reset_to_a_password_of_ones_own(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    session = await site.login("marta")
    one_time = (await reset(admin, Population.SLM, user_id)).json()["one_time_password"]
    assert (await site.client.get("/api/slm-auth/me", headers=session)).status_code == 401
    assert (await site.try_login("marta")).status_code == 401
    login = await site.try_login("marta", one_time)
    assert (login.status_code, login.json()["must_change_password"]) == (200, True)
    headers = {"Authorization": f"Bearer {login.json()['access_token']}"}
    assert site.audit(Population.SLM, "password_reset_completed") == []
    # Neither the old one nor the one-time password will do.
    for password in (site.password, one_time):
        assert (await change(site, headers, one_time, password)).status_code == 422
    assert (await change(site, headers, one_time, PASSWORDS[0])).status_code == 204
    [row] = site.audit(Population.SLM, "password_reset_completed")
    assert (row["user_id"], row["resource_id"]) == (str(user_id), str(user_id))
    assert len(site.audit(Population.SLM, "password_changed")) == 1
    assert (await site.try_login("marta", one_time)).status_code == 401
    assert (await site.try_login("marta", PASSWORDS[0])).json()["must_change_password"] is False


async def test_a_one_time_password_is_taken_in_capitals_and_without_hyphens(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    user = await site.add_user(Population.SLM, "marta", password=PASSWORDS[0])
    reset = await admin.post(f"/api/slm-users/{user}/reset-password")
    typed = reset.json()["one_time_password"].upper().replace("-", " ")
    login = await site.try_login("marta", typed)
    assert (login.status_code, login.json()["must_change_password"]) == (200, True)
    changed = await site.client.post(
        "/api/slm-auth/change-password",
        json={"current_password": typed, "new_password": PASSWORDS[1]},
        headers=site.bearer(login.json()["access_token"]),
    )
    assert changed.status_code in {200, 204}, changed.text
    # One's own password is taken as it is.
    assert (await site.try_login("marta", PASSWORDS[1].upper())).status_code == 401


async def test_a_reset_that_nobody_used_expires(admin: httpx2.AsyncClient, site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    one_time = (await reset(admin, Population.SLM, user_id)).json()["one_time_password"]
    site.databases[Population.SLM].sql(
        "UPDATE user_credentials SET one_time_expires_at = one_time_expires_at - interval '72 h'"
    )
    assert (await site.try_login("marta", one_time)).status_code == 401
    assert (await site.try_login("marta")).status_code == 401


async def test_a_login_during_a_reset_begins_no_session_that_lasts(
    admin: httpx2.AsyncClient, site: Site, held_hashing: threading.Event
) -> None:
    user_id = await site.add_user(Population.SLM, "marta")
    attempt = asyncio.create_task(site.try_login("marta"))
    await site.queued(1)
    assert (await reset(admin, Population.SLM, user_id)).status_code == 200
    held_hashing.set()
    assert (await attempt).status_code == 401


async def test_whoever_rises_during_a_reset_keeps_their_password(
    site: Site, population: Population, during_the_hash: Callable[[Population, str], None]
) -> None:
    await site.add_user(Population.SLM, "clerk", permissions=["users:update"])
    user_id = await site.add_user(population, "marta")
    site.client.headers.update(await site.login("clerk"))
    sql = site.databases[population].sql
    stored = sql("SELECT password_hash FROM users WHERE username = 'marta'")
    during_the_hash(
        population, "UPDATE users SET is_platform_admin = true WHERE username = 'marta'"
    )
    refused = await reset(site.client, population, user_id)
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert sql("SELECT password_hash FROM users WHERE username = 'marta'") == stored


async def test_resetting_nobody(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    deleted = await site.add_user(population, "marta")
    site.databases[population].sql("UPDATE users SET deleted_at = now()")
    if population is Population.SLM:
        site.databases[population].sql(
            "UPDATE users SET deleted_at = NULL WHERE username <> 'marta'"
        )
    assert (await reset(admin, population, deleted)).status_code == 404


async def test_passwords_of_before_todays_rules_still_let_in(site: Site) -> None:
    """AutoBot asked for eight characters."""
    await site.add_user(Population.SLM, "marta")
    legacy = bcrypt.hashpw(b"Abcdef12", bcrypt.gensalt(4)).decode()
    site.databases[Population.SLM].sql(f"UPDATE users SET password_hash = '{legacy}'")
    headers = await site.login("marta", "Abcdef12")
    refused = await change(site, headers, "Abcdef12", "Bcdefg23")
    assert (refused.status_code, refused.json()["code"]) == (422, "password_refused")
    assert (await change(site, headers, "Abcdef12", PASSWORDS[0])).status_code == 204


async def test_no_password_has_to_be_changed_for_its_age(site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    await walk(site, await site.login("marta"), PASSWORDS[:1])
    site.databases[Population.SLM].sql(
        "UPDATE users SET created_at = created_at - interval '400 days',"
        " last_login_at = last_login_at - interval '400 days';"
        "UPDATE user_credentials SET password_changed_at = now() - interval '400 days'"
    )
    response = await site.try_login("marta", PASSWORDS[0])
    assert (response.status_code, response.json()["must_change_password"]) == (200, False)


async def test_a_new_user_logs_in_under_the_name_of_a_deleted_one(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    deleted = await site.add_user(Population.SLM, "marta", password=PASSWORDS[0])
    assert (await admin.delete(f"/api/slm-users/{deleted}")).status_code == 204
    await site.add_user(Population.SLM, "marta", password=PASSWORDS[1])
    assert (await site.try_login("marta", PASSWORDS[0])).status_code == 401
    assert (await site.try_login("marta", PASSWORDS[1])).status_code == 200


@pytest.mark.parametrize(
    "change", ["is_active = false", "deleted_at = now()", "is_active = false, deleted_at = now()"]
)
async def test_a_closed_organization_keeps_its_users_out(site: Site, change: str) -> None:
    """The AutoBot backend uses the same service; here it is called without its routes."""
    organization = site.add_organization("closing")
    user_id = await site.add_user(Population.AUTOBOT, "marta", org_id=organization)
    database: Database = site.resources.databases[Population.AUTOBOT]

    async def login() -> Any:
        async with database.session() as session:
            resources = site.resources
            context = RequestContext()
            gate = LoginGate(session, context, resources.refresh_tokens, resources.policy)
            service = PasswordLoginService(session, context, resources.hasher, gate)
            return await service.login("marta", site.password)

    grant = await login()
    claims = AccessClaims(
        session_id=grant.session_id,
        user_id=user_id,
        subject="marta",
        token_id="",
        issued_at=grant.granted_at,
        expires_at=grant.expires_at,
    )
    assert (await authenticate(database, claims)).authority.org_id == organization
    site.databases[Population.AUTOBOT].sql(f"UPDATE organizations SET {change}")
    with pytest.raises(NotAuthenticated):
        await authenticate(database, claims)
    with pytest.raises(InvalidCredentials):
        await login()
    [row] = site.audit(Population.AUTOBOT, "login_failed")
    assert row["details"]["reason"] == "organization_inactive"
    [row] = site.audit(Population.AUTOBOT, "login_success")
    assert row["org_id"] == str(organization)


async def test_an_organization_of_application_users_keeps_no_fleet_administrator_out(
    site: Site,
) -> None:
    organization = site.add_organization("elsewhere")
    await site.add_user(Population.SLM, "marta", org_id=organization)
    headers = await site.login("marta")
    site.databases[Population.AUTOBOT].sql("UPDATE organizations SET is_active = false")
    assert (await site.client.get("/api/slm-auth/me", headers=headers)).status_code == 200
    assert (await site.try_login("marta")).status_code == 200
