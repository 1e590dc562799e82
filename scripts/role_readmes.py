#!/usr/bin/env python3
"""Write the tables of variables in roles/*/README.md from meta/argument_specs.yml.

With --check nothing is written, and the exit status is 1 when a README is out of date.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parent.parent / "roles"
BEGIN = "<!-- variables: begin (scripts/role_readmes.py) -->"
END = "<!-- variables: end -->"


def prose(text: str | list[str]) -> str:
    """A description as one line of Markdown; Ansible's C(x), V(x), O(x), I(x) become code."""
    joined = " ".join([text] if isinstance(text, str) else text)
    return re.sub(r"\b[CVOI]\(([^)]*)\)", r"`\1`", " ".join(joined.split()))


def kind(option: Mapping[str, Any]) -> str:
    name = str(option.get("type", "str"))
    return f"{name} of {option['elements']}" if "elements" in option else name


def preset(option: Mapping[str, Any]) -> str:
    if option.get("required", False):
        return "**required**"
    if "default" not in option:
        return "—"
    dumped = yaml.safe_dump(option["default"], default_flow_style=True, width=1000)
    return f"`{dumped.splitlines()[0]}`"


def rows(options: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, option in options.items():
        description = prose(option["description"])
        if "choices" in option:
            description += f" One of {', '.join(f'`{choice}`' for choice in option['choices'])}."
        if option.get("no_log", False):
            description += " Secret."
        cells = (f"`{prefix}{name}`", kind(option), preset(option), description)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        if "options" in option:
            is_list = option["type"] == "list"
            yield from rows(option["options"], f"{prefix}{name}{'[]' if is_list else ''}.")


def section(entry_points: Mapping[str, Any]) -> str:
    """The generated part of a README: what each entry point does and takes."""
    parts = []
    for name, entry in entry_points.items():
        if len(entry_points) > 1:
            parts.append(f"## `{name}`: {entry['short_description']}")
        parts.append(prose(entry["description"]))
        if entry.get("options"):
            table = ["| variable | type | default | meaning |", "|---|---|---|---|"]
            parts.append("\n".join([*table, *rows(entry["options"])]))
    return "\n\n".join(parts)


def readme(role: Path, present: str | None) -> str:
    """The README of a role: `present` with its generated part made anew."""
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    main = next(iter(specs.values()))
    generated = f"{BEGIN}\n{section(specs)}\n{END}"
    if present is None:
        return f"# {role.name}: {main['short_description']}\n\n{generated}\n"
    before, begin, rest = present.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"roles/{role.name}/README.md lacks the lines {BEGIN!r} and {END!r}.")
    return f"{before}{generated}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if stale")
    check = parser.parse_args().check
    stale = []
    for role in sorted(path.parent.parent for path in ROLES.glob("*/meta/argument_specs.yml")):
        path = role / "README.md"
        present = path.read_text() if path.exists() else None
        wanted = readme(role, present)
        if wanted == present:
            continue
        stale.append(f"roles/{role.name}/README.md")
        if not check:
            path.write_text(wanted)
    if stale and check:
        sys.stderr.write(f"Out of date: {', '.join(stale)}. Run scripts/role_readmes.py.\n")
        return 1
    for name in stale:
        sys.stdout.write(f"wrote {name}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
