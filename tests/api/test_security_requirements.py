"""Security requirements that hold for every route, whichever comes tomorrow.

The routes are taken from the API's own description, so that a new one is tried without being
named here. docs/security-requirements.md says which requirement each test belongs to.
"""

import io
import itertools
import json
import logging
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from uuid import UUID

import httpx2
import pytest

from slm_server.app import create_app
from tests.support.applications import Site
from user_management.population import Population
from user_management_web.logs import configure_logging

NEW_PASSWORD = "granite-otter-quilt-52"
SOMEBODYS_PASSWORD = "amber-lantern-41-harbour"
WRONG_PASSWORD = "copper-sailor-12-window"
NOBODY = UUID(int=7)
METHODS = {"get", "post", "put", "patch", "delete"}
DOCUMENT = create_app().openapi()


def operations() -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Each operation: its name, method, path with ids that nobody has, and description."""
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS & item.keys():
            filled = re.sub(r"\{\w+\}", str(NOBODY), path)
            yield item[method]["operationId"], method, filled, item[method]


def schemas_of(operation: dict[str, Any]) -> set[str]:
    """The names of the schemas that a request's body may have."""
    content = operation.get("requestBody", {}).get("content", {})
    return set(re.findall(r"#/components/schemas/(\w+)", json.dumps(content)))


