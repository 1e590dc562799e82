#!/usr/bin/python
"""Give the fleet manager's table back what its people have with us, once."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.adoption.fleet_table import (
    give_back_table,
    is_there,
)
from ansible_collections.autobot.users.plugins.module_utils.adoption.servers import (
    MoveError,
    Server,
)
from ansible_collections.autobot.users.plugins.module_utils.files import replace_file

DOCUMENTATION = """
module: fleet_table
short_description: The fleet manager's table as its people are with us
description:
  - Runs as root on the host that has both databases, and asks PostgreSQL over its socket.
  - Notes what was given back, and does not give it back again - AutoBot's people have changed their
    passwords there since.
options:
  database:
    description: The fleet manager's database.
    type: str
    required: true
  port:
    description: The port of its server.
    type: int
    required: true
  ours:
    description: The database of ours that its people came to, of the server at 5432.
    type: str
    required: true
  programs:
    description: Directory of PostgreSQL's programs.
    type: path
    required: true
  note:
    description: File with what was given back.
    type: path
    required: true
"""

RETURN = """
reason:
  description: Why nothing was given back; empty where it was.
  type: str
  returned: always
unreadable:
  description: Whose password could not come.
  type: list
  returned: always
kept_names:
  description: Rows with a name that their person does not have with us.
  type: list
  returned: always
"""


def local(programs: str, port: int) -> Server:
    """A server of this host, asked by its superuser."""
    return Server("postgres", programs, port=port, account="postgres")


def read(note: Path) -> dict[str, Any]:
    try:
        said = json.loads(note.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def write(note: Path, said: dict[str, Any]) -> None:
    replace_file(note, json.dumps(said).encode(), mode=0o644)


def give_back(
    theirs: Server, table_of: str, ours: Server, database: str, note: Path, *, check: bool = False
) -> dict[str, Any]:
    """What came of it. Raises MoveError, OSError."""
    nothing = {"changed": False, "unreadable": [], "kept_names": []}
    name = f"{theirs.port}/{table_of}"
    said = read(note)
    if name in said:
        at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(said[name]))
        return nothing | {"reason": f"It was given back on {at}."}
    for server, wanted in ((ours, database), (theirs, table_of)):
        if not is_there(server, wanted):
            return nothing | {"reason": f"There is no database {wanted} any more."}
    if check:
        return nothing | {"reason": "", "changed": True}
    found = give_back_table(ours, database, theirs, table_of)
    write(note, said | {name: int(time.time())})
    return {
        "changed": True,
        "reason": "",
        "unreadable": found.unreadable,
        "kept_names": found.kept_names,
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "database": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "ours": {"type": "str", "required": True},
            "programs": {"type": "path", "required": True},
            "note": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        found = give_back(
            local(given["programs"], given["port"]),
            given["database"],
            local(given["programs"], 5432),
            given["ours"],
            Path(given["note"]),
            check=module.check_mode,
        )
    except (MoveError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(**found)


if __name__ == "__main__":
    main()
