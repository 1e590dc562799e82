"""What the inventory lacks, as files of it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .formatting import comment, item
from .hosts import SCALARS, Conflict, Entry, Host, by_variable, item_lines, variable_lines


def entries_of(host: Host, found: Iterable[Conflict]) -> dict[str, list[Entry]]:
    """What the inventory lacks for a host, by variable."""
    missing = by_variable(entry for it in found if it.host == host.name for entry in it.entries)
    if "firewall_mode" in missing:
        # The host's own firewall goes on letting in whom it lets in.
        missing.pop("firewall_allow", None)
    return missing


def whole_variable(host: Host, variable: str, entries: list[Entry]) -> list[str]:
    """A variable of a host's file, with what the inventory has in it elsewhere."""
    if variable in SCALARS:
        return variable_lines(variable, entries)
    lines = [f"{variable}:"]
    if written := host.as_written.get(variable):
        lines += comment("What the inventory has elsewhere; this list takes its place.")
        lines += [line for value in written for line in item(value)]
    return lines + item_lines(entries)


def proposal(hosts: list[Host], found: list[Conflict]) -> dict[str, str]:
    """Files of the inventory, path to text, that answer what the inventory can answer."""
    texts = {}
    for host in hosts:
        lines = ["---", "# Proposed by the assessment of the site: read it before you use it."]
        for variable, entries in (missing := entries_of(host, found)).items():
            lines += ["", *whole_variable(host, variable, entries)]
        if missing:
            texts[f"host_vars/{host.name}.yml"] = "\n".join(lines) + "\n"
    return texts


def extended(text: str, host: Host, found: list[Conflict]) -> str:
    """A host's file of variables with what it lacks.

    Entries go to the end of the list that the file has; a variable that it has not comes last. What
    a list lacks that is not written line by line stands below it, as a comment.
    """
    lines = text.rstrip().split("\n") if text.strip() else ["---"]
    for variable, entries in entries_of(host, found).items():
        place = next((at for at, it in enumerate(lines) if it.startswith(f"{variable}:")), None)
        if place is None:
            lines += ["", *whole_variable(host, variable, entries)]
            continue
        end = place + 1
        for at in range(place + 1, len(lines)):
            if re.match(r"[^\s#-]", lines[at]):
                break
            # Comments and blank lines that follow a list belong to what comes next.
            if re.match(r"\s*-|\s+[^\s#]", lines[at]):
                end = at + 1
        new = variable_lines(variable, entries) if variable in SCALARS else item_lines(entries)
        if lines[place].split(" #")[0].rstrip() != f"{variable}:":
            new = [f"# {variable} lacks: {line}" for line in new]
        elif any(re.match(r"- ", line) for line in lines[place + 1 : end]):
            new = [line.removeprefix("  ") for line in new]
        lines[end:end] = new
    return "\n".join(lines) + "\n"
