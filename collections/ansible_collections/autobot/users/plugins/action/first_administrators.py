"""Create the first administrators and keep their one-time passwords for the operator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail

from ansible_collections.autobot.users.plugins.plugin_utils.actions import HostAction
from ansible_collections.autobot.users.plugins.plugin_utils.checkout import import_release_module
from ansible_collections.autobot.users.plugins.plugin_utils.private_files import write_private

DOCUMENTATION = """
name: first_administrators
short_description: the first administrators, created once
description:
  - Asks the SLM host which population lacks an administrator who can enter, and creates one there.
  - The one-time password is made on the controller, written to the site file first and only then
    sent to the host, on standard input. A run that is killed at any point is made good by the next
    one; nobody is locked out.
  - Results name populations and never show a password.
options:
  site_file:
    description: JSON file of the operator on the controller (mode 0600); entries are merged in.
    type: path
    required: true
  site:
    description: Entries of the site file that say where the site is.
    type: dict
    required: true
  administrators:
    description: "Population to C(username) and C(email) of its first administrator."
    type: dict
    required: true
  command:
    description: The command line of the SLM server on the host.
    type: str
    default: slm
"""

RETURN = """
created:
  description: Populations whose administrator got a one-time password in this run.
  type: list
  elements: str
  returned: always
"""


def read_site_file(path: Path) -> dict[str, Any]:
    """The site file; nothing where there is none. Raises AnsibleActionFail when it is unusable."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise AnsibleActionFail(
            f"{path} is not a JSON object. It may hold one-time passwords: save what you need of "
            "it, move it away, and run again."
        )
    return content


class SiteFile:
    """The site file during one run; `pending` passwords are written before they are valid."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stored = read_site_file(path)
        self.content = json.loads(json.dumps(self._stored))

    @property
    def changed(self) -> bool:
        return bool(self.content != self._stored)

    def save(self) -> None:
        if self.changed:
            text = json.dumps(self.content, indent=2) + "\n"
            write_private(self._path, text.encode())
            self._stored = json.loads(json.dumps(self.content))

    def pending(self, population: str) -> str | None:
        password: str | None = self.content.get("pending", {}).get(population)
        return password

    def promise(self, population: str) -> str:
        """A password for the population, which an interrupted run may have made already."""
        passwords = import_release_module("user_management.security.passwords")
        password: str = self.pending(population) or passwords.generate_one_time_password()
        self.content.setdefault("pending", {})[population] = password
        return password

    def keep(self, population: str, username: str, password: str | None) -> None:
        """Enter what is true now. Without a new password an older entry stays."""
        entry = self.content.setdefault(population, {})
        if password is not None:
            entry.update(username=username, password=password)
        entry.setdefault("username", username)
        pending = self.content.get("pending", {})
        pending.pop(population, None)
        if not pending:
            self.content.pop("pending", None)

    def knows_password(self, population: str) -> bool:
        return "password" in self.content.get(population, {})


class ActionModule(HostAction):
    """See DOCUMENTATION."""

    OPTIONS: ClassVar = {
        "site_file": {"type": "path", "required": True},
        "site": {"type": "dict", "required": True},
        "administrators": {"type": "dict", "required": True},
        "command": {"type": "str", "default": "slm"},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        self._slm = str(arguments["command"])
        site_file = SiteFile(Path(arguments["site_file"]))
        if self._task.check_mode:
            # The command line may not be there yet; the file tells what earlier runs have done.
            missing = [
                name for name in arguments["administrators"] if name not in site_file.content
            ]
            return {"changed": bool(missing), "created": missing}

        site_file.content.update(
            {str(key): str(arguments["site"][key]) for key in arguments["site"]}
        )
        created = []
        for population, status in self._command("status").items():
            wanted = arguments["administrators"].get(population)
            if wanted is None:
                continue
            lost = status["state"] == "unused" and not site_file.knows_password(population)
            unsure = site_file.pending(population) is not None
            if status["state"] in ("missing", "expired") or lost or unsure:
                created += self._create(site_file, population, wanted)
            else:
                site_file.keep(population, status["username"], None)
        changed = site_file.changed or bool(created)
        site_file.save()
        return {"changed": changed, "created": created}

    def _create(self, site_file: SiteFile, population: str, wanted: dict[str, str]) -> list[str]:
        """Create the administrator; returns the population when its password is a new one."""
        password = site_file.promise(population)
        # Written before it is valid: whatever happens next, the operator has it.
        site_file.save()
        report = self._command(
            "create",
            f"--population={population}",
            f"--username={wanted['username']}",
            f"--email={wanted['email']}",
            "--password-stdin",
            stdin=password,
        )
        is_new = report["outcome"] in ("created", "renewed")
        site_file.keep(population, report["username"], password if is_new else None)
        site_file.save()
        return [population] if is_new else []

    def _command(self, *arguments: str, stdin: str | None = None) -> dict[str, Any]:
        """Run `slm admin …` on the host; returns what it prints. Raises AnsibleActionFail."""
        # The module must not log its standard input. What this task itself says is no secret.
        self._task.no_log, no_log = True, self._task.no_log
        try:
            result = self._execute_module(
                module_name="ansible.legacy.command",
                module_args={"argv": [self._slm, "admin", *arguments, "--json"], "stdin": stdin},
                task_vars=self.variables,
            )
        finally:
            self._task.no_log = no_log
        if result.get("failed") or result.get("rc") != 0:
            said = (str(result.get(name) or "").strip() for name in ("stderr", "msg"))
            reason = next(filter(None, said), "no reason was given")
            raise AnsibleActionFail(
                f"'{self._slm} admin {arguments[0]}' failed on the SLM host: {reason}"
            )
        report: dict[str, Any] = json.loads(result["stdout"])
        return report
