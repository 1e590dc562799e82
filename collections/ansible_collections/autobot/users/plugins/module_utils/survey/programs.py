"""AutoBot's programs that use a database, as their environment files say it; never a password."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from .reading import output, shown_units

FILES = ("etc/autobot*/*.env", "opt/autobot*/*.env", "opt/autobot*/*/*.env")
LINE = re.compile(r"""\s*(?:export\s+)?([A-Za-z_]\w*)=(["']?)(.*)\2\s*""")
# The names that AutoBot's settings have, behind what they have in common.
PARTS = {
    "host": ("_HOST",),
    "port": ("_PORT",),
    "database": ("_DB", "_DB_NAME", "_DATABASE", "_NAME"),
    "user": ("_USER",),
    "password": ("_PASSWORD",),
}
DEFAULT_PORT = 5432
# What a server, a database and a role are called, of what is found; the rest is not proposed.
NAME = re.compile(r"[\w.:-]+")


def values_of(text: str) -> dict[str, str]:
    """The variables of an environment file."""
    found = (LINE.fullmatch(line) for line in text.splitlines())
    return {it[1]: it[3] for it in found if it}


def url_use(name: str, value: str) -> dict[str, Any] | None:
    """The database of a URL."""
    try:
        parts = urlsplit(value)
        if not parts.scheme.startswith("postgresql"):
            return None
        return {
            "variables": {name: "url"},
            "host": parts.hostname or "",
            "port": parts.port or DEFAULT_PORT,
            "database": unquote(parts.path[1:]),
            "user": unquote(parts.username or ""),
            "password": "",
        }
    except ValueError:
        return None


def parts_use(values: Mapping[str, str], prefix: str) -> dict[str, Any] | None:
    """The database of variables that have a beginning in common, such as AUTOBOT_POSTGRES."""
    named = {
        part: next((prefix + end for end in ends if prefix + end in values), "")
        for part, ends in PARTS.items()
    }
    port = values.get(named["port"], str(DEFAULT_PORT))
    if not named["database"] or not port.isdigit():
        return None
    return {
        "variables": {named[part]: part for part in ("host", "port", "database") if named[part]},
        "host": values[named["host"]],
        "port": int(port),
        "database": values[named["database"]],
        "user": values.get(named["user"], ""),
        "password": named["password"],
    }


def uses_of(text: str) -> list[dict[str, Any]]:
    """The databases that an environment file names."""
    values = values_of(text)
    found = [url_use(name, value) for name, value in values.items()]
    found += [
        parts_use(values, name.removesuffix("_HOST")) for name in values if name.endswith("_HOST")
    ]
    return [
        it
        for it in found
        if it
        and all(NAME.fullmatch(it[part]) for part in ("host", "database"))
        and (not it["user"] or NAME.fullmatch(it["user"]))
    ]


def units_of(shown: str) -> dict[str, list[str]]:
    """The units that read each file, from what `systemctl show` prints of them."""
    found: dict[str, list[str]] = {}
    for unit in shown_units(shown):
        (name,) = [value for key, value in unit if key == "Id"] or [""]
        for key, value in unit:
            if key == "EnvironmentFiles" and name:
                found.setdefault(value.partition(" (")[0], []).append(name)
    return found


def read_programs(root: Path, units: Iterable[Mapping[str, str]]) -> list[dict[str, Any]]:
    """`programs` of the survey: one entry for each file and each database that it names.

    With the variables and what each of them holds, where the database is, who uses it, which
    variable has the password, and the running units that read the file.
    """
    uses = [
        (f"/{path.relative_to(root)}", use)
        for pattern in FILES
        for path in sorted(root.glob(pattern))
        if path.is_file()
        for use in uses_of(path.read_text(errors="replace"))
    ]
    names = [unit["name"] for unit in units]
    if not uses or not names:
        readers = {}
    else:
        shown = output("systemctl", "show", "--property=Id,EnvironmentFiles", "--", *names)
        readers = units_of(shown or "")
    return [{"file": file, **use, "units": readers.get(file, [])} for file, use in uses]
