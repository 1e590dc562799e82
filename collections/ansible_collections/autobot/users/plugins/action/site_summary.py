"""Print what a run has made and proved, on one screen."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ansible_collections.autobot.users.plugins.plugin_utils.actions import ControllerAction

DOCUMENTATION = """
name: site_summary
short_description: summary of a run
description:
  - Prints the summary on the controller's terminal. One-time passwords are read from the site file
    and go to the terminal only - neither into the result of the task nor into a log file.
  - Fails when a check has failed, or a host was not checked, and says which and why.
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
    description:
      - Names of the hosts. Their address, facts, proof (C(proof_result)) and what ended it
        (C(proof_failure)) are host variables.
    type: list
    elements: str
    required: true
  warnings:
    description: What works, and is not as it should be.
    type: list
    elements: str
    default: []
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
    proof = variables.get("proof_result", {})
    return {
        "name": name,
        "address": variables["address"],
        "system": " ".join(
            str(facts.get(key, "")) for key in ("distribution", "distribution_version")
        ),
        "facts": proof.get("facts", {}),
        "checks": proof.get("checks", []),
        "unchecked": unchecked(proof, variables.get("proof_failure", "")),
    }


def unchecked(proof: Mapping[str, Any], failure: str) -> str:
    """Why a host was not checked; empty when it was, whatever its checks say."""
    if proof.get("checks"):
        return ""
    if failure:
        return f"not checked: {' '.join(failure.split())}"
    if proof:
        return "not checked: no check was made there"
    return "not checked: this run lost it before its proof; the reason stands above"


def describe_host(host: dict[str, Any], *, asked: bool) -> list[str]:
    """The lines of one host: what passed side by side, then each failure on lines of its own."""
    facts = host["facts"]
    words = [f"{host['name']:<9}{host['address']:<16}{host['system']}"]
    if "postgresql" in facts:
        words.append(f"PostgreSQL {facts['postgresql']}")
    if certificates := facts.get("certificates"):
        words.append(f"certificates until {min(certificates.values())}")
    passed = "; ".join(check["name"] for check in host["checks"] if check["ok"])
    failed = failures(host) if asked else []
    lines = [line for text in (passed, *failed) for line in wrapped(text)]
    return ["  " + ", ".join(words).rstrip(), *lines]


def failures(host: dict[str, Any]) -> list[str]:
    """What is not proved of a host, and why."""
    faults = [
        f"FAILED {check['name']}: {check['detail'].strip() or 'no reason was given'}"
        for check in host["checks"]
        if not check["ok"]
    ]
    return [f"FAILED {host['unchecked']}", *faults] if host["unchecked"] else faults


def wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="    ", subsequent_indent="    ")


def verdict(hosts: list[dict[str, Any]]) -> tuple[str, str]:
    """The last word about the checks, and the fault that the task fails with; empty when none."""
    checks = [check for host in hosts for check in host["checks"]]
    failed = [check for check in checks if not check["ok"]]
    faults = [
        f"{host['name']}: {fault.removeprefix('FAILED ')}"
        for host in hosts
        for fault in failures(host)
    ]
    if not hosts:
        faults = ["no host was named"]
    if not faults:
        said = "checks passed: what must work works, what must be refused is refused."
        return f"{len(checks)} {said}", ""
    unproved = [host["name"] for host in hosts if host["unchecked"]]
    said = f"{len(failed)} of {len(checks)} checks failed"
    if unproved:
        said += f", and {', '.join(unproved)} was not checked"
    return f"NOT PROVED: {said}. Remove the cause and run again.", "\n".join(faults)


def summary(arguments: dict[str, Any], *, asked: bool) -> tuple[list[str], str]:
    """The summary without secrets, line by line, and what is not proved."""
    hosts = arguments["hosts"]
    said, fault = verdict(hosts)
    if not asked:
        said, fault = "Nothing was checked: this was a run in check mode.", ""
    lines = [arguments["title"]]
    for host in hosts:
        lines += describe_host(host, asked=asked)
    return [
        *lines,
        said,
        *(f"WARNING: {warning}" for warning in arguments["warnings"]),
        f"Fleet administrators log in at {arguments['url']}",
        f"Application users log in at    {arguments['backend_url']}",
        f"Certificate authority of both: {arguments['ca']}",
    ], fault


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


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    OPTIONS: ClassVar = {
        "title": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "backend_url": {"type": "str", "required": True},
        "ca": {"type": "path", "required": True},
        "site_file": {"type": "path", "required": True},
        "hosts": {"type": "list", "elements": "str", "required": True},
        "warnings": {"type": "list", "elements": "str", "default": []},
        "new_administrators": {"type": "list", "elements": "str", "default": []},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        populations = [] if self._task.check_mode else arguments["new_administrators"]
        hostvars = self.variables["hostvars"]
        arguments["hosts"] = [host_of(name, hostvars[name]) for name in arguments["hosts"]]
        lines, fault = summary(arguments, asked=not self._task.check_mode)
        self._display.display("\n" + "\n".join(lines), color="red" if fault else "green")
        if secret := administrators(Path(arguments["site_file"]), populations):
            self._display.display("\n".join(secret), color="yellow", screen_only=True)
        self._display.display("")
        if fault:
            return {"failed": True, "msg": f"The site is not proved:\n{fault}"}
        return {"changed": False}
