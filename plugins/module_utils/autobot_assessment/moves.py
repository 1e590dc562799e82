"""AutoBot's database of users that is on another host than the one where the run makes its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .clusters import adopted
from .hosts import Conflict, Entry, Host
from .words import counted, is_loopback, shown

DATABASE: Final = "autobot_users"
KIND: Final = "user_management"
REASON: Final = "The run moves it, with its passwords: docs/operations.md, The move."
TOLD: Final = "Uses that database, and is told where it is then."


def move_conflicts(host: Host, hosts: list[Host]) -> list[Conflict]:
    """Stores of AutoBot's users on other hosts, for the host that gets an empty one.

    Whatever the inventory has for `adoption_source` is the answer: an empty one, that none moves.
    """
    wanted = host.postgresql
    if wanted is None or DATABASE not in wanted["owners"] or host.adoption is not None:
        return []
    if any(it["users"] for it in adopted(host) if it["database"] == DATABASE):
        return []
    return [
        conflict(host, other, store, hosts)
        for other in hosts
        if other is not host
        for store in other.survey["stores"]
        if store["kind"] == KIND
        and store["population"] == "autobot"
        and store["users"]
        and store not in adopted(other)
    ]


def conflict(host: Host, other: Host, store: Mapping[str, Any], hosts: list[Host]) -> Conflict:
    name = store["database"]
    clusters = {f"{it['version']}/{it['name']}": it for it in other.survey["postgresql"]}
    port = clusters[store["cluster"]]["port"] if store["cluster"] in clusters else 5432
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
