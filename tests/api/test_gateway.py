"""What nginx is told of a request that is to be passed on to AutoBot's own service."""

import base64
import json
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from jose import jwt

from tests.support.applications import Backend, Databases, Door, RunBackend, RunDoor, RunSite, Site
from user_management.database import Database
from user_management.population import Population
from user_management_web import gateway

SLM, AUTOBOT = Population
# What AutoBot signs its tokens with; and where browsers send the gateway's cookie.
SECRET = "an-old-secret-of-autobot"
PATHS = ("/api/ws/", "/grafana/")
FRONTEND = "https://frontend.example"
IDLE, ABSOLUTE = timedelta(minutes=60), timedelta(hours=12)


def as_gateway(**changes: Any) -> dict[str, Any]:
    return {
        "gateway_secret": SECRET,
        "gateway_cookie_paths": PATHS,
        "frontend_origins": (FRONTEND,),
        **changes,
    }


@pytest.fixture
async def fleet(run_site: RunSite, databases: Databases) -> AsyncIterator[Site]:
    """The SLM server as a gateway, with a fleet administrator who may pass."""
    async with run_site(databases, **as_gateway()) as site:
        await site.add_user(SLM, "marta", permissions=["admin:access"])
        yield site


@pytest.fixture
async def api(run_backend: RunBackend, databases: Databases, site: Site) -> AsyncIterator[Backend]:
    """The AutoBot backend as a gateway, with an application user."""
    await site.add_user(AUTOBOT, "marta")
    async with run_backend(databases[AUTOBOT], **as_gateway()) as backend:
        yield backend


@pytest.fixture
async def door(run_door: RunDoor, databases: Databases, site: Site) -> AsyncIterator[Door]:
    """Each of both."""
    for population in Population:
        await site.add_user(population, "marta", permissions=["admin:access"])
    async with run_door(databases, **as_gateway()) as started:
        yield started


async def old_login(door: Door, username: str = "marta") -> httpx2.Response:
    """Log in as AutoBot's own pages do, and forget what a browser would keep."""
    response = await door.client.post(
        "/api/auth/login", json={"username": username, "password": "violet-anchor-77-meadow"}
    )
    assert response.status_code == 200, response.text
    door.client.cookies.clear()
    return response


def token_of(login: httpx2.Response) -> str:
    body = login.json()
    token: str = body.get("token") or body["access_token"]
    return token


async def bearer(door: Door, username: str = "marta") -> dict[str, str]:
    return door.bearer(token_of(await old_login(door, username)))


async def ask(
    door: Door, headers: dict[str, str], *, method: str = "GET", upgrade: str = ""
) -> httpx2.Response:
    """Ask as nginx does, with the headers of the request that is to be passed on."""
    given = {gateway.METHOD_HEADER: method, gateway.UPGRADE_HEADER: upgrade} | headers
    return await door.client.get(gateway.PATH, headers=given)


def passed(answer: httpx2.Response) -> dict[str, Any]:
    """The claims of the token with which a request goes on."""
    assert answer.status_code == 204, answer.text
    scheme, token = answer.headers[gateway.AUTHORIZATION_HEADER].split(" ")
    assert scheme == "Bearer"
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    claims: dict[str, Any] = jwt.decode(token, SECRET, algorithms=["HS256"])
    return claims


def cookies(login: httpx2.Response) -> dict[str, str]:
    """The gateway's cookie with its flags, by path."""
    found = {}
    for header in login.headers.get_list("set-cookie"):
        pair, *flags = header.split("; ")
        if "-gateway=" in pair:
            named = dict(flag.partition("=")[::2] for flag in flags)
            found[named.pop("Path")] = pair
            assert named == {
                "HttpOnly": "",
                "Max-Age": str(int(ABSOLUTE.total_seconds())),
                "SameSite": "strict",
                "Secure": "",
            }
    return found


