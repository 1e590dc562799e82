#!/usr/bin/python
"""Let ufw accept what the site's services need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.survey.firewalls import (
    EVERYWHERE,
    OPENING,
    read_ufw,
)

DOCUMENTATION = """
module: ufw_openings
short_description: rules of the site among those of ufw
description:
  - Adds what is missing behind the rules that are there, so that what these deny stays denied, and
    takes out rules of the site that are not wanted any more. They are known by their comment.
  - Rules of others are never changed. Of one and the same traffic ufw has one rule - where it is
    somebody else's, what that says holds.
options:
  rules:
    description: >-
      What is to be let in, C(ports) of TCP and their C(sources), addresses and networks; empty
      takes out all rules of the site.
    type: list
    elements: dict
    required: true
"""

RETURN = """
commands:
  description: The commands of ufw that were run, or would be in check mode.
  type: list
  elements: str
  returned: always
"""


def bare(source: str) -> str:
    """An address or a network as the survey has it of ufw."""
    if source in EVERYWHERE:
        return "any"
    return source.removesuffix("/32").removesuffix("/128")


def key_of(rule: dict[str, Any]) -> tuple[str, str]:
    """What a rule that was found is told by."""
    return bare(rule["source"]), ",".join(rule["ports"])


def is_plain(rule: dict[str, Any]) -> bool:
    """Whether a rule says of an opening no more than from where and to which port."""
    return (rule["protocol"], rule["destination"], rule["interface"]) == ("tcp", "any", "")


def commands(found: list[dict[str, Any]], rules: list[dict[str, Any]]) -> list[list[str]]:
    """The arguments of ufw that make the site's rules among `found` (as the survey has it) so."""
    wanted = {
        (bare(source), str(port)): None
        for rule in rules
        for port in rule["ports"]
        for source in rule["sources"]
    }
    there = {key_of(rule): None for rule in found if rule["comment"] == OPENING}
    # To add theirs would make it ours, action and comment, and later it would be taken out.
    theirs = {key_of(rule): None for rule in found if rule["comment"] != OPENING and is_plain(rule)}

    def allow(source: str, port: str) -> list[str]:
        return ["allow", "from", source, "to", "any", "port", port, "proto", "tcp"]

    missing = [[*allow(*key), "comment", OPENING] for key in wanted if key not in there | theirs]
    return missing + [["delete", *allow(*key)] for key in there if key not in wanted]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "rules": {
                "type": "list",
                "elements": "dict",
                "required": True,
            },
        },
        supports_check_mode=True,
    )
    due = commands(read_ufw(Path("/etc"))["rules"], module.params["rules"])
    if not module.check_mode:
        for arguments in due:
            module.run_command(["ufw", *arguments], check_rc=True)
    module.exit_json(changed=bool(due), commands=[" ".join(["ufw", *each]) for each in due])


if __name__ == "__main__":
    main()
