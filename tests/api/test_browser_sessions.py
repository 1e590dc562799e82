"""Sessions of browsers: cookies that no script reads, and what other sites cannot do with them."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from typing import Any

import httpx2
import pytest

from autobot_backend.app import create_app as create_backend
from slm_server.app import create_app
from tests.support.applications import Backend, Databases, RunSite, Site
from user_management.population import Population
from user_management.schemas.fields import USERNAME_LENGTH

ACCESS, REFRESH = "__Host-slm-access", "__Host-slm-refresh"
DEVICE = "__Host-slm-device"
LOGIN, GO_ON, LOGOUT = (f"/api/slm-auth/browser/{what}" for what in ("login", "refresh", "logout"))
ME = "/api/slm-auth/me"
# What a browser sends with a request of our own page.
OWN = {"X-CSRF": "1", "Origin": "https://slm.example", "Sec-Fetch-Site": "same-origin"}
NEW_PASSWORD = "granite-otter-quilt-52"
FLAGS = "HttpOnly; Max-Age={}; Path=/; SameSite=strict; Secure"
DOCUMENT = create_app().openapi()


@pytest.fixture
async def marta(site: Site) -> uuid.UUID:
    """She exists; what the client sends from now on comes from our page."""
    site.client.headers.update(OWN)
    return await site.add_user(Population.SLM, "marta")


async def enter(site: Site, username: str = "marta", password: str | None = None) -> Any:
    """Log in as a browser; what is answered."""
    body = {"username": username, "password": password or site.password}
    response = await site.client.post(LOGIN, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def jar(site: Site) -> dict[str, str]:
    """The cookies that hold tokens."""
    return {name: value for name, value in site.client.cookies.items() if name != DEVICE}


def put(site: Site, **changes: str | None) -> None:
    """Change the cookies that the browser has: `access` or `refresh`; None takes one away."""
    kept = jar(site) | {f"__Host-slm-{name}": value for name, value in changes.items()}
    site.client.cookies.clear()
    for name, value in kept.items():
        if value is not None:
            site.client.cookies.set(name, value, domain="slm.example", path="/")


@pytest.fixture
async def session(site: Site, marta: uuid.UUID) -> dict[str, str]:
    """She is logged in; what was answered, both tokens, and her id."""
    answer = await enter(site) | {"user_id": str(marta)}
    found: dict[str, str] = answer | {"access": jar(site)[ACCESS], "refresh": jar(site)[REFRESH]}
    return found


async def status(site: Site, path: str = ME) -> int:
    return (await site.client.get(path)).status_code


def code(response: httpx2.Response) -> tuple[int, str | None]:
    return response.status_code, response.json()["code"] if response.content else None


def forgotten(response: httpx2.Response) -> bool:
    """Whether the browser is told to forget both cookies, in the words that set them."""
    sent = [re.sub(r"expires=[^;]+; ", "", each) for each in set_cookies(response)]
    return sent == [f'{name}=""; {FLAGS.format(0)}' for name in (ACCESS, REFRESH)]


def set_cookies(response: httpx2.Response) -> list[str]:
    return response.headers.get_list("set-cookie")


def pass_time(site: Site, seconds: int) -> None:
    """All that was noted of sessions and tokens happened so much earlier."""
    site.databases[Population.SLM].sql(
        "UPDATE refresh_tokens SET"
        f" created_at = created_at - interval '{seconds} s',"
        f" used_at = used_at - interval '{seconds} s'"
    )


def expired(site: Site, session_id: str, user_id: uuid.UUID) -> str:
    """The access token of a session, two hours old."""
    return site.resources.issuer.issue(
        subject="marta",
        user_id=user_id,
        session_id=uuid.UUID(session_id),
        claims={},
        issued_at=datetime.now(UTC) - timedelta(hours=2),
    )


def ended(site: Site) -> list[str]:
    """Why sessions have ended, in the order of their logins."""
    found = site.databases[Population.SLM].sql(
        "SELECT coalesce(end_reason, '-') FROM auth_sessions ORDER BY created_at"
    )
    value: list[str] = found.split()
    return value


async def test_a_login_sets_both_cookies_and_shows_no_token(site: Site, marta: uuid.UUID) -> None:
    body = {"username": "marta", "password": site.password}
    response = await site.client.post(LOGIN, json=body)
    assert response.status_code == 200, response.text
    device, access, refresh = set_cookies(response)
    [token] = re.findall(f"^{ACCESS}=([\\w-]+\\.[\\w-]+\\.[\\w-]+); ", access)
    [other] = re.findall(f"^{REFRESH}=([\\w-]{{94}}); ", refresh)
    assert access == f"{ACCESS}={token}; {FLAGS.format(1800)}"
    assert refresh == f"{REFRESH}={other}; {FLAGS.format(3600)}"
    [known_by] = re.findall(f"^{DEVICE}=([\\w-]{{64}}); ", device)
    assert device == f"{DEVICE}={known_by}; {FLAGS.format(30 * 24 * 3600)}"
    answer = response.json()
    assert answer == {
        "session_id": site.databases[Population.SLM].sql("SELECT id FROM auth_sessions"),
        "must_change_password": False,
        "expires_in": 1800,
        "refresh_expires_in": 3600,
    }
    assert response.headers["cache-control"] == "no-store"
    assert (await site.client.get(ME)).json()["id"] == str(marta)


@pytest.mark.usefixtures("marta")
async def test_cookies_are_small_enough_to_be_kept(site: Site) -> None:
    longest = "m" * USERNAME_LENGTH
    await site.add_user(Population.SLM, longest, is_admin=True)
    await enter(site, longest)
    assert max(len(name) + len(value) for name, value in jar(site).items()) <= 4096


async def test_no_answer_holds_a_token(site: Site, session: dict[str, str]) -> None:
    answers = [
        await site.client.get(ME),
        await site.client.get("/api/slm-auth/sessions"),
        await site.client.post(GO_ON),
        await site.client.post("/api/auth/refresh"),
        await site.client.post("/api/slm-auth/refresh", json={"refresh_token": "x"}),
        await site.client.post(LOGIN, json={"username": "marta", "password": site.password}),
        await site.client.post(LOGOUT),
    ]
    assert [each.status_code for each in answers] == [200, 200, 200, 401, 401, 200, 204]
    given = {session["access"], session["refresh"]}
    given |= {
        morsel.value
        for each in answers
        for line in set_cookies(each)
        for morsel in SimpleCookie(line).values()
        if morsel.value
    }
    assert len(given) == 7, "and what the browser is known again by"
    assert [token for token in given for each in answers if token in each.text] == []


async def test_a_cookie_fetches_no_token_where_a_header_does(
    site: Site, session: dict[str, str]
) -> None:
    """What AutoBot's programs call without a body would give one to a script."""
    refused = await site.client.post("/api/auth/refresh")
    assert code(refused) == (401, "not_authenticated")
    by_header = await site.client.post("/api/auth/refresh", headers=site.bearer(session["access"]))
    assert by_header.json()["access_token"]