async def cookie(door: Door) -> dict[str, str]:
    """What a browser sends on one of the gateway's paths, from a page of the same origin."""
    [value, *_] = cookies(await old_login(door)).values()
    return {"Cookie": value, "Sec-Fetch-Site": "same-origin"}


async def test_a_service_is_no_gateway_unless_it_has_autobots_secret(
    run_door: RunDoor, databases: Databases, site: Site
) -> None:
    for population in Population:
        await site.add_user(population, "marta", permissions=["admin:access"])
    async with run_door(databases, gateway_cookie_paths=PATHS) as door:
        login = await old_login(door)
        assert cookies(login) == {}
        assert login.json()["expires_in"] == 1800
        answer = await ask(door, door.bearer(token_of(login)))
        assert answer.status_code == 404


async def test_a_fleet_administrator_passes_as_one_of_autobots(fleet: Site) -> None:
    claims = passed(await ask(fleet, await bearer(fleet)))
    assert claims.pop("exp") - claims.pop("iat") == 60
    assert claims == {"sub": "marta", "admin": False}
    await fleet.add_user(SLM, "admiral", is_admin=True)
    assert passed(await ask(fleet, await bearer(fleet, "admiral")))["admin"] is True


async def test_an_application_user_passes_as_one_of_autobots(api: Backend, site: Site) -> None:
    organization = site.add_organization("acme")
    site.add_role(AUTOBOT, "operator")
    await site.add_user(AUTOBOT, "olga", org_id=organization)
    otto = await site.add_user(AUTOBOT, "otto", roles=["operator"])
    claims = passed(await ask(api, await bearer(api, "otto")))
    assert claims.pop("exp") - claims.pop("iat") == 60
    assert claims == {
        "username": "otto",
        "role": "operator",
        "email": "otto@autobot.local",
        "user_id": str(otto),
        "org_id": None,
    }
    claims = passed(await ask(api, await bearer(api, "olga")))
    assert (claims["role"], claims["org_id"]) == ("user", str(organization))


async def test_the_token_is_made_anew_while_half_of_its_time_is_left(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers, now = await bearer(door), time.time()
    monkeypatch.setattr("user_management.security.autobot_tokens.time.time", lambda: now)
    first = passed(await ask(door, headers))
    now += 29
    assert passed(await ask(door, headers)) == first
    now += 2
    assert passed(await ask(door, headers))["exp"] == first["exp"] + 31
    # A clock that is put back: the token must not outlive the minute.
    now -= 3600
    claims = jwt.get_unverified_claims(
        (await ask(door, headers)).headers[gateway.AUTHORIZATION_HEADER].split(" ")[1]
    )
    assert claims["exp"] == int(now) + 60


async def test_what_somebody_becomes_is_in_the_next_token(api: Backend, site: Site) -> None:
    headers = await bearer(api)
    assert passed(await ask(api, headers))["role"] == "user"
    site.databases[AUTOBOT].sql("UPDATE users SET is_platform_admin = true")
    assert passed(await ask(api, headers))["role"] == "admin"


async def test_nobody_passes_without_a_session(door: Door, site: Site) -> None:
    header, payload, signature = token_of(await old_login(door)).split(".")
    passes = passed(await ask(door, door.bearer(f"{header}.{payload}.{signature}")))
    other = site if door.resources.callers is AUTOBOT else None
    no_longer = {
        "nothing": {},
        "no token": {"Authorization": "Bearer "},
        "another scheme": {"Authorization": "Basic bWFydGE6bWFydGE="},
        "forged": door.bearer(f"{header}.{payload}.{signature[:-4]}AAAA"),
        "of AutoBot's own form": door.bearer(jwt.encode(passes, SECRET, "HS256")),
        "a session of AutoBot's": {"X-Session-ID": "1", "X-User-Role": "admin"},
        "an internal key": {"X-Internal-API-Key": "key"},
    }
    if other is not None:
        no_longer["of the other population"] = await other.login("marta")
    for case, headers in no_longer.items():
        answer = await ask(door, headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer"), case
        assert gateway.AUTHORIZATION_HEADER not in answer.headers


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE auth_sessions SET ended_at = now()",
        "UPDATE auth_sessions SET expires_at = now()",
        "UPDATE users SET is_active = false",
        "UPDATE users SET deleted_at = now()",
    ],
)
async def test_who_is_no_longer_let_in_does_not_pass(
    door: Door, databases: Databases, change: str
) -> None:
    by_header, by_cookie = await bearer(door), await cookie(door)
    for headers in (by_header, by_cookie):
        passed(await ask(door, headers))
    databases[door.resources.callers].sql(change)
    for headers in (by_header, by_cookie):
        assert (await ask(door, headers)).status_code == 401


