#!/usr/bin/python
"""Tell a program, in its environment file, where its database is now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: moved_settings
short_description: environment files of programs whose database has moved
description:
  - Replaces address, port and name of a database in the variables that are named, where they are
    those of the source. Everything else of the file, comments and passwords too, stays as it is,
    and so do its owner, group and mode. The file is replaced as a whole.
  - A variable that names neither the source nor the target is refused, and nothing is written.
  - On the way back, a line that is as the move has left it becomes what it is in O(first_copy).
  - The diff shows the variables, with C(***) in the place of a password.
options:
  path:
    description: The environment file, as systemd reads it.
    type: path
    required: true
  variables:
    description:
      - Names of variables, and what each of them holds - V(host), V(port), V(database) or V(url).
    type: dict
    required: true
  first_copy:
    description: >-
      Where the file is as it was before its database was moved, on the way back. Without it the
      move has not come to the file, which stays.
    type: path
  source:
    description: Where the database was.
    type: dict
    required: true
    suboptions:
      hosts: {description: Its address and names., type: list, elements: str, required: true}
      port: {description: Its port., type: int, required: true}
      database: {description: Its name., type: str, required: true}
  target:
    description: Where it is.
    type: dict
    required: true
    suboptions:
      host: {description: Its address., type: str, required: true}
      port: {description: Its port., type: int, required: true}
      database: {description: Its name., type: str, required: true}
"""

RETURN = """
problems:
  description: What is refused, in check mode; else it is a failure.
  type: list
  elements: str
  returned: always
"""

LINE = re.compile(r"(\s*)([A-Za-z_][A-Za-z0-9_]*)=(.*)")
DEFAULT_PORT = 5432


def value_of(text: str) -> tuple[str, str]:
    """A value, and the quotes that it has. What systemd would read in another way is refused."""
    stripped = text.strip()
    quotes = stripped[:1] if stripped[:1] in ("'", '"') else ""
    inner = stripped[1:-1] if quotes else stripped
    broken = quotes and (len(stripped) < 2 or stripped[-1] != quotes)
    if broken or "\\" in inner or any(it in inner for it in "'\""):
        raise ValueError("is quoted or escaped in a way that is not changed here")
    return inner, quotes


def place_of(value: str) -> tuple[str, int, str]:
    """Host, port and database of a URL. Raises ValueError, which says nothing of a password."""
    try:
        parts = urlsplit(value)
        place = (parts.hostname or "", parts.port or DEFAULT_PORT, unquote(parts.path[1:]))
    except ValueError:
        place = ("", 0, "")
    # Of a password with a slash, part of it would be a port or a database.
    if not place[0] or "@" in value.replace(parts.netloc, "", 1):
        raise ValueError(
            "is no URL that can be read: what is special in a password is written as %2F and the "
            "like"
        )
    return place


def placed(value: str, kind: str, target: dict[str, Any]) -> str:
    """A value that leads to the target. Raises ValueError where it is no URL."""
    if kind != "url":
        return str(target[kind])
    if place_of(value) == (target["host"], target["port"], target["database"]):
        return value
    parts = urlsplit(value)
    login, at, _ = parts.netloc.rpartition("@")
    host = f"[{target['host']}]" if ":" in target["host"] else target["host"]
    netloc = f"{login}{at}{host}:{target['port']}"
    return parts._replace(netloc=netloc, path=f"/{quote(target['database'])}").geturl()


def moved(value: str, kind: str, source: dict[str, Any], target: dict[str, Any]) -> str:
    """A value with the target in the place of the source. Raises ValueError for another's."""
    new = placed(value, kind, target)
    if kind == "url":
        host, port, database = place_of(value)
        is_source = host in source["hosts"] and (port, database) == (
            source["port"],
            source["database"],
        )
        if new != value and not is_source:
            raise ValueError(f"leads to {host}:{port}/{database}")
    else:
        known = source["hosts"] if kind == "host" else [str(source[kind])]
        if value not in (*known, new):
            raise ValueError(f"is {value}")
    return new


def without_password(value: str) -> str:
    return re.sub(r"(://[^:/@]*:).*@", r"\1***@", value)


