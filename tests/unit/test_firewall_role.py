"""The rules of the firewall: closed, but for what is listed."""

import re
from typing import Any

from role_files import render

SSH = ["192.0.2.0/24"]


def rules(
    *allowed: dict[str, Any], ssh: list[str] = SSH, kind: str = "accept comment"
) -> list[str]:
    text = render(
        "firewall", "etc/nftables.conf.j2", firewall_ssh_sources=ssh, firewall_allow=list(allowed)
    )
    return [line.strip() for line in text.splitlines() if kind in line]


def allow(*ports: int, sources: list[str]) -> dict[str, Any]:
    return {"ports": list(ports), "sources": sources, "comment": "what is behind it"}


def test_only_ssh_is_open_when_nothing_is_listed() -> None:
    assert rules() == ['ip saddr { 192.0.2.0/24 } tcp dport { 22 } accept comment "SSH"']


def test_each_listed_entry_is_one_rule() -> None:
    assert rules(
        allow(443, sources=["192.0.2.0/24"]), allow(80, 8000, sources=["192.0.2.7", "192.0.2.9"])
    )[1:] == [
        'ip saddr { 192.0.2.0/24 } tcp dport { 443 } accept comment "what is behind it"',
        'ip saddr { 192.0.2.7, 192.0.2.9 } tcp dport { 80, 8000 } accept comment "what is behind it"',  # noqa: E501
    ]


def test_each_family_of_addresses_has_a_rule_of_its_own() -> None:
    assert rules(ssh=["192.0.2.1", "2001:db8::/64"]) == [
        'ip saddr { 192.0.2.1 } tcp dport { 22 } accept comment "SSH"',
        'ip6 saddr { 2001:db8::/64 } tcp dport { 22 } accept comment "SSH"',
    ]


def test_a_repeated_source_is_written_once() -> None:
    assert rules(ssh=["192.0.2.1", "192.0.2.1"]) == [
        'ip saddr { 192.0.2.1 } tcp dport { 22 } accept comment "SSH"'
    ]


def test_every_other_packet_is_dropped() -> None:
    assert rules(kind="policy") == ["type filter hook input priority filter; policy drop;"]


def test_the_tables_of_others_are_left_alone() -> None:
    text = render("firewall", "etc/nftables.conf.j2", firewall_ssh_sources=SSH, firewall_allow=[])
    statements = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    assert [line for line in statements if line != "}"] == [
        "table inet autobot",
        "delete table inet autobot",
        "table inet autobot {",
    ]
    assert not re.search(r"^[^#]*flush", text, re.MULTILINE)