async def test_the_fleet_manager_is_for_those_who_administrate_all_of_it(fleet: Site) -> None:
    organization = fleet.add_organization("acme")
    await fleet.add_user(SLM, "plain", permissions=["users:read"])
    await fleet.add_user(SLM, "limited", permissions=["admin:access"], org_id=organization)
    for username in ("plain", "limited"):
        answer = await ask(fleet, await bearer(fleet, username))
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
    headers = await bearer(fleet)
    passed(await ask(fleet, headers))
    fleet.databases[SLM].sql("DELETE FROM role_permissions")
    assert (await ask(fleet, headers)).status_code == 403


async def test_a_one_time_password_does_not_pass(door: Door, databases: Databases) -> None:
    databases[door.resources.callers].sql(
        "INSERT INTO user_credentials (user_id, must_change_password, one_time_expires_at) "
        "SELECT id, true, now() + interval '1 hour' FROM users"
    )
    answer = await ask(door, await bearer(door))
    assert (answer.status_code, answer.json()["code"]) == (403, "password_change_required")


async def test_the_cookie_is_for_the_gateways_paths_alone(door: Door) -> None:
    login = await old_login(door)
    found = cookies(login)
    assert found.keys() == set(PATHS)
    [value] = set(found.values())
    assert value.startswith(f"__Secure-{door.resources.callers}-gateway=")
    given = {"Cookie": value, "Sec-Fetch-Site": "same-origin"}
    passed(await ask(door, given))
    # Where only our own API is asked, it is worth nothing, as a token neither.
    sealed = value.partition("=")[2]
    for headers in (given, door.bearer(sealed), {"Cookie": f"__Host-slm-access={sealed}"}):
        answer = await door.client.get("/api/auth/me", headers=headers)
        assert answer.status_code == 401


@pytest.mark.parametrize("change", ["forged", "another session", "cut", "no base64", "empty"])
async def test_a_cookie_that_was_not_made_here_does_not_pass(door: Door, change: str) -> None:
    given = await cookie(door)
    name, _, good = given["Cookie"].partition("=")
    content = base64.urlsafe_b64decode(good + "==")
    value = {
        "forged": base64.urlsafe_b64encode(content[:-1] + bytes([content[-1] ^ 1])),
        "another session": base64.urlsafe_b64encode(bytes([content[0] ^ 1]) + content[1:]),
        "cut": good[:-4].encode(),
        "no base64": b"!" * len(good),
        "empty": b"",
    }[change]
    answer = await ask(door, {**given, "Cookie": f"{name}={value.decode().rstrip('=')}"})
    assert answer.status_code == 401


