"""The rules of the firewall: closed, but for what is listed."""

import re
from typing import Any

import pytest
import yaml

from tests.support.role_files import ROOT, render, role_vars

SSH = ["192.0.2.0/24"]
FIREWALL = {
    **yaml.safe_load((ROOT / "roles/firewall/defaults/main.yml").read_text()),
    "firewall_ssh_sources": SSH,
    "firewall_through": [],
}


def table(**changes: Any) -> str:
    return render("firewall", "etc/autobot-users/nftables.conf.j2", **{**FIREWALL, **changes})


def additive(*through: str, **changes: Any) -> str:
    """The rules beside another firewall, of which these chains are: `inet filter input`."""
    places = [dict(zip(("family", "table", "chain"), it.split(), strict=True)) for it in through]
    return table(firewall_mode="additive", firewall_through=places, **changes)


def rules(
    *allowed: dict[str, Any], ssh: list[str] = SSH, kind: str = "accept comment"
) -> list[str]:
    text = table(firewall_ssh_sources=ssh, firewall_allow=list(allowed))
    return [line.strip() for line in text.splitlines() if kind in line]


def allow(*ports: int, sources: list[str], **limits: int) -> dict[str, Any]:
    return {"ports": list(ports), "sources": sources, "comment": "what is behind it", **limits}


def test_only_ssh_is_open_when_nothing_is_listed() -> None:
    assert rules() == ['ip saddr { 192.0.2.0/24 } tcp dport { 22 } accept comment "SSH"']


def test_each_listed_entry_is_one_rule() -> None:
    assert rules(
        allow(443, sources=["192.0.2.0/24"]), allow(80, 8000, sources=["192.0.2.7", "192.0.2.9"])
    )[1:] == [
        'ip saddr { 192.0.2.0/24 } tcp dport { 443 } accept comment "what is behind it"',
        'ip saddr { 192.0.2.7, 192.0.2.9 } tcp dport { 80, 8000 } accept comment "what is behind it"',  # noqa: E501
    ]


def test_what_a_host_allows_adds_to_what_the_services_need() -> None:
    text = table(
        firewall_services=[allow(443, sources=["192.0.2.0/24"], connections=9)],
        firewall_allow=[allow(6379, sources=["192.0.2.7"], connections=5)],
    )
    accepted = [line.strip() for line in text.splitlines() if "accept comment" in line]
    assert accepted[1:] == [
        'ip saddr { 192.0.2.0/24 } tcp dport { 443 } accept comment "what is behind it"',
        'ip saddr { 192.0.2.7 } tcp dport { 6379 } accept comment "what is behind it"',
    ]
    # Each counts for itself.
    assert re.findall(r"set (\w+)", text) == ["connections_1_ip", "connections_2_ip"]


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


def test_what_belongs_to_no_connection_is_dropped_before_any_rule() -> None:
    first = re.findall(r"policy drop;\s+(.+)", table())[0]
    assert first == "ct state vmap { established : accept, related : accept, invalid : drop }"


def test_the_tables_of_others_are_left_alone() -> None:
    text = table()
    statements = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
    assert [line for line in statements if line != "}"] == [
        "table inet autobot",
        "delete table inet autobot",
        "table inet autobot {",
    ]
    assert not re.search(r"^[^#]*flush", text, re.MULTILINE)


def test_a_limit_is_a_rule_before_the_one_that_accepts() -> None:
    limited = allow(5432, sources=["192.0.2.7"], connections=64, rate=20)
    assert rules(limited, kind="dport { 5432 }") == [
        "ip saddr { 192.0.2.7 } tcp dport { 5432 } add @rate_1_ip "
        '{ ip saddr limit rate over 20/second burst 60 packets } drop comment "what is behind it"',
        "ip saddr { 192.0.2.7 } tcp dport { 5432 } add @connections_1_ip "
        '{ ip saddr ct count over 64 } drop comment "what is behind it"',
        'ip saddr { 192.0.2.7 } tcp dport { 5432 } accept comment "what is behind it"',
    ]


def test_each_address_of_each_family_is_counted_for_itself() -> None:
    open_ports = allow(80, sources=["192.0.2.0/24"])
    limited = allow(443, sources=["192.0.2.0/24", "2001:db8::/64"], connections=3000)
    assert rules(open_ports, limited, kind="set ") == [
        "set connections_2_ip { type ipv4_addr; size 65535; flags dynamic; }",
        "set connections_2_ip6 { type ipv6_addr; size 65535; flags dynamic; }",
    ]
    counted = {"ip": "ip saddr", "ip6": "ip6 saddr & ffff:ffff:ffff:ffff::"}
    assert rules(open_ports, limited, kind="ct count") == [
        f"{family} saddr {{ {source} }} tcp dport {{ 443 }} add @connections_2_{family} "
        f'{{ {counted[family]} ct count over 3000 }} drop comment "what is behind it"'
        for family, source in (("ip", "192.0.2.0/24"), ("ip6", "2001:db8::/64"))
    ]


