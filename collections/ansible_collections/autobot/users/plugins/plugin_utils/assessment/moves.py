"""AutoBot's database of users that is on another host than the one where the run makes its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .clusters import adopted, name_of, our_cluster
from .formatting import counted, is_loopback, shown
from .hosts import Conflict, Entry, Host
from .network import DATABASE_PORT

DATABASE: Final = "autobot_users"
KIND: Final = "user_management"
REASON: Final = "The run moves it, with its passwords: docs/operations.md, The move."
NEW_ENOUGH: Final = "At least as new as the server from which AutoBot's users come."
TOLD: Final = "Uses that database, and is told where it is then."


def move_conflicts(host: Host, hosts: list[Host]) -> list[Conflict]:
    """Stores of AutoBot's users on other hosts, for the host that gets an empty one.

    Whatever the inventory has for `adoption_source` is the answer: an empty one, that none moves.
    """
    wanted = host.postgresql
    if wanted is None or DATABASE not in wanted["owners"] or host.adoption is not None:
        return []
    return [conflict(host, other, store, hosts) for other, store in unanswered(host, hosts)]


def unanswered(host: Host, hosts: list[Host]) -> list[tuple[Host, dict[str, Any]]]:
    """The stores of other hosts from which people may come."""
    if any(it["users"] for it in adopted(host) if it["database"] == DATABASE):
        return []
    return [
        (other, store)
        for other in hosts
        if other is not host
        for store in other.survey["stores"]
        if store["kind"] == KIND
        and store["population"] == "autobot"
        and store["users"]
        and store not in adopted(other)
    ]


def cluster_of(other: Host, store: Mapping[str, Any]) -> dict[str, Any] | None:
    """The cluster that has a store."""
    clusters = {f"{it['version']}/{it['name']}": it for it in other.survey["postgresql"]}
    return clusters.get(store["cluster"])


def age_conflicts(host: Host, hosts: list[Host]) -> list[Conflict]:
    """Clusters whose users are to be moved to one that is older."""
    wanted, source = host.postgresql, host.adoption
    if wanted is None or DATABASE not in wanted["owners"]:
        return []
    cluster = our_cluster(host)
    own = cluster["version"] if cluster else wanted["version"]
    found = {}
    for other, store in unanswered(host, hosts):
        theirs = cluster_of(other, store)
        if theirs is None or not is_newer(theirs["version"], own):
            continue
        at = (other.address, theirs["port"], store["database"])
        if source is None or at == (
            source.get("address"),
            source.get("port", DATABASE_PORT),
            source.get("database"),
        ):
            found[other.name, theirs["port"]] = age_conflict(host, cluster, own, other, theirs)
    return list(found.values())


def is_newer(version: str, own: str) -> bool:
    return version.isdecimal() and own.isdecimal() and int(version) > int(own)


def age_conflict(
    host: Host,
    cluster: Mapping[str, Any] | None,
    own: str,
    other: Host,
    theirs: Mapping[str, Any],
) -> Conflict:
    version = int(theirs["version"])
    what = f"AutoBot's users are in the cluster {name_of(theirs)} of {other.name}, and PostgreSQL "
    why = "pg_dump reads no server that is newer than itself: the move would refuse that one."
    if cluster:
        return Conflict(
            host.name,
            "cluster",
            f"{what}here is the cluster {name_of(cluster)}.",
            why,
            f"Upgrade that to {version} or later with pg_upgradecluster, and say so with "
            "postgresql_source and postgresql_version.",
        )
    return Conflict(
        host.name,
        "cluster",
        f"{what}here would be {shown(own)}.",
        why,
        f"Let the run set up {version}: host_vars/{host.name}.yml.",
        entries=(
            Entry("postgresql_source", "pgdg", NEW_ENOUGH),
            Entry("postgresql_version", version, NEW_ENOUGH),
        ),
    )


def conflict(host: Host, other: Host, store: Mapping[str, Any], hosts: list[Host]) -> Conflict:
    name = store["database"]
    cluster = cluster_of(other, store)
    port = cluster["port"] if cluster else DATABASE_PORT
    owner = next(iter(store["owners"]), "")
    used = list(uses(other, name, port, hosts))
    source: dict[str, Any] = {"address": other.address, "port": port}
    source |= {"database": name, "user": owner}
    secret = next((it for it in used if it[1]["password"] and it[1]["user"] == owner), None)
    if secret is not None:
        source["secret"] = {
            "host": secret[0],
            "file": secret[1]["file"],
            "variable": secret[1]["password"],
        }
    services = [
        {
            "host": where,
            "file": it["file"],
            "variables": it["variables"],
            "units": it["units"],
        }
        for where, it in used
    ]
    return Conflict(
        host.name,
        "users",
        f"{counted(store['users'], 'user')} of AutoBot's are in the database {shown(name)} of "
        f"{other.name}.",
        f"The run makes an empty {DATABASE} here, and lets in who is in that.",
        f"Let the run move them: host_vars/{host.name}.yml. With adoption_source: {{}} they stay.",
        entries=(
            Entry("adoption_source", source, REASON),
            *(Entry("adoption_services", it, TOLD) for it in services),
        ),
    )


def uses(
    other: Host, name: str, port: int, hosts: list[Host]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The programs, by host, whose environment names that database."""
    for host in hosts:
        for it in host.survey["programs"]:
            here = host is other and (is_loopback(it["host"]) or it["host"] == "localhost")
            at = it["host"] in (other.address, other.names.get(other.address))
            if (it["port"], it["database"]) == (port, name) and (here or at):
                yield host.name, it
