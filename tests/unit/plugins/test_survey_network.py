"""What the survey reads of sockets and firewalls, from what kernels and programs really write."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.autobot.users.plugins.module_utils.survey import firewalls, network
from ansible_collections.autobot.users.plugins.module_utils.survey.reading import UnreadableError

# Of each socket its two ends, state, user and inode; kernel_table() puts them as the kernel does.
# Redis on .23 with two connections of .20, one of the host's own, one on loopback, and one of .21
# that is over; uvicorn on loopback; two connections to PostgreSQL on .19, one to uvicorn,
# one to the resolver of systemd.
TCP = """\
00000000:18EB 00000000:0000 0A 65501 1001
0100007F:1F40 00000000:0000 0A 65502 1002
17A810AC:18EB 14A810AC:C350 01 65501 1003
17A810AC:18EB 14A810AC:C354 01 65501 1013
17A810AC:18EB 17A810AC:C351 01 65501 1023
0100007F:18EB 0100007F:C352 01 65501 1033
17A810AC:18EB 15A810AC:C353 06 0 0
17A810AC:9C40 13A810AC:1538 01 65502 1004
17A810AC:9C41 13A810AC:1538 01 65502 1005
0100007F:9C42 0100007F:1F40 01 65502 1043
0100007F:9C43 3500007F:0035 01 65502 1053
"""
# nginx on 443 for both families, with clients of both; systemd on 22; node_exporter on 9100 by
# a process that shows nothing.
TCP6 = """\
00000000000000000000000000000000:01BB 00000000000000000000000000000000:0000 0A 0 1006
0000000000000000FFFF000017A810AC:01BB 0000000000000000FFFF000014A810AC:D2F0 01 65503 1007
000000FD000000000000000017000000:01BB 000000FD000000000000000002000000:D2F1 01 65503 1017
000000FD000000000000000017000000:01BB 000000FD000000000000000017000000:D2F2 01 65503 1027
00000000000000000000000000000000:0016 00000000000000000000000000000000:0000 0A 0 1008
00000000000000000000000000000000:238C 00000000000000000000000000000000:0000 0A 65504 1010
"""
# DHCP's client, which waits for anybody, and one of NTP, which has its server.
UDP = """\
17A810AC:0044 00000000:0000 07 65505 1009
17A810AC:E0F1 13A810AC:007B 01 65505 1019
"""
FIB_TRIE = """\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 127.0.0.0/8 2 0 2
        +-- 127.0.0.0/31 1 0 0
           |-- 127.0.0.0
              /8 host LOCAL
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 172.16.168.0/24 2 0 2
        |-- 172.16.168.0
           /24 link UNICAST
        |-- 172.16.168.23
           /32 host LOCAL
        |-- 172.16.168.255
           /32 link BROADCAST
"""
IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fd000000000000000000000000000017 04 40 00 82     eth0
"""
SOCKETS = """\
Id=dbus.socket
Listen=/run/dbus/system_bus_socket (Stream)

Id=ssh.socket
Listen=0.0.0.0:22 (Stream)
Listen=[::]:22 (Stream)

Id=dns.socket
Listen=127.0.0.53:53 (Datagram)
"""


def kernel_table(sockets: str) -> str:
    """A file of /proc/net."""
    lines = [
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid ..."
    ]
    for at, line in enumerate(sockets.splitlines()):
        local, remote, state, uid, inode = line.split()
        queues = "00000000:00000000 00:00000000 00000000"
        lines.append(
            f"{at:4}: {local} {remote} {state} {queues} {uid:>5}        0 {inode} 1 c0 20 4"
        )
    return "\n".join(lines) + "\n"


