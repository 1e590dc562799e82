"""What the gateway's site is made of: our own paths, those of cookies, and what it cannot be."""

import json
import re
from typing import Any

import pytest
import yaml

from tests.support.role_files import ROOT, load_plugin

gateway = load_plugin("filter.gateway")


def own(document: str) -> list[str]:
    found: list[str] = gateway.own_locations((ROOT / "docs" / document).read_text())
    return found


def test_each_route_of_ours_is_ours_and_health_is_autobots() -> None:
    for document in ("openapi.json", "openapi-backend.json"):
        matcher = re.compile(f"^(?:{'|'.join(own(document))})$")
        for path in json.loads((ROOT / "docs" / document).read_text())["paths"]:
            asked = re.sub(r"\{[^}]+\}", "e2d4f6a8-0b1c-4d3e-9f5a-6b7c8d9e0f65", path)
            assert bool(matcher.match(asked)) is not asked.startswith("/api/health"), path
        for path in (
            "/api/nodes",
            "/api/roles",
            "/api/auth/login/x",
            "/health",
            "/api/openapixjson",
        ):
            assert not matcher.match(path), path


def test_a_parameter_is_one_part_of_a_path() -> None:
    matcher = re.compile(f"^(?:{'|'.join(own('openapi.json'))})$")
    assert matcher.match("/api/slm-users/anything")
    assert not matcher.match("/api/slm-users/any/thing")
    assert not matcher.match("/api/slm-users/")


def test_cookies_are_for_each_route_and_no_path_has_two() -> None:
    routes = [
        {"path": "/grafana/"},
        {"path": "/api/ws/", "token": True, "websocket": True},
        {"path": "/api/", "token": True},
        {"path": "/tools/", "websocket": True},
    ]
    assert gateway.service_cookie_paths(routes) == ["/api/", "/grafana/", "/tools/"]
    assert gateway.service_cookie_paths([{"path": "/ws"}, {"path": "/"}]) == ["/"]


SUBNET, FRONTEND = "172.16.168.0/24", "172.16.168.21"
ROUTE = {"path": "/api/", "to": "http://127.0.0.1:8000", "token": True, "body": "10m"}
OPEN = {"from": ["172.16.168.19", "10.0.0.0/8"], "requests": ["[A-Z]+ /api/.*", "GET /a|POST /b"]}


def mistakes(**variable: Any) -> list[str]:
    given = {"routes": [ROUTE], "open": [OPEN]} | variable
    found: list[str] = gateway.gateway_mistakes(given, SUBNET, "/user-management", [FRONTEND])
    return found


def test_what_nginx_takes_is_no_mistake() -> None:
    assert gateway.gateway_mistakes({}, SUBNET) == []
    assert mistakes() == []
    routes = [
        {"path": "/", "to": "http://127.0.0.1:8001"},
        {"path": "/ws", "to": "http://172.16.168.20:6080/", "websocket": True},
        {
            "path": "/b/",
            "to": "https://172.16.168.20:8443/api/",
            "name": "backend.autobot.internal",
        },
        {"path": "/c/", "to": "http://[::1]:3000/"},
        {"path": "/d/", "to": "http://localhost:3000", "websocket": True},
    ]
    assert mistakes(routes=routes) == []


def test_the_examples_of_the_document_are_no_mistakes() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/gateway.md").read_text(), re.DOTALL)
    found = {key: value for block in blocks for key, value in yaml.safe_load(block).items()}
    for key in ("slm_server_gateway", "autobot_backend_gateway"):
        assert gateway.gateway_mistakes(found[key], SUBNET, "/user-management", [FRONTEND]) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"routes": []}, "`routes` is empty"),
        ({"routes": None}, "`routes` is empty"),
        ({"routes": [ROUTE, ROUTE]}, "the path /api/ more than once"),
        ({"pages": "/opt/dist", "routes": [ROUTE | {"path": "/"}]}, "AutoBot's pages"),
        ({"routes": [ROUTE | {"path": "/user-management"}]}, "the service's own pages"),
        *(
            ({"routes": [ROUTE | {"path": path}]}, "a path begins with /")
            for path in ("api/", "/a b", "/a{", "/.problem/", "//", "/..", "~ ^/x", "/a\n")
        ),
        *(
            ({"routes": [ROUTE | {"body": body}]}, "nginx writes 10 MiB as 10m")
            for body in ("10MB", "ten", "")
        ),
        *(
            ({"routes": [ROUTE | {"to": to}]}, "a URL with an address")
            for to in (
                *("127.0.0.1:8000", "ftp://127.0.0.1", "http://autobot:8000", "http://"),
                *("http://127.0.0.1:99999", "http://127.0.0.1:0", "http://u@127.0.0.1"),
                *("http://127.0.0.1/?a", "http://127.0.0.1/a b", "http://127.0.0.1:8000;"),
            )
        ),
        ({"routes": [ROUTE | {"to": "https://172.16.168.20:8443"}]}, "`name` is missing"),
        *(
            ({"routes": [ROUTE | {"to": to, "name": "x", "websocket": True}]}, "WebSockets go over")
            for to in ("https://172.16.168.20:8443", "http://[::1]:80", "http://203.0.113.9")
        ),
        ({"open": [OPEN | {"from": ["slm"]}]}, "allowed are addresses and networks"),
        ({"open": [OPEN | {"from": ["172.16.168.19/24"]}]}, "allowed are addresses and networks"),
        ({"open": [OPEN | {"from": [FRONTEND]}]}, "without a login"),
        *(
            ({"open": [OPEN | {"requests": [request]}]}, "a method, a space and a path")
            for request in ("/api/x", "GET /a\n", 'GET /"', "GET", "GET /a b", "GET api")
        ),
        *(
            ({"open": [OPEN | {"requests": [request]}]}, "is no regular expression")
            for request in ("GET /(", "GET /(?<n>a)", "GET /(?P<n>a)", "GET /*[")
        ),
    ],
)
def test_a_mistake_in_the_variable_is_named(changed: dict[str, Any], words: str) -> None:
    found = mistakes(**changed)
    assert len(found) == 1, found
    assert words in found[0]