async def test_the_cookie_counts_wherever_a_token_does(
    site: Site, admin: httpx2.AsyncClient
) -> None:
    """Of each route that asks for one: with the header past the question who is calling."""
    routes = [
        (method, re.sub(r"\{\w+\}", str(uuid.UUID(int=7)), path))
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if {"bearer": []} in operation.get("security", []) and {} not in operation["security"]
    ]
    assert len(routes) > 50
    del admin.headers["Authorization"]
    for method, path in routes:
        admin.headers.update(OWN)
        # One of them is the logout.
        await enter(site, site.administrator)
        body: dict[str, Any] | None = {} if method in {"post", "patch"} else None
        del admin.headers["X-CSRF"]
        if method != "get":
            refused = await admin.request(method, path, json=body)
            assert code(refused) == (403, "cross_site_request"), path
        admin.headers["X-CSRF"] = "1"
        response = await admin.request(method, path, json=body)
        assert response.status_code not in {401, 403}, path


SAFE = [
    ({}, True),
    ({"Sec-Fetch-Site": "same-origin"}, True),
    ({"Sec-Fetch-Site": "none"}, True),
    ({"Sec-Fetch-Site": "same-site"}, False),
    ({"Sec-Fetch-Site": "cross-site"}, False),
    ({"Sec-Fetch-Site": ""}, False),
    ({"Sec-Fetch-Site": "Same-Origin"}, False),
    ({"Origin": "https://slm.example"}, True),
    ({"Origin": "https://slm.example:8443"}, True),
    ({"Origin": "https://slm.example:8443", "Host": "slm.example:9443"}, True),
    ({"Origin": "https://[2001:db8::1]:8443", "Host": "[2001:db8::1]"}, True),
    ({"Origin": "http://slm.example"}, False),
    ({"Origin": "https://evil.example"}, False),
    ({"Origin": "https://slm.example.evil.example"}, False),
    ({"Origin": "https://evil.slm.example"}, False),
    ({"Origin": "https://slm.example@evil.example"}, False),
    ({"Origin": "https://[slm.example"}, False),
    ({"Origin": "https://"}, False),
    ({"Origin": "https://", "Host": ""}, False),
    ({"Origin": "null"}, False),
    ({"Origin": ""}, False),
    ({"Origin": "https://slm.example", "Sec-Fetch-Site": "same-origin"}, True),
    ({"Origin": "https://slm.example:8444", "Sec-Fetch-Site": "same-site"}, False),
    ({"Origin": "https://evil.example", "Sec-Fetch-Site": "same-origin"}, False),
]
UNSAFE = [
    ({"X-CSRF": "1"} | headers, allowed and headers.get("Sec-Fetch-Site") != "none")
    for headers, allowed in SAFE
] + [
    ({name: value for name, value in OWN.items() if name != "X-CSRF"} | header, False)
    for header in ({}, {"X-CSRF": ""}, {"X-CSRF": "0"}, {"X-CSRF": "11"}, {"X-CSRF": "true"})
]


