"""Who listens, and who is connected.

Sockets are read from /proc, because what ss prints differs by its version. Those of containers
with a network of their own are not among them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any, NamedTuple

from .reading import guarded, output, shown_units, user_name

TABLES = ("tcp", "tcp6", "udp", "udp6")
WILDCARDS = {"tcp": "0.0.0.0", "tcp6": "::"}  # noqa: S104 - what others listen on
KINDS = {"(Stream)": "tcp", "(Datagram)": "udp"}
# The states of a socket; one of UDP without a peer is "closed".
ESTABLISHED, CLOSED, LISTENING = 0x01, 0x07, 0x0A


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
