"""What a task does with a secret is not shown: neither what it was given nor what it answered."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.role_files import ROOT

PLAYBOOKS = ("playbooks/*.yml", "playbooks/parts/*.yml")
BLOCKS = ("block", "rescue", "always", "pre_tasks", "tasks", "post_tasks", "handlers")
# Made of secrets, and none: names of directories and certificates, and what is wrong in words.
TELLS_NOTHING = re.compile(r"backup_repositories|pki_due|\w+_(problems?|asks|chosen|of|unknown)")

OUR_PLUGINS = "autobot.users."
# They hand variables on, or judge them in words of their own.
SHOW_NOTHING = {
    *("ansible.builtin.import_playbook", "ansible.builtin.include_role"),
    *("ansible.builtin.import_role", "ansible.builtin.assert"),
}


class Loader(yaml.SafeLoader):
    """Ansible's own tags are of no interest here."""


Loader.add_multi_constructor("!", lambda *_: None)


def load(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader) if path.exists() else None  # noqa: S506


class Project:
    """The tasks of all roles and playbooks, and the variables that hold a secret."""

    def __init__(self) -> None:
        self.tasks: list[tuple[Path, dict[str, Any]]] = []
        self.secrets: set[str] = set()
        variables: list[tuple[str, Any]] = []
        for role in sorted(path.parent for path in ROOT.glob("roles/*/meta")):
            for entry in load(role / "meta" / "argument_specs.yml")["argument_specs"].values():
                options = entry.get("options", {}).items()
                self.secrets |= {name for name, option in options if option.get("no_log")}
            for part in ("defaults", "vars"):
                variables += (load(role / part / "main.yml") or {}).items()
        for path in ROOT.glob("playbooks/group_vars/*.yml"):
            variables += (load(path) or {}).items()
        for pattern in ("roles/*/tasks/*.yml", "roles/*/handlers/*.yml", *PLAYBOOKS):
            for path in sorted(ROOT.glob(pattern)):
                variables += self._read(path, load(path))
        while found := {name for name, value in variables if self.used_in(value)} - self.secrets:
            self.secrets |= found

    def _read(self, path: Path, entries: list[dict[str, Any]]) -> Iterator[tuple[str, Any]]:
        """Note the tasks; the variables of what holds tasks."""
        for entry in entries:
            if inner := [name for name in BLOCKS if name in entry]:
                yield from entry.get("vars", {}).items()
                for name in inner:
                    yield from self._read(path, entry[name] or [])
            else:
                self.tasks.append((path, entry))

    def used_in(self, value: Any) -> set[str]:
        """The secrets that templates in a value name."""
        templates = re.findall(r"{{.*?}}|{%.*?%}", yaml.safe_dump(value, width=10**6), re.DOTALL)
        words = set(re.findall(r"\w+", " ".join(templates)))
        return {
            word
            for word in words
            if (word in self.secrets or word.startswith("vault_"))
            and not TELLS_NOTHING.fullmatch(word)
        }

    def given_to(self, task: dict[str, Any]) -> set[str]:
        """The secrets that a module of Ansible is given; the project's own hide them themselves."""
        given = {
            name: value
            for name, value in task.items()
            if ("." in name and not name.startswith(OUR_PLUGINS))
            or name in {"environment", "loop", "vars"}
        }
        if SHOW_NOTHING & set(given):
            return set()
        return self.used_in(given)


def test_a_task_that_is_given_a_secret_shows_nothing() -> None:
    project = Project()
    given = [(path, task) for path, task in project.tasks if project.given_to(task)]
    assert len(given) >= 2
    shown = [
        f"{path.relative_to(ROOT)}: {task.get('name')}: {sorted(project.given_to(task))}"
        for path, task in given
        if task.get("no_log") is not True
    ]
    assert shown == []


def test_what_is_made_of_secrets_is_one() -> None:
    """The verifiers of passwords, which a block of tasks puts together."""
    assert Project().secrets >= {"postgresql_passwords", "postgresql_wanted"}
