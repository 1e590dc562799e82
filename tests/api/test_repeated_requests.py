"""ETag with If-Match, and Idempotency-Key: nothing is overwritten unseen, nothing made twice."""

import asyncio
import hashlib
import json
from typing import Any

import httpx2
import pytest

from tests.support.applications import Site
from user_management.population import Population

PATH = "/api/autobot-users"
NEW = {"username": "marta", "email": "marta@autobot.local"}


async def test_every_answer_with_a_user_names_its_version(admin: httpx2.AsyncClient) -> None:
    created = await admin.post(PATH, json=NEW)
    where = created.headers["location"]
    read = await admin.get(where)
    assert read.headers["etag"] == created.headers["etag"]
    assert read.headers["etag"].strip('"').isalnum()
    changed = await admin.patch(where, json={"bio": "x"})
    assert changed.headers["etag"] not in ("", read.headers["etag"])


@pytest.mark.parametrize("path", ["/api/slm-users", "/api/autobot-users"])
async def test_of_two_who_read_the_same_version_one_changes_it(
    admin: httpx2.AsyncClient, path: str
) -> None:
    created = await admin.post(path, json=NEW)
    where, seen = created.headers["location"], {"If-Match": created.headers["etag"]}
    first, second = await asyncio.gather(
        admin.patch(where, json={"bio": "first"}, headers=seen),
        admin.patch(where, json={"bio": "second"}, headers=seen),
    )
    assert sorted((first.status_code, second.status_code)) == [200, 412]
    stale, made = sorted((first, second), key=lambda response: -response.status_code)
    assert stale.json()["code"] == "precondition_failed"
    assert (await admin.get(where)).json()["bio"] == made.json()["bio"]
    assert (await admin.delete(where, headers=seen)).status_code == 412
    current = {"If-Match": made.headers["etag"]}
    assert (await admin.delete(where, headers=current)).status_code == 204


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ("*", 200),
        ('"0"', 412),
        ('"x", {etag}', 200),
        ("W/{etag}", 412),
        ('"' + "f" * 40 + '"', 412),
        ("nonsense", 412),
        ("", 412),
    ],
)
async def test_forms_of_if_match(admin: httpx2.AsyncClient, tags: str, status: int) -> None:
    created = await admin.post(PATH, json=NEW)
    headers = {"If-Match": tags.format(etag=created.headers["etag"])}
    response = await admin.patch(created.headers["location"], json={"bio": "x"}, headers=headers)
    assert response.status_code == status


async def test_a_login_is_no_other_version(admin: httpx2.AsyncClient, site: Site) -> None:
    await site.add_user(Population.SLM, "marta")
    where = "/api/slm-users"
    user = (await admin.get(where, params={"search": "marta"})).json()["users"][0]
    before = (await admin.get(f"{where}/{user['id']}")).headers["etag"]
    await site.login("marta")
    assert (await admin.get(f"{where}/{user['id']}")).headers["etag"] == before


def with_key(key: str) -> dict[str, Any]:
    return {"Idempotency-Key": key}