def test_what_a_host_sends_is_filtered_only_where_it_shares_a_limit() -> None:
    assert "output" not in table()
    shared = {"addresses": ["192.0.2.23"], "port": 5432, "connections": 16, "comment": "a database"}
    text = table(firewall_remote=[shared])
    assert "type filter hook output priority filter; policy accept;" in text
    # Users that systemd makes: the services.
    assert (
        "ip daddr { 192.0.2.23 } tcp dport 5432 ct state new meta skuid != 61184-65519 "
        'ct count over 16 reject with tcp reset comment "a database"' in text
    )


def test_beside_another_firewall_only_the_ports_of_the_site_are_judged() -> None:
    services = [
        allow(443, 80, sources=["192.0.2.0/24"], connections=9),
        # Backups come over SSH, and so does everybody whom the other firewall lets in.
        allow(22, sources=["192.0.2.7"]),
    ]
    text = additive(firewall_services=services)
    chain = re.findall(r"chain input [{]\n(.*?)\n  [}]", text, re.DOTALL)[0]
    lines = [line.strip() for line in chain.splitlines() if line and "#" not in line]
    assert lines[0] == "type filter hook input priority filter; policy accept;"
    assert lines[1:3] == ["ct state { established, related } accept", "iif lo accept"]
    assert [line for line in lines[3:] if "count over" not in line] == [
        'ip saddr { 192.0.2.0/24 } tcp dport { 443, 80 } accept comment "what is behind it"',
        'ip saddr { 192.0.2.7 } tcp dport { 22 } accept comment "what is behind it"',
        'tcp dport { 80, 443 } drop comment "whom no rule of the site names"',
    ]
    assert any("ct count over 9" in line for line in lines)


def test_a_port_that_may_be_shut_is_shut_beside_another_firewall_too() -> None:
    text = additive(firewall_allow=[allow(9100, sources=[])])
    assert 'tcp dport { 9100 } drop comment "whom no rule of the site names"' in text


def test_chains_of_others_are_given_what_their_family_can_tell() -> None:
    text = additive(
        *("inet filter input", "ip legacy incoming"),
        firewall_services=[allow(443, sources=["192.0.2.0/24", "2001:db8::/64"])],
    )
    assert re.findall(r"^# Opened: (.*)$", text, re.MULTILINE) == [
        "inet filter input",
        "ip legacy incoming",
    ]
    parts = text.partition("# Opened: inet filter input")[2].split("# Opened: ")
    both, one = ([line.strip() for line in part.splitlines() if "saddr" in line] for part in parts)
    assert both == [
        'ip saddr { 192.0.2.0/24 } tcp dport { 443 } accept comment "what is behind it"',
        'ip6 saddr { 2001:db8::/64 } tcp dport { 443 } accept comment "what is behind it"',
    ]
    assert one == both[:1]
    # Emptied before it is filled: once more is the same.
    assert "flush chain ip legacy autobot-users" in text


def without_the_former(text: str) -> str:
    """What the role makes of a host's own file of rules, as ansible.builtin.replace does it."""
    variables = yaml.safe_load((ROOT / "roles/firewall/vars/main.yml").read_text())
    return re.sub(variables["firewall_former"], "# Elsewhere.\n", text, flags=re.MULTILINE)


def former_file() -> str:
    """What earlier releases wrote to /etc/nftables.conf."""
    return table(firewall_allow=[allow(443, sources=["192.0.2.0/24"])])


def test_what_an_earlier_release_wrote_for_all_is_taken_out() -> None:
    assert without_the_former(former_file()) == "#!/usr/sbin/nft -f\n# Elsewhere.\n"


def test_what_others_added_to_it_stays() -> None:
    theirs = "\ntable inet theirs {\n  chain input {\n  }\n}\n"
    assert (
        without_the_former(former_file() + theirs) == "#!/usr/sbin/nft -f\n# Elsewhere.\n" + theirs
    )


@pytest.mark.parametrize(
    "text",
    [
        "#!/usr/sbin/nft -f\n\nflush ruleset\n\ntable inet filter {\n\tchain input {\n\t}\n}\n",
        "# Ansible managed\n#\n# The site's own table\ntable inet theirs {\n}\n",
    ],
)
def test_a_file_that_is_not_ours_stays_as_it_is(text: str) -> None:
    assert without_the_former(text) == text


