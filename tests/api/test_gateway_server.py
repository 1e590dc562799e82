"""The gateway whole: nginx asks the service, and passes on to AutoBot what may pass."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from jose import jwt

from autobot_metrics.gateway_requests import Outcome, outcome_of
from slm_server.gateway import GATEWAY_REQUIREMENT
from tests.support.applications import Databases, RunSite, Site
from tests.support.gateway_site import (
    HEARTBEAT,
    MACHINE,
    SECRET,
    STRANGER,
    GatewaySite,
    gateway_site,
)
from user_management.errors import DatabaseUnavailable
from user_management.population import Population
from user_management_web import relay

SLM = Population.SLM
SESSION = "e2d4f6a8-0b1c-4d3e-9f5a-6b7c8d9e0f65"
WEBSOCKET = "/api/ws/events"
ROUTES: list[dict[str, Any]] = [
    {"path": "/api/", "to": "http://UPSTREAM", "token": True, "body": "3m"},
    {"path": "/api/ws/", "to": "http://UPSTREAM", "websocket": True},
    {"path": "/grafana/", "to": "http://UPSTREAM"},
    {"path": "/tools/", "to": "http://UPSTREAM/api/", "token": True},
    {"path": "/dead/", "to": "http://127.0.0.1:1", "token": True},
]
OPEN = [
    {
        "from": [MACHINE],
        "requests": [
            "POST /api/nodes/[^/]+/heartbeat",
            "GET /api/ws/machine",
            "GET /api/health|POST /api/events",
        ],
    },
    {"from": ["192.0.2.0/24"], "requests": ["GET /api/nodes"]},
]
FORBIDDEN = {
    **{"X-Session-ID": "1", "X-User-Role": "admin", "X-Internal-API-Key": "key"},
    "X-WEBAUTH-USER": "admin",
}


@pytest.fixture
async def fleet(run_site: RunSite, databases: Databases) -> AsyncIterator[Site]:
    """The SLM server as a gateway, with a fleet administrator who may pass."""
    paths = ("/api/ws/", "/grafana/")
    async with run_site(databases, gateway_secret=SECRET, gateway_cookie_paths=paths) as site:
        await site.add_user(SLM, "marta", permissions=["admin:access"])
        yield site


RunGateway = Callable[..., AbstractAsyncContextManager[GatewaySite]]


@pytest.fixture
def run_gateway(fleet: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunGateway:
    """Serves it, with other settings of nginx where they are given."""
    monkeypatch.setattr(relay, "CHECKED_EVERY", 0.2)
    pages = tmp_path / "dist"
    pages.mkdir()
    (pages / "index.html").write_text("AutoBot's page")
    (pages / "app.js").write_text("AutoBot's script")
    routes = [dict(route) for route in ROUTES]
    given: dict[str, Any] = {"pages": str(pages), "routes": routes, "open": OPEN}

    def run(**settings: Any) -> AbstractAsyncContextManager[GatewaySite]:
        return gateway_site(fleet, GATEWAY_REQUIREMENT.check, tmp_path, **given | settings)

    return run


@pytest.fixture
async def gateway(run_gateway: RunGateway) -> AsyncIterator[GatewaySite]:
    async with run_gateway() as started:
        yield started


async def login(gateway: GatewaySite) -> dict[str, str]:
    """Log in as AutoBot's pages do: what they send from then on."""
    async with gateway.client() as client:
        answer = await client.post(
            "/api/auth/login",
            json={"username": "marta", "password": "violet-anchor-77-meadow"},
        )
    assert answer.status_code == 200, answer.text
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}


async def cookie(gateway: GatewaySite) -> dict[str, str]:
    """What a browser sends with a WebSocket of a page of the gateway's."""
    async with gateway.client() as client:
        answer = await client.post(
            "/api/auth/login",
            json={"username": "marta", "password": "violet-anchor-77-meadow"},
        )
    found = answer.headers.get_list("set-cookie")
    [value] = {each.split(";")[0] for each in found if "-gateway=" in each}
    return {"Cookie": value, "Origin": gateway.url}


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it does not come to that")