class FirstCopy:
    """The lines of a file as they were before its database was moved."""

    def __init__(self, text: str, variables: dict[str, str]) -> None:
        self._variables = variables
        self._lines: dict[str, list[str]] = {}
        for line in text.splitlines(keepends=True):
            found = LINE.fullmatch(line.rstrip("\n"))
            if found and found[2] in variables:
                self._lines.setdefault(found[2], []).append(line)

    def line(self, name: str, number: int, now: str, source: dict[str, Any]) -> str | None:
        """The first line of a variable, which a file has so many times, if it was moved or is back.

        None where somebody has changed it since, or it led here before it was moved.
        """
        lines = self._lines.get(name, [])
        if number >= len(lines):
            return None
        there = {"host": source["hosts"][0], **source}
        try:
            value, _ = value_of(value_text(lines[number]))
            new = placed(value, self._variables[name], there)
        except ValueError:
            return None
        moved_line = with_value(lines[number], new)
        return lines[number] if new != value and now in (moved_line, lines[number]) else None


def value_text(line: str) -> str:
    """What a line gives its variable."""
    return line.partition("=")[2].rstrip("\n")


def with_value(line: str, new: str) -> str:
    """A line with another value. Raises ValueError."""
    before, _, text = line.partition("=")
    value, quotes = value_of(text)
    return line if new == value else f"{before}={quotes}{new}{quotes}\n"


def rewritten(
    text: str,
    variables: dict[str, str],
    source: dict[str, Any],
    target: dict[str, Any],
    first: str = "",
) -> tuple[str, list[str], dict[str, str], dict[str, str]]:
    """The file's new text, what is refused, and the variables before and after, to be shown.

    `first` is the text of its first copy, where it is led back.
    """
    lines, problems = [], []
    copy, numbers = FirstCopy(first, variables), dict.fromkeys(variables, 0)
    shown_before: dict[str, str] = {}
    shown_after: dict[str, str] = {}
    for line in text.splitlines(keepends=True):
        found = LINE.fullmatch(line.rstrip("\n"))
        if not found or found[2] not in variables:
            lines.append(line)
            continue
        name = found[2]
        known = copy.line(name, numbers[name], line, source)
        numbers[name] += 1
        try:
            value, _ = value_of(found[3])
            if known is None:
                new = moved(value, variables[name], source, target)
                known = with_value(line, new)
            else:
                new, _ = value_of(value_text(known))
        except ValueError as error:
            problems.append(f"{name} {without_password(str(error))}")
            lines.append(line)
            continue
        shown_before[name], shown_after[name] = without_password(value), without_password(new)
        lines.append(known)
    found_here = {*shown_before, *(it.split()[0] for it in problems)}
    problems += [f"{name} is not there" for name in variables if name not in found_here]
    return "".join(lines), problems, shown_before, shown_after


def shown(values: dict[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in values.items())


def main() -> None:
    place = {
        "port": {"type": "int", "required": True},
        "database": {"type": "str", "required": True},
    }
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "variables": {"type": "dict", "required": True},
            "first_copy": {"type": "path"},
            "source": {
                "type": "dict",
                "required": True,
                "options": {
                    **place,
                    "hosts": {"type": "list", "elements": "str", "required": True},
                },
            },
            "target": {
                "type": "dict",
                "required": True,
                "options": {**place, "host": {"type": "str", "required": True}},
            },
        },
        supports_check_mode=True,
    )
    asked = module.params
    path = Path(asked["path"])
    if asked["first_copy"] and not Path(asked["first_copy"]).exists():
        module.exit_json(changed=False, problems=[])
    try:
        text = path.read_text()
        first = Path(asked["first_copy"]).read_text() if asked["first_copy"] else ""
        new, problems, before, after = rewritten(
            text, asked["variables"], asked["source"], asked["target"], first
        )
    except (OSError, UnicodeDecodeError) as error:
        text, new, before, after = "", "", {}, {}
        problems = [f"It cannot be read: {error.__class__.__name__}"]
    if problems and not module.check_mode:
        module.fail_json(msg=f"{path}: {'; '.join(problems)}.", problems=problems)
    changed = new != text and not problems
    if changed and not module.check_mode:
        partial = Path(module.tmpdir) / path.name
        partial.write_text(new)
        module.atomic_move(str(partial), str(path))
    module.exit_json(
        changed=changed,
        problems=problems,
        diff={
            "before_header": str(path),
            "after_header": str(path),
            "before": shown(before),
            "after": shown(after),
        },
    )


if __name__ == "__main__":
    main()
