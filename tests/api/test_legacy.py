"""What AutoBot's clients of the SLM server call, as they send and read it."""

from pathlib import Path

import httpx2
import pytest

from tests.support.applications import Databases, RunSite, Site
from user_management.permissions import Permission
from user_management.population import Population

NEW = {"username": "Marta", "password": "violet-anchor-77-meadow", "is_admin": False}


async def test_the_playbooks_log_in_and_ask_who_they_are(site: Site) -> None:
    await site.add_user(Population.SLM, "admin", is_admin=True)
    body = {"username": "admin", "password": site.password}
    token = (await site.client.post("/api/auth/login", json=body)).json()["access_token"]
    response = await site.client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert response.json() == {"username": "admin", "is_admin": True}
    assert (await site.client.get("/api/auth/me")).status_code == 401


async def test_a_user_without_an_e_mail_address(admin: httpx2.AsyncClient, site: Site) -> None:
    response = await admin.post("/api/auth/users", json=NEW)
    assert response.status_code == 200, response.text
    user = response.json()
    assert user.pop("created_at")
    stored = site.databases[Population.SLM].sql(
        "SELECT id, email FROM users WHERE username = 'marta'"
    )
    assert f"{user.pop('id')}|marta@autobot.local" == stored
    assert user == {
        "username": "marta",
        "is_active": True,
        "is_admin": False,
        "last_login": None,
    }
    await site.login("marta")
    again = await admin.post("/api/auth/users", json=NEW)
    assert (again.status_code, again.json()["detail"]) == (409, "Username already exists.")


async def test_the_same_request_twice_creates_once(admin: httpx2.AsyncClient, site: Site) -> None:
    answers = [
        await admin.post("/api/auth/users", json=NEW, headers={"Idempotency-Key": "one"})
        for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert site.databases[Population.SLM].sql("SELECT count(*) FROM users") == "2"


async def test_who_may_create_administrators_this_way(site: Site) -> None:
    await site.add_user(Population.SLM, "helper", permissions=[Permission.USERS_CREATE])
    headers = await site.login("helper")
    body = NEW | {"is_admin": True}
    refused = await site.client.post("/api/auth/users", json=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    done = await site.client.post("/api/auth/users", json=NEW, headers=headers)
    assert done.status_code == 200


@pytest.mark.parametrize(
    "change",
    [{"username": "x" * 65}, {"username": "ab"}, {"password": "short"}, {"email": "m@x.y"}],
)
async def test_another_form_is_refused(admin: httpx2.AsyncClient, change: dict[str, str]) -> None:
    assert (await admin.post("/api/auth/users", json=NEW | change)).status_code == 422


async def test_health(site: Site) -> None:
    alive = await site.client.get("/api/health")
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
    databases = await site.client.get("/api/health/database")
    assert databases.json() == (await site.client.get("/health/ready")).json()
    assert databases.json()["status"] == "ready"


async def test_health_of_a_database_that_is_away(
    databases: Databases, run_site: RunSite, tmp_path: Path
) -> None:
    async with run_site(databases, autobot_postgres_host=str(tmp_path)) as site:
        response = await site.client.get("/api/health/database")
        assert response.status_code == 503
        assert response.json()["databases"]["autobot"]["status"] == "unavailable"