def listener(address: str, port: int, **more: Any) -> dict[str, Any]:
    nobody = {"protocol": "tcp", "program": "", "unit": "", "user": "", "clients": []}
    return {**nobody, "address": address, "port": port, **more}


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with these sockets, and with one process that has just ended."""
    files = {name: kernel_table(it) for name, it in (("tcp", TCP), ("tcp6", TCP6), ("udp", UDP))}
    files |= {"fib_trie": FIB_TRIE, "if_inet6": IF_INET6}
    (tmp_path / "net").mkdir()
    for name, text in files.items():
        (tmp_path / "net" / name).write_text(text)
    (tmp_path / "999").mkdir()

    def process(number: int, comm: str, cgroup: str, uid: int, started: int, *held: int) -> None:
        path = tmp_path / str(number)
        (path / "fd").mkdir(parents=True)
        (path / "fd/0").symlink_to("/dev/null")
        for at, inode in enumerate(held, 3):
            (path / f"fd/{at}").symlink_to(f"socket:[{inode}]")
        (path / "comm").write_text(f"{comm}\n")
        (path / "cgroup").write_text(f"0::{cgroup}\n")
        (path / "status").write_text(f"Name:\t{comm}\nUid:\t0\t{uid}\t0\t0\nGid:\t1\t1\t1\t1\n")
        rest = f"S 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 {started} 12 3"
        (path / "stat").write_text(f"{number} ({comm}) {rest}\n")

    process(1, "systemd", "/init.scope", 0, 10, 1008)
    process(200, "redis-server", "/system.slice/redis-server.service", 65501, 900, 1001, 1003)
    # Numbers of processes begin again: 299 is the younger one.
    process(300, "uvicorn (8) x", "/system.slice/slm.service", 65502, 1000, 1002)
    process(299, "python3", "/system.slice/slm.service/worker", 65502, 1100, 1002, 1043)
    process(400, "python3", "/system.slice/autobot-backend.service", 65502, 1200, 1004, 1005)
    process(501, "nginx", "/system.slice/nginx.service", 65503, 1400, 1006, 1007)
    process(500, "nginx", "/system.slice/nginx.service", 0, 1300, 1006)
    process(600, "sshd", "/system.slice/ssh.service", 0, 1500, 1008)
    process(700, "dhclient", "/user.slice/user-0.slice/session-3.scope", 65505, 1600, 1009, 1019)
    return tmp_path


class TestSockets:
    def test_who_listens_to_whom_and_who_calls_whom(
        self, proc: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(network, "output", lambda *_: SOCKETS)
        unreadable: list[str] = []
        assert network.read_sockets(proc, unreadable) == {
            "listeners": [
                listener(
                    *("0.0.0.0", 6379),  # noqa: S104 - nobody binds here
                    program="redis-server",
                    unit="redis-server.service",
                    user="65501",
                    clients=[{"address": "172.16.168.20", "connections": 2}],
                ),
                listener(
                    *("127.0.0.1", 8000), program="uvicorn (8) x", unit="slm.service", user="65502"
                ),
                listener("::", 22, program="systemd", unit="ssh.socket", user="root"),
                listener(
                    *("::", 443),
                    program="nginx",
                    unit="nginx.service",
                    user="root",
                    clients=[
                        {"address": "172.16.168.20", "connections": 1},
                        {"address": "fd00::2", "connections": 1},
                    ],
                ),
                listener("::", 9100, user="65504"),
                listener("172.16.168.23", 68, protocol="udp", program="dhclient", user="65505"),
            ],
            "outgoing": [
                {
                    "address": "172.16.168.19",
                    "port": 5432,
                    "program": "python3",
                    "unit": "autobot-backend.service",
                    "connections": 2,
                }
            ],
        }
        assert unreadable == []

    def test_workers_with_a_socket_each_are_one_listener(
        self, proc: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = TCP.splitlines(keepends=True)[0]
        workers = first + first.replace("1001", "1002")
        (proc / "net/tcp").write_text(kernel_table(workers))
        monkeypatch.setattr(network, "output", lambda *_: None)
        listeners = network.read_sockets(proc, [])["listeners"]
        assert [it["program"] for it in listeners if it["port"] == 6379] == ["redis-server"]
        # No systemctl tells whose it is.
        assert [it["unit"] for it in listeners if it["port"] == 22] == [""]

    def test_what_is_hidden_is_said_and_the_socket_still_has_its_user(
        self, proc: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def inodes_of(path: Path) -> set[str]:
            if path.name == "200":
                raise PermissionError
            return seen(path)

        seen = network.inodes_of
        monkeypatch.setattr(network, "inodes_of", inodes_of)
        monkeypatch.setattr(network, "output", lambda *_: SOCKETS)
        unreadable: list[str] = []
        redis = network.read_sockets(proc, unreadable)["listeners"][0]
        assert (redis["port"], redis["program"], redis["user"]) == (6379, "", "65501")
        assert unreadable == ["processes: 1 do not show which sockets they have open"]

    @pytest.mark.parametrize(
        ("cgroup", "unit"),
        [
            ("0::/system.slice/redis-server.service", "redis-server.service"),
            (
                "0::/system.slice/system-postgresql.slice/postgresql@16-main.service",
                "postgresql@16-main.service",
            ),
            # Ubuntu 22.04 can be started with the old hierarchy.
            ("4:memory:/\n1:name=systemd:/system.slice/nginx.service\n0::/", "nginx.service"),
            ("0::/system.slice/docker-4f0c.scope", ""),
            ("0::/machine.slice/libpod-9c.scope/container/system.slice/redis.service", ""),
            ("0::/user.slice/user-1000.slice/session-3.scope", ""),
            (
                "0::/user.slice/user-1000.slice/user@1000.service/app.slice/a.service",
                "user@1000.service",
            ),
            ("0::/", ""),
        ],
    )
    def test_a_unit_is_the_first_service_in_the_cgroup(self, cgroup: str, unit: str) -> None:
        assert network.unit_of(f"{cgroup}\n") == unit

    def test_systemd_says_which_unit_has_which_socket(self) -> None:
        assert network.socket_units(SOCKETS) == {
            ("tcp", "/run/dbus/system_bus_socket"): "dbus.socket",
            ("tcp", "0.0.0.0:22"): "ssh.socket",
            ("tcp", "[::]:22"): "ssh.socket",
            ("udp", "127.0.0.53:53"): "dns.socket",
        }


# As ufw 0.36.2 writes them.
USER_RULES = """\
*filter
:ufw-user-input - [0:0]
### RULES ###