async def send(
    site: Site, method: str, path: str, headers: dict[str, str], **body: Any
) -> httpx2.Response:
    """A request with these headers and no others of a browser's."""
    for name in OWN:
        site.client.headers.pop(name, None)
    return await site.client.request(method, path, headers=headers, **body)


@pytest.mark.usefixtures("session")
async def test_what_reads_comes_from_no_other_site(site: Site) -> None:
    for headers, allowed in SAFE:
        for method in ("GET", "HEAD"):
            response = await send(site, method, ME, headers)
            assert response.status_code == (200 if allowed else 403), (method, headers)
            if not allowed and method == "GET":
                assert response.json()["code"] == "cross_site_request"


@pytest.mark.usefixtures("session")
async def test_what_changes_something_comes_from_no_other_site(site: Site) -> None:
    for headers, allowed in UNSAFE:
        response = await send(site, "DELETE", "/api/slm-auth/sessions", headers)
        assert code(response) == ((204, None) if allowed else (403, "cross_site_request")), headers


async def test_no_other_site_logs_in_goes_on_or_logs_out(
    site: Site, session: dict[str, str]
) -> None:
    """With the cookies, without them, and with a header that proves who is calling."""
    kept = jar(site)
    login = {"json": {"username": "marta", "password": site.password}}
    actions = {LOGIN: login, GO_ON: {}, LOGOUT: {}}
    site.databases[Population.SLM].sql("TRUNCATE audit_logs")
    for cookies in (kept, {}):
        put(site, access=cookies.get(ACCESS), refresh=cookies.get(REFRESH))
        for proof in ({}, site.bearer(session["access"])):
            for headers, allowed in UNSAFE:
                for path, body in {} if allowed else actions.items():
                    response = await send(site, "POST", path, headers | proof, **body)
                    assert code(response) == (403, "cross_site_request"), (path, headers)
                    assert set_cookies(response) == []
    assert ended(site) == ["-"]
    assert site.audit(Population.SLM) == []


