"""A stolen token does not become the account: what matters is for who has just confirmed it."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx2
import pytest
from fastapi.routing import APIRoute

from slm_server.app import create_app
from slm_server.describe.matrix import contexts
from tests.support.applications import Site
from user_management.population import Population
from user_management.services import UserService
from user_management_web.rbac import asks_for_recent_authentication

WRONG = "not-the-password-11"
NEW_PASSWORD = "granite-otter-quilt-52"
CONFIRM = "/api/slm-auth/confirm"
ME = "/api/slm-auth/me"
NOBODY = UUID(int=7)


def age(site: Site, minutes: float, who: str = "captain") -> None:
    """It was so long ago that somebody proved who they are, in each of their sessions."""
    site.databases[Population.SLM].sql(
        f"UPDATE auth_sessions SET authenticated_at = now() - interval '{minutes} minutes'"
        f" WHERE user_id = (SELECT id FROM users WHERE username = '{who}')"
    )


def authenticated(site: Site) -> str:
    """How long ago it was, in whole minutes, by session."""
    found: str = site.databases[Population.SLM].sql(
        "SELECT string_agg(coalesce(floor(extract(epoch FROM now() - authenticated_at) / 60)::text,"
        " '-'), ' ' ORDER BY created_at) FROM auth_sessions"
    )
    return found


async def confirm(
    client: httpx2.AsyncClient, password: str, headers: dict[str, str] | None = None
) -> httpx2.Response:
    return await client.post(CONFIRM, json={"current_password": password}, headers=headers)


def assert_asked(response: httpx2.Response) -> None:
    """What a client needs to know that it may repeat the request after a confirmation."""
    assert response.status_code == 401, response.text
    assert response.headers["www-authenticate"] == (
        'Bearer error="insufficient_user_authentication", max_age="600"'
    )
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == "recent_authentication_required"
    assert problem["type"] == "/problems/recent_authentication_required"
    assert CONFIRM in problem["detail"]


class Fleet:
    """Users for one act, and their ids for its path and body."""

    def __init__(self, site: Site, population: Population) -> None:
        self.site, self.population = site, population

    async def make(self) -> dict[str, str]:
        site, population = self.site, self.population
        role = site.add_role(population, "own", ["users:read"])
        user = await site.add_user(population, "marta", roles=["readonly"])
        readonly = site.databases[population].sql("SELECT id FROM roles WHERE name = 'readonly'")
        return {"user": str(user), "role": str(role), "readonly": readonly}


def new(**more: Any) -> dict[str, Any]:
    return {"username": "peter", "email": "peter@autobot.local", **more}


Act = tuple[str, str, object, int]
# What asks: method, path below /api, body, and the status once it is done. {p} is a population.
ACTS: dict[str, Act] = {
    "reset": ("POST", "{p}-users/{user}/reset-password", None, 200),
    "unlock": ("POST", "{p}-users/{user}/unlock", None, 204),
    "address": ("PATCH", "{p}-users/{user}", {"email": "x@autobot.local"}, 200),
    "name": ("PATCH", "{p}-users/{user}", {"username": "martha"}, 200),
    "address among others": ("PATCH", "{p}-users/{user}", {"bio": "x", "email": "x@x.local"}, 200),
    "promote": ("PATCH", "{p}-users/{user}", {"is_admin": True}, 200),
    "promote in AutoBot's word": ("PATCH", "{p}-users/{user}", {"is_platform_admin": True}, 200),
    "create an administrator": ("POST", "{p}-users", new(is_admin=True), 201),
    "create with a role": ("POST", "{p}-users", new(role_ids=["{readonly}"]), 201),
    "create a role": ("POST", "{p}-roles", {"name": "new", "permissions": []}, 201),
    "change a role": ("PATCH", "{p}-roles/{role}", {"permissions": ["users:delete"]}, 200),
    "delete a role": ("DELETE", "{p}-roles/{role}", None, 204),
    "give a role": ("POST", "{p}-users/{user}/roles", {"role_id": "{role}"}, 201),
    "take a role": ("DELETE", "{p}-users/{user}/roles/{readonly}", None, 204),
    "export users": ("GET", "{p}-users/export", None, 200),
    "export events": ("GET", "audit-logs/export?population={p}", None, 200),
    "import": ("POST", "{p}-users/import?format=csv&apply=true", "username,email\np,p@x\n", 200),
}
# What does not: what people do all day.
OTHERS: dict[str, Act] = {
    "read": ("GET", "{p}-users/{user}", None, 200),
    "list": ("GET", "{p}-users", None, 200),
    "create": ("POST", "{p}-users", new(), 201),
    "biography": ("PATCH", "{p}-users/{user}", {"bio": "x"}, 200),
    "disable": ("PATCH", "{p}-users/{user}", {"is_active": False}, 200),
    "delete": ("DELETE", "{p}-users/{user}", None, 204),
    "log out": ("DELETE", "{p}-users/{user}/sessions", None, 204),
    "lock": ("GET", "{p}-users/{user}/lock", None, 200),
    "look at an import": ("POST", "{p}-users/import?format=csv", "username,email\np,p@x\n", 200),
    "events": ("GET", "audit-logs?population={p}", None, 200),
}


async def act(
    client: httpx2.AsyncClient,
    words: Mapping[str, object],
    what: Act,
    headers: dict[str, str] | None = None,
) -> tuple[Any, ...]:
    method, path, body, status = what
    if isinstance(body, str):
        sent: dict[str, Any] = {"content": body.encode()}
        headers = {**(headers or {}), "Content-Type": "text/csv"}
    else:
        sent = {} if body is None else {"json": filled(body, words)}
    path = f"/api/{path.format(**words)}"
    return await client.request(method, path, headers=headers, **sent), status


def filled(value: Any, words: Mapping[str, object]) -> Any:
    if isinstance(value, dict):
        return {name: filled(each, words) for name, each in value.items()}
    if isinstance(value, list):
        return [filled(each, words) for each in value]
    return value.format(**words) if isinstance(value, str) else value


@pytest.mark.parametrize("population", Population)
@pytest.mark.parametrize("name", ACTS)
async def test_what_matters_asks_first_and_is_done_after_a_confirmation(
    admin: httpx2.AsyncClient, site: Site, population: Population, name: str
) -> None:
    words = await Fleet(site, population).make() | {"p": population}
    age(site, 11)
    rows = len(site.audit(population))
    refused, _ = await act(admin, words, ACTS[name])
    assert_asked(refused)
    assert len(site.audit(population)) == rows, "nothing was done"
    assert (await confirm(admin, site.password)).status_code == 204
    done, status = await act(admin, words, ACTS[name])
    assert done.status_code == status, done.text


@pytest.mark.parametrize("population", Population)
@pytest.mark.parametrize("name", OTHERS)
async def test_what_people_do_all_day_does_not_ask(
    admin: httpx2.AsyncClient, site: Site, population: Population, name: str
) -> None:
    words = await Fleet(site, population).make() | {"p": population}
    age(site, 60)
    done, status = await act(admin, words, OTHERS[name])
    assert done.status_code == status, done.text


async def test_the_limit_of_a_fleet_administrator_is_a_right_of_theirs(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    org_id = site.add_organization("acme")
    user = await site.add_user(Population.SLM, "marta", org_id=org_id)
    theirs = await site.add_user(Population.AUTOBOT, "marta", org_id=org_id)
    age(site, 11)
    assert_asked(await admin.patch(f"/api/slm-users/{user}", json={"org_id": None}))
    moved = await admin.patch(f"/api/autobot-users/{theirs}", json={"org_id": None})
    assert moved.status_code == 200, moved.text


@pytest.mark.parametrize("is_admin", [True, False])
async def test_autobots_clients_are_asked_for_administrators_only(
    admin: httpx2.AsyncClient, site: Site, is_admin: bool
) -> None:
    age(site, 11)
    new = {"username": "peter", "password": NEW_PASSWORD, "is_admin": is_admin}
    response = await admin.post("/api/auth/users", json=new)
    if is_admin:
        assert_asked(response)
    else:
        assert response.status_code == 200, response.text


def test_each_route_about_roles_resets_and_exports_asks() -> None:
    """Whatever is added to them: a route that does not ask is named here or found."""
    sensitive = ("-roles", "/roles", "/reset-password", "/unlock", "/export")
    found = {
        (method, str(context.path))
        for context in contexts(create_app())
        if isinstance(context.route, APIRoute)
        for method in context.methods or ()
        if any(word in str(context.path) for word in sensitive)
        and not asks_for_recent_authentication(context.dependant)
    }
    reading = {
        ("GET", f"/api/{population}-{path}")
        for population in Population
        for path in ("roles", "roles/{role_id}", "users/{user_id}/roles")
    }
    assert found == reading


@pytest.mark.parametrize(
    ("minutes", "is_asked"), [(0, False), (9.9, False), (10.1, True), (-1, False), (-11, True)]
)
async def test_ten_minutes(
    admin: httpx2.AsyncClient, site: Site, minutes: float, is_asked: bool
) -> None:
    """A moment that is yet to come proves nothing, but for clocks that differ."""
    age(site, minutes)
    response = await admin.get("/api/slm-users/export")
    if is_asked:
        assert_asked(response)
    else:
        assert response.status_code == 200


@pytest.mark.parametrize("value", ["NULL", "'infinity'", "'-infinity'", "'4713-01-01 BC'"])
async def test_a_session_of_which_nothing_good_is_noted_is_asked(
    admin: httpx2.AsyncClient, site: Site, value: str
) -> None:
    site.databases[Population.SLM].sql(f"UPDATE auth_sessions SET authenticated_at = {value}")
    assert (await admin.get(ME)).status_code == 200
    assert_asked(await admin.get("/api/slm-users/export"))


async def test_nobody_is_asked_for_what_they_may_not_do_anyway(site: Site) -> None:
    await site.add_user(Population.SLM, "marta", roles=["readonly"])
    headers = await site.login("marta")
    age(site, 11, "marta")
    path = f"/api/slm-users/{NOBODY}/reset-password"
    refused = await site.client.post(path, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")


async def test_a_login_and_a_change_of_the_password_prove_it_and_a_refresh_does_not(
    site: Site,
) -> None:
    await site.add_user(Population.SLM, "captain", is_admin=True)
    answer = (await site.try_login("captain")).json()
    headers = site.bearer(answer["access_token"])
    assert authenticated(site) == "0"
    age(site, 11)
    again = await site.client.post(
        "/api/slm-auth/refresh", json={"refresh_token": answer["refresh_token"]}
    )
    prolonged = await site.client.post("/api/auth/refresh", headers=headers)
    for refreshed in (again, prolonged):
        assert refreshed.status_code == 200
        token = site.bearer(refreshed.json()["access_token"])
        assert_asked(await site.client.get("/api/slm-users/export", headers=token))
    assert authenticated(site) == "11"
    change = {"current_password": site.password, "new_password": NEW_PASSWORD}
    changed = await site.client.post("/api/slm-auth/change-password", json=change, headers=headers)
    assert changed.status_code == 204, changed.text
    assert authenticated(site) == "0"
    exported = await site.client.get("/api/slm-users/export", headers=headers)
    assert exported.status_code == 200


async def test_a_confirmation_is_of_one_session(admin: httpx2.AsyncClient, site: Site) -> None:
    other = await site.login("captain")
    age(site, 11)
    assert (await confirm(admin, site.password)).status_code == 204
    assert authenticated(site) == "0 11"
    assert_asked(await site.client.get("/api/slm-users/export", headers=other))


async def test_a_confirmation_by_the_cookies_of_a_browser(site: Site) -> None:
    own = {"X-CSRF": "1", "Origin": "https://slm.example", "Sec-Fetch-Site": "same-origin"}
    await site.add_user(Population.SLM, "captain", is_admin=True)
    body = {"username": "captain", "password": site.password}
    path = "/api/slm-auth/browser/login"
    assert (await site.client.post(path, json=body, headers=own)).status_code == 200
    age(site, 11)
    assert_asked(await site.client.get("/api/slm-users/export", headers=own))
    forged = await confirm(site.client, site.password)
    assert (forged.status_code, forged.json()["code"]) == (403, "cross_site_request")
    confirmed = await confirm(site.client, site.password, own)
    assert (confirmed.status_code, confirmed.content) == (204, b"")
    assert "set-cookie" not in confirmed.headers
    exported = await site.client.get("/api/slm-users/export", headers=own)
    assert exported.status_code == 200


async def test_a_confirmation_is_in_the_audit_log(admin: httpx2.AsyncClient, site: Site) -> None:
    assert (await confirm(admin, WRONG)).status_code == 403
    assert (await confirm(admin, site.password)).status_code == 204
    failed, done = site.audit(Population.SLM, "authentication_confirmed")
    [user_id, session_id] = (
        site.databases[Population.SLM].sql("SELECT user_id || ' ' || id FROM auth_sessions").split()
    )
    assert (failed["outcome"], failed["user_id"], failed["details"]) == (
        "failure",
        user_id,
        {"reason": "invalid_password"},
    )
    assert (done["outcome"], done["user_id"], done["resource_id"], done["details"]) == (
        "success",
        user_id,
        session_id,
        {},
    )


async def test_the_password_cannot_be_guessed_by_confirming(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    """Five tries; neither logins nor other sessions are concerned; nothing says what was right."""
    age(site, 11)
    statuses = [(await confirm(admin, WRONG)).status_code for _ in range(5)]
    assert statuses == [403] * 5
    for password in (WRONG, site.password):
        blocked = await confirm(admin, password)
        assert (blocked.status_code, blocked.json()["code"]) == (429, "too_many_attempts")
        assert 0 < int(blocked.headers["retry-after"]) <= 30
    assert_asked(await admin.get("/api/slm-users/export"))
    change = {"current_password": site.password, "new_password": NEW_PASSWORD}
    same = await admin.post("/api/slm-auth/change-password", json=change)
    assert same.status_code == 429, "it is one limit, whatever asks for the current password"
    other = await site.login("captain")
    assert (await confirm(site.client, site.password, other)).status_code == 204
    assert authenticated(site) == "11 0"


@pytest.mark.parametrize("body", [{}, {"current_password": ""}, {"current_password": 7}, []])
async def test_a_confirmation_of_another_form(
    admin: httpx2.AsyncClient, body: dict[str, Any] | list[Any]
) -> None:
    response = await admin.post(CONFIRM, json=body)
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")


async def test_who_is_not_logged_in_or_has_a_one_time_password_confirms_nothing(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "captain", is_admin=True)
    refused = await confirm(site.client, site.password)
    assert (refused.status_code, refused.json()["code"]) == (401, "not_authenticated")
    assert refused.headers["www-authenticate"] == "Bearer"
    site.give_one_time_password(user_id)
    refused = await confirm(site.client, site.password, await site.login("captain"))
    assert (refused.status_code, refused.json()["code"]) == (403, "password_change_required")


# Oneself


@pytest.mark.parametrize("what", ["reset-password", "unlock"])
async def test_nobody_resets_or_unlocks_themselves(
    admin: httpx2.AsyncClient, site: Site, what: str
) -> None:
    me = (await admin.get(ME)).json()["id"]
    for _ in range(2):
        await confirm(admin, WRONG)
    refused = await admin.post(f"/api/slm-users/{me}/{what}")
    assert (refused.status_code, refused.json()["code"]) == (403, "permission_denied")
    assert (await admin.get(ME)).status_code == 200
    assert (await site.try_login("captain")).status_code == 200, "the password is the same"
    failures = "SELECT failures FROM rate_limits WHERE scope = 'password'"
    assert site.databases[Population.SLM].sql(failures) == "2"
    await site.add_user(Population.SLM, "second", is_admin=True)
    other = await site.login("second")
    done = await site.client.post(f"/api/slm-users/{me}/{what}", headers=other)
    assert done.is_success, done.text


async def test_the_namesake_of_the_other_population_is_somebody_else(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    me = (await admin.get(ME)).json()["id"]
    await site.add_user(Population.AUTOBOT, "captain")
    site.databases[Population.AUTOBOT].sql(f"UPDATE users SET id = '{me}'")
    for what in ("reset-password", "unlock"):
        done = await admin.post(f"/api/autobot-users/{me}/{what}")
        assert done.is_success, done.text
    changed = await admin.patch(f"/api/autobot-users/{me}", json={"email": "x@autobot.local"})
    assert changed.status_code == 200, changed.text


@pytest.fixture
async def own(admin: httpx2.AsyncClient) -> str:
    """Where the API has the caller."""
    return f"/api/slm-users/{(await admin.get(ME)).json()['id']}"


def named(response: httpx2.Response) -> list[str]:
    return [fault["pointer"] for fault in response.json().get("errors", [])]


@pytest.mark.parametrize("change", [{"email": "thief@example.org"}, {"username": "thief"}])
async def test_ones_own_name_and_address_take_the_current_password(
    admin: httpx2.AsyncClient, site: Site, own: str, change: dict[str, str]
) -> None:
    before = (await admin.get(own)).json()
    missing = await admin.patch(own, json=change)
    assert (missing.status_code, missing.json()["code"]) == (422, "validation_error")
    assert named(missing) == ["/current_password"]
    wrong = await admin.patch(own, json=change | {"current_password": WRONG})
    assert (wrong.status_code, wrong.json()["code"]) == (403, "current_password_wrong")
    assert (await admin.get(own)).json() == before
    [failed] = site.audit(Population.SLM, "user_updated")
    assert (failed["outcome"], failed["details"]) == ("failure", {"reason": "invalid_password"})
    # However long ago the session began: the password is a better proof.
    age(site, 11)
    right = await admin.patch(own, json=change | {"current_password": site.password})
    assert right.status_code == 200, right.text
    [name] = change
    assert right.json()[name] == change[name]
    assert "current_password" not in str(site.audit(Population.SLM))


async def test_what_one_does_not_change_takes_no_password(
    admin: httpx2.AsyncClient, own: str
) -> None:
    me = (await admin.get(own)).json()
    same = {"email": me["email"].upper(), "username": me["username"], "display_name": "Captain"}
    response = await admin.patch(own, json=same)
    assert response.status_code == 200, response.text


async def test_ones_own_password_is_not_guessed_by_changing_the_address(
    admin: httpx2.AsyncClient, site: Site, own: str
) -> None:
    statuses = [
        (await admin.patch(own, json={"email": f"x{n}@x.local", "current_password": WRONG}))
        for n in range(6)
    ]
    assert [each.status_code for each in statuses] == [403] * 5 + [429]
    assert (await confirm(admin, site.password)).status_code == 429, "the limit is the same"


async def test_the_password_of_the_caller_opens_no_other_account(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    """For others it is the recent confirmation that counts, and nothing in the body."""
    user = await site.add_user(Population.SLM, "marta")
    age(site, 11)
    change = {"email": "x@autobot.local", "current_password": site.password}
    assert_asked(await admin.patch(f"/api/slm-users/{user}", json=change))


async def test_demoting_oneself_asks_too(admin: httpx2.AsyncClient, site: Site, own: str) -> None:
    await site.add_user(Population.SLM, "second", is_admin=True)
    age(site, 11)
    change = {"is_admin": False, "email": "x@autobot.local", "current_password": site.password}
    assert_asked(await admin.patch(own, json=change))


async def test_an_administrator_who_is_given_another_address_meanwhile_keeps_it(
    admin: httpx2.AsyncClient, site: Site, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that was one's own a moment ago is no way back without the password."""
    prove = UserService._prove

    async def prove_and_lose(service: UserService, *arguments: Any) -> object:
        answer = await prove(service, *arguments)
        site.databases[Population.SLM].sql("UPDATE users SET email = 'new@autobot.local'")
        return answer

    monkeypatch.setattr(UserService, "_prove", prove_and_lose)
    response = await admin.patch(own, json={"email": "captain@autobot.local"})
    assert response.status_code == 412, response.text
