"""Which rules of the site ufw has, lacks, and has to lose."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.role_files import load_plugin

WEB = {"ports": [80, 443], "sources": ["192.0.2.0/24"]}


@pytest.fixture(scope="module")
def openings() -> Any:
    return load_plugin("modules.ufw_openings")


def found(port: str, source: str, comment: str = "autobot-users") -> dict[str, Any]:
    """A rule as the survey has it."""
    rest = {"protocol": "tcp", "destination": "any", "interface": "", "action": "allow"}
    return {"ports": [port], "source": source, "comment": comment, **rest}


def said(openings: Any, there: list[dict[str, Any]], *rules: dict[str, Any]) -> list[str]:
    return [" ".join(each) for each in openings.commands(there, list(rules))]


def test_what_is_missing_is_added_behind_the_rules_that_are_there(openings: Any) -> None:
    assert said(openings, [found("80", "192.0.2.0/24")], WEB) == [
        "allow from 192.0.2.0/24 to any port 443 proto tcp comment autobot-users"
    ]


def test_what_is_not_wanted_any_more_is_taken_out(openings: Any) -> None:
    there = [found("80", "192.0.2.0/24"), found("22", "192.0.2.7")]
    assert said(openings, there) == [
        "delete allow from 192.0.2.0/24 to any port 80 proto tcp",
        "delete allow from 192.0.2.7 to any port 22 proto tcp",
    ]


def test_rules_of_others_are_neither_taken_for_ours_nor_taken_out(openings: Any) -> None:
    theirs = [found("80", "192.0.2.7", "the web"), found("6379", "192.0.2.7", "")]
    ports = [line.split()[6] for line in said(openings, theirs, WEB)]
    assert ports == ["80", "443"]
    assert said(openings, theirs) == []


@pytest.mark.parametrize("action", ["allow", "deny", "limit"])
def test_a_rule_of_others_for_the_same_traffic_does_not_become_ours(
    openings: Any, action: str
) -> None:
    """ufw would change it in its place, and what is taken out later would be theirs."""
    theirs = found("443", "192.0.2.0/24", "") | {"action": action}
    ports = [line.split()[6] for line in said(openings, [theirs], WEB)]
    assert ports == ["80"]


@pytest.mark.parametrize(
    "more", [{"protocol": "udp"}, {"destination": "192.0.2.9"}, {"interface": "eth1"}]
)
def test_one_that_says_more_is_another(openings: Any, more: dict[str, str]) -> None:
    theirs = found("443", "192.0.2.0/24", "") | more
    ports = [line.split()[6] for line in said(openings, [theirs], WEB)]
    assert ports == ["80", "443"]


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ("192.0.2.7/32", "192.0.2.7"),
        ("2001:db8::7/128", "2001:db8::7"),
        ("2001:db8::/64", "2001:db8::/64"),
        ("0.0.0.0/0", "any"),
        ("::/0", "any"),
    ],
)
def test_a_source_is_known_again_as_ufw_writes_it(openings: Any, source: str, written: str) -> None:
    rule = {"ports": [443], "sources": [source]}
    assert said(openings, [found("443", written)], rule) == []
    (line,) = said(openings, [], rule)
    assert line.startswith(f"allow from {written} to any")


def test_a_port_that_two_rules_open_is_opened_once(openings: Any) -> None:
    assert len(said(openings, [], WEB, WEB)) == 2
