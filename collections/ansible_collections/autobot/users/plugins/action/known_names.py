"""Refuse variables and settings that nothing reads: a slip of the keyboard must not pass."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import yaml

from ansible_collections.autobot.users.plugins.plugin_utils.actions import ControllerAction
from ansible_collections.autobot.users.plugins.plugin_utils.checkout import (
    ROOT,
    import_release_module,
)

DOCUMENTATION = """
name: known_names
short_description: no variable and no setting that nothing reads
description:
  - Fails where a variable of a host begins like those of a role and no C(argument_specs) knows it,
    or is almost a known one; and where a setting of a service is none of the release's own model.
    Says the nearest known name.
  - What the checkout's own C(playbooks/group_vars) define is known.
options:
  hosts:
    description: Names of the hosts whose variables are looked at.
    type: list
    elements: str
    required: true
  settings:
    description: Variables that hold settings of a service, name to value.
    type: list
    elements: str
    required: true
"""

# What an operator says of one run: read by playbooks, and of no role.
OF_A_RUN = re.compile(r"\b(?:rotate|rollback)(?:_[a-z_]+)?\b")
# A word that is that much like a known one is meant to be it.
SLIP = 0.9


def prefixes() -> tuple[str, ...]:
    """How variables of the roles and of a run begin."""
    roles = (path.parents[1].name for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"))
    return tuple(sorted(f"{word}_" for word in (*roles, "rotate", "rollback")))


def known_variables() -> set[str]:
    """All variables that something reads."""
    known: set[str] = set()
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for entry in yaml.safe_load(path.read_text())["argument_specs"].values():
            known |= set(entry.get("options", {}))
    for path in (ROOT / "playbooks" / "group_vars").glob("*.yml"):
        known |= set(yaml.safe_load(path.read_text()))
    for path in (ROOT / "playbooks").rglob("*.yml"):
        known |= set(OF_A_RUN.findall(path.read_text()))
    return known


def known_settings() -> set[str]:
    """The settings of the services, by the model of the release that this checkout makes."""
    settings = import_release_module("user_management.config").Settings
    return {name.upper() for name in settings.model_fields}


def nearest(name: str, known: Iterable[str]) -> str:
    """What may have been meant, as a sentence."""
    found = difflib.get_close_matches(name, sorted(known), n=1)
    return f"Did you mean {found[0]}?" if found else "Nothing is called like that."


def strange_variables(names: Iterable[str], known: set[str], begins: tuple[str, ...]) -> list[str]:
    """What is wrong with the names of a host's variables, a sentence each."""
    faults = []
    for name in sorted(set(names) - known):
        if name.startswith(begins):
            faults.append(f"no role knows the variable {name}. {nearest(name, known)}")
        elif meant := difflib.get_close_matches(name, sorted(known), n=1, cutoff=SLIP):
            faults.append(f"nothing reads the variable {name}. Did you mean {meant[0]}?")
    return faults


def strange_settings(variable: str, given: Any, known: set[str]) -> list[str]:
    """What is wrong with the names of settings, a sentence each. The role wants a mapping."""
    names = given if isinstance(given, Mapping) else {}
    return [
        f"{variable} has {name}, which is no setting of the service. {nearest(name.upper(), known)}"
        for name in map(str, names)
        if name.upper() not in known
    ]


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    OPTIONS: ClassVar = {
        "hosts": {"type": "list", "elements": "str", "required": True},
        "settings": {"type": "list", "elements": "str", "required": True},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        hostvars = self.variables["hostvars"]
        known, begins, settings = known_variables(), prefixes(), known_settings()
        # One sentence for all hosts that share the slip.
        faults: dict[str, list[str]] = {}
        for host in arguments["hosts"]:
            found = strange_variables(hostvars[host], known, begins)
            for variable in arguments["settings"]:
                if variable in hostvars[host]:
                    found += strange_settings(variable, hostvars[host][variable], settings)
            for fault in found:
                faults.setdefault(fault, []).append(host)
        if not faults:
            return {"changed": False}
        everybody = len(arguments["hosts"])
        said = "\n".join(
            f"{'every host' if len(hosts) == everybody else ', '.join(hosts)}: {fault}"
            for fault, hosts in faults.items()
        )
        return {"failed": True, "msg": f"{said}\nNo host was touched."}
