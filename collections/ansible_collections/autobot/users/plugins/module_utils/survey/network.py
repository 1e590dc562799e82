"""Who listens, who is connected, and which firewalls stand before it.

Sockets are read from /proc, because what ss prints differs by its version. Those of containers
with a network of their own are not among them.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

from .reading import guarded, is_active, output, shown_units, user_name

TABLES = ("tcp", "tcp6", "udp", "udp6")
WILDCARDS = {"tcp": "0.0.0.0", "tcp6": "::"}  # noqa: S104 - what others listen on
KINDS = {"(Stream)": "tcp", "(Datagram)": "udp"}
# The states of a socket; one of UDP without a peer is "closed".
ESTABLISHED, CLOSED, LISTENING = 0x01, 0x07, 0x0A

FAMILIES = ("ip", "ip6", "inet")
EVERYWHERE = ("0.0.0.0/0", "::/0")
# Chains that ufw keeps, and the one that the bundle puts into tables of others.
OPENING = "autobot-users"
KEPT_CHAIN = re.compile(rf"ufw6?-|{OPENING}$")
TUPLE = "### tuple ### "
UFW_POLICIES = {"DROP": "deny", "REJECT": "reject", "ACCEPT": "allow"}
NO_UFW: dict[str, Any] = {"active": False, "incoming": "", "rules": []}


class Place(NamedTuple):
    """Where a socket is bound; `table` says by which of the kernel's tables."""

    table: str
    address: str
    port: int


class Socket(NamedTuple):
    """A line of /proc/net/{tcp,tcp6,udp,udp6}."""

    place: Place
    peer: str
    peer_port: int
    state: int
    uid: int
    inode: str

    @property
    def listens(self) -> bool:
        return self.state == (LISTENING if self.place.table.startswith("tcp") else CLOSED)

    @property
    def is_connected(self) -> bool:
        return self.place.table.startswith("tcp") and self.state == ESTABLISHED


class Process(NamedTuple):
    """A process that holds sockets; `started` in ticks since the boot."""

    started: int
    number: int
    program: str
    unit: str
    uid: int


def written(address: bytes) -> str:
    """An address in words; IPv4 in IPv6 is IPv4."""
    found = ip_address(address)
    return str((isinstance(found, IPv6Address) and found.ipv4_mapped) or found)


def end_of(text: str) -> tuple[str, int]:
    """Address and port of `0100007F:1F40`; the address in words of 32 bits, little-endian."""
    address, port = text.split(":")
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    return written(b"".join(words)), int(port, 16)


def sockets(table: str, text: str) -> Iterator[Socket]:
    """The sockets of a table of /proc/net."""
    for line in text.splitlines()[1:]:
        _, local, remote, state, _, _, _, uid, _, inode, *_ = line.split()
        place = Place(table, *end_of(local))
        yield Socket(place, *end_of(remote), int(state, 16), int(uid), inode)


def own_addresses(fib_trie: str, if_inet6: str) -> set[str]:
    """The addresses that the kernel takes for the host's own, from its files of these names."""
    found, address = set(), ""
    for line in fib_trie.splitlines():
        if "|-- " in line:
            address = line.split()[-1]
        elif line.endswith("host LOCAL"):
            found.add(address)
    found |= {written(bytes.fromhex(line.split()[0])) for line in if_inet6.splitlines()}
    return found


def unit_of(cgroup: str) -> str:
    """The unit of systemd in a process's cgroup; empty for a container and for a shell."""
    paths = dict(line.split(":", 2)[1:] for line in cgroup.splitlines())
    for part in paths.get("name=systemd", paths.get("", "")).split("/"):
        if part.endswith(".service"):
            return part
        if part.endswith(".scope"):
            break
    return ""


def process_of(path: Path) -> Process:
    """The process of a directory of /proc."""
    status = re.search(r"^Uid:\s+\d+\s+(\d+)", (path / "status").read_text(), re.MULTILINE)
    # The program's name, in brackets, may hold spaces and brackets.
    started = (path / "stat").read_text().rpartition(")")[2].split()[19]
    return Process(
        int(started),
        int(path.name),
        (path / "comm").read_text().strip(),
        unit_of((path / "cgroup").read_text()),
        int(status[1]) if status else 0,
    )


