#!/usr/bin/python
"""Move what an earlier release kept elsewhere, while services use it."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: moved_paths
short_description: directories and files under another name, and still under the old one
description:
  - Moves each path within its file system, and leaves a link in its place, in one step - there is
    no moment at which either name leads nowhere. What was moved before, or is not there, is left
    alone.
options:
  moves:
    description: Old names, and the new ones. Directories above the new ones are made, for root.
    type: list
    elements: dict
    required: true
    suboptions:
      path: {description: The old name., type: path, required: true}
      to: {description: The new name., type: path, required: true}
  marker:
    description: Nothing is moved where this is missing - the paths are somebody else's then.
    type: path
    required: true
"""

RETURN = """
moved:
  description: The old names of what was moved.
  type: list
  elements: str
  returned: always
"""

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def exchange(one: Path, other: Path) -> None:
    """Let two names change what they name. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    names = (AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other))
    if libc.renameat2(*names, RENAME_EXCHANGE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_link_to_itself(path: Path) -> bool:
    """Whether an interrupted run has left its link there."""
    return path.is_symlink() and path.readlink() == path


def is_due(old: Path, new: Path) -> bool:
    there = old.exists() and not old.is_symlink()
    return there and (is_link_to_itself(new) or not os.path.lexists(new))


def move(old: Path, new: Path) -> None:
    """Raises OSError, and nothing has changed then."""
    new.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not new.is_symlink():
        new.symlink_to(new)
    try:
        exchange(old, new)
    except OSError:
        new.unlink()
        raise


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "moves": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "to": {"type": "path", "required": True},
                },
            },
            "marker": {"type": "path", "required": True},
        },
        supports_check_mode=True,
    )
    pairs = [(Path(each["path"]), Path(each["to"])) for each in module.params["moves"]]
    due = [pair for pair in pairs if is_due(*pair)]
    if not Path(module.params["marker"]).exists():
        due = []
    if not module.check_mode:
        try:
            for old, new in due:
                move(old, new)
        except OSError as error:
            module.fail_json(
                msg=f"{old} cannot be moved to {new}: {error.strerror}. Move it by hand, leave a "
                f"link from {old} to it, and run this again."
            )
    module.exit_json(changed=bool(due), moved=[str(old) for old, _ in due])


if __name__ == "__main__":
    main()
