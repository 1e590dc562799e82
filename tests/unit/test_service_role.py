"""The web server's site of a service: where it listens, and whom it believes."""

import re
from typing import Any

import pytest
import yaml
from role_files import ROOT, render

from slm_server.api.transfer import FILES

SERVICE = {
    "service_name": "auth",
    "service_title": "authentication service",
    "service_hosts": ["backend.autobot.internal", "10.0.0.20"],
    "service_port": 8443,
    "service_socket": "/run/autobot-auth/auth.sock",
    "service_body_limit": "64k",
    "service_redirect_ports": [],
    "service_proxies": [],
    "service_upload_paths": [],
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


def test_files_are_handed_on_while_they_come_and_nothing_else_is() -> None:
    assert "client_max_body_size 0;" not in site()
    text = site(service_upload_paths=["/api/slm-users/import", "/api/autobot-users/import"])
    locations = re.findall(r"location (.+) {([^}]+)}", text)
    files = {address: inside for address, inside in locations if address.endswith("/import")}
    assert files.keys() == {"= /api/slm-users/import", "= /api/autobot-users/import"}
    for inside in files.values():
        assert "proxy_pass http://unix:/run/autobot-auth/auth.sock:;" in inside
        assert "client_max_body_size 0;" in inside
        assert "proxy_request_buffering off;" in inside
    assert text.count("client_max_body_size 64k;") == 1


def test_the_addresses_for_files_are_those_of_the_application() -> None:
    tasks = yaml.safe_load((ROOT / "roles/slm_server/tasks/main.yml").read_text())
    assert set(tasks[0]["vars"]["service_upload_paths"]) == FILES.keys()


@pytest.mark.parametrize("ports", [[], [80, 8000]])
def test_listens_where_it_is_told_and_nowhere_else(ports: list[int]) -> None:
    text = site(service_redirect_ports=ports)
    assert [int(port) for port in re.findall(r"listen (\d+)", text)] == [*ports, 8443]
