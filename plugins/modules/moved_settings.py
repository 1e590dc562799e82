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


def moved_url(value: str, source: dict[str, Any], target: dict[str, Any]) -> str:
    """A URL with the target in it. Raises ValueError where it is another database's."""
    parts = urlsplit(value)
    place = (parts.hostname or "", parts.port or DEFAULT_PORT, unquote(parts.path[1:]))
    if place == (target["host"], target["port"], target["database"]):
        return value
    if place[0] not in source["hosts"] or place[1:] != (source["port"], source["database"]):
        raise ValueError(f"leads to {place[0]}:{place[1]}/{place[2]}")
    login, at, _ = parts.netloc.rpartition("@")
    host = f"[{target['host']}]" if ":" in target["host"] else target["host"]
    netloc = f"{login}{at}{host}:{target['port']}"
    return parts._replace(netloc=netloc, path=f"/{quote(target['database'])}").geturl()


def moved(value: str, kind: str, source: dict[str, Any], target: dict[str, Any]) -> str:
    """A value with the target in the place of the source. Raises ValueError for another's."""
    if kind == "url":
        return moved_url(value, source, target)
    known = source["hosts"] if kind == "host" else [str(source[kind])]
    if value not in (*known, str(target[kind])):
        raise ValueError(f"is {value}")
    return str(target[kind])


def without_password(value: str) -> str:
    return re.sub(r"(://[^:/@]*:)[^@]*@", r"\1***@", value)


def rewritten(
    text: str, variables: dict[str, str], source: dict[str, Any], target: dict[str, Any]
) -> tuple[str, list[str], dict[str, str], dict[str, str]]:
    """The file's new text, what is refused, and the variables before and after, to be shown."""
    lines, problems = [], []
    before: dict[str, str] = {}
    after: dict[str, str] = {}
    for line in text.splitlines(keepends=True):
        found = LINE.fullmatch(line.rstrip("\n"))
        if not found or found[2] not in variables:
            lines.append(line)
            continue
        name = found[2]
        try:
            value, quotes = value_of(found[3])
            new = moved(value, variables[name], source, target)
        except ValueError as error:
            problems.append(f"{name} {without_password(str(error))}")
            lines.append(line)
            continue
        before[name], after[name] = without_password(value), without_password(new)
        lines.append(line if new == value else f"{found[1]}{name}={quotes}{new}{quotes}\n")
    named = {it.split()[0] for it in problems}
    problems += [f"{name} is not there" for name in variables if name not in {*before, *named}]
    return "".join(lines), problems, before, after


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
    try:
        text = path.read_text()
        new, problems, before, after = rewritten(
            text, asked["variables"], asked["source"], asked["target"]
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
