"""The hosts, as they are and as the inventory wants them, and what is found about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from .formatting import comment, item, mapping, scalar

Survey = dict[str, Any]
# Variables with one value, the last that is wanted; all others are lists.
SCALARS: Final = (
    *("firewall_mode", "postgresql_adopt_from", "postgresql_source", "postgresql_version"),
    *("slm_server_gateway", "autobot_backend_gateway", "adoption_source"),
)


class Rule(TypedDict):
    """What a firewall lets in: TCP ports, from addresses and networks."""

    ports: list[int]
    sources: list[str]
    comment: str


class Port(TypedDict):
    """A port on which the bundle will listen; on every address where `addresses` is empty."""

    port: int
    unit: str
    comment: str
    addresses: list[str]


class HbaLine(TypedDict):
    """Who may come into a database over the network."""

    database: str
    role: str
    addresses: list[str]


class Cluster(TypedDict):
    """The cluster and the databases that the bundle wants. `version` is empty if not known.

    `owners` are those of the databases, by their names. `adopt_from` is the role from which the
    run takes AutoBot's tables, or empty.
    """

    version: str
    owners: dict[str, str]
    adopt_from: str
    hba: list[HbaLine]
    listen_addresses: list[str]


@dataclass(frozen=True)
class Host:
    """A host as it is (`survey`, of the module host_survey), and as the inventory wants it.

    `services` are the bundle's own rules, `allow` the operator's. `networks` are the site's.
    `replaced_sites` are files of nginx's sites that end when the bundle's begin.
    `as_written` has lists of the inventory before templating, by variable: a file that sets one of
    them must repeat what is in it.
    """

    name: str
    address: str
    networks: list[str]
    firewall_mode: str
    ssh_sources: list[str]
    services: list[Rule]
    allow: list[Rule]
    ports: list[Port]
    replaced_sites: list[str]
    # The site's hosts by address, as their certificates name them; and where the SLM server is.
    names: dict[str, str]
    manager: str
    postgresql: Cluster | None
    directories: list[str]
    as_written: dict[str, list[Any]]
    survey: Survey
    # `adoption_source`, where the inventory has one.
    adoption: dict[str, Any] | None = None

    @property
    def rules(self) -> list[Rule]:
        """All that the firewall will let in."""
        ssh: Rule = {"ports": [22], "sources": self.ssh_sources, "comment": "SSH"}
        return [ssh, *self.services, *self.allow]


@dataclass(frozen=True)
class Entry:
    """What the inventory lacks, and why it is wanted: an item of a list, or a variable's value."""

    variable: str
    value: Any
    reason: str


@dataclass(frozen=True)
class Conflict:
    """What a run would break, and the inventory does not answer.

    `entries` answer it in the host's file of variables; `commands` are for the host's shell.
    """

    host: str
    kind: str
    what: str
    why: str
    answer: str
    port: int = 0
    entries: tuple[Entry, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def lines(self) -> str:
        """The answer as lines of YAML, or as commands; empty where there is none to give."""
        return "\n".join(self.commands) if self.commands else yaml_text(self.entries)

    def as_dict(self) -> dict[str, Any]:
        """The conflict as JSON has it."""
        words = {name: getattr(self, name) for name in ("host", "kind", "what", "why", "answer")}
        return words | {"port": self.port, "lines": self.lines}


@dataclass(frozen=True)
class Note:
    """What is good to know of a host."""

    host: str
    text: str


def merged(entries: Iterable[Entry]) -> list[Entry]:
    """Entries, each once; ports that one program has for the same sources are one entry."""
    found: dict[str, Entry] = {}
    for entry in entries:
        value = entry.value
        if isinstance(value, Mapping) and "ports" in value:
            key = repr((entry.variable, value["sources"], value["comment"]))
            known = found.get(key)
            ports = {*value["ports"], *(known.value["ports"] if known else [])}
            entry = Entry(entry.variable, {**value, "ports": sorted(ports)}, entry.reason)  # noqa: PLW2901
        else:
            key = repr((entry.variable, value))
        found[key] = entry
    return list(found.values())


def item_lines(entries: Iterable[Entry]) -> list[str]:
    """Entries of one variable, each below the reason for it."""
    return [line for it in entries for line in (*comment(it.reason), *item(it.value))]


def by_variable(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in merged(entries):
        found.setdefault(entry.variable, []).append(entry)
    return found


def variable_lines(variable: str, entries: list[Entry]) -> list[str]:
    """A variable and its entries, each below the reason for it."""
    if variable not in SCALARS:
        return [f"{variable}:", *item_lines(entries)]
    said, value = [line.strip() for line in comment(entries[-1].reason)], entries[-1].value
    if isinstance(value, Mapping):
        return [*said, f"{variable}:", *mapping(value)]
    return [*said, f"{variable}: {scalar(value)}"]


def yaml_text(entries: Iterable[Entry]) -> str:
    """Entries as YAML; empty for none."""
    return "\n".join(
        line
        for variable, group in by_variable(entries).items()
        for line in variable_lines(variable, group)
    )
