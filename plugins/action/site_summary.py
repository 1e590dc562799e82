"""Print what a run has made and proved, on one screen."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

DOCUMENTATION = """
name: site_summary
short_description: summary of a run
description:
  - Prints the summary on the controller's terminal. One-time passwords are read from the site file
    and go to the terminal only - neither into the result of the task nor into a log file.
options:
  title:
    description: First line.
    type: str
    required: true
  url:
    description: Where operators reach the SLM server.
    type: str
    required: true
  backend_url:
    description: Where application users reach the AutoBot backend.
    type: str
    required: true
  ca:
    description: The CA's certificate on the controller.
    type: path
    required: true
  site_file:
    description: JSON file that keeps the one-time passwords.
    type: path
    required: true
  hosts:
    description: Names of the hosts. Their address, facts and proof are host variables.
    type: list
    elements: str
    required: true
  new_administrators:
    description: Populations whose one-time password is shown.
    type: list
    elements: str
    default: []
"""

WIDTH = 98


def host_of(name: str, variables: Mapping[str, Any]) -> dict[str, Any]:
    """What is shown of a host."""
    facts = variables.get("ansible_facts", {})
    return {
        "name": name,
        "address": variables["address"],
        "system": " ".join(
            str(facts.get(key, "")) for key in ("distribution", "distribution_version")
        ),
        "proof": variables.get("proof_result", {}),
    }


def describe_host(host: dict[str, Any]) -> list[str]:
    """The lines of one host."""
    facts = host["proof"].get("facts", {})
    words = [f"{host['name']:<9}{host['address']:<16}{host['system']}"]
    if "postgresql" in facts:
        words.append(f"PostgreSQL {facts['postgresql']}")
    if certificates := facts.get("certificates"):
        words.append(f"certificates until {min(certificates.values())}")
    checks = "; ".join(check["name"] for check in host["proof"].get("checks", []))
    wrapped = textwrap.wrap(checks, WIDTH, initial_indent="    ", subsequent_indent="    ")
    return ["  " + ", ".join(words), *wrapped]


def summary(arguments: dict[str, Any]) -> list[str]:
    """The summary without secrets, line by line."""
    hosts = arguments["hosts"]
    count = sum(len(host["proof"].get("checks", [])) for host in hosts)
    lines = [arguments["title"]]
    for host in hosts:
        lines += describe_host(host)
    lines.append(
        f"{count} checks passed: what must work works, what must be refused is refused."
        if count
        else "Nothing was checked: this was a run in check mode."
    )
    return [
        *lines,
        f"Fleet administrators log in at {arguments['url']}",
        f"Application users log in at    {arguments['backend_url']}",
        f"Certificate authority of both: {arguments['ca']}",
    ]


def administrators(path: Path, populations: list[str]) -> list[str]:
    """The new one-time passwords, line by line; empty when there is none."""
    if not populations:
        return []
    entries = json.loads(path.read_text())
    lines = ["First administrators, with one-time passwords to be changed at the first login:"]
    lines += [
        f"  {population:<9}{entries[population]['username']}  {entries[population]['password']}"
        for population in populations
    ]
    lines.append(f"They are kept in {path}, and nowhere else.")
    return lines


class ActionModule(ActionBase):
    """See DOCUMENTATION."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "title": {"type": "str", "required": True},
                "url": {"type": "str", "required": True},
                "backend_url": {"type": "str", "required": True},
                "ca": {"type": "path", "required": True},
                "site_file": {"type": "path", "required": True},
                "hosts": {"type": "list", "elements": "str", "required": True},
                "new_administrators": {"type": "list", "elements": "str", "default": []},
            }
        )
        populations = [] if self._task.check_mode else arguments["new_administrators"]
        hostvars = (task_vars or {})["hostvars"]
        arguments["hosts"] = [host_of(name, hostvars[name]) for name in arguments["hosts"]]
        self._display.display("\n" + "\n".join(summary(arguments)), color="green")
        if secret := administrators(Path(arguments["site_file"]), populations):
            self._display.display("\n".join(secret), color="yellow", screen_only=True)
        self._display.display("")
        return {"changed": False}