def inodes_of(path: Path) -> set[str]:
    """The inodes of the sockets that a process has open."""
    found = set()
    for descriptor in (path / "fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def holders(proc: Path, unreadable: list[str]) -> dict[str, Process]:
    """The process that has each socket open, by inode; of several the oldest."""
    found: dict[str, Process] = {}
    hidden = 0
    for path in proc.iterdir():
        if not path.name.isdigit():
            continue
        try:
            if inodes := inodes_of(path):
                process = process_of(path)
                found |= {inode: min(process, found.get(inode, process)) for inode in inodes}
        except PermissionError:
            hidden += 1
        except (FileNotFoundError, ProcessLookupError):
            # It has ended.
            continue
    if hidden:
        unreadable.append(f"processes: {hidden} do not show which sockets they have open")
    return found


def socket_units(shown: str) -> dict[tuple[str, str], str]:
    """What `systemctl show` says of sockets: the unit by protocol and `address:port`."""
    found = {}
    for properties in shown_units(shown):
        name = dict(properties).get("Id", "")
        for key, value in properties:
            address, _, kind = value.partition(" ")
            if key == "Listen" and kind in KINDS:
                found[KINDS[kind], address] = name
    return found


def connections(
    all_sockets: list[Socket], own: set[str]
) -> tuple[dict[Place, Counter[str]], list[Socket]]:
    """The clients of each place where somebody listens, and the connections that go out.

    The host's traffic with itself is neither.
    """
    clients: dict[Place, Counter[str]] = {s.place: Counter() for s in all_sockets if s.listens}
    outgoing = []
    for socket in all_sockets:
        if not socket.is_connected or socket.peer in own or ip_address(socket.peer).is_loopback:
            continue
        table, _, port = socket.place
        wildcard = Place(table, WILDCARDS[table], port)
        if socket.place in clients:
            clients[socket.place][socket.peer] += 1
        elif wildcard in clients:
            clients[wildcard][socket.peer] += 1
        else:
            outgoing.append(socket)
    return clients, outgoing


def systemd_sockets() -> dict[tuple[str, str], str]:
    """The sockets that systemd holds, see socket_units()."""
    shown = output("systemctl", "show", "--property=Id,Listen", "*.socket")
    return socket_units(shown or "")


def read_sockets(proc: Path, unreadable: list[str]) -> dict[str, Any]:
    """`listeners` and `outgoing` of the survey."""

    def text(name: str) -> str:
        path = proc / "net" / name
        return path.read_text() if path.exists() else ""

    all_sockets = [s for table in TABLES for s in sockets(table, text(table))]
    processes = holders(proc, unreadable)
    none: dict[tuple[str, str], str] = {}
    units = guarded("sockets of systemd", systemd_sockets, none, unreadable)
    clients, outgoing = connections(all_sockets, own_addresses(text("fib_trie"), text("if_inet6")))
    # Workers may each have a socket of their own at one place.
    at_place: dict[Place, list[Socket]] = {}
    for socket in all_sockets:
        if socket.listens:
            at_place.setdefault(socket.place, []).append(socket)
    return {
        "listeners": [
            described(place, at_place[place], processes, units, clients[place])
            for place in sorted(at_place)
        ],
        "outgoing": summed(outgoing, processes),
    }


def described(
    place: Place,
    at_place: list[Socket],
    processes: dict[str, Process],
    units: dict[tuple[str, str], str],
    clients: Counter[str],
) -> dict[str, Any]:
    """A listener of the survey."""
    protocol = place.table.rstrip("6")
    process = min((processes[s.inode] for s in at_place if s.inode in processes), default=None)
    unit = process.unit if process else ""
    if process and process.number == 1:
        host = f"[{place.address}]" if ":" in place.address else place.address
        unit = units.get((protocol, f"{host}:{place.port}"), "")
    return {
        "protocol": protocol,
        "address": place.address,
        "port": place.port,
        "program": process.program if process else "",
        "unit": unit,
        "user": user_name(process.uid if process else at_place[0].uid),
        "clients": [
            {"address": address, "connections": number}
            for address, number in sorted(clients.items())
        ],
    }


def summed(outgoing: list[Socket], processes: dict[str, Process]) -> list[dict[str, Any]]:
    """The connections to other hosts, counted by where they go and who made them."""
    counted: Counter[tuple[str, int, str, str]] = Counter()
    for socket in outgoing:
        process = processes.get(socket.inode)
        program, unit = (process.program, process.unit) if process else ("", "")
        counted[socket.peer, socket.peer_port, program, unit] += 1
    names = ("address", "port", "program", "unit")
    return [
        dict(zip(names, key)) | {"connections": number}  # noqa: B905 - Python 3.9 has no `strict`
        for key, number in sorted(counted.items())
    ]


def setting(name: str, text: str) -> str:
    """The value of a variable in a file of shell assignments; empty for none."""
    found = re.search(rf"^{name}=[\"']?([^\"'\s#]*)", text, re.MULTILINE)
    return found[1] if found else ""


def ufw_rules(text: str) -> Iterator[dict[str, Any]]:
    """The rules for incoming traffic in user.rules or user6.rules of ufw, in order."""
    for line in text.splitlines():
        if not line.startswith(TUPLE):
            continue
        rule, _, comment = line[len(TUPLE) :].partition(" comment=")
        # Between source and direction stand the profiles of applications, if it has any.
        action, protocol, ports, destination, _, source, *_, direction = rule.split()
        way, _, interface = direction.partition("_")
        if action.startswith("route:") or way != "in":
            continue
        yield {
            # "allow_log" allows, and logs.
            "action": action.partition("_")[0],
            "ports": [] if ports == "any" else ports.split(","),
            "protocol": protocol,
            "source": "any" if source in EVERYWHERE else source,
            "destination": "any" if destination in EVERYWHERE else destination,
            "interface": interface,
            "comment": bytes.fromhex(comment).decode("utf-8", "replace"),
        }


def read_ufw(etc: Path) -> dict[str, Any]:
    """`ufw` of the survey. Its files are exact, and there without the program too."""
    directory = etc / "ufw"
    if not (directory / "ufw.conf").exists():
        return NO_UFW
    rules: list[dict[str, Any]] = []
    for name in ("user.rules", "user6.rules"):
        path = directory / name
        # A rule for everybody is in both.
        found = ufw_rules(path.read_text() if path.exists() else "")
        rules += [rule for rule in found if rule not in rules]
    policy = setting("DEFAULT_INPUT_POLICY", (etc / "default/ufw").read_text())
    return {
        "active": setting("ENABLED", (directory / "ufw.conf").read_text()).lower() == "yes",
        "incoming": UFW_POLICIES.get(policy.upper(), ""),
        "rules": rules,
    }


def rules_on_way(starts: Iterable[str], rules: list[tuple[str, set[str]]]) -> int:
    """How many rules a packet may meet from these chains on, but for those of KEPT_CHAIN.

    `rules`: the chain that each is in, and the chains that it leads to.
    """
    reached: set[str] = set()
    ahead = set(starts)
    while ahead:
        reached |= ahead
        ahead = {to for chain, targets in rules if chain in reached for to in targets} - reached
    return sum(
        chain in reached and not any(KEPT_CHAIN.match(name) for name in (chain, *targets))
        for chain, targets in rules
    )


def targets_of(expression: Any) -> set[str]:
    """The chains to which a rule of nft leads, its maps included."""
    if isinstance(expression, list):
        return {name for item in expression for name in targets_of(item)}
    if not isinstance(expression, dict):
        return set()
    found = targets_of(list(expression.values()))
    for verb in ("jump", "goto"):
        if isinstance(expression.get(verb), dict):
            found.add(expression[verb]["target"])
    return found


def refuses_all(expression: list[dict[str, Any]]) -> bool:
    """Whether a rule of nft drops or rejects every packet that comes to it."""
    names = [name for part in expression for name in part]
    return bool(names) and names[-1] in ("drop", "reject") and {*names[:-1]} <= {"counter", "log"}


def nft_tables(listing: str) -> list[dict[str, Any]]:
    """`nftables` of the survey, from what `nft --json list ruleset` prints."""
    items = json.loads(listing)["nftables"]
    inputs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    rules: dict[tuple[str, str], list[tuple[str, set[str]]]] = {}
    last: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for item in items:
        if chain := item.get("chain"):
            filters = chain.get("type") == "filter" and chain.get("hook") == "input"
            if filters and chain["family"] in FAMILIES:
                inputs.setdefault((chain["family"], chain["table"]), []).append(chain)
        elif rule := item.get("rule"):
            place = rule["family"], rule["table"]
            rules.setdefault(place, []).append((rule["chain"], targets_of(rule["expr"])))
            last[place + (rule["chain"],)] = rule["expr"]  # noqa: RUF005 - Python 3.9
    return [
        {
            "family": family,
            "table": table,
            "policy": "drop" if any(c.get("policy") == "drop" for c in chains) else "accept",
            "rules": rules_on_way([c["name"] for c in chains], rules.get((family, table), [])),
            # Those that let nothing in but what they name.
            "closed": [
                c["name"]
                for c in chains
                if c.get("policy") == "drop"
                or refuses_all(last.get((family, table, c["name"]), []))
            ],
            "opened": [
                chain for chain, targets in rules.get((family, table), []) if OPENING in targets
            ],
        }
        for (family, table), chains in inputs.items()
    ]


def closed_chains(tables: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`closed_chains` of the survey: where others let in only what they name, and whether us.

    Not those of iptables, which has no use for rules that it did not write.
    """
    return [
        {
            "family": table["family"],
            "table": table["table"],
            "chain": chain,
            "opened": chain in table["opened"],
        }
        for table in tables
        if (table["family"], table["table"]) != ("inet", "autobot")
        for chain in dict.fromkeys([*table["closed"], *table["opened"]])
        if (table["table"], chain) != ("filter", "INPUT")
    ]


def iptables_filter(saved: str) -> dict[str, Any]:
    """`iptables` of the survey, from what one iptables-save prints."""
    policy = re.search(r"^:INPUT (\w+)", filter_table(saved), re.MULTILINE)
    rules = [
        (chain, set(re.findall(r" -[jg] (\S+)", rest)))
        for chain, rest in re.findall(r"^-A (\S+)(.*)", filter_table(saved), re.MULTILINE)
    ]
    return {"policy": policy[1] if policy else "ACCEPT", "rules": rules_on_way(["INPUT"], rules)}


def filter_table(saved: str) -> str:
    """The table `filter` of what iptables-save prints."""
    return saved.partition("*filter\n")[2].partition("COMMIT")[0]


def joined(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Several filters of iptables as one."""
    drops = any(one["policy"] == "DROP" for one in found)
    return {"policy": "DROP" if drops else "ACCEPT", "rules": sum(one["rules"] for one in found)}


def read_iptables(unreadable: list[str], *, with_nft: bool) -> dict[str, Any]:
    """`iptables` of the survey; what nft shows too has been said if that was asked."""
    found: list[dict[str, Any]] = []
    for family in ("iptables", "ip6tables"):
        kinds = {}
        for program in (f"{family}-save", f"{family}-legacy-save"):
            saved = guarded(program, partial(output, program), None, unreadable)
            if saved:
                # Both programs may be the legacy one.
                kinds["(nf_tables)" in saved.partition("\n")[0]] = iptables_filter(saved)
        if with_nft:
            kinds.pop(True, None)
        found += kinds.values()
    return joined(found)


def read_firewalls(etc: Path, unreadable: list[str]) -> dict[str, Any]:
    """`firewalls` of the survey."""

    def nft() -> list[dict[str, Any]] | None:
        listing = output("nft", "--json", "--terse", "list", "ruleset")
        return None if listing is None else nft_tables(listing)

    ufw = guarded("ufw", partial(read_ufw, etc), NO_UFW, unreadable)
    tables = guarded("nft", nft, None, unreadable)
    iptables = read_iptables(unreadable, with_nft=tables is not None)
    # What ufw keeps is said once.
    if ufw["active"]:
        tables = [t for t in tables or [] if t["rules"] or t["table"] != "filter"]
        iptables = iptables if iptables["rules"] else joined([])
    return {
        "ufw": ufw,
        "nftables": tables or [],
        "closed_chains": closed_chains(tables or []),
        "iptables": iptables,
        "firewalld": guarded("firewalld", partial(is_active, "firewalld"), False, unreadable),
    }