def test_no_task_writes_the_file_of_the_host() -> None:
    tasks = yaml.safe_load((ROOT / "roles/firewall/tasks/main.yml").read_text())
    writing = [
        name
        for task in tasks
        for name, arguments in task.items()
        if isinstance(arguments, dict)
        and "/etc/nftables.conf" in (arguments.get("dest"), arguments.get("path"))
        and not name.endswith("stat")
    ]
    # It takes out what is ours and keeps a copy.
    assert writing == ["ansible.builtin.replace"]


def chain(name: str, text: str) -> list[str]:
    """The lines of a chain, in the table."""
    ((within, lines),) = re.findall(
        rf"^(table inet autobot \{{\n(?:.*\n)*?)  chain {name} \{{\n((?:    .*\n|\n)*)  \}}$",
        text,
        re.MULTILINE,
    )
    assert within
    stripped = (line.strip() for line in lines.splitlines())
    return [line for line in stripped if line and not line.startswith("#")]


def test_the_host_itself_comes_in_and_what_ip_cannot_work_without() -> None:
    head, states, host, older, icmp, icmpv6, *listed = chain("input", table())
    assert head.startswith("type filter hook input")
    assert states.startswith("ct state")
    assert host == "iif lo accept"
    # tests/infra/test_older_connections.py shows what it is for.
    assert older.endswith("== ack socket wildcard 0 accept")
    kinds = {"destination-unreachable", "time-exceeded", "parameter-problem", "echo-request"}
    neighbours = {"nd-neighbor-solicit", "nd-neighbor-advert", "nd-router-advert"}
    for rule, family, wanted in (
        (icmp, "icmp", kinds),
        (icmpv6, "icmpv6", {*kinds, "packet-too-big", "mld-listener-query", *neighbours}),
    ):
        (types,) = re.findall(rf"^{family} type {{ (.+) }} accept$", rule)
        assert set(types.split(", ")) == wanted
    assert listed == rules()


def test_what_is_counted_is_forgotten_and_has_a_bound() -> None:
    limited = allow(443, sources=["192.0.2.0/24", "2001:db8::/64"], rate=20)
    assert rules(limited, kind="set ") == [
        f"set rate_1_{family} {{ type {kind}; size 65535; flags dynamic, timeout; timeout 1m; }}"
        for family, kind in (("ip", "ipv4_addr"), ("ip6", "ipv6_addr"))
    ]


def test_what_a_host_sends_is_accepted_but_for_a_shared_limit() -> None:
    shared = {"addresses": ["192.0.2.23"], "port": 5432, "connections": 16, "comment": "a database"}
    head, limit = chain("output", table(firewall_remote=[shared]))
    assert head == "type filter hook output priority filter; policy accept;"
    assert limit.startswith("ip daddr { 192.0.2.23 } ")


def test_what_is_compared_is_the_table_and_each_chain_that_was_opened() -> None:
    own = "nft --stateless --terse list table inet autobot"
    defaults = {"firewall_mode": "additive", "firewall_chains": []}
    assert role_vars("firewall", **defaults)("firewall_listing") == f"{{ {own}; }}"
    place = {"family": "ip", "table": "legacy", "chain": "in", "opened": True}
    through = {**defaults, "firewall_chains": [place]}
    assert role_vars("firewall", **through)("firewall_listing") == (
        f"{{ {own}; nft --stateless list chain ip legacy autobot-users; }}"
    )


def test_no_firewall_is_set_up_before_those_that_are_there_were_seen() -> None:
    plays = [
        (path.name, play)
        for path in sorted([*ROOT.glob("playbooks/*.yml"), *ROOT.glob("playbooks/parts/*.yml")])
        for play in yaml.safe_load(path.read_text())
        if {"role": "firewall"} in play.get("roles", [])
    ]
    # What site.yml begins with has seen them.
    blind = {name for name, play in plays if "host_survey" not in str(play.get("pre_tasks"))}
    assert blind == {"hosts.yml"}
    site = (ROOT / "site.yml").read_text()
    assert site.index("playbooks/preflight.yml") < site.index("playbooks/parts/hosts.yml")
    assert "host_survey" in (ROOT / "playbooks/preflight.yml").read_text()


def test_what_is_written_is_what_is_removed_where_no_firewall_is_wanted() -> None:
    tasks = yaml.safe_load((ROOT / "roles/firewall/tasks/rules.yml").read_text())
    (written,) = (
        task["autobot.users.host_files"]["files"]
        for task in tasks
        if "autobot.users.host_files" in task
    )
    assert role_vars("firewall")("firewall_files") == [file["path"] for file in written]