async def test_the_same_request_again_creates_nothing(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    first = await admin.post(PATH, json=NEW, headers=with_key("a-1"))
    again = await admin.post(PATH, json=NEW, headers=with_key("a-1"))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert len(site.audit(Population.AUTOBOT, "user_created")) == 1


async def test_at_the_same_time_too(admin: httpx2.AsyncClient, site: Site) -> None:
    answers = await asyncio.gather(
        *(admin.post(PATH, json=NEW, headers=with_key("a-1")) for _ in range(10))
    )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(site.audit(Population.AUTOBOT, "user_created")) == 1


async def test_at_the_same_time_too_for_the_last_place(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    org_id = site.add_organization("acme")
    site.databases[Population.AUTOBOT].sql("UPDATE organizations SET max_users = 1")
    new = NEW | {"org_id": str(org_id)}
    answers = await asyncio.gather(
        *(admin.post(PATH, json=new, headers=with_key("a-1")) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {201}


async def test_nobody_can_guess_a_password_by_what_is_kept_of_a_request(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    body = json.dumps(NEW | {"password": site.password})
    headers = with_key("a-1") | {"Content-Type": "application/json"}
    assert (await admin.post(PATH, content=body, headers=headers)).status_code == 201
    kept = site.databases[Population.AUTOBOT].sql(
        "SELECT encode(request_hash, 'hex') FROM idempotency_records"
    )
    assert len(kept) == 64
    assert kept != hashlib.sha256(f"POST {PATH}\n{body}".encode()).hexdigest()


async def test_a_key_stands_for_one_request(admin: httpx2.AsyncClient) -> None:
    await admin.post(PATH, json=NEW, headers=with_key("a-1"))
    other = NEW | {"display_name": "M"}
    for where in (PATH, "/api/slm-users"):
        response = await admin.post(where, json=other, headers=with_key("a-1"))
        assert response.status_code == (422 if where == PATH else 201)
    assert (await admin.get(PATH, params={"search": "marta"})).json()["users"][0][
        "display_name"
    ] == "marta"


async def test_another_callers_key_is_another_one(admin: httpx2.AsyncClient, site: Site) -> None:
    await admin.post(PATH, json=NEW, headers=with_key("a-1"))
    await site.add_user(Population.SLM, "second", is_admin=True)
    headers = await site.login("second")
    response = await site.client.post(PATH, json=NEW, headers=headers | with_key("a-1"))
    assert (response.status_code, response.json()["code"]) == (409, "duplicate")


# What is created, which permissions that takes, and the one that reading it takes.
CREATIONS: dict[str, tuple[str, dict[str, Any], list[str], str]] = {
    "autobot user": ("/api/autobot-users", NEW, ["users:create"], "users:read"),
    "fleet administrator": ("/api/slm-users", NEW, ["users:create"], "users:read"),
    "AutoBot's fleet administrator": (
        *("/api/auth/users", {"username": "marta", "password": "violet-anchor-77-meadow"}),
        *(["users:create"], "users:read"),
    ),
    "role": ("/api/autobot-roles", {"name": "r", "permissions": []}, ["admin:users"], "users:read"),
    "given role": (
        *("/api/autobot-users/{user}/roles", {"role_id": "{role}"}),
        *(["admin:users"], "users:read"),
    ),
    "organization": ("/api/organizations", {"name": "n"}, ["admin:organization"], "teams:read"),
    "team": (
        *("/api/autobot-teams", {"name": "t", "organization_id": "{org}"}),
        *(["teams:create"], "teams:read"),
    ),
    "member": (
        *("/api/autobot-teams/{team}/members", {"user_id": "{user}"}),
        *(["teams:manage"], "teams:read"),
    ),
}


async def surroundings(site: Site) -> dict[str, str]:
    """What creations refer to."""
    org_id = site.add_organization("acme")
    team = site.databases[Population.AUTOBOT].sql(
        "WITH made AS (INSERT INTO teams (org_id, name)"
        f" VALUES ('{org_id}', 'Harbour') RETURNING id) SELECT id FROM made"
    )
    user = await site.add_user(Population.AUTOBOT, "peter", org_id=org_id)
    role = site.add_role(Population.AUTOBOT, "empty")
    return {"org": str(org_id), "team": team, "user": str(user), "role": str(role)}


@pytest.mark.parametrize("when", ["never had it", "has lost it"])
@pytest.mark.parametrize("name", CREATIONS)
async def test_who_may_not_read_it_learns_nothing_of_what_became_of_it(
    site: Site, name: str, when: str
) -> None:
    path, body, permissions, reading = CREATIONS[name]
    words = await surroundings(site)
    path = path.format(**words)
    body = {
        key: value.format(**words) if isinstance(value, str) else value
        for key, value in body.items()
    }
    held = permissions if when == "never had it" else [*permissions, reading]
    await site.add_user(Population.SLM, "maker", permissions=held)
    headers = await site.login("maker") | with_key("a-1")
    first = await site.client.post(path, json=body, headers=headers)
    assert first.is_success, first.text
    sql = site.databases[Population.SLM].sql
    sql(
        "DELETE FROM role_permissions USING permissions WHERE permission_id = permissions.id"
        f" AND permissions.name = '{reading}'"
    )
    again = await site.client.post(path, json=body, headers=headers)
    assert (again.status_code, again.json()["code"]) == (403, "permission_denied")
    assert reading in again.json()["detail"]
    assert "done it already" in again.json()["detail"]
    assert "location" not in again.headers
    assert "etag" not in again.headers
    sql(
        "INSERT INTO role_permissions SELECT roles.id, permissions.id FROM roles, permissions"
        f" WHERE roles.name = 'role of maker' AND permissions.name = '{reading}'"
    )
    again = await site.client.post(path, json=body, headers=headers)
    assert again.status_code == first.status_code


async def test_at_the_same_time_too_who_may_not_read_learns_nothing(site: Site) -> None:
    await site.add_user(Population.SLM, "maker", permissions=["users:create"])
    headers = await site.login("maker") | with_key("a-1")
    answers = await asyncio.gather(
        *(site.client.post(PATH, json=NEW, headers=headers) for _ in range(5))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 403, 403, 403, 403]


async def test_a_refused_request_uses_no_key_up(admin: httpx2.AsyncClient) -> None:
    wrong = NEW | {"password": "password"}
    assert (await admin.post(PATH, json=wrong, headers=with_key("a-1"))).status_code == 422
    assert (await admin.post(PATH, json=NEW, headers=with_key("a-1"))).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "a b", "ä"])
async def test_keys_that_are_none(admin: httpx2.AsyncClient, key: str) -> None:
    headers = {b"Idempotency-Key": key.encode()}
    response = await admin.post(PATH, json=NEW, headers=headers)
    assert response.status_code == 422
    assert response.json()["errors"][0]["in"] == "header"
