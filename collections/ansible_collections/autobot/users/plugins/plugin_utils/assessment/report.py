"""What was found, for people, for programs, and for the terminal of a run that stops."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from .clusters import name_of
from .formatting import WIDTH, counted, listed, markdown, shown
from .hosts import Conflict, Host, yaml_text
from .judging import notes
from .network import active_ufw, clients_of, grouped
from .planning import lasting, plans


def markdown_report(hosts: list[Host], found: list[Conflict]) -> str:
    """What is there, what must be decided, and what is good to know: Markdown."""
    lines = ["# Assessment of the site", ""]
    lines += ["Nothing must be decided." if not found else f"{decisions(found)}.", ""]
    for host in hosts:
        lines += [f"## {markdown(host.name)} ({markdown(host.address)})", ""]
        lines += ["| what | as it is |", "|---|---|"]
        lines += [f"| {markdown(what)} | {markdown(said)} |" for what, said in rows(host)]
        lines.append("")
    if found:
        lines += ["## What must be decided", ""]
    for number, it in enumerate(found, 1):
        said = " ".join((it.what, it.why, it.answer))
        lines += [f"{number}. **{markdown(it.host)}**, {it.kind}: {markdown(said)}", ""]
        if it.lines:
            lines += [*(f"    {line}" for line in indented(it.lines)), ""]
    lines += planned(hosts)
    if remarks := notes(hosts):
        lines += ["## Notes", ""]
        lines += [f"- **{markdown(it.host)}**: {markdown(it.text)}" for it in remarks]
        lines.append("")
    return "\n".join(lines)


def planned(hosts: list[Host]) -> list[str]:
    """What the first run does, host by host; nothing where all are deployed."""
    found = plans(hosts)
    if not found:
        return []
    longest = max(sum(it.seconds.values()) for it in found)
    lines = ["## What the first run does", ""]
    lines += [f"It takes about {lasting(longest)}: the hosts work side by side.", ""]
    for it in found:
        steps = [f"{step}: {lasting(seconds)}" for step, seconds in it.seconds.items()]
        parts = {
            "It takes over": it.taken_over,
            "Beside it goes on": it.goes_on,
            "It takes about": steps,
        }
        lines += [f"### {markdown(it.host)}", ""]
        for head, items in parts.items():
            if items:
                lines += [f"{head}:", "", *(f"- {markdown(text)}" for text in items), ""]
    return lines


def rows(host: Host) -> list[tuple[str, str]]:
    """What is there, a line each; what is silent is left out."""
    survey = host.survey
    system = survey["system"]
    words = [f"{system['distribution']} {system['version']}", system["architecture"]]
    words += [f"Python {system['python']}"] if system["python"] else []
    words += ["WSL"] if system["wsl"] else []
    words += [f"in {system['container']}"] if system["container"] else []
    found = [("system", ", ".join(words))]
    for it in grouped(survey["listeners"]):
        clients = f"; used by {listed(used)}" if (used := clients_of(it)) else ""
        said = f"{it['programs']} at {', '.join(it['addresses'])}{clients}"
        found.append((f"{it['protocol']} {it['port']}", said))
    if survey["web"].get("error"):
        found.append(("web server", f"nginx: {survey['web']['error']}"))
    for server in survey["web"].get("servers") or []:
        ports = ", ".join(str(listen["port"]) for listen in server["listens"])
        paths = [
            f"{location['path']} to {location['upstream']}"
            for location in server["locations"]
            if location["upstream"]
        ]
        said = f"{' '.join(server['names']) or '_'} at {ports}"
        found.append((f"nginx {server['file']}", "; ".join([said, *paths])))
    for cluster in survey["postgresql"]:
        state = "runs" if cluster["running"] else "is stopped"
        databases = [
            f"{it['name']} of {it['owner']} ({size(it['size_bytes'])})"
            for it in cluster["databases"]
        ]
        said = f"port {cluster['port']}, {state}"
        found.append((f"PostgreSQL {name_of(cluster)}", "; ".join([said, *databases])))
    for store in survey["stores"]:
        hashes = [f"{number} {form}" for form, number in sorted(store["hash_forms"].items())]
        said = f"{counted(store['users'], 'user')}, {counted(store['teams'], 'team')}"
        found.append((f"store {store['database']}", ", ".join([said, *hashes])))
    return found + firewall_rows(host)


def firewall_rows(host: Host) -> list[tuple[str, str]]:
    firewalls = host.survey["firewalls"]
    found = []
    if ufw := active_ufw(host):
        said = f"active, {counted(len(ufw['rules']), 'rule')}, incoming: {ufw['incoming']}"
        found.append(("ufw", said))
    for it in firewalls.get("nftables") or []:
        said = f"{counted(it['rules'], 'rule')}, policy {it['policy'] or 'none'}"
        found.append((f"nftables {it['family']} {it['table']}", said))
    if firewalls.get("firewalld"):
        found.append(("firewalld", "active"))
    return found


def size(number: int) -> str:
    return f"{number / 2**20:.0f} MiB" if number >= 2**20 else f"{number / 2**10:.0f} KiB"


def indented(text: str) -> list[str]:
    """Lines that Markdown shows as they are."""
    return [f"    {line}".rstrip() for line in text.splitlines()]


def differences(diffs: Mapping[str, str]) -> str:
    """The part of the report about files that are there already: path to unified diff."""
    if not diffs:
        return ""
    lines = ["## What these files of the inventory lack", ""]
    for path, diff in diffs.items():
        shown_lines = "\n".join(shown(line) for line in diff.split("\n"))
        lines += [f"{markdown(path)}:", "", *indented(shown_lines), ""]
    return "\n".join(lines)


def document(hosts: list[Host], found: list[Conflict]) -> dict[str, Any]:
    """The report for programs, with the whole surveys."""
    return {
        "hosts": [{"name": it.name, "address": it.address, "survey": it.survey} for it in hosts],
        "conflicts": [it.as_dict() for it in found],
        "plans": [asdict(it) for it in plans(hosts)],
        "notes": [{"host": it.host, "text": it.text} for it in notes(hosts)],
    }


def decisions(found: list[Conflict]) -> str:
    """How much must be decided, and where."""
    names = list(dict.fromkeys(it.host for it in found))
    verb = "is" if len(found) == 1 else "are"
    return f"{counted(len(found), 'conflict')} {verb} to be decided on {', '.join(names)}"


def refusal(found: list[Conflict]) -> str:
    """Why a run stops before its first change: all conflicts of all hosts."""
    lines = [f"{decisions(found)}:"]
    for number, it in enumerate(found, 1):
        said = f"{it.host}: {it.what} {it.why} {it.answer}"
        head = f"{number}. "
        lines += textwrap.wrap(
            said,
            WIDTH,
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_on_hyphens=False,
        )
        lines += [f"    {command}" for command in it.commands]
    for host in dict.fromkeys(it.host for it in found):
        entries = [entry for it in found if it.host == host for entry in it.entries]
        if entries:
            lines += [f"To be added to host_vars/{host}.yml:", *indented(yaml_text(entries))]
    return "\n".join([*lines, "No host was touched."])