@pytest.mark.usefixtures("marta")
@pytest.mark.parametrize("headers", [each for each, allowed in UNSAFE if allowed], ids=str)
async def test_our_own_page_logs_in_goes_on_and_logs_out(
    site: Site, headers: dict[str, str]
) -> None:
    login = {"username": "marta", "password": site.password}
    assert (await send(site, "POST", LOGIN, headers, json=login)).status_code == 200
    assert (await send(site, "POST", GO_ON, headers)).status_code == 200
    assert (await send(site, "POST", LOGOUT, headers)).status_code == 204
    assert ended(site) == ["logout"]


@pytest.mark.usefixtures("session")
async def test_nobody_may_ask_to_send_the_header(site: Site) -> None:
    """There is no CORS, so no page of another origin sends X-CSRF."""
    asks = {
        "Origin": "https://evil.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-csrf",
    }
    response = await send(site, "OPTIONS", LOGOUT, asks)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_with_the_header_no_cookie_counts(site: Site, session: dict[str, str]) -> None:
    for wrong in ("Bearer x", "Bearer", "Basic bWFydGE6eA==", ""):
        response = await site.client.get(ME, headers={"Authorization": wrong})
        assert code(response) == (401, "not_authenticated"), wrong
    strange = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    put(site, access="x", refresh="x")
    for method, path in (("GET", ME), ("DELETE", "/api/slm-auth/sessions")):
        by_header = strange | site.bearer(session["access"])
        assert (await send(site, method, path, by_header)).status_code in {200, 204}


@pytest.mark.usefixtures("marta")
async def test_programs_that_send_no_cookie_are_told_as_before(site: Site) -> None:
    for headers in ({}, {"Sec-Fetch-Site": "cross-site"}):
        for method, path in (("GET", ME), ("POST", "/api/slm-auth/logout")):
            assert code(await send(site, method, path, headers)) == (401, "not_authenticated")


async def test_tokens_of_another_kind_are_no_cookies(
    site: Site, backend: Backend, session: dict[str, str]
) -> None:
    await site.add_user(Population.AUTOBOT, "marta")
    other = await backend.enter("marta")
    for access in (other["token"], other["refresh_token"], session["refresh"], "x", "é", '""'):
        put(site, access=None)
        cookie = f"{ACCESS}={access}".encode("latin-1")
        assert (await site.client.get(ME, headers={b"Cookie": cookie})).status_code == 401, access
    for refresh in (
        other["refresh_token"],
        other["token"],
        session["access"],
        "é" * 94,
        "x" * 9000,
    ):
        put(site, access=None, refresh=None)
        cookie = f"{REFRESH}={refresh}".encode("latin-1")
        response = await site.client.post(GO_ON, headers={b"Cookie": cookie})
        assert code(response) == (401, "not_authenticated")
        assert forgotten(response)


@pytest.mark.parametrize(
    "before", [b"\x85", b"\xa0", b"\x1c", b"\t", b"=", b"x", b"%20", b"\xc2\xa0"]
)
async def test_a_name_that_another_host_can_set_is_not_ours(
    site: Site, session: dict[str, str], before: bytes
) -> None:
    """A browser lets nobody else set what begins with __Host-, and takes these for other names."""
    put(site, access=None, refresh=None)
    cookies = b"; ".join(
        before + f"__Host-slm-{name}={session[name]}".encode() for name in ("access", "refresh")
    )
    assert (await site.client.get(ME, headers={b"Cookie": cookies})).status_code == 401
    assert (await site.client.post(GO_ON, headers={b"Cookie": cookies})).status_code == 401


async def test_the_backend_and_other_services_know_no_cookie(site: Site, backend: Backend) -> None:
    await site.add_user(Population.AUTOBOT, "marta")
    entered = await backend.enter("marta")
    cookies = {
        "Cookie": "; ".join(
            f"{name}={entered['token']}"
            for name in (ACCESS, ACCESS.replace("slm", "autobot"), "access_token")
        )
    }
    assert (await backend.me(OWN | cookies)).status_code == 401
    assert (await backend.check(OWN | cookies))["authenticated"] is False
    for path in ("logout", "refresh"):
        await backend.client.post(f"/api/auth/{path}", headers=OWN | cookies)
    assert (await backend.me(backend.bearer(entered["token"]))).status_code == 200
    described = create_backend().openapi()["components"]["securitySchemes"]
    assert list(described) == ["bearer"]


