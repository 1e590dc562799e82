"""The way through the nftables rules of others: of the kernel, in a namespace of its own."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.lab.site import must
from tests.support.role_files import ROOT, render

HOST = "backend"
WEB = {"ports": [443], "sources": ["172.16.168.0/24"], "comment": "web"}
# A chain that drops by its policy, and one that rejects at its end.
THEIRS = """
table inet filter {
  chain input {
    type filter hook input priority filter; policy drop;
    ip saddr 10.0.0.0/8 drop
  }
}
table ip legacy {
  chain incoming {
    type filter hook input priority filter; policy accept;
    tcp dport 22 accept
    counter reject with icmp port-unreachable
  }
}
"""
CLOSED = [("inet", "filter", "input"), ("ip", "legacy", "incoming")]
OPENED = {
    "inet filter input": ["ip saddr 10.0.0.0/8 drop", "jump autobot-users"],
    "ip legacy incoming": [
        "tcp dport 22 accept",
        "jump autobot-users",
        "counter packets 0 bytes 0 reject",
    ],
}


def rules(*closed: tuple[str, str, str]) -> str:
    """The site's rules beside chains of others."""
    defaults: dict[str, Any] = yaml.safe_load(
        (ROOT / "roles/firewall/defaults/main.yml").read_text()
    )
    changes = {
        "firewall_mode": "additive",
        "firewall_services": [WEB],
        "firewall_ssh_sources": [],
        "firewall_through": [
            dict(zip(("family", "table", "chain"), it, strict=True)) for it in closed
        ],
    }
    return render("firewall", "etc/autobot-users/nftables.conf.j2", **{**defaults, **changes})


def in_namespace(script: str, *closed: tuple[str, str, str], theirs: str = THEIRS) -> str:
    """What a shell prints where `theirs` are in force, and the site's rules in their place.

    `load` loads them as the unit does, `show` prints what is in force.
    """
    program = (ROOT / "roles/firewall/files/autobot_openings.sh").read_text()
    files = {"rules": rules(*closed), "theirs": theirs, "openings": program}
    directory = must(HOST, "mktemp", "--directory").strip()
    for name, text in files.items():
        must(HOST, "tee", f"{directory}/{name}", stdin=text)
    place = "/etc/autobot-users/nftables.conf"
    set_up = f"""
        cd {directory} && mount --bind rules {place} && nft --file theirs
        load() {{ nft --file {place} && sh openings open; }}
        show() {{ nft list ruleset; }}
    """
    try:
        return must(HOST, "unshare", "--net", "--mount", "sh", "-euc", set_up + script)
    finally:
        must(HOST, "rm", "--recursive", directory)


def chains(shown: str) -> dict[str, list[str]]:
    """The rules of each chain, without what declares it."""
    found: dict[str, list[str]] = {}
    table = place = ""
    for line in shown.splitlines():
        words = line.split()
        if line.startswith("table"):
            table = " ".join(words[1:3])
        elif words[:1] == ["chain"]:
            place = f"{table} {words[1]}"
            found[place] = []
        elif place and words and words[0] not in ("}", "type"):
            found[place].append(line.strip())
    return found


def without_ours(shown: str) -> dict[str, list[str]]:
    return {place: it for place, it in chains(shown).items() if "inet autobot " not in place}


def test_each_chain_of_others_leads_to_the_sites_before_it_refuses_the_rest() -> None:
    found = chains(in_namespace("load; show", *CLOSED))
    assert {place: found[place] for place in OPENED} == OPENED
    accepted = 'ip saddr 172.16.168.0/24 tcp dport 443 accept comment "web"'
    assert found["inet filter autobot-users"] == [accepted]
    assert found["ip legacy autobot-users"] == [accepted]


def test_once_more_is_the_same() -> None:
    once, twice = (in_namespace(f"{loads}; show", *CLOSED) for loads in ("load", "load; load"))
    assert once == twice


def test_what_was_put_there_is_taken_out_again() -> None:
    shown = in_namespace("load; sh openings close; show", *CLOSED)
    assert without_ours(shown) == without_ours(in_namespace("show"))


def test_rules_of_others_that_were_loaded_anew_are_seen_to_lack_it() -> None:
    anew = "load; nft flush ruleset; nft --file theirs"
    seen = "sh openings verify && echo opened || echo shut"
    assert in_namespace(f"load; {seen}", *CLOSED).strip() == "opened"
    assert in_namespace(f"{anew}; {seen}", *CLOSED).strip() == "shut"
    assert chains(in_namespace(f"{anew}; load; show", *CLOSED)).keys() >= OPENED.keys()


@pytest.mark.parametrize("words", ["", "unknown"])
def test_it_says_how_it_is_called(words: str) -> None:
    said = in_namespace(f"sh openings {words} 2>&1 || echo $?").splitlines()
    assert said == ["usage: autobot-openings open | close | verify", "2"]