def asked(gateway: GatewaySite) -> tuple[str, str, dict[str, str]]:
    """What AutoBot was asked last."""
    return gateway.upstream.asked[-1]


async def test_a_request_of_who_is_logged_in_is_passed_on(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    async with gateway.client() as client:
        answer = await client.get("/api/nodes?page=2", headers=headers | FORBIDDEN)
    assert answer.status_code == 200
    assert answer.json()["claims"].keys() == {"sub", "admin", "iat", "exp"}
    method, path, seen = asked(gateway)
    assert (method, path) == ("GET", "/api/nodes?page=2")
    scheme, token = seen["Authorization"].split(" ")
    assert jwt.decode(token, SECRET, algorithms=["HS256"])["sub"] == "marta"
    assert f"{scheme} {token}" != headers["Authorization"]
    assert not seen.keys() & FORBIDDEN.keys()
    assert seen["X-Forwarded-For"] == STRANGER


async def test_nobody_else_is(gateway: GatewaySite) -> None:
    old = jwt.encode({"sub": "admin", "admin": True, "exp": int(time.time()) + 60}, SECRET)
    async with gateway.client() as client:
        paths = ("/api/nodes", "/grafana/", "/tools/nodes", HEARTBEAT)
        for path, headers in product(paths, ({}, {"Authorization": f"Bearer {old}"}, FORBIDDEN)):
            answer = await client.post(path, headers=headers, json={})
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == 401
    assert gateway.upstream.asked == []


async def test_who_may_not_pass_is_told(fleet: Site, gateway: GatewaySite) -> None:
    headers = await login(gateway)
    fleet.databases[SLM].sql("DELETE FROM role_permissions")
    async with gateway.client() as client:
        answer = await client.get("/api/nodes", headers=headers)
    assert (answer.status_code, answer.json()["status"]) == (403, 403)


async def test_a_logout_is_felt_by_the_next_request(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    async with gateway.client() as client:
        assert (await client.get("/api/nodes", headers=headers)).status_code == 200
        assert (await client.post("/api/slm-auth/logout", headers=headers)).status_code == 204
        assert (await client.get("/api/nodes", headers=headers)).status_code == 401


async def test_machines_of_the_site_need_no_session(gateway: GatewaySite) -> None:
    async with gateway.client(MACHINE) as machine:
        answer = await machine.post(HEARTBEAT, json={}, headers=FORBIDDEN)
        assert answer.status_code == 200
        assert asked(gateway)[2].keys() & FORBIDDEN.keys() == {"X-Internal-API-Key"}
        for method, path in (
            ("GET", HEARTBEAT),
            ("POST", f"{HEARTBEAT}/"),
            ("POST", "/api/nodes/a/b/heartbeat"),
            ("GET", "/api/nodes"),
            # Of two in one expression, each is whole.
            ("GET", "/api/health-and-more"),
            ("DELETE", "/api/x/POST /api/events"),
        ):
            assert (await machine.request(method, path)).status_code == 401
        # Whoever is logged in there is somebody all the same, and not the machine.
        headers = await login(gateway)
        await machine.get("/api/nodes", headers=headers | FORBIDDEN)
        assert not asked(gateway)[2].keys() & FORBIDDEN.keys()


async def test_a_websocket_of_a_machine_needs_no_session(gateway: GatewaySite) -> None:
    opened = await gateway.websocket("/api/ws/machine", {}, MACHINE)
    assert opened.status == 101
    assert await opened.say("one") == "one"
    assert gateway.relay._open == {}
    assert (await gateway.websocket("/api/ws/machine", {})).status == 401


async def test_people_come_through_a_proxy_also_where_that_is_a_machine(
    run_gateway: RunGateway,
) -> None:
    """It need not say for whom it asks: AutoBot's frontend does not, of WebSockets."""
    async with run_gateway(proxies=[MACHINE]) as gateway, gateway.client(MACHINE) as proxy:
        for headers in ({}, {"X-Forwarded-For": MACHINE}, {"X-Forwarded-For": STRANGER}):
            assert (await proxy.post(HEARTBEAT, headers=headers)).status_code == 401
        assert (await gateway.websocket("/api/ws/machine", {}, MACHINE)).status == 401
        assert gateway.upstream.asked == []


async def test_a_browser_of_a_frontend_asks_autobot_what_its_page_may_send(
    run_gateway: RunGateway,
) -> None:
    page = {"Origin": f"https://{MACHINE}"}
    asks = {"Access-Control-Request-Method": "POST"}
    async with run_gateway(proxies=[MACHINE]) as gateway, gateway.client() as client:
        assert (await client.options("/api/nodes", headers=page | asks)).status_code == 200
        assert asked(gateway)[0] == "OPTIONS"
        assert not asked(gateway)[2].keys() & {"Authorization", "Cookie", "X-Internal-API-Key"}
        for method, headers in (
            ("OPTIONS", page),
            ("OPTIONS", asks),
            ("OPTIONS", asks | {"Origin": "https://evil.example"}),
            ("OPTIONS", asks | {"Origin": f"https://{MACHINE}.evil.example"}),
            ("OPTIONS", page | {"Access-Control-Request-Method": "POST\tx"}),
            ("POST", page | asks),
        ):
            refused = await client.request(method, "/api/nodes", headers=headers)
            assert refused.status_code == 401
            # And may read why it was refused.
            mine = headers.get("Origin") == page["Origin"]
            assert refused.headers.get("access-control-allow-origin") == (
                page["Origin"] if mine else None
            )
        assert len(gateway.upstream.asked) == 1


async def test_people_do_not_take_the_places_of_machines(run_gateway: RunGateway) -> None:
    async with run_gateway(passed=2) as gateway:
        headers = await login(gateway)
        opened = [await gateway.websocket(WEBSOCKET, headers) for _ in range(3)]
        assert [each.status for each in opened] == [101, 101, 429]
        async with gateway.client(MACHINE) as machine:
            assert (await machine.post(HEARTBEAT, json={})).status_code == 200


async def test_our_own_routes_stay_ours(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    async with gateway.client() as client:
        assert (await client.get("/health/live")).json() == {"status": "ok"}
        assert (await client.get("/.well-known/jwks.json")).json()["keys"]
        me = await client.get("/api/auth/me", headers=headers)
        assert me.json()["username"] == "marta"
        assert (await client.get("/api/slm-users/1/nothing", headers=headers)).status_code == 200
        assert (await client.get("/api/slm-users/1", headers=headers)).status_code == 403
        health = await client.get("/api/health", headers=headers)
        assert health.json()["path"] == "/api/health"
    assert [path for _, path, _ in gateway.upstream.asked] == [
        "/api/slm-users/1/nothing",
        "/api/health",
    ]


async def test_autobots_pages_are_for_everybody(gateway: GatewaySite) -> None:
    async with gateway.client() as client:
        for path, text in {
            "/": "AutoBot's page",
            "/fleet/nodes": "AutoBot's page",
            "/app.js": "AutoBot's script",
        }.items():
            answer = await client.get(path)
            assert (answer.status_code, answer.text) == (200, text)
            assert "content-security-policy" not in answer.headers
        led = await client.get("/settings/admin/users")
        assert led.headers["location"].endswith("/user-management/settings/admin/users")


async def test_a_browser_is_led_to_the_login_and_a_program_is_not(gateway: GatewaySite) -> None:
    async with gateway.client() as client:
        page = await client.get("/grafana/", headers={"Sec-Fetch-Mode": "navigate"})
        assert (page.status_code, page.headers["location"]) == (302, "/")
        for mode in ("cors", ""):
            answer = await client.get("/grafana/", headers={"Sec-Fetch-Mode": mode})
            assert answer.status_code == 401


async def test_a_page_without_a_header_is_known_by_the_cookie(gateway: GatewaySite) -> None:
    given = await cookie(gateway)
    async with gateway.client() as client:
        await client.get(
            "/grafana/d/1", headers=given | {"Cookie": f"{given['Cookie']}; grafana_session=7"}
        )
        _, path, seen = asked(gateway)
        assert path == "/grafana/d/1"
        # Others than AutoBot are told nothing of whose it is.
        assert "Authorization" not in seen
        assert seen["Cookie"] == "grafana_session=7"
        foreign = given | {"Origin": "https://evil.example"}
        assert (await client.get("/grafana/d/1", headers=foreign)).status_code == 403


ODD = [
    "//api/nodes",
    "/api//nodes",
    "/api/./nodes",
    "/api/../api/nodes",
    "/api/x/..",
    "/api/%2e%2e/api/nodes",
    "/api/%2E/nodes",
    "/api%2fnodes",
    "/api/nodes%2F..%2Fx",
    "/api/%6eodes",
    "/api/nodes;x=1",
    "/api/nodes%3bx",
    "/api/nodes%0a",
    "/api/nodes%00",
    "/api/nodes%7f",
    "/api/%255e",
    "/api\\nodes",
    "/api/nodes%5cx",
    "/api/%5Fx",
    "/api/<x>",
    '/api/"x"',
]


async def get(gateway: GatewaySite, token: str, path: str) -> tuple[int, str]:
    """Ask for a path as it is written: status and body."""
    answer = await gateway.ask(
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n"
        "Connection: close\r\n\r\n"
    )
    head, _, body = answer.partition("\r\n\r\n")
    return int(head.split(" ")[1]), body


async def test_what_could_be_read_in_two_ways_is_refused(gateway: GatewaySite) -> None:
    token = (await login(gateway))["Authorization"]
    for path in ODD:
        status, body = await get(gateway, token, path)
        assert (status, json.loads(body)["status"]) == (400, 400), path
    assert gateway.upstream.asked == []


PLAIN = [
    "/api/nodes/",
    "/api/nodes?x=%2e%2e//;%0a",
    "/api/nodes/a%20b%40c%3A%2C%C3%A4%e4",
    "/api/nodes/a.b..c/...d/~x/$&'()*+,=:@!",
    "/api/nodes/[1]/a|b^c",
]


async def test_what_cannot_is_passed_on_as_it_came(gateway: GatewaySite) -> None:
    token = (await login(gateway))["Authorization"]
    for path in PLAIN:
        status, _ = await get(gateway, token, path)
        assert (status, asked(gateway)[1]) == (200, path)


async def test_a_part_of_the_path_is_replaced(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    async with gateway.client() as client:
        await client.get("/tools/nodes/a%20b?x=1", headers=headers)
    assert asked(gateway)[1] == "/api/nodes/a%20b?x=1"


async def test_a_websocket_is_known_by_the_cookie(gateway: GatewaySite) -> None:
    given = await cookie(gateway)
    opened = await gateway.websocket(WEBSOCKET, given | {"X-Relay-To": "127.0.0.1:1"})
    assert opened.status == 101
    assert "upgrade: websocket" in opened.head.lower()
    assert [await opened.say("one"), await opened.say("two")] == ["one", "two"]
    _, path, seen = asked(gateway)
    assert path == WEBSOCKET
    assert not [name for name in seen if name.startswith("X-Relay") or name == "Cookie"]
    # Who comes with a header gets one too; a machine has none.
    assert (await gateway.websocket(WEBSOCKET, await login(gateway))).status == 101
    for headers in (
        {},
        {"Origin": gateway.url},
        given | {"Origin": "https://evil.example"},
        {"Cookie": given["Cookie"]},
    ):
        refused = await gateway.websocket(WEBSOCKET, headers)
        assert refused.status in (401, 403)


async def test_nothing_but_a_websocket_takes_a_connection_over(gateway: GatewaySite) -> None:
    token = (await login(gateway))["Authorization"]
    for path, upgrade in ((WEBSOCKET, "h2c"), ("/api/nodes", "h2c"), ("/api/nodes", "websocket")):
        answer = await gateway.ask(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n"
            f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n"
            "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
            # What a smuggler would send once the connection is theirs.
            "GET /api/smuggled HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )
        assert " 101 " not in answer
        method, seen_path, seen = asked(gateway)
        assert (method, seen_path) == ("GET", path)
        assert "Upgrade" not in seen
        assert seen["Connection"] == "close"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_body_is_no_second_request(gateway: GatewaySite, method: str) -> None:
    token = (await login(gateway))["Authorization"]
    hidden = "GET /api/hidden HTTP/1.1\r\nHost: x\r\nX-User-Role: admin\r\n\r\n"
    await gateway.ask(
        f"{method} {WEBSOCKET} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Content-Length: {len(hidden)}\r\n\r\n{hidden}"
        "GET /api/last HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    assert [path for _, path, _ in gateway.upstream.asked] == [WEBSOCKET]
    assert "Upgrade" not in asked(gateway)[2]


async def test_a_websocket_ends_with_its_session(fleet: Site, gateway: GatewaySite) -> None:
    first, second = await login(gateway), await login(gateway)
    mine = await gateway.websocket(WEBSOCKET, first)
    another = await gateway.websocket(WEBSOCKET, second)
    async with gateway.client() as client:
        assert (await client.post("/api/slm-auth/logout", headers=first)).status_code == 204
    await mine.closed()
    assert await another.say("still here") == "still here"
    # Who may no longer pass has a session all the same.
    fleet.databases[SLM].sql("DELETE FROM role_permissions")
    await another.closed()


async def test_who_says_something_over_a_websocket_uses_the_session(
    fleet: Site, gateway: GatewaySite
) -> None:
    sql = fleet.databases[SLM].sql
    opened = await gateway.websocket(WEBSOCKET, await login(gateway))
    sql("UPDATE auth_sessions SET expires_at = now() + interval '5 minutes'")
    left = "SELECT extract(epoch FROM expires_at - now()) FROM auth_sessions"
    await asyncio.sleep(1)
    assert float(sql(left)) < 300
    assert await opened.say("one") == "one"
    await until(lambda: float(sql(left)) > 3000)


async def test_a_websocket_outlasts_a_database_that_is_away(
    fleet: Site, gateway: GatewaySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await gateway.websocket(WEBSOCKET, await login(gateway))
    asked_for = asyncio.Event()

    async def away(*_: Any) -> Any:
        asked_for.set()
        raise DatabaseUnavailable(SLM)

    monkeypatch.setattr(type(fleet.resources.databases[SLM]), "fetch_row", away)
    await asked_for.wait()
    assert await opened.say("still here") == "still here"


async def test_of_a_websocket_that_is_over_nothing_is_kept(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    opened = [await gateway.websocket(WEBSOCKET, headers) for _ in range(3)]
    assert [len(each) for each in gateway.relay._open.values()] == [6]
    for each in opened:
        each.writer.close()
    await until(lambda: gateway.relay._open == {})


async def test_what_nginx_does_not_say_is_not_guessed(gateway: GatewaySite) -> None:
    for head in (
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        f"GET / HTTP/1.1\r\nX-Relay-To: 127.0.0.1:{gateway.upstream.port}\r\n\r\n",
        "GET / HTTP/1.1\r\nX-Relay-To: 127.0.0.1:1\r\n"
        f"X-Relay-Session: {SESSION}.{SESSION}\r\n\r\n",
        "GET / HTTP/1.1\r\n",
    ):
        reader, writer = await asyncio.open_unix_connection(gateway.log.parent / "relay.sock")
        writer.write(head.encode())
        writer.write_eof()
        assert (await reader.read()).startswith(b"HTTP/1.1 502 ")
        writer.close()
    assert gateway.upstream.asked == []


async def test_who_reads_nothing_is_given_up(
    gateway: GatewaySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_STALLED", 0.5)
    monkeypatch.setattr(relay, "_DEADLINE", 0.5)
    opened = await gateway.websocket("/api/ws/deaf", await login(gateway))
    assert opened.status == 101
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(600):
            while True:
                opened.writer.write(b"x" * 2**20)
                await opened.writer.drain()
    await until(lambda: gateway.relay._open == {})


async def test_sessions_are_looked_up_side_by_side(
    fleet: Site, gateway: GatewaySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        await gateway.websocket(WEBSOCKET, await login(gateway))
    together, most = 0, 0
    fetch_row = type(fleet.resources.databases[SLM]).fetch_row

    async def slow(*arguments: Any) -> Any:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0.2)
        together -= 1
        return await fetch_row(*arguments)

    monkeypatch.setattr(type(fleet.resources.databases[SLM]), "fetch_row", slow)
    await until(lambda: most == 4)


async def test_what_streams_comes_piece_by_piece(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    async with (
        gateway.client() as client,
        client.stream("GET", "/api/stream", headers=headers) as answer,
    ):
        pieces = []
        async for piece in answer.aiter_text():
            pieces.append(piece)
            # AutoBot says no more before this has come.
            gateway.upstream.told.set()
    assert "".join(pieces) == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert len(pieces) == 3


async def test_an_upload_goes_through_once_and_within_its_limit(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    async with gateway.client() as client:
        answer = await client.post("/api/files", headers=headers, content=b"x" * 2_000_000)
        assert answer.status_code == 200
        assert asked(gateway)[2]["Content-Length"] == "2000000"
        answer = await client.post("/api/files", headers=headers, content=b"x" * 4_000_000)
        assert (answer.status_code, answer.json()["status"]) == (413, 413)
        answer = await client.post("/api/files", content=b"x" * 2_000_000)
        assert answer.status_code == 401


async def test_an_answer_cannot_lead_to_what_nginx_asks(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    async with gateway.client() as client:
        answer = await client.get("/api/elsewhere", headers=headers)
    assert (answer.status_code, answer.json()["path"]) == (200, "/api/elsewhere")
    assert not [name for name in answer.headers if name.startswith("x-gateway")]


async def test_a_proxy_cannot_speak_for_a_machine(fleet: Site, tmp_path: Path) -> None:
    routes = [dict(route) for route in ROUTES]
    async with gateway_site(
        *(fleet, GATEWAY_REQUIREMENT.check, tmp_path), proxies=[STRANGER], routes=routes, open=OPEN
    ) as behind:
        async with behind.client(STRANGER) as proxy:
            said = {"X-Forwarded-For": MACHINE}
            assert (await proxy.post(HEARTBEAT, json={}, headers=said)).status_code == 401
        async with behind.client(MACHINE) as machine:
            assert (await machine.post(HEARTBEAT, json={})).status_code == 200


async def test_a_dead_upstream_harms_nothing_of_ours(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    async with gateway.client() as client:
        answer = await client.get("/dead/x", headers=headers)
        assert (answer.status_code, answer.json()["detail"][:7]) == (502, "AutoBot")
        slow = [asyncio.create_task(client.get("/api/slow", headers=headers)) for _ in range(20)]
        await asyncio.sleep(0.5)
        assert (await client.get("/api/auth/me", headers=headers)).status_code == 200
        for each in slow:
            each.cancel()


async def test_where_the_service_cannot_say_who_it_is_nobody_passes(
    fleet: Site, gateway: GatewaySite, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = await login(gateway)

    async def away(*_: Any) -> Any:
        raise OSError

    monkeypatch.setattr(type(fleet.resources.databases[SLM]), "fetch_row", away)
    async with gateway.client() as client:
        answer = await client.get("/api/nodes", headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (503, 503)
    async with gateway.client(MACHINE) as machine:
        assert (await machine.post(HEARTBEAT, json={})).status_code == 200


async def test_what_passes_and_what_does_not_is_logged(gateway: GatewaySite) -> None:
    headers = await login(gateway)
    async with gateway.client() as client:
        await client.get("/api/nodes?secret=1", headers=headers)
        await client.get("/api/denied")
    async with gateway.client(MACHINE) as machine:
        await machine.post(HEARTBEAT, json={})
    # What our own service answers is there too: the login.
    await until(lambda: len(gateway.log.read_text().splitlines()) == 4)
    _, passed, denied, machine_line = gateway.log.read_text().splitlines()
    to = f'passed_to="127.0.0.1:{gateway.upstream.port}"'
    assert '"GET /api/nodes" 200' in passed
    assert to in passed
    assert 'as="marta"' in passed
    assert '"GET /api/denied" 401' in denied
    assert 'passed_to="-" as=""' in denied
    assert to in machine_line
    assert 'machine="1"' in machine_line
    # As the collector of metrics reads them.
    outcomes = [outcome_of(line.encode()) for line in gateway.log.read_text().splitlines()]
    assert outcomes == [
        None,
        Outcome("slm", "person", "passed"),
        Outcome("slm", "nobody", "unauthenticated"),
        Outcome("slm", "machine", "passed"),
    ]