async def test_an_expired_access_cookie_is_replaced(
    site: Site, marta: uuid.UUID, session: dict[str, str]
) -> None:
    put(site, access=expired(site, session["session_id"], marta))
    assert await status(site) == 401
    assert set_cookies(await site.client.get(ME)) == [], "the refresh cookie is still good"
    response = await site.client.post(GO_ON)
    assert response.status_code == 200, response.text
    assert response.json() == {
        "session_id": session["session_id"],
        "must_change_password": False,
        "expires_in": 1800,
        "refresh_expires_in": 3600,
    }
    access, refresh = set_cookies(response)
    assert access.endswith(f"; {FLAGS.format(1800)}")
    assert refresh.endswith(f"; {FLAGS.format(3600)}")
    assert not {session["access"], session["refresh"]} & set(jar(site).values())
    assert await status(site) == 200


@pytest.mark.usefixtures("session")
async def test_cookies_live_no_longer_than_their_session(site: Site) -> None:
    site.databases[Population.SLM].sql(
        "UPDATE auth_sessions SET created_at = now() - interval '11 hours 50 minutes'"
    )
    response = await site.client.post(GO_ON)
    assert response.status_code == 200, response.text
    assert response.json()["expires_in"] in range(590, 601)
    for line in set_cookies(response):
        [age] = re.findall(r"; Max-Age=(\d+); ", line)
        assert int(age) in range(590, 601)


async def test_two_tabs_may_go_on_with_one_cookie(site: Site, session: dict[str, str]) -> None:
    assert (await site.client.post(GO_ON)).status_code == 200
    second = jar(site)[REFRESH]
    put(site, refresh=session["refresh"])
    pass_time(site, 8)
    assert (await site.client.post(GO_ON)).status_code == 200
    assert jar(site)[REFRESH] == second
    assert await status(site) == 200


async def test_a_cookie_that_comes_again_later_ends_the_session(
    site: Site, session: dict[str, str]
) -> None:
    assert (await site.client.post(GO_ON)).status_code == 200
    second = jar(site)
    put(site, refresh=session["refresh"])
    pass_time(site, 11)
    response = await site.client.post(GO_ON)
    assert code(response) == (401, "not_authenticated")
    assert forgotten(response)
    assert jar(site) == {}
    put(site, access=second[ACCESS], refresh=second[REFRESH])
    assert await status(site) == 401
    assert forgotten(await site.client.post(GO_ON))
    [row] = site.audit(Population.SLM, "suspicious_activity")
    assert row["details"]["reason"] == "refresh_token_reused"


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("refresh", [None, "", "x"])
async def test_without_a_good_refresh_cookie_all_go(site: Site, refresh: str | None) -> None:
    put(site, refresh=refresh)
    response = await site.client.post(GO_ON)
    assert code(response) == (401, "not_authenticated")
    assert forgotten(response)
    assert ended(site) == ["-"]


@pytest.mark.usefixtures("marta")
async def test_what_passes_takes_no_cookie_away(databases: Databases, run_site: RunSite) -> None:
    """An address that is blocked for what others did goes on later."""
    async with run_site(databases, login_failures_per_address=1) as site:
        site.client.headers.update(OWN)
        await enter(site)
        kept = jar(site)
        put(site, refresh="x")
        assert (await site.client.post(GO_ON)).status_code == 401
        put(site, refresh="x")
        response = await site.client.post(GO_ON)
        assert code(response) == (429, "too_many_attempts")
        assert set_cookies(response) == []
        put(site, access=None, refresh=kept[REFRESH])
        assert (await site.client.post(GO_ON)).status_code == 200


