#!/usr/bin/python
"""Bring running systemd units in line with the files that they were started from."""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.before import UNIT, Ledger

DOCUMENTATION = """
module: units_in_force
short_description: units that run what their files say
description:
  - Enables and starts units, and restarts or reloads each that is older than one of its inputs.
  - The decision is made from the host's state alone, so a run that was killed between writing a
    file and restarting a unit is made good by the next run.
options:
  units:
    description: The units, in order.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the unit.
        type: str
        required: true
      inputs:
        description: Files that the unit reads when it starts. A symbolic link is not followed.
        type: list
        elements: path
        default: []
      reload:
        description: Whether the unit is reloaded, not restarted, when an input is newer.
        type: bool
        default: false
      check:
        description: Command that must succeed before the unit is started, reloaded or restarted.
        type: list
        elements: str
        default: []
"""

RETURN = """
actions:
  description: What was done, such as C(restart nginx.service).
  type: list
  elements: str
  returned: always
"""

PROPERTIES = (
    "ActiveEnterTimestamp",
    "ActiveEnterTimestampMonotonic",
    "ActiveState",
    "LoadState",
    "NeedDaemonReload",
    "StateChangeTimestamp",
    "StateChangeTimestampMonotonic",
    "Triggers",
    "UnitFileState",
)


def newest(paths: list[str]) -> float:
    """When one of the files last became what it is, in seconds since the epoch; 0.0 for none.

    The inode's change time, because a file that is written aside and renamed keeps an older
    modification time.
    """
    return max((os.lstat(path).st_ctime for path in paths if os.path.lexists(path)), default=0.0)


def timestamp(text: str) -> float:
    """Seconds since the epoch of systemd's `Mon 2026-11-23 09:00:00.123456 UTC`; 0.0 for none."""
    if not text:
        return 0.0
    _, date, clock, _ = text.split()
    return datetime.fromisoformat(f"{date}T{clock}+00:00").timestamp()


def moment(state: dict[str, str], name: str) -> float:
    """When something happened to a unit, in seconds since the epoch; 0.0 for never.

    A clock that has stepped back since said a later time then than it would now, and files get
    the time that it says now. The kernel's other clock never steps, but stands still while the
    machine sleeps: the earlier of both is never too late.
    """
    if not state[name]:
        return 0.0
    ago = time.monotonic() - int(state[f"{name}Monotonic"]) / 10**6
    return min(timestamp(state[name]), time.time() - ago)


def wanted_action(unit: dict[str, Any], state: dict[str, str]) -> str | None:
    """`start`, `restart`, `reload` or None, for a unit whose systemd properties are `state`."""
    if state["ActiveState"] not in ("active", "activating", "reloading"):
        return "start"
    # A reload is a change of state too; only a start makes it active.
    since = "StateChangeTimestamp" if unit["reload"] else "ActiveEnterTimestamp"
    if newest(unit["inputs"]) > moment(state, since):
        return "reload" if unit["reload"] else "restart"
    return None


class Systemd:
    """systemctl, with a readable failure."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module

    def is_outdated(self, state: dict[str, str]) -> bool:
        """Whether systemd has not read the files of a unit, or of what that unit starts."""
        return (
            state["LoadState"] == "not-found"
            or state["NeedDaemonReload"] == "yes"
            or any(
                self.properties(unit)["NeedDaemonReload"] == "yes"
                for unit in state["Triggers"].split()
            )
        )

    def properties(self, unit: str) -> dict[str, str]:
        _, output, _ = self._run(
            ["show", "--timestamp=us+utc", f"--property={','.join(PROPERTIES)}", unit]
        )
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def do(self, *arguments: str) -> None:
        self._run(list(arguments))

    def _run(self, arguments: list[str]) -> tuple[int, str, str]:
        result: tuple[int, str, str] = self._module.run_command(
            ["systemctl", *arguments], environ_update={"LC_ALL": "C", "TZ": "UTC"}
        )
        if result[0]:
            self._module.fail_json(
                msg=f"systemctl {' '.join(arguments)} failed: {result[2].strip() or result[0]} "
                f"See: journalctl --unit {arguments[-1]}"
            )
        return result


def bring_in_force(module: AnsibleModule, systemd: Systemd) -> list[str]:
    """Do what is needed, or in check mode only say it; returns the actions."""
    actions: list[str] = []
    ledger = Ledger()

    def act(*arguments: str) -> None:
        actions.append(" ".join(arguments))
        if not module.check_mode:
            systemd.do(*arguments)

    for unit in module.params["units"]:
        name = unit["name"]
        if not module.check_mode:
            ledger.note(name, UNIT)
        state = systemd.properties(name)
        if state["LoadState"] == "not-found" and module.check_mode:
            actions.append(f"start {name}")
            continue
        if systemd.is_outdated(state):
            act("daemon-reload")
        action = wanted_action(unit, state)
        if action and unit["check"] and not module.check_mode:
            status, _, error = module.run_command(unit["check"])
            if status:
                module.fail_json(
                    msg=f"{name} was not touched, because its configuration is not valid: "
                    f"{error.strip() or f'status {status}'}"
                )
        if state["UnitFileState"] != "enabled":
            act("enable", name)
        if action:
            act(action, name)
    return actions


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "units": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "inputs": {"type": "list", "elements": "path", "default": []},
                    "reload": {"type": "bool", "default": False},
                    "check": {"type": "list", "elements": "str", "default": []},
                },
            }
        },
        supports_check_mode=True,
    )
    actions = bring_in_force(module, Systemd(module))
    module.exit_json(changed=bool(actions), actions=actions)


if __name__ == "__main__":
    main()
