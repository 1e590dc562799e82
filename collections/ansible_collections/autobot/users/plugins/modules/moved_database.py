#!/usr/bin/python
"""Move AutoBot's database of users to this server, step by step."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.adoption.moving import Move
from ansible_collections.autobot.users.plugins.module_utils.adoption.renaming import set_aside
from ansible_collections.autobot.users.plugins.module_utils.adoption.servers import (
    MoveError,
    Server,
)

DOCUMENTATION = """
module: moved_database
short_description: AutoBot's database of users in the place of one of ours
description:
  - Each step reads off both servers what was done before, can be killed, and can be done again.
  - Runs as root on the host of our server, which it asks over its socket; with V(set_aside), on the
    host of the source's.
  - Check mode runs V(look), V(set_aside) and V(rehearse) alone, and changes nothing.
options:
  step:
    description:
      - "V(look): what would be moved, and what is in the way."
      - "V(copy): the database under its incoming name, with the same rows."
      - "V(check): whether the copy has these rows still, now that it was migrated."
      - "V(fence): nobody writes to the source any more."
      - "V(switch): the copy takes the place of the database that serves."
      - "V(set_aside): the source gets another name."
      - "V(undo): as it was before the first step. After the switch it is refused."
      - "V(name_back): the source has its name again."
      - "V(give_back): the source serves again, with all that came since the switch. Before that it
        is V(undo)."
      - "V(rehearse): whether V(give_back) can be; it is done as a whole, and taken back."
    type: str
    required: true
    choices: [look, copy, check, fence, switch, set_aside, undo, name_back, rehearse, give_back]
  source:
    description: The database to move.
    type: dict
    required: true
    suboptions:
      address: {description: Where it is., type: str, required: true}
      port: {description: Its port., type: int, required: true}
      database: {description: Its name., type: str, required: true}
      user: {description: Its owner., type: str, required: true}
      password: {description: The owner's password., type: str, required: true}
      tls: {description: "How it is verified, as libpq says it.", type: str, required: true}
      authority: {description: File of the CA that signed its certificate., type: path}
  database:
    description: The database whose place it takes.
    type: str
    required: true
  verifier:
    description: SCRAM verifier of the same password, for this server.
    type: str
    required: true
  roles:
    description: Roles of ours, whose name its owner cannot have.
    type: list
    elements: str
    required: true
  programs:
    description: Directory of PostgreSQL's programs.
    type: path
    required: true
  kept:
    description: The source's name once it is set aside.
    type: str
    required: true
"""

RETURN = """
found:
  description: What the step has to say. V(look) has C(problems), and C(moved).
  type: dict
  returned: always
"""

# Verifiers do not belong into the server's log.
SILENT = {
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
}
READING = ("look", "set_aside", "rehearse")
STEPS = [
    *("look", "copy", "check", "fence", "switch", "set_aside", "undo"),
    *("name_back", "rehearse", "give_back"),
]


def local(parameters: dict[str, Any], port: int = 5432) -> Server:
    """The server of this host, asked by its superuser."""
    return Server("postgres", parameters["programs"], port=port, account="postgres", options=SILENT)


def move(parameters: dict[str, Any]) -> Move:
    source = parameters["source"]
    return Move(
        source=Server(
            source["user"],
            parameters["programs"],
            host=source["address"],
            port=source["port"],
            password=source["password"],
            tls=source["tls"],
            authority=source["authority"] or "",
            account="postgres",
        ),
        database=source["database"],
        target=local(parameters),
        name=parameters["database"],
        verifier=parameters["verifier"],
        ours=tuple(parameters["roles"]),
    )


def take(parameters: dict[str, Any], *, check: bool) -> tuple[bool, dict[str, Any]]:
    """Whether a step changed anything, and what it has to say. Raises MoveError."""
    step, source = parameters["step"], parameters["source"]
    server, names = local(parameters, source["port"]), (source["database"], parameters["kept"])
    if step == "set_aside":
        return set_aside(server, *names, check=check), {}
    if step == "name_back":
        return set_aside(server, *reversed(names)), {}
    moved = move(parameters)
    # A switch that was killed.
    opened = not check and moved.open()
    if step == "look":
        return opened, moved.look()
    if step == "rehearse":
        return False, moved.rehearse(parameters["kept"])
    if step == "undo":
        return moved.undo() or opened, {}
    found: dict[str, Any] = getattr(moved, step)()
    return found.get("changed", step != "check"), found


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "step": {
                "type": "str",
                "required": True,
                "choices": STEPS,
            },
            "source": {
                "type": "dict",
                "required": True,
                "options": {
                    "address": {"type": "str", "required": True},
                    "port": {"type": "int", "required": True},
                    "database": {"type": "str", "required": True},
                    "user": {"type": "str", "required": True},
                    "password": {"type": "str", "required": True, "no_log": True},
                    "tls": {"type": "str", "required": True},
                    "authority": {"type": "path"},
                },
            },
            "database": {"type": "str", "required": True},
            "verifier": {"type": "str", "required": True, "no_log": True},
            "roles": {"type": "list", "elements": "str", "required": True},
            "programs": {"type": "path", "required": True},
            "kept": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    if module.check_mode and module.params["step"] not in READING:
        module.exit_json(changed=True, found={})
    try:
        changed, found = take(module.params, check=module.check_mode)
    except (MoveError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=changed, found=found)


if __name__ == "__main__":
    main()