OWN = "own origin"
# What the browser says of where a request comes from → whether it passes: read, written, upgraded.
ORIGINS: dict[str, tuple[dict[str, str], tuple[bool, bool, bool]]] = {
    "a page of the same origin": (
        {"Sec-Fetch-Site": "same-origin", "Origin": OWN},
        (True, True, True),
    ),
    "one that says no origin": ({"Sec-Fetch-Site": "same-origin"}, (True, True, True)),
    "a browser without Sec-Fetch-Site": ({"Origin": OWN}, (True, True, True)),
    "AutoBot's frontend": ({"Origin": FRONTEND}, (True, True, True)),
    "somebody who typed it": ({"Sec-Fetch-Site": "none"}, (True, False, False)),
    "a browser that says nothing": ({}, (True, False, False)),
    "another port": ({"Origin": f"{OWN}:3000"}, (False, False, False)),
    "a page of the same site": ({"Sec-Fetch-Site": "same-site"}, (False, False, False)),
    "another site": ({"Sec-Fetch-Site": "cross-site"}, (False, False, False)),
    "another origin": ({"Origin": "https://evil.example"}, (False, False, False)),
    "plain HTTP": ({"Origin": "http://frontend.example"}, (False, False, False)),
    "a sandbox": ({"Origin": "null"}, (False, False, False)),
}


@pytest.mark.parametrize("case", ORIGINS)
async def test_a_cookie_counts_from_pages_of_the_site_only(door: Door, case: str) -> None:
    said, expected = ORIGINS[case]
    own = str(door.client.base_url).rstrip("/")
    [value, *_] = cookies(await old_login(door)).values()
    headers = {"Cookie": value} | {name: each.replace(OWN, own) for name, each in said.items()}
    answers = [
        await ask(door, headers),
        await ask(door, headers, method="POST"),
        await ask(door, headers, upgrade="websocket"),
    ]
    assert tuple(answer.status_code == 204 for answer in answers) == expected
    for answer in answers:
        assert answer.status_code in (204, 403)
    # A header counts wherever it comes from: no browser adds it by itself.
    by_header = await bearer(door) | {name: each.replace(OWN, own) for name, each in said.items()}
    passed(await ask(door, by_header, method="POST"))


async def test_with_a_header_no_cookie_counts(door: Door) -> None:
    answer = await ask(door, await cookie(door) | door.bearer("nonsense"))
    assert answer.status_code == 401


async def test_a_login_of_our_own_pages_passes_too(fleet: Site) -> None:
    await fleet.client.post(
        "/api/slm-auth/browser/login",
        json={"username": "marta", "password": fleet.password},
        headers={"X-CSRF": "1"},
    )
    access = fleet.client.cookies["__Host-slm-access"]
    fleet.client.cookies.clear()
    given = {"Cookie": f"__Host-slm-access={access}", "Sec-Fetch-Site": "same-origin"}
    assert passed(await ask(fleet, given))["sub"] == "marta"
    # A cookie of the gateway that names a session which is over does not stand in its way.
    old = await cookie(fleet)
    fleet.databases[SLM].sql(
        "UPDATE auth_sessions SET ended_at = now() "
        "WHERE created_at = (SELECT max(created_at) FROM auth_sessions)"
    )
    assert (await ask(fleet, old)).status_code == 401
    both = {**given, "Cookie": f"{old['Cookie']}; {given['Cookie']}"}
    assert passed(await ask(fleet, both))["sub"] == "marta"


async def test_autobot_sees_cookies_of_others_only(door: Door) -> None:
    [value, *_] = cookies(await old_login(door)).values()
    device = f"{door.resources.device_cookie}=abc"
    access = "__Host-slm-access=nonsense; " if door.resources.cookies else ""
    given = f"grafana_session=1; {value};{device}; {access}theme=a=b; __Host-slm-access2=2"
    answer = await ask(door, {"Cookie": given, "Sec-Fetch-Site": "same-origin"})
    assert answer.headers[gateway.COOKIE_HEADER] == (
        "grafana_session=1; theme=a=b; __Host-slm-access2=2"
    )
    answer = await ask(door, await bearer(door))
    assert answer.headers[gateway.COOKIE_HEADER] == ""


async def test_nginx_is_told_whose_request_it_is(door: Door, databases: Databases) -> None:
    databases[door.resources.callers].sql(
        "UPDATE users SET username = 'Zoë, K' WHERE username = 'marta'"
    )
    login = await old_login(door, "marta@autobot.local")
    answer = await ask(door, door.bearer(token_of(login)))
    sql = databases[door.resources.callers].sql
    assert answer.headers[gateway.SESSION_HEADER] == sql(
        "SELECT id || '.' || user_id FROM auth_sessions"
    )
    assert answer.headers[gateway.USER_HEADER] == "Zo%C3%AB%2C%20K"


