"""All that is found about the hosts of a site."""

from __future__ import annotations

from typing import Final

from .clusters import (
    client_conflicts,
    cluster_conflicts,
    cluster_notes,
    configuration_conflicts,
    owner_conflicts,
    store_notes,
)
from .formatting import shown
from .gateways import gateway_notes
from .hosts import Conflict, Host, Note
from .moves import age_conflicts, move_conflicts
from .network import firewall_conflicts, firewall_notes, listener_conflicts
from .ports import port_conflicts

# In this order of the conflicts of a host: what ends a run comes first.
KINDS: Final = (
    "port",
    "cluster",
    "configuration",
    "directory",
    "listener",
    "owner",
    "client",
    "users",
    "firewall",
)


def conflicts(hosts: list[Host]) -> list[Conflict]:
    """All that must be decided before a run: by host, kind and port."""
    found: list[Conflict] = []
    for host in hosts:
        of_host = [
            *port_conflicts(host),
            *cluster_conflicts(host),
            *age_conflicts(host, hosts),
            *configuration_conflicts(host),
            *owner_conflicts(host),
            *directory_conflicts(host),
            *listener_conflicts(host),
            *client_conflicts(host),
            *move_conflicts(host, hosts),
            *firewall_conflicts(host),
        ]
        found += sorted(of_host, key=lambda it: (KINDS.index(it.kind), it.port))
    return found


def notes(hosts: list[Host]) -> list[Note]:
    """What a run does not break, or takes care of, and an operator should know."""
    return [
        Note(host.name, text)
        for host in hosts
        for text in (
            *(*cluster_notes(host), *store_notes(host), *firewall_notes(host)),
            *(*gateway_notes(host), *unread(host)),
        )
    ]


def directory_conflicts(host: Host) -> list[Conflict]:
    """Directories of the bundle that are somebody else's, or shut to its services."""
    found = []
    for directory in host.survey["directories"]:
        mode = int(directory["mode"], 8)
        if directory["path"] not in host.directories or (
            directory["owner"] == "root" and not mode & 0o022 and mode & 0o001
        ):
            continue
        path, owner = shown(directory["path"]), shown(directory["owner"])
        found.append(
            Conflict(
                host.name,
                "directory",
                f"{path} belongs to {owner}:{shown(directory['group'])} and has mode "
                f"{shown(directory['mode'])}.",
                "Its owner can exchange keys and programs of the site."
                if mode & 0o001
                else "PostgreSQL cannot read its certificate in there, nor sshd the backup's key.",
                f"Give it to root, what lies in it stays whose it is: chown root {path} && "
                f"chmod u=rwx,go=rx {path}. Who made files there needs a directory below it.",
            )
        )
    return found


def unread(host: Host) -> list[str]:
    return [f"Not read: {shown(text)}" for text in host.survey["unreadable"]]