### tuple ### limit tcp 22 0.0.0.0/0 any 0.0.0.0/0 in
-A ufw-user-input -p tcp --dport 22 -m conntrack --ctstate NEW -m recent --set

### tuple ### allow tcp 6379 0.0.0.0/0 any 172.16.168.20 in comment=5265646973e280942e3230
-A ufw-user-input -p tcp --dport 6379 -s 172.16.168.20 -j ACCEPT

### tuple ### allow_log tcp 80,443 0.0.0.0/0 any 172.16.168.0/24 in

### tuple ### allow udp 6000:6100 0.0.0.0/0 any 0.0.0.0/0 in

### tuple ### deny any any 0.0.0.0/0 any 10.0.0.0/8 in

### tuple ### allow any any 0.0.0.0/0 any 0.0.0.0/0 in_wg0

### tuple ### allow tcp 80,443 0.0.0.0/0 any 0.0.0.0/0 WWW%20Full - in

### tuple ### allow any 53 0.0.0.0/0 any 0.0.0.0/0 out

### tuple ### route:allow any any 0.0.0.0/0 any 0.0.0.0/0 in_eth0!out_eth1

### tuple ### allow any 9100 172.16.168.19 any 0.0.0.0/0 in_eth0

### END RULES ###
"""
USER6_RULES = """\
### tuple ### limit tcp 22 ::/0 any ::/0 in
### tuple ### allow any any ::/0 any ::/0 in_wg0
### tuple ### allow tcp 9121 ::/0 any fd00::/8 in
"""


def rule(
    action: str, ports: str, protocol: str, source: str = "any", **more: str
) -> dict[str, Any]:
    return {
        "action": action,
        "ports": ports.split(),
        "protocol": protocol,
        "source": source,
        "destination": "any",
        "interface": "",
        "comment": "",
        **more,
    }


@pytest.fixture
def etc(tmp_path: Path) -> Callable[..., Path]:
    def etc(enabled: str = "yes", policy: str = "DROP") -> Path:
        (tmp_path / "ufw").mkdir()
        (tmp_path / "default").mkdir()
        (tmp_path / "ufw/ufw.conf").write_text(
            f"# Set to yes to start on boot.\nENABLED={enabled}\nLOGLEVEL=low\n"
        )
        (tmp_path / "default/ufw").write_text(
            f'IPV6=yes\nDEFAULT_INPUT_POLICY="{policy}"\nDEFAULT_OUTPUT_POLICY="ACCEPT"\n'
        )
        (tmp_path / "ufw/user.rules").write_text(USER_RULES)
        (tmp_path / "ufw/user6.rules").write_text(USER6_RULES)
        return tmp_path

    return etc


class TestUfw:
    def test_its_rules_for_what_comes_in(self, etc: Callable[..., Path]) -> None:
        assert firewalls.read_ufw(etc())["rules"] == [
            rule("limit", "22", "tcp"),
            rule("allow", "6379", "tcp", "172.16.168.20", comment="Redis—.20"),
            rule("allow", "80 443", "tcp", "172.16.168.0/24"),
            rule("allow", "6000:6100", "udp"),
            rule("deny", "", "any", "10.0.0.0/8"),
            rule("allow", "", "any", interface="wg0"),
            rule("allow", "80 443", "tcp"),
            rule("allow", "9100", "any", destination="172.16.168.19", interface="eth0"),
            rule("allow", "9121", "tcp", "fd00::/8"),
        ]

    @pytest.mark.parametrize(
        ("enabled", "policy", "expected"),
        [
            ("yes", "DROP", (True, "deny")),
            ("no", "ACCEPT", (False, "allow")),
            ("YES", "REJECT", (True, "reject")),
        ],
    )
    def test_whether_it_is_on_and_what_it_does_without_a_rule(
        self, etc: Callable[..., Path], enabled: str, policy: str, expected: tuple[bool, str]
    ) -> None:
        ufw = firewalls.read_ufw(etc(enabled, policy))
        assert (ufw["active"], ufw["incoming"]) == expected

    def test_a_host_may_have_none(self, tmp_path: Path) -> None:
        assert firewalls.read_ufw(tmp_path) == {"active": False, "incoming": "", "rules": []}


def chain(
    family: str, table: str, name: str, hook: str = "", policy: str = "", kind: str = "filter"
) -> dict[str, Any]:
    base = {"type": kind, "hook": hook, "prio": 0, "policy": policy} if hook else {}
    return {"chain": {"family": family, "table": table, "name": name, "handle": 1, **base}}


def nft_rule(family: str, table: str, chain: str, *expressions: Any) -> dict[str, Any]:
    fields = {"family": family, "table": table, "chain": chain, "handle": 2}
    return {"rule": {**fields, "expr": list(expressions)}}


META = {
    "metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}
}
# As nft 1.0.6 prints `table inet own`: two rules at once, one behind a jump, one behind a map.
VMAP = {
    "vmap": {
        "key": {"meta": {"key": "l4proto"}},
        "data": {"set": [["tcp", {"goto": {"target": "other"}}]]},
    }
}
OWN = [
    {"table": {"family": "inet", "name": "own", "handle": 1}},
    {"set": {"family": "inet", "name": "ssh", "table": "own", "type": "ipv4_addr", "handle": 5}},
    chain("inet", "own", "input", "input", "drop"),
    chain("inet", "own", "web"),
    chain("inet", "own", "other"),
    chain("inet", "own", "unused"),
    chain("inet", "own", "forward", "forward", "accept"),
    nft_rule("inet", "own", "web", {"accept": None}),
    nft_rule(
        "inet", "own", "input", {"counter": {"packets": 0, "bytes": 0}}, {"jump": {"target": "web"}}
    ),
    nft_rule("inet", "own", "input", VMAP),
    nft_rule("inet", "own", "other", {"drop": None}),
    nft_rule("inet", "own", "unused", {"drop": None}),
    nft_rule("inet", "own", "forward", {"jump": {"target": "unused"}}),
]
# What iptables-nft keeps for ufw, and for fail2ban beside it.
UFW_TABLE = [
    chain("ip", "filter", "INPUT", "input", "drop"),
    chain("ip", "filter", "ufw-user-input"),
    nft_rule("ip", "filter", "INPUT", {"jump": {"target": "ufw-user-input"}}),
    nft_rule("ip", "filter", "ufw-user-input", {"accept": None}),
]
FAIL2BAN = [
    chain("ip", "filter", "f2b-sshd"),
    nft_rule("ip", "filter", "INPUT", {"jump": {"target": "f2b-sshd"}}),
    nft_rule("ip", "filter", "f2b-sshd", {"return": None}),
]
NAT = [
    chain("ip", "nat", "POSTROUTING", "postrouting", "accept", "nat"),
    chain("ip", "nat", "INPUT", "input", "accept", "nat"),
    chain("bridge", "b", "input", "input", "drop"),
]
NFT_SAVED = """\
# Generated by iptables-save v1.8.9 (nf_tables) on Sun Nov 29 20:12:12 2026
*nat
:INPUT DROP [0:0]
-A INPUT -j ACCEPT
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:own - [0:0]
:ufw-user-input - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -j own
-A INPUT -j ufw-user-input
-A FORWARD -j DROP
-A own -j RETURN
-A ufw-user-input -j ACCEPT
COMMIT
# Completed on Sun Nov 29 20:12:12 2026
"""
LEGACY_SAVED = """\
# Generated by iptables-save v1.8.9 on Sun Nov 29 20:12:12 2026
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -s 10.0.0.0/8 -j DROP
COMMIT
# Completed on Sun Nov 29 20:12:12 2026
"""
UFW_SAVED = """\
# Generated by iptables-save v1.8.9 on Sun Nov 29 20:12:12 2026
*filter
:INPUT DROP [0:0]
:ufw-before-input - [0:0]
-A INPUT -j ufw-before-input
COMMIT
"""


def table(family: str, name: str, policy: str, rules: int, *closed: str) -> dict[str, Any]:
    return {
        **{"family": family, "table": name, "policy": policy, "rules": rules},
        **{"closed": [*closed], "opened": []},
    }


class TestFirewalls:
    @pytest.mark.parametrize(
        ("policy", "last", "closed"),
        [
            ("accept", [{"drop": None}], True),
            ("accept", [{"counter": {"packets": 7}}, {"log": None}, {"reject": None}], True),
            ("accept", [{"match": {"left": 1}}, {"drop": None}], False),
            ("accept", [{"accept": None}], False),
            ("accept", [], False),
            ("drop", [{"accept": None}], True),
        ],
    )
    def test_a_chain_that_lets_in_only_what_it_names_is_closed(
        self, policy: str, last: list[Any], closed: bool
    ) -> None:
        items = [
            chain("inet", "t", "in", "input", policy),
            nft_rule("inet", "t", "in", {"drop": None}),
            nft_rule("inet", "t", "in", {"accept": None}),
            *([nft_rule("inet", "t", "in", *last)] if last else []),
        ]
        (found,) = firewalls.nft_tables(json.dumps({"nftables": [META, *items]}))
        assert found["closed"] == ["in"] * closed

    def test_closed_chains_are_those_that_the_site_can_open(self) -> None:
        opening = {"jump": {"target": firewalls.OPENING}}
        items = [
            *(chain("inet", "autobot", "input", "input", "drop"), *UFW_TABLE),
            chain("inet", "theirs", "in", "input", "drop"),
            # The jump of ours is no rule of theirs.
            *(chain("ip", "opened", "in", "input", "accept"),),
            nft_rule("ip", "opened", "in", opening),
        ]
        tables = firewalls.nft_tables(json.dumps({"nftables": [META, *items]}))
        assert firewalls.closed_chains(tables) == [
            {"family": "inet", "table": "theirs", "chain": "in", "opened": False},
            {"family": "ip", "table": "opened", "chain": "in", "opened": True},
        ]
        assert [it["rules"] for it in tables if it["table"] == "opened"] == [0]

    @pytest.mark.parametrize(
        ("items", "expected"),
        [
            ([], []),
            (OWN, [table("inet", "own", "drop", 4, "input")]),
            (NAT, []),
            (UFW_TABLE, [table("ip", "filter", "drop", 0, "INPUT")]),
            (UFW_TABLE + FAIL2BAN, [table("ip", "filter", "drop", 2, "INPUT")]),
            (
                [
                    chain("inet", "t", "a", "input", "drop"),
                    chain("inet", "t", "b", "input", "accept"),
                ],
                [table("inet", "t", "drop", 0, "a")],
            ),
        ],
    )
    def test_tables_of_nft_that_judge_what_comes_in(
        self, items: list[Any], expected: list[Any]
    ) -> None:
        assert firewalls.nft_tables(json.dumps({"nftables": [META, *items]})) == expected

    @pytest.mark.parametrize(
        ("saved", "expected"),
        [
            (NFT_SAVED, ("DROP", 3)),
            (LEGACY_SAVED, ("ACCEPT", 1)),
            (UFW_SAVED, ("DROP", 0)),
            ("", ("ACCEPT", 0)),
        ],
    )
    def test_rules_of_iptables_that_judge_what_comes_in(
        self, saved: str, expected: tuple[str, int]
    ) -> None:
        assert firewalls.iptables_filter(saved) == dict(
            zip(("policy", "rules"), expected, strict=True)
        )

    @pytest.mark.parametrize(
        ("ufw", "nft", "programs", "tables", "iptables"),
        [
            ("no", None, {}, [], ("ACCEPT", 0)),
            # Without nft, iptables says what it knows.
            ("no", None, {"iptables-save": NFT_SAVED}, [], ("DROP", 3)),
            ("no", UFW_TABLE, {"iptables-save": NFT_SAVED}, ["filter"], ("ACCEPT", 0)),
            # The old kind stands beside nft.
            (
                "no",
                OWN,
                {"iptables-save": NFT_SAVED, "iptables-legacy-save": LEGACY_SAVED},
                ["own"],
                ("ACCEPT", 1),
            ),
            (
                "no",
                [],
                {"iptables-save": LEGACY_SAVED, "iptables-legacy-save": LEGACY_SAVED},
                [],
                ("ACCEPT", 1),
            ),
            (
                "no",
                [],
                {"iptables-save": LEGACY_SAVED, "ip6tables-save": UFW_SAVED},
                [],
                ("DROP", 1),
            ),
            # What ufw keeps is said under its name.
            ("yes", UFW_TABLE + OWN, {}, ["own"], ("ACCEPT", 0)),
            ("yes", UFW_TABLE + FAIL2BAN, {}, ["filter"], ("ACCEPT", 0)),
            ("yes", [], {"iptables-save": UFW_SAVED}, [], ("ACCEPT", 0)),
        ],
    )
    def test_each_is_said_once(
        self,
        etc: Callable[..., Path],
        monkeypatch: pytest.MonkeyPatch,
        ufw: str,
        nft: list[Any] | None,
        programs: dict[str, str],
        tables: list[str],
        iptables: tuple[str, int],
    ) -> None:
        listing = {} if nft is None else {"nft": json.dumps({"nftables": [META, *nft]})}
        monkeypatch.setattr(firewalls, "output", lambda name, *_: (programs | listing).get(name))
        monkeypatch.setattr(firewalls, "is_active", lambda unit: unit == "firewalld")
        unreadable: list[str] = []
        found = firewalls.read_firewalls(etc(ufw), unreadable)
        assert [it["table"] for it in found["nftables"]] == tables
        assert (found["iptables"]["policy"], found["iptables"]["rules"]) == iptables
        assert found["firewalld"] is True
        assert unreadable == []

    def test_what_cannot_be_read_is_said_and_the_rest_is_there(
        self, etc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def output(name: str, *_: str) -> str | None:
            if name == "ip6tables-save":
                raise UnreadableError("no answer within 20 seconds")
            return {"nft": "Error: no JSON", "iptables-save": NFT_SAVED}.get(name)

        monkeypatch.setattr(firewalls, "output", output)
        monkeypatch.setattr(firewalls, "is_active", lambda _: False)
        directory = etc()
        (directory / "default/ufw").unlink()
        unreadable: list[str] = []
        found = firewalls.read_firewalls(directory, unreadable)
        assert found["iptables"] == {"policy": "DROP", "rules": 3}
        assert found["ufw"] == {"active": False, "incoming": "", "rules": []}
        assert unreadable == [
            f"ufw: {directory}/default/ufw: No such file or directory",
            "nft: Expecting value: line 1 column 1 (char 0)",
            "ip6tables-save: no answer within 20 seconds",
        ]
