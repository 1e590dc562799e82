"""Every change is in the audit log, with actor, address and user agent."""

import httpx2
import pytest

from tests.support.applications import Site
from user_management.population import Population


@pytest.mark.parametrize("population", Population)
async def test_the_life_of_a_user(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    path = f"/api/{population}-users"
    await site.add_user(population, "another_admin", is_admin=True)
    created = await admin.post(
        path,
        json={"username": "marta", "email": "m@autobot.local", "password": "TestPass123!"},
    )
    user_id = created.json()["id"]
    where = f"{path}/{user_id}"
    await admin.patch(where, json={"bio": "x", "is_admin": True, "preferences": {"a": 1}})
    await admin.patch(where, json={"is_active": False, "display_name": "M"})
    await admin.patch(where, json={"is_active": True})
    await admin.delete(where)

    administrator = site.databases[Population.SLM].sql(
        f"SELECT id FROM users WHERE username = '{site.administrator}'"
    )
    rows = [row for row in site.audit(population, "user_%") if row["resource_id"] == user_id]
    assert [row["action"] for row in rows if row["action"] != "user_updated"] == [
        "user_created",
        "user_deactivated",
        "user_activated",
        "user_deleted",
    ]
    for row in rows:
        assert (row["ip_address"], row["user_agent"]) == ("203.0.113.7", "pytest")
        assert (row["resource_type"], row["outcome"]) == ("user", "success")
        actor = row["details"].pop("actor", None)
        if population is Population.SLM:
            assert (row["user_id"], actor) == (administrator, None)
        else:
            assert row["user_id"] is None
            assert actor == {
                "population": "slm",
                "user_id": administrator,
                "username": site.administrator,
            }
        assert "hash" not in str(row["details"])
        assert "TestPass" not in str(row["details"])

    details = {row["action"]: row["details"] for row in rows}
    assert details["user_created"] == {
        "username": "marta",
        "email": "m@autobot.local",
        "is_platform_admin": False,
        "org_id": None,
        "roles": [],
    }
    assert details["user_deactivated"] == {"changes": {"is_active": {"old": True, "new": False}}}
    assert details["user_deleted"] == {"username": "marta", "email": "m@autobot.local"}
    assert [row["details"] for row in rows if row["action"] == "user_updated"] == [
        {
            "changes": {
                "bio": {"old": None, "new": "x"},
                "is_platform_admin": {"old": False, "new": True},
                "preferences": {"old": {}, "new": {"a": 1}},
            }
        },
        {"changes": {"display_name": {"old": "marta", "new": "M"}}},
    ]


async def test_what_failed_is_no_change(admin: httpx2.AsyncClient, site: Site) -> None:
    await admin.post("/api/slm-users", json={"username": "marta", "email": "m@autobot.local"})
    await admin.post("/api/slm-users", json={"username": "marta", "email": "n@autobot.local"})
    rows = site.audit(Population.SLM, "user_created")
    assert [row["details"]["username"] for row in rows] == [site.administrator, "marta"]


@pytest.mark.parametrize(
    ("client", "address"),
    [(("2001:db8::7", 1), "2001:db8::7"), (("", 0), None), (("x" * 90, 0), None), (None, None)],
)
async def test_only_an_address_is_kept_as_one(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    client: tuple[str, int] | None,
    address: str | None,
) -> None:
    monkeypatch.setattr(site.client._transport, "client", client)
    await site.try_login("nobody")
    [row] = site.audit(Population.SLM, "login_failed")
    assert row["ip_address"] == address
