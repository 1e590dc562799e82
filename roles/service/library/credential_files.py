#!/usr/bin/python
"""Write credentials as files that root alone can read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: credential_files
short_description: a directory of credentials
description:
  - Makes the directory hold exactly the given files, in one step for all of them. The directory
    has mode 0700 and each file 0600; a file is replaced as a whole. Contents are never shown.
options:
  path:
    description: The directory. Its parent exists.
    type: path
    required: true
  credentials:
    description: Name of the file to its content.
    type: dict
    required: true
"""

RETURN = """
written:
  description: Names of the files that were written.
  type: list
  elements: str
  returned: always
removed:
  description: Names of the files that were removed.
  type: list
  elements: str
  returned: always
"""


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


def is_current(path: Path, content: str) -> bool:
    return path.is_file() and permissions(path) == 0o600 and path.read_text() == content


def replace(path: Path, content: str) -> None:
    """Write the file aside, with mode 0600 from the start, and rename it."""
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as stream:
        stream.write(content)
    Path(partial).replace(path)


def bring(
    directory: Path, credentials: dict[str, str], *, check: bool
) -> tuple[bool, list[str], list[str]]:
    """Make the directory as it must be.

    Returns whether the directory itself was not so, the names written and the names removed.
    """
    exists = directory.is_dir()
    wrong_directory = not exists or permissions(directory) != 0o700
    written = [
        name for name, content in credentials.items() if not is_current(directory / name, content)
    ]
    removed = sorted(path.name for path in directory.glob("*") if path.name not in credentials)
    if not check:
        if wrong_directory:
            directory.mkdir(mode=0o700, exist_ok=True)
            directory.chmod(0o700)
        for name in written:
            replace(directory / name, credentials[name])
        for name in removed:
            (directory / name).unlink()
    return wrong_directory, written, removed


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "credentials": {"type": "dict", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    wrong_directory, written, removed = bring(
        Path(module.params["path"]), module.params["credentials"], check=module.check_mode
    )
    module.exit_json(
        changed=bool(wrong_directory or written or removed), written=written, removed=removed
    )


if __name__ == "__main__":
    main()
