"""PostgreSQL: the cluster that the run takes over, and who uses it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any, Final

from .formatting import address_of, counted, in_order, is_any, is_loopback, listed, shown, within
from .hosts import Cluster, Conflict, Entry, HbaLine, Host
from .network import DATABASE_PORT, clients_of, is_our_database

# Between quotes in pg_hba.conf these are a name and nothing else.
HBA_NAME: Final = re.compile(r"\w[\w.@$-]*")

# What nobody else may set: without it no service reaches the server, or no WAL leaves it.
NEEDED_SETTINGS: Final = (
    *("listen_addresses", "port", "ssl", "ssl_cert_file", "ssl_key_file"),
    *("hba_file", "archive_mode", "archive_command"),
)


def name_of(cluster: Mapping[str, Any]) -> str:
    return shown(f"{cluster['version']}/{cluster['name']}")


def our_cluster(host: Host) -> dict[str, Any] | None:
    """The cluster that the run uses, or would once the inventory has its version."""
    if host.postgresql is None:
        return None
    mains = [it for it in host.survey["postgresql"] if it["name"] == "main"]
    of_version = [it for it in mains if it["version"] == host.postgresql["version"]]
    at_port = [it for it in mains if it["port"] == DATABASE_PORT]
    found: list[dict[str, Any]] = of_version or at_port
    return found[0] if found else None


def has_other_version(host: Host) -> bool:
    """Whether the role postgresql would refuse all clusters that are there."""
    clusters = host.survey["postgresql"]
    wanted = host.postgresql["version"] if host.postgresql else ""
    return bool(clusters and wanted) and all(it["version"] != wanted for it in clusters)


def cluster_conflicts(host: Host) -> list[Conflict]:
    """Clusters that have the port or the place of the one that the run uses."""
    wanted = host.postgresql
    if wanted is None or has_other_version(host):
        return []
    ours = our_cluster(host)
    others = [it for it in host.survey["postgresql"] if it is not ours]
    there = [it for it in others if it["port"] == DATABASE_PORT and it["running"]]
    if ours is None and not others:
        return []
    if ours is not None and ours["port"] == DATABASE_PORT and not there:
        return []
    if ours is not None and ours["port"] != DATABASE_PORT:
        what = f"The cluster {name_of(ours)}, which the run uses, has port {ours['port']}"
        has = f", and {name_of(there[0])} has {DATABASE_PORT}" if there else ""
        answer = f"Stop what has port {DATABASE_PORT}, and set port = {DATABASE_PORT} in "
        answer += f"{shown(ours['config_file'])}."
        return [cluster_conflict(host, f"{what}{has}.", answer)]
    names = ", ".join(map(name_of, there or others))
    if ours is None:
        old = [others[0]["version"], others[0]["name"]]
        what = f"There is no cluster {shown(wanted['version'])}/main, but {names}."
        answer = f"If it has the data: pg_renamecluster {shown(shlex.join(old))} main."
        return [cluster_conflict(host, what, answer)]
    what = f"The clusters {name_of(ours)} and {names} both have port {DATABASE_PORT}."
    return [cluster_conflict(host, what, f"Give {names} another port, or stop it.")]


def cluster_conflict(host: Host, what: str, answer: str) -> Conflict:
    why = f"The services reach the cluster main at port {DATABASE_PORT} and nowhere else."
    return Conflict(host.name, "cluster", what, why, answer, DATABASE_PORT)


def configuration_conflicts(host: Host) -> list[Conflict]:
    """What keeps the server from the settings of the run, or its clients from the server."""
    cluster = our_cluster(host)
    if cluster is None or host.postgresql is None:
        return []
    found = []
    name = name_of(cluster)
    if later := {it: file for it, file in cluster["later"].items() if it in NEEDED_SETTINGS}:
        places = listed([f"{shown(it)} in {shown(file)}" for it, file in later.items()])
        resets = " ".join(f"-c 'ALTER SYSTEM RESET {shown(it)}'" for it in later)
        found.append(
            Conflict(
                host.name,
                "configuration",
                f"Settings of the cluster {name} come after those of conf.d: {places}.",
                "What the run says there would have no effect, and its pg_hba.conf asks for TLS.",
                "Take them out, or put them before include_dir. Those of postgresql.auto.conf: "
                f"runuser -u postgres -- psql {resets}",
            )
        )
    if cluster["hba_errors"]:
        errors = listed(list(map(shown, cluster["hba_errors"])), 3)
        found.append(
            Conflict(
                host.name,
                "configuration",
                f"{shown(cluster['hba_file'])} of the cluster {name} has errors: {errors}.",
                "The server goes on with the lines that it had before: who gets in is not what the "
                "file says, and changes with the run.",
                "Correct the lines, or take them out, and reload PostgreSQL.",
            )
        )
    return found + clients_cut_off(host, cluster, host.postgresql)


def clients_cut_off(host: Host, cluster: Mapping[str, Any], wanted: Cluster) -> list[Conflict]:
    """Clients at addresses at which the server would no longer listen."""
    wished = wanted["listen_addresses"]
    outside = [it for it in wished if not is_loopback(it)]
    if any(is_any(it) for it in outside):
        return []
    remote = in_order(
        it["address"]
        for it in cluster["clients"]
        if it["address"] and not is_loopback(it["address"])
    )
    lost = {} if outside or not remote else {host.address: remote}
    for listener in host.survey["listeners"]:
        address = listener["address"]
        one = not is_any(address) and not is_loopback(address)
        if one and is_our_database(host, listener) and address not in outside:
            lost |= {address: used} if (used := clients_of(listener)) else {}
    return [
        Conflict(
            host.name,
            "configuration",
            f"{listed(clients)} {'is' if len(clients) == 1 else 'are'} connected to PostgreSQL at "
            f"{shown(address)}.",
            f"The server would listen at {', '.join(wished)} only.",
            f"Add the address to postgresql_listen_addresses in host_vars/{host.name}.yml, where "
            "the whole list must stand.",
            DATABASE_PORT,
            (
                Entry(
                    "postgresql_listen_addresses",
                    "{{ address }}" if address == host.address else str(address_of(address)),
                    f"used by {listed(clients)}",
                ),
            ),
        )
        for address, clients in lost.items()
    ]


def client_conflicts(host: Host) -> list[Conflict]:
    """Connections over the network that no line of the new pg_hba.conf would let in again."""
    cluster = our_cluster(host)
    if cluster is None or host.postgresql is None:
        return []
    locked_out: dict[tuple[str, str], list[str]] = {}
    in_clear: dict[tuple[str, str], list[str]] = {}
    for client in cluster["clients"]:
        whose = (client["database"], client["role"])
        if not client["address"]:
            continue
        if not lets_in(host.postgresql["hba"], client):
            locked_out.setdefault(whose, []).append(client["address"])
        elif cluster["ssl"] and not client["tls"]:
            in_clear.setdefault(whose, []).append(client["address"])
    return [
        *(client_conflict(host, *whose, in_order(it)) for whose, it in sorted(locked_out.items())),
        *(clear_conflict(host, *whose, in_order(it)) for whose, it in sorted(in_clear.items())),
    ]


def lets_in(lines: Iterable[HbaLine], client: Mapping[str, Any]) -> bool:
    """Whether the new pg_hba.conf has a line for a client that comes over the network."""
    # Before all others it has a line that refuses this role.
    return client["role"] != "postgres" and any(
        line["database"] == client["database"]
        and line["role"] == client["role"]
        and within(client["address"], line["addresses"])
        for line in lines
    )


def connected(database: str, role: str, addresses: list[str]) -> str:
    return f"{listed(addresses)} uses the database {shown(database)} as {shown(role)}"


def client_conflict(host: Host, database: str, role: str, addresses: list[str]) -> Conflict:
    what = f"{connected(database, role, addresses)}."
    why = "The run replaces pg_hba.conf, and no line of postgresql_hba lets it in again."
    entries: tuple[Entry, ...] = ()
    if role == "postgres":
        why = "The run replaces pg_hba.conf: the superuser gets in over the socket only."
        answer = "Give the program a role of its own, and that role a line in postgresql_hba."
    elif not (HBA_NAME.fullmatch(database) and HBA_NAME.fullmatch(role)):
        answer = "Such a name cannot stand in postgresql_hba: rename it, or let it be locked out."
    else:
        answer = (
            f"Add the line to postgresql_hba in host_vars/{host.name}.yml. "
            "The program must use TLS."
        )
        value = {"database": database, "role": role, "addresses": addresses}
        entries = (Entry("postgresql_hba", value, "connected at this moment"),)
    return Conflict(host.name, "client", what, why, answer, DATABASE_PORT, entries)


def clear_conflict(host: Host, database: str, role: str, addresses: list[str]) -> Conflict:
    return Conflict(
        host.name,
        "client",
        f"{connected(database, role, addresses)}, without TLS, which the server offers.",
        "The run replaces pg_hba.conf, and its lines ask for TLS.",
        "Let the program use TLS: sslmode=require or more.",
        DATABASE_PORT,
    )


def cluster_notes(host: Host) -> list[str]:
    cluster, wanted = our_cluster(host), host.postgresql
    if cluster is None or wanted is None:
        return []
    name = name_of(cluster)
    found = []
    if not cluster["running"]:
        found.append(
            f"The cluster {name} does not run: what it has is not in this report. Start it, and "
            "ask again."
        )
    if cluster["config_file"] and not cluster["error"] and not cluster["include_dir"]:
        found.append(
            f"{shown(cluster['config_file'])} does not read conf.d: the run appends "
            "include_dir = 'conf.d', and the settings of the run are in there."
        )
    if cluster["error"]:
        found.append(f"The cluster {name} says nothing of itself: {shown(cluster['error'])}")
    if has_other_version(host):
        found.append(
            f"The cluster is {name}, and the inventory says {shown(wanted['version'])}. The run "
            f"refuses that: set postgresql_source: pgdg and postgresql_version: "
            f"{shown(cluster['version'])}, or upgrade the cluster with pg_upgradecluster."
        )
    if others := sorted({it["role"] for it in cluster["clients"] if is_local_stranger(it)}):
        found.append(
            f"{listed(list(map(shown, others)))} came over the socket of {name}. There the run "
            "lets only postgres in: who else comes from this host comes over 127.0.0.1, with a "
            "line in postgresql_hba."
        )
    if not cluster["ssl"] and any(it["address"] for it in cluster["clients"]):
        found.append(
            f"The cluster {name} has no TLS yet. After the run nobody gets in without it; most "
            "clients use it by themselves, those with sslmode=disable do not."
        )
    if lines := lost_lines(cluster, wanted):
        found.append(
            f"{shown(cluster['hba_file'])} is replaced. It lets in, and the new one does not: "
            f"{listed(lines)}. Connected or not, who needs one of them wants a line in "
            "postgresql_hba."
        )
    return found


def is_local_stranger(client: Mapping[str, Any]) -> bool:
    """Whether a client of the socket would be refused there."""
    return not client["address"] and client["role"] != "postgres"


def lost_lines(cluster: Mapping[str, Any], wanted: Cluster) -> list[str]:
    """The lines of a pg_hba.conf that let others in over the network, and are not the bundle's."""
    return [
        f"{shown(' '.join(line['text'].split()))} (line {line['line']})"
        for line in cluster["hba"]
        if line["type"] != "local"
        and line["method"] != "reject"
        and not (line["address"] and is_loopback(line["address"].split("/")[0]))
        and not any(
            (line["databases"], line["roles"]) == ([ours["database"]], [ours["role"]])
            and within(line["address"] or "", ours["addresses"])
            for ours in wanted["hba"]
        )
    ]


