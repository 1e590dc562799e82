"""The web server's site of a service: where it listens, and whom it believes."""

import re
from typing import Any

import pytest
from role_files import render

SERVICE = {
    "service_name": "auth",
    "service_title": "authentication service",
    "service_hosts": ["backend.autobot.internal", "10.0.0.20"],
    "service_port": 8443,
    "service_socket": "/run/autobot-auth/auth.sock",
    "service_body_limit": "64k",
    "service_redirect_ports": [],
    "service_proxies": [],
}


def site(**changes: Any) -> str:
    return render("service", "etc/nginx/conf.d/site.conf.j2", **{**SERVICE, **changes})


@pytest.mark.parametrize("proxies", [[], ["10.0.0.21"], ["10.0.0.21", "10.0.0.22"]])
def test_only_named_proxies_are_believed(proxies: list[str]) -> None:
    text = site(service_proxies=proxies)
    assert re.findall(r"set_real_ip_from (.+);", text) == proxies
    assert ("real_ip_recursive on;" in text) is bool(proxies)


def test_the_service_hears_of_one_address_only() -> None:
    assert "proxy_set_header X-Forwarded-For $remote_addr;" in site(service_proxies=["10.0.0.21"])


@pytest.mark.parametrize(("port", "authority"), [(443, "$host"), (8443, "$host:8443")])
def test_plain_http_is_led_to_the_port_of_the_service(port: int, authority: str) -> None:
    text = site(service_port=port, service_redirect_ports=[80])
    targets = re.findall(r"308 (https://.+)\$request_uri;", text)
    assert targets == [f"https://{authority}"] * 2


@pytest.mark.parametrize("ports", [[], [80, 8000]])
def test_listens_where_it_is_told_and_nowhere_else(ports: list[int]) -> None:
    text = site(service_redirect_ports=ports)
    assert [int(port) for port in re.findall(r"listen (\d+)", text)] == [*ports, 8443]
