"""What the gateway's site is made of: our own paths, and those of cookies."""

import json
import re

from role_files import ROOT, load_filter

gateway = load_filter("gateway")


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


def test_cookies_are_for_what_no_script_asks_for() -> None:
    routes = [
        {"path": "/api/", "token": True},
        {"path": "/api/ws/", "token": True, "websocket": True},
        {"path": "/grafana/"},
        {"path": "/tools/", "websocket": True},
    ]
    assert gateway.service_cookie_paths(routes) == ["/api/ws/", "/grafana/", "/tools/"]
