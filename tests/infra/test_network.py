"""The firewall, and what holds without it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.site import HOSTS, POSTGRES_PROBE, Site, inside, must, probe

# An address that is none of the site's, and ports that somebody may expect to answer.
OUTSIDE = "10.99.0.5"
PORTS = (22, 80, 443, 5432, 8000, 8443)
# Addresses that a test gives hosts in a network of the site, and one elsewhere.
IPV6 = {"slm": "fd16:168::19", "redis": "fd16:168::23", "backend": "fd16:168::20"}
IPV6_INSIDE, IPV6_OUTSIDE = "fd16:168::5", "fd99::5"
OPEN_PORTS = {"slm": (22, 80, 443, 8000), "redis": (22,), "backend": (22, 8443)}
# Status of a request over IPv6. argv: address, port, name in the certificate.
HTTPS = """
import http.client, socket, ssl, sys
context = ssl.create_default_context(cafile="/dev/stdin")
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as plain:
    with context.wrap_socket(plain, server_hostname=sys.argv[3]) as secure:
        secure.sendall(b"GET /health/live HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        print(secure.recv(65536).split()[1].decode())
"""
HBA_REFUSES = "pg_hba.conf rejects connection"


@pytest.fixture
def outside() -> Iterator[str]:
    """An address outside the site's network, at the outsider, with a way back to it."""
    inside_address = inside("outsider", "hostname", "-I").stdout.split()[0]
    inside("outsider", "ip", "address", "replace", f"{OUTSIDE}/32", "dev", "eth0")
    for name in HOSTS:
        must(name, "ip", "route", "replace", f"{OUTSIDE}/32", "via", inside_address)
    yield OUTSIDE
    for name in HOSTS:
        must(name, "ip", "route", "delete", f"{OUTSIDE}/32")
    inside("outsider", "ip", "address", "delete", f"{OUTSIDE}/32", "dev", "eth0")


@contextmanager
def firewall_off(name: str) -> Iterator[None]:
    """A host without its firewall."""
    must(name, "nft", "delete", "table", "inet", "autobot")
    try:
        yield
    finally:
        must(name, "nft", "--file", "/etc/autobot-users/nftables.conf")


@contextmanager
def own_rules(name: str, rules: str) -> Iterator[None]:
    """A host whose owner has rules of their own, in the file that the distribution has for them."""
    path = "/etc/nftables.conf"
    # The tests start it more often than systemd lets anybody.
    must(name, "systemctl", "reset-failed", "nftables")
    must(name, "cp", "--archive", path, f"{path}.kept")
    must(name, "tee", path, stdin=rules)
    try:
        yield
    finally:
        must(name, "systemctl", "stop", "nftables")
        must(name, "mv", f"{path}.kept", path)


def ask_postgresql(site: Site, source: str, role: str, database: str, mode: str) -> str:
    """What PostgreSQL on redis answers to the outsider."""
    result = inside(
        "outsider",
        *("python3", "-c", POSTGRES_PROBE),
        *(source, site.addresses["redis"], role, database, mode),
    )
    assert result.status == 0, result.text
    return result.stdout


def test_nothing_answers_outside_the_site(site: Site, outside: str) -> None:
    targets = [f"{site.addresses[name]}:{port}" for name in HOSTS for port in PORTS]
    answers = probe("outsider", *targets, source=outside)
    assert answers == dict.fromkeys(targets, "silent")
    # It is the firewall that is silent, not the way to the host.
    with firewall_off("backend"):
        ssh = f"{site.addresses['backend']}:22"
        assert probe("outsider", ssh, source=outside) == {ssh: "open"}


def test_only_named_addresses_reach_postgresql_on_redis(site: Site) -> None:
    target = f"{site.addresses['redis']}:5432"
    answers = {name: probe(name, target)[target] for name in ("slm", "backend", "outsider")}
    assert answers == {"slm": "open", "backend": "open", "outsider": "silent"}


def test_only_the_named_ports_answer_inside_the_site(site: Site) -> None:
    expected = {
        f"{site.addresses[name]}:{port}": "open" if port in OPEN_PORTS[name] else "silent"
        for name in HOSTS
        for port in PORTS
    }
    assert probe("outsider", *expected) == expected


@pytest.fixture
def ipv6() -> Iterator[None]:
    """Addresses of the other family for the hosts and the outsider."""
    for name, address in IPV6.items():
        must(name, "ip", "-6", "address", "replace", f"{address}/64", "dev", "eth0", "nodad")
        must(name, "ip", "-6", "route", "replace", "fd99::/64", "dev", "eth0")
    for address in (IPV6_INSIDE, IPV6_OUTSIDE):
        inside(
            "outsider", "ip", "-6", "address", "replace", f"{address}/64", "dev", "eth0", "nodad"
        )
    inside("outsider", "ip", "-6", "route", "replace", "fd16:168::/64", "dev", "eth0")
    yield
    for name, address in IPV6.items():
        must(name, "ip", "-6", "route", "delete", "fd99::/64", "dev", "eth0")
        must(name, "ip", "-6", "address", "delete", f"{address}/64", "dev", "eth0")
    for address in (IPV6_INSIDE, IPV6_OUTSIDE):
        inside("outsider", "ip", "-6", "address", "delete", f"{address}/64", "dev", "eth0")


@pytest.mark.usefixtures("ipv6")
def test_the_other_family_of_addresses_finds_the_same() -> None:
    targets = {f"{IPV6[name]}:{port}": (name, port) for name in HOSTS for port in PORTS}
    assert probe("outsider", *targets, source=IPV6_INSIDE) == {
        target: "open" if port in OPEN_PORTS[name] else "silent"
        for target, (name, port) in targets.items()
    }
    assert probe("outsider", *targets, source=IPV6_OUTSIDE) == dict.fromkeys(targets, "silent")


@pytest.mark.usefixtures("ipv6")
@pytest.mark.parametrize(("name", "port"), [("slm", 443), ("backend", 8443)])
def test_the_services_answer_over_ipv6(site: Site, name: str, port: int) -> None:
    other = "backend" if name == "slm" else "slm"
    command = ("python3", "-c", HTTPS, IPV6[name], str(port), f"{name}.autobot.internal")
    assert must(other, *command, stdin=site.ca.read_text()) == "200"


@pytest.mark.parametrize("name", ["redis", "backend"])
def test_slm_users_is_unreachable_from_other_hosts(site: Site, name: str) -> None:
    target = f"{site.addresses['slm']}:5432"
    assert probe(name, target) == {target: "silent"}


@pytest.mark.parametrize("name", ["redis", "backend"])
def test_slm_users_is_unreachable_without_the_firewall_too(site: Site, name: str) -> None:
    target = f"{site.addresses['slm']}:5432"
    with firewall_off("slm"):
        assert probe(name, target) == {target: "refused"}


@pytest.mark.parametrize("mode", ["tls", "plain"])
@pytest.mark.parametrize("where", ["outside the site", "not in the inventory"])
def test_pg_hba_refuses_without_the_firewall(
    site: Site, outside: str, where: str, mode: str
) -> None:
    source = outside if where == "outside the site" else ""
    with firewall_off("redis"):
        answer = ask_postgresql(site, source, "autobot_backend", "autobot_users", mode)
    assert answer.startswith("E | ")
    assert HBA_REFUSES in answer


@pytest.mark.parametrize("name", HOSTS)
def test_ssh_takes_keys_and_no_passwords(site: Site, name: str) -> None:
    refused = inside(
        "outsider",
        *("ssh", "-o", "BatchMode=yes", "-o", "PreferredAuthentications=none"),
        *("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"),
        f"autobot@{site.addresses[name]}",
    )
    assert "Permission denied (publickey)." in refused.text


@pytest.mark.parametrize("action", ["start", "reload", "restart", "stop"])
def test_the_hosts_own_rules_come_and_go_beside_the_sites(action: str) -> None:
    """Their unit flushes the tables of all."""
    listed = ("nft", "--stateless", "--terse", "list", "table", "inet", "autobot")
    before = must("backend", *listed)
    theirs = "#!/usr/sbin/nft -f\nflush ruleset\ntable inet theirs {\n  chain any {\n  }\n}\n"
    with own_rules("backend", theirs):
        if action != "start":
            must("backend", "systemctl", "start", "nftables")
        must("backend", "systemctl", action, "nftables")
        assert must("backend", *listed) == before
        assert ("table inet theirs" in must("backend", "nft", "list", "tables")) is (
            action != "stop"
        )
    assert must("backend", *listed) == before


def test_who_stops_the_sites_firewall_does_not_get_it_back_with_their_own() -> None:
    must("backend", "systemctl", "reset-failed", "nftables")
    try:
        must("backend", "systemctl", "stop", "autobot-firewall")
        must("backend", "systemctl", "restart", "nftables")
        assert "table inet autobot" not in must("backend", "nft", "list", "tables")
    finally:
        must("backend", "systemctl", "stop", "nftables")
        must("backend", "systemctl", "start", "autobot-firewall")
    assert "table inet autobot" in must("backend", "nft", "list", "tables")
