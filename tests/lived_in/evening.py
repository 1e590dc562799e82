"""What an operator types at a take-over: the commands of docs/takeover.md, as they stand there."""

from __future__ import annotations

import re
import shlex

from tests.lab.site import ROOT, Result, Run, ansible, on

DOCUMENT = ROOT / "docs" / "takeover.md"
# Of the operator's own site; the lab's is the default here.
OF_PRODUCTION = " -i inventory/production --vault-id production@prompt"


def stands_there(command: str) -> None:
    text = DOCUMENT.read_text().replace(OF_PRODUCTION, "")
    found = re.search(rf"(^|`){re.escape(command)}(`|$)", text, re.MULTILINE)
    assert found, f"{DOCUMENT.name} has no such command: {command}"


def typed(command: str) -> Run:
    """A run of Ansible's."""
    stands_there(command)
    program, *arguments = shlex.split(command)
    assert program == "ansible-playbook"
    return ansible(*arguments)


def typed_on(name: str, command: str) -> Result:
    """A command on a host of the site."""
    stands_there(command)
    return on(name, *shlex.split(command))
