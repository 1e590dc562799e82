"""Install packages of the distribution; in check mode, say which are missing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail

from ansible_collections.autobot.users.plugins.plugin_utils.actions import HostAction

DOCUMENTATION = """
name: packages
short_description: packages of the distribution, without what they only recommend
description:
  - Installs what is missing, as C(ansible.builtin.apt) does it.
  - In check mode the host's package database is asked and nothing else. C(ansible.builtin.apt)
    would need C(python3-apt) and package lists, which a host has from its first deployment on.
options:
  names:
    description: Names of the packages.
    type: list
    elements: str
    required: true
  lists_valid_seconds:
    description: Seconds for which the package lists count as fresh.
    type: int
    default: 86400
"""

RETURN = """
missing:
  description: In check mode, the packages that are not installed.
  type: list
  elements: str
  returned: in check mode
"""

# Unattended upgrades may be at work on a new host.
LOCK_SECONDS = 300


def missing(names: Iterable[str], listed: str) -> list[str]:
    """Those of the packages that dpkg-query does not list as installed."""
    installed = {
        name
        for name, _, state in (line.partition(" ") for line in listed.splitlines())
        if state == "installed"
    }
    return [name for name in names if name not in installed]


class ActionModule(HostAction):
    """See DOCUMENTATION."""

    OPTIONS: ClassVar = {
        "names": {"type": "list", "elements": "str", "required": True},
        "lists_valid_seconds": {"type": "int", "default": 86400},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        names = [str(name) for name in arguments["names"]]
        if self._task.check_mode:
            absent = missing(names, self._listed(names))
            return {"changed": bool(absent), "missing": absent}
        result: dict[str, Any] = self._execute_module(
            module_name="ansible.builtin.apt",
            module_args={
                "name": names,
                "install_recommends": False,
                "cache_valid_time": arguments["lists_valid_seconds"],
                "lock_timeout": LOCK_SECONDS,
            },
            task_vars=self.variables,
        )
        return result

    def _listed(self, names: list[str]) -> str:
        """What dpkg knows of the packages. It says nothing of a name that it has never met."""
        command = ["dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\\n"]
        done = self._low_level_execute_command(shlex.join([*command, "--", *names]))
        # 1: it does not know one of them.
        if done["rc"] > 1:
            raise AnsibleActionFail(f"dpkg-query failed: {done['stderr'].strip()}")
        return str(done["stdout"])