def adopted(host: Host) -> list[dict[str, Any]]:
    """The stores of users in the databases of the run."""
    cluster, wanted = our_cluster(host), host.postgresql
    if cluster is None or wanted is None:
        return []
    used = f"{cluster['version']}/{cluster['name']}"
    return [
        it
        for it in host.survey["stores"]
        if it["cluster"] == used and it["database"] in wanted["owners"]
    ]


def owner_conflicts(host: Host) -> list[Conflict]:
    """Tables of AutoBot's in the databases of the run that another role than the owner has."""
    wanted = host.postgresql
    if wanted is None:
        return []
    # All databases of the run's are adopted from one role.
    former: set[str] = set()
    foreign = {}
    for store in adopted(host):
        owner = wanted["owners"][store["database"]]
        former |= {it for it in store["owners"] if it != owner}
        if others := [it for it in store["owners"] if it not in (owner, wanted["adopt_from"])]:
            foreign[store["database"]] = (owner, others)
    return [
        owner_conflict(host, database, *each, sorted(former)) for database, each in foreign.items()
    ]


def owner_conflict(
    host: Host, database: str, owner: str, others: list[str], former: list[str]
) -> Conflict:
    """Roles that have tables of a database; `former` are those of all databases of the run."""
    what = (
        f"AutoBot's tables in the database {shown(database)} belong to "
        f"{listed(list(map(shown, others)))}."
    )
    why = f"The migrations need {owner} to own them."
    if len(former) > 1:
        answer = (
            f"Give them to one role first, table by table (ALTER TABLE … OWNER TO {former[0]})."
        )
        return Conflict(host.name, "owner", what, why, answer)
    answer = (
        "Let the run hand them over, and nothing else of that role, which goes on reading and "
        f"writing their rows: host_vars/{host.name}.yml."
    )
    reason = "owner of AutoBot's tables until then"
    entry = Entry("postgresql_adopt_from", others[0], reason)
    return Conflict(host.name, "owner", what, why, answer, entries=(entry,))


def store_notes(host: Host) -> list[str]:
    cluster, wanted = our_cluster(host), host.postgresql
    if cluster is None or wanted is None:
        return []
    found = [
        f"The database {shown(it['name'])} belongs to {shown(it['owner'])} and will belong to "
        f"{wanted['owners'][it['name']]}; its tables are adopted. See docs/operations.md, "
        '"Adopting an AutoBot database".'
        for it in cluster["databases"]
        if it["name"] in wanted["owners"] and it["owner"] != wanted["owners"][it["name"]]
    ]
    used = adopted(host)
    for store in host.survey["stores"]:
        of = f"The store {shown(store['database'])} of {shown(store['cluster'])}"
        if store["users"] and store not in used:
            found.append(
                f"{of} has {counted(store['users'], 'user')} and is not the one that the run uses. "
                "Its people cannot log in unless adoption_source or adoption_imports names it: "
                'docs/operations.md, "The move".'
            )
        found += [f"{of}: {shown(it['user'])}: {shown(it['reason'])}" for it in store["problems"]]
    return found