async def test_what_the_old_login_gives_lasts_as_long_as_a_session(door: Door) -> None:
    login = await old_login(door)
    body, token = login.json(), token_of(login)
    claims = jwt.get_unverified_claims(token)
    assert body["expires_in"] == claims["exp"] - claims["iat"] == ABSOLUTE.total_seconds()
    assert body["refresh_expires_in"] == IDLE.total_seconds()
    for again in (
        {"headers": door.bearer(token)},
        {"json": {"refresh_token": body["refresh_token"]}},
    ):
        answer = await door.client.post("/api/auth/refresh", **again)
        claims = jwt.get_unverified_claims(token_of(answer))
        assert claims["exp"] - claims["iat"] == ABSOLUTE.total_seconds()


async def test_what_other_logins_give_lasts_as_before(fleet: Site) -> None:
    login = await fleet.try_login("marta")
    refreshed = await fleet.client.post(
        "/api/slm-auth/refresh", json={"refresh_token": login.json()["refresh_token"]}
    )
    for answer in (login, refreshed):
        assert answer.json()["expires_in"] == 1800
        assert cookies(answer) == {}


def age(door: Door, databases: Databases, began: str, expires: str) -> None:
    databases[door.resources.callers].sql(
        f"UPDATE auth_sessions SET created_at = now() - interval '{began}', "
        f"expires_at = now() + interval '{expires}'"
    )


def left(door: Door, databases: Databases) -> float:
    """Seconds that the session goes on."""
    sql = databases[door.resources.callers].sql
    return float(sql("SELECT extract(epoch FROM expires_at - now()) FROM auth_sessions"))


async def test_use_prolongs_a_session(door: Door, databases: Databases) -> None:
    headers = await bearer(door)
    age(door, databases, "2 hours", "5 minutes")
    passed(await ask(door, headers))
    assert IDLE.total_seconds() - 60 < left(door, databases) <= IDLE.total_seconds()
    # Up to the absolute limit, and once there no more is written.
    age(door, databases, "11 hours 30 minutes", "5 minutes")
    passed(await ask(door, headers))
    assert 1800 - 60 < left(door, databases) <= 1800


@pytest.mark.parametrize(
    ("began", "expires"),
    [("10 minutes", "59 minutes 30 seconds"), ("11 hours 30 minutes", "30 minutes")],
    ids=["within a minute", "at the limit"],
)
async def test_the_answer_comes_from_one_statement(
    door: Door,
    databases: Databases,
    monkeypatch: pytest.MonkeyPatch,
    began: str,
    expires: str,
) -> None:
    headers = await bearer(door)
    age(door, databases, began, expires)
    read: list[str] = []
    fetch_row = Database.fetch_row

    async def counted(self: Database, statement: str, *arguments: object) -> Any:
        read.append(statement)
        return await fetch_row(self, statement, *arguments)

    monkeypatch.setattr(Database, "fetch_row", counted)
    monkeypatch.setattr(Database, "session", None)
    passed(await ask(door, headers))
    assert len(read) == 1


async def test_a_database_that_is_away_is_no_refusal(
    proxied: dict[Population, Any], run_door: RunDoor
) -> None:
    for each in proxied.values():
        await each.proxy.start()
    async with run_door(proxied, **as_gateway()) as door:
        token = door.resources.issuer.issue(
            subject="marta",
            user_id=uuid4(),
            session_id=uuid4(),
            claims={},
        )
        assert (await ask(door, door.bearer(token))).status_code == 401
        await proxied[door.resources.callers].proxy.stop()
        answer = await ask(door, door.bearer(token))
        assert answer.status_code == 503
        assert json.loads(answer.text)["code"] == "database_unavailable"