def properties(schema_name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The members of a body, those of the objects in it included."""
    found = DOCUMENT["components"]["schemas"][schema_name]
    for name, member in found.get("properties", {}).items():
        yield name, member
        for inner in re.findall(r"#/components/schemas/(\w+)", json.dumps(member)):
            if inner not in {schema_name, "JsonValue"}:
                yield from properties(inner)


def test_secrets_are_in_no_url() -> None:
    secret = re.compile(r"pass|token|secret|key|code|credential|authorization", re.IGNORECASE)
    named = {
        (name, parameter["name"])
        for name, _, _, operation in operations()
        for parameter in operation.get("parameters", [])
        if parameter["in"] in {"query", "path"} and secret.search(parameter["name"])
    }
    assert named == set()


def test_passwords_are_taken_by_these_routes_only() -> None:
    """No administrator chooses the password of somebody who has one."""
    takes = {
        (name, member)
        for name, _, _, operation in operations()
        for schema in schemas_of(operation)
        for member, description in properties(schema)
        if description.get("format") == "password" or '"password"' in json.dumps(description)
    }
    assert takes == {
        ("login", "password"),
        ("begin_browser_session", "password"),
        ("login_of_playbooks", "password"),
        ("change_password", "current_password"),
        ("change_password", "new_password"),
        # The caller's own, once more.
        ("confirm", "current_password"),
        ("update_slm_user", "current_password"),
        ("update_autobot_user", "current_password"),
        ("create_slm_user", "password"),
        ("create_autobot_user", "password"),
        ("create_user_of_autobot", "password"),
    }


def test_no_rule_says_which_characters_a_password_has() -> None:
    """But for one part written again and again, which is no rule about characters."""
    for schema in ("UserCreate", "LegacyUserCreate", "PasswordChange"):
        for name, description in properties(schema):
            if "password" in name and name != "must_change_password":
                assert '"pattern"' not in json.dumps(description).replace('"not": {"pattern"', "")


async def test_passwords_beyond_72_characters_count_to_their_end(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    for number, (length, first) in enumerate(itertools.product((73, 100, 128), "a\u0430")):
        password = "".join(chr(ord(first) + place * 7 % 26) for place in range(length))
        name = f"marta{number}"
        new = {"username": name, "email": f"{name}@autobot.local", "password": password}
        created = await admin.post("/api/slm-users", json=new)
        assert created.status_code == 201, created.text
        assert (await site.try_login(name, password)).status_code == 200
        assert (await site.try_login(name, password[:-1])).status_code == 401
        assert (await site.try_login(name, password[:-1] + "!")).status_code == 401


async def test_a_fresh_installation_lets_nobody_in(site: Site) -> None:
    for population in Population:
        assert site.databases[population].sql("SELECT count(*) FROM users") == "0"
    for name in ("admin", "administrator", "root", "slm", "autobot"):
        for password in (name, "admin", "password", "ChangeMe123!", ""):
            assert (await site.try_login(name, password)).status_code in {401, 422, 429}


async def test_each_login_begins_another_session(site: Site) -> None:
    """Also for whoever brings an old one along."""
    await site.add_user(Population.SLM, "marta")
    first = (await site.try_login("marta")).json()
    site.client.headers["Authorization"] = f"Bearer {first['access_token']}"
    second = (await site.try_login("marta")).json()
    for each in ("session_id", "access_token", "refresh_token"):
        assert first[each] != second[each]
    await site.client.post("/api/slm-auth/logout")
    refused = await site.client.post(
        "/api/slm-auth/refresh", json={"refresh_token": first["refresh_token"]}
    )
    assert refused.status_code == 401
    site.client.headers["Authorization"] = f"Bearer {second['access_token']}"
    assert (await site.client.get("/api/slm-auth/me")).status_code == 200


async def test_strangers_find_no_description_and_no_figures(site: Site) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/api/docs", "/metrics", "/api/metrics"):
        assert (await site.client.get(path)).status_code == 404, path
    assert (await site.client.get("/api/openapi.json")).status_code == 401


async def test_the_application_shows_no_faults(site: Site) -> None:
    assert site.app.debug is False


async def test_no_cache_keeps_an_answer_to_somebody_who_is_logged_in(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    protected = [each for each in operations() if "security" in each[3]]
    assert len(protected) > 50
    for name, method, path, _ in protected:
        # One of them is the logout.
        admin.headers.update(await site.login(site.administrator))
        body: dict[str, Any] | None = {} if method in {"post", "patch"} else None
        response = await admin.request(method, path, json=body)
        assert response.status_code != 401, name
        assert response.headers["cache-control"] == "no-store", name


def test_every_request_is_closed_to_what_it_does_not_name() -> None:
    bodies = {schema for _, _, _, operation in operations() for schema in schemas_of(operation)}
    assert len(bodies) > 10
    named = DOCUMENT["components"]["schemas"]
    assert [name for name in bodies if named[name].get("additionalProperties") is not False] == []


async def test_nobody_sets_what_a_route_does_not_offer(admin: httpx2.AsyncClient) -> None:
    members = ("password_hash", "is_verified", "deleted_at", "id")
    admin.headers["X-CSRF"] = "1"
    for name, method, path, operation in operations():
        if schemas_of(operation):
            response = await admin.request(method, path, json=dict.fromkeys(members, "x"))
            assert response.status_code == 422, name
            refused = {fault["pointer"] for fault in response.json()["errors"]}
            assert refused >= {f"/{member}" for member in members}, name


async def test_no_other_site_may_read_an_answer(admin: httpx2.AsyncClient) -> None:
    """There is no CORS: a browser keeps the answers from all pages of other origins."""
    stranger = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method in ("GET", "OPTIONS"):
        response = await admin.request(method, "/api/slm-auth/me", headers=stranger)
        assert not [name for name in response.headers if name.startswith("access-control-")]


@pytest.fixture
async def journal(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], str]]:
    """All that any logger says from the application's start on, as the journal has it."""
    out = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        configure_logging("slm_server")
    handler = logging.getLogger("slm_server").handlers[0]
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    # Not before the application, which configures the same on its start.
    assert site.app.state.resources
    yield out.getvalue
    root.setLevel(level)
    root.removeHandler(handler)
    configure_logging("slm_server")


async def live(site: Site) -> set[str]:
    """Log in, refresh, change, reset, create, and fail at each of them; the secrets of all that."""
    client = site.client
    await site.add_user(Population.SLM, "captain", is_admin=True)
    login = (await site.try_login("captain")).json()
    await site.try_login("captain", WRONG_PASSWORD)
    client.headers["Authorization"] = f"Bearer {login['access_token']}"
    refresh = {"refresh_token": login["refresh_token"]}
    refreshed = (await client.post("/api/slm-auth/refresh", json=refresh)).json()
    unknown = {"refresh_token": "unknown-" + WRONG_PASSWORD}
    assert (await client.post("/api/slm-auth/refresh", json=unknown)).status_code == 401
    for current, status in ((WRONG_PASSWORD, 403), (site.password, 204)):
        body = {"current_password": current, "new_password": NEW_PASSWORD}
        changed = await client.post("/api/slm-auth/change-password", json=body)
        assert changed.status_code == status, changed.text
    secrets = {site.password, NEW_PASSWORD, WRONG_PASSWORD, SOMEBODYS_PASSWORD}
    for population in Population:
        user = {
            "username": "marta",
            "email": "marta@autobot.local",
            "password": SOMEBODYS_PASSWORD,
        }
        users = f"/api/{population}-users"
        created = await client.post(users, json=user)
        assert created.status_code == 201, created.text
        assert (await client.post(users, json=user)).status_code == 409
        assert (await client.post(users, json=user | {"hash": SOMEBODYS_PASSWORD})).is_error
        reset = await client.post(f"{users}/{created.json()['id']}/reset-password")
        secrets.add(reset.json()["one_time_password"])
        hashes = site.databases[population].sql("SELECT password_hash FROM users")
        secrets |= set(hashes.split())
    tokens = {
        answer[f"{kind}_token"] for answer in (login, refreshed) for kind in ("access", "refresh")
    }
    return secrets | tokens


async def test_nothing_that_is_logged_holds_a_secret(
    site: Site, journal: Callable[[], str]
) -> None:
    secrets = await live(site)
    assert len(secrets) >= 13
    logged = journal()
    assert logged.count("/api/slm-auth/change-password") >= 2
    assert [secret for secret in secrets if secret in logged] == []
    assert not re.search(r"\$2[aby]\$|bcrypt-sha384|eyJ[\w-]{20}", logged)


async def test_nothing_that_people_type_begins_a_line_of_the_log(
    site: Site, journal: Callable[[], str]
) -> None:
    """Control characters in names, addresses of pages, and headers."""
    forged = 'x\r\n{"level": "critical"}\x1b[31m'
    await site.try_login(forged, forged)
    await site.client.get("/api/%0d%0aforged%1b", headers={b"X-Request-ID": b"a\x1b[31m"})
    await site.client.post(
        "/api/slm-auth/login",
        json={"username": forged, forged: forged, "password": "x"},
        headers={"User-Agent": "b\x1b[31m"},
    )
    logged = journal()
    assert not set(logged) & {"\x1b", "\r"}
    lines = [json.loads(line) for line in logged.splitlines()]
    assert "critical" not in {line["level"] for line in lines}
    assert len({line["request_id"] for line in lines if "request_id" in line}) == 3