OTHER_COOKIES: dict[str, dict[str, str | None]] = {
    "access gone": {"access": None},
    "access unknown": {"access": "x"},
    "refresh gone": {"refresh": None},
    "refresh unknown": {"access": None, "refresh": "x"},
    "both gone": {"access": None, "refresh": None},
}


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("good", "logout"),
        ("access expired", "logout"),
        ("access gone", "logout"),
        ("access unknown", "logout"),
        ("refresh gone", "logout"),
        ("refresh replaced", "logout"),
        ("refresh unknown", "-"),
        ("both gone", "-"),
        ("session ended", "admin"),
        ("session expired", "-"),
        ("one-time password", "logout"),
        ("password expired", "logout"),
        ("with another token", "logout"),
    ],
)
async def test_a_logout_in_every_state(
    site: Site, marta: uuid.UUID, session: dict[str, str], state: str, reason: str
) -> None:
    sql = site.databases[Population.SLM].sql
    headers = {}
    match state:
        case "access expired":
            put(site, access=expired(site, session["session_id"], marta))
        case "access gone" | "access unknown" | "refresh gone" | "refresh unknown" | "both gone":
            put(site, **OTHER_COOKIES[state])
        case "refresh replaced":
            await site.client.post(GO_ON)
            pass_time(site, 11)
            put(site, access=None, refresh=session["refresh"])
        case "session ended":
            sql("UPDATE auth_sessions SET ended_at = now(), end_reason = 'admin'")
        case "session expired":
            sql("UPDATE auth_sessions SET expires_at = now()")
        case "one-time password":
            site.give_one_time_password(marta)
        case "password expired":
            site.give_one_time_password(marta, "-1 second")
        case "with another token":
            headers = {"Authorization": "Bearer x"}
    response = await site.client.post(LOGOUT, headers=headers)
    assert (response.status_code, response.content) == (204, b"")
    # The domain's other hosts keep their cookies.
    assert response.headers["clear-site-data"] == '"cache", "storage"'
    assert forgotten(response)
    assert jar(site) == {}
    assert ended(site) == [reason]
    rows = site.audit(Population.SLM, "logout")
    assert [
        (row["user_id"], row["resource_id"], row["ip_address"], row["outcome"]) for row in rows
    ] == [(str(marta), session["session_id"], "203.0.113.7", "success")] * (reason == "logout")


@pytest.mark.usefixtures("marta")
async def test_a_logout_ends_this_session_at_once_and_no_other(site: Site) -> None:
    await enter(site)
    here = jar(site)
    put(site, access=None, refresh=None)
    await enter(site)
    assert (await site.client.post(LOGOUT)).status_code == 204
    assert ended(site) == ["-", "logout"]
    assert await status(site) == 401
    put(site, access=here[ACCESS], refresh=here[REFRESH])
    assert await status(site) == 200


@pytest.mark.usefixtures("marta")
async def test_who_is_blocked_logs_out_all_the_same(
    databases: Databases, run_site: RunSite
) -> None:
    async with run_site(databases, login_failures_per_address=1) as site:
        site.client.headers.update(OWN)
        for expected in (401, 429):
            put(site, refresh="x")
            assert (await site.client.post(GO_ON)).status_code == expected
        put(site, refresh="x")
        response = await site.client.post(LOGOUT)
        assert response.status_code == 204
        assert forgotten(response)


async def test_who_cannot_be_logged_out_keeps_what_it_takes(
    proxied: dict[Population, Any], run_site: RunSite
) -> None:
    """While the database is away the session goes on: the browser can try again."""
    async with run_site(proxied) as site:
        await proxied[Population.SLM].proxy.start()
        await site.add_user(Population.SLM, "marta")
        site.client.headers.update(OWN)
        await enter(site)
        await proxied[Population.SLM].proxy.stop()
        response = await site.client.post(LOGOUT)
        assert code(response) == (503, "database_unavailable")
        assert set_cookies(response) == []
        assert "clear-site-data" not in response.headers


