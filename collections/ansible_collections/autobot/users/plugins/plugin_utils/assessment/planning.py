"""What the first run takes over, what goes on beside it, and how long it takes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from .clusters import adopted, name_of, our_cluster
from .formatting import counted, listed, shown
from .hosts import Host
from .network import SSH, grouped, has_our_firewall, is_our_database
from .ports import EXAMPLE_SITE, collides

# Seconds, as seen on VMs with two slow cores: packages, release, settings, proof.
BASE: Final = 300
# Bytes that a first backup reads and compresses in a second, and people whom a migration adopts.
BACKUP_RATE: Final = 50 * 10**6
MIGRATION_RATE: Final = 15_000


@dataclass(frozen=True)
class Plan:
    """What a run does to a host. `seconds` are by step, and an estimate."""

    host: str
    taken_over: list[str] = field(default_factory=list)
    goes_on: list[str] = field(default_factory=list)
    seconds: dict[str, int] = field(default_factory=dict)


def plans(hosts: list[Host]) -> list[Plan]:
    """The plan of each host that no run has deployed yet."""
    return [plan(host) for host in hosts if not is_deployed(host)]


def is_deployed(host: Host) -> bool:
    """Whether a run was here: it changes what differs, and that is what `--check` shows."""
    return any(host.survey["ours"].values()) or has_our_firewall(host)


def plan(host: Host) -> Plan:
    return Plan(
        host.name,
        [*firewall(host), *ports(host), *database(host)],
        [*listeners(host), *sites(host), *clusters(host)],
        durations(host),
    )


def firewall(host: Host) -> list[str]:
    return {
        "own": ["Incoming packets: what no rule of the inventory names is dropped."],
        "additive": ["The site's ports are opened in the firewall that is there."],
    }.get(host.firewall_mode, [])


def ports(host: Host) -> list[str]:
    return [
        f"Port {wanted['port']}: {wanted['comment']} ({wanted['unit']})." for wanted in host.ports
    ]


def database(host: Host) -> list[str]:
    wanted = host.postgresql
    if wanted is None:
        return []
    cluster = our_cluster(host)
    if cluster is None:
        databases = listed(list(wanted["owners"]))
        return [f"PostgreSQL {wanted['version']} is installed, with {databases}."]
    return [
        f"pg_hba.conf and conf.d of the cluster {name_of(cluster)}.",
        *(
            f"The database {store['database']}, with {counted(store['users'] or 0, 'user')}: its "
            f"tables will belong to {wanted['owners'][store['database']]}, and their rows stay."
            for store in adopted(host)
        ),
    ]


def listeners(host: Host) -> list[str]:
    """Who goes on listening for others, but for SSH and the programs of the site's own ports."""
    found = []
    for listener in grouped(host.survey["listeners"]):
        ours = any(
            it["port"] == listener["port"] and collides(listener["address"], it["addresses"])
            for it in host.ports
        )
        shut = any(listener["port"] in rule["ports"] and not rule["sources"] for rule in host.allow)
        if ours or shut or listener["port"] == SSH or is_our_database(host, listener):
            continue
        found.append(f"{listener['programs']} at {listener['protocol']} {listener['port']}.")
    return found


def sites(host: Host) -> list[str]:
    """nginx's sites of others, on other ports than the run's."""
    ports = {it["port"] for it in host.ports}
    found = []
    for server in host.survey["web"].get("servers") or []:
        own = {listen["port"] for listen in server["listens"]}
        if own & ports or server["file"] == EXAMPLE_SITE:
            continue
        at = ", ".join(map(str, sorted(own)))
        found.append(f"nginx's site in {shown(server['file'])} at {at}.")
    return found


def clusters(host: Host) -> list[str]:
    """Clusters of PostgreSQL that no run touches, and the other databases of the one it uses."""
    used = our_cluster(host)
    wanted = host.postgresql["owners"] if host.postgresql else {}
    found = []
    for cluster in host.survey["postgresql"]:
        names = [it["name"] for it in cluster["databases"]]
        if cluster is used:
            names = [name for name in names if name not in (*wanted, "postgres")]
        if names:
            databases = listed(list(map(shown, names)))
            found.append(f"PostgreSQL {name_of(cluster)}: {databases}.")
    return found


def durations(host: Host) -> dict[str, int]:
    """Seconds of the first run's steps: estimates, of which the longest host's count."""
    found = {"packages, release, settings and proof": BASE}
    cluster = our_cluster(host)
    if cluster is not None:
        size = sum(it["size_bytes"] for it in cluster["databases"])
        found["the first backup of the cluster"] = round(size / BACKUP_RATE)
        users = sum(it["users"] or 0 for it in adopted(host))
        found["the migration of its users"] = round(users / MIGRATION_RATE)
    return {step: seconds for step, seconds in found.items() if seconds}


def lasting(seconds: int) -> str:
    """A time in words: seconds below two minutes, then minutes."""
    return counted(seconds, "second") if seconds < 120 else counted(round(seconds / 60), "minute")