@pytest.mark.usefixtures("session")
async def test_a_login_ends_the_session_that_the_browser_had(site: Site, marta: uuid.UUID) -> None:
    bad = {"username": "marta", "password": "not-the-password-11"}
    response = await site.client.post(LOGIN, json=bad)
    assert code(response) == (401, "invalid_credentials")
    assert set_cookies(response) == []
    assert ended(site) == ["-"]
    peter = await site.add_user(Population.SLM, "peter")
    await enter(site, "peter")
    assert ended(site) == ["logout", "-"]
    put(site, access=None)
    await enter(site)
    assert ended(site) == ["logout", "logout", "-"]
    assert (await site.client.get(ME)).json()["username"] == "marta"
    out = site.audit(Population.SLM, "logout")
    assert [row["user_id"] for row in out] == [str(marta), str(peter)]


@pytest.mark.usefixtures("marta")
async def test_it_is_one_login_with_one_audit_log_and_one_limit(site: Site) -> None:
    for path in (LOGIN, "/api/slm-auth/login"):
        assert (await site.try_login("marta", path=path)).status_code == 200
        # One that is known again has a limit of its own.
        site.client.cookies.clear()
        assert (await site.try_login("marta", "not-the-password-11", path)).status_code == 401
    kinds = [
        {name: row[name] for name in ("action", "outcome", "user_id", "ip_address", "details")}
        for row in site.audit(Population.SLM, "login%")
    ]
    assert kinds[:2] == kinds[2:]
    for path in (LOGIN, "/api/slm-auth/login", LOGIN, LOGIN):
        await site.try_login("marta", "not-the-password-11", path)
    refused = await site.try_login("marta", path=LOGIN)
    assert code(refused) == (429, "too_many_attempts")
    assert set_cookies(refused) == []


async def test_a_one_time_password_is_changed_in_the_browser(site: Site, marta: uuid.UUID) -> None:
    site.give_one_time_password(marta)
    assert (await enter(site))["must_change_password"] is True
    assert code(await site.client.get(ME)) == (403, "password_change_required")
    assert (await site.client.post(GO_ON)).json()["must_change_password"] is True
    cookies = jar(site)
    change = {"current_password": site.password, "new_password": NEW_PASSWORD}
    changed = await site.client.post("/api/slm-auth/change-password", json=change)
    assert changed.status_code == 204, changed.text
    assert set_cookies(changed) == []
    assert jar(site) == cookies
    assert await status(site) == 200
    assert (await site.client.post(GO_ON)).json()["must_change_password"] is False
    put(site, access=None, refresh=None)
    assert (await enter(site, password=NEW_PASSWORD))["must_change_password"] is False


@pytest.mark.usefixtures("session")
async def test_a_change_of_the_password_ends_all_other_sessions(site: Site) -> None:
    kept = jar(site)
    put(site, access=None, refresh=None)
    await enter(site)
    change = {"current_password": site.password, "new_password": NEW_PASSWORD}
    changed = await site.client.post("/api/slm-auth/change-password", json=change)
    assert changed.status_code == 204, changed.text
    assert await status(site) == 200
    put(site, access=kept[ACCESS], refresh=kept[REFRESH])
    assert await status(site) == 401
    assert forgotten(await site.client.post(GO_ON))


@pytest.mark.usefixtures("session")
async def test_a_session_that_an_administrator_ends_is_over_at_once(
    site: Site, marta: uuid.UUID
) -> None:
    captain = await site.administrate()
    done = await site.client.delete(f"/api/slm-users/{marta}/sessions", headers=captain)
    assert done.status_code == 204, done.text
    assert await status(site) == 401
    response = await site.client.post(GO_ON)
    assert code(response) == (401, "not_authenticated")
    assert forgotten(response)


def test_the_description_tells_of_both_ways_to_say_who_is_calling() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {
        "bearer": "http",
        "browser": "apiKey",
        "browser_refresh": "apiKey",
    }
    assert (schemes["browser"]["in"], schemes["browser"]["name"]) == ("cookie", ACCESS)
    assert schemes["browser_refresh"]["name"] == REFRESH
    for path, item in DOCUMENT["paths"].items():
        for operation in item.values():
            takes = any("browser" in each for each in operation.get("security", []))
            told = "cross_site_request" in operation["responses"].get("403", {}).get(
                "description", ""
            )
            assert told == (takes or "/browser/" in path), path
