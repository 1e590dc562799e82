#!/usr/bin/python
"""Write several files and directories to a host in one step."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: host_files
short_description: several files and directories in one step
description:
  - Brings each entry, in order, to its content, owner and mode; a file is replaced as a whole.
  - The action plugin of the same name renders the role's templates first. One step for all of them,
    because each further task costs a run half a second.
options:
  files:
    description: The entries.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where it is on the host.
        type: path
        required: true
      directory:
        description: Whether it is a directory.
        type: bool
        default: false
      content:
        description: What the file holds; not given for a directory or where O(secrets) has it.
        type: str
      owner:
        description: User to whom it belongs.
        type: str
        default: root
      group:
        description: Group to which it belongs.
        type: str
        default: root
      mode:
        description: Its permissions.
        type: str
      validate:
        description: Command that must accept a new file, C(%s), before it is put in place.
        type: str
  secrets:
    description: Path to the content of files whose content is never shown.
    type: dict
    default: {}
"""

RETURN = """
written:
  description: Paths that were not as they must be.
  type: list
  elements: str
  returned: always
"""


def identity(owner: str, group: str) -> tuple[int, int] | None:
    """The numbers of a user and a group; None as long as there are none (in check mode)."""
    try:
        return pwd.getpwnam(owner).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def is_so(path: Path, wanted: tuple[int, int] | None, mode: int, *, directory: bool) -> bool:
    """Whether a path is of the right kind, and owner, group and mode are right."""
    try:
        state = path.lstat()
    except FileNotFoundError:
        return False
    kind = path.is_dir() if directory else path.is_file()
    return (
        kind
        and not path.is_symlink()
        and (state.st_uid, state.st_gid) == wanted
        and state.st_mode & 0o7777 == mode
    )


class Writer:
    """Brings entries to what they must be."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._secrets: dict[str, str] = module.params["secrets"]
        self.written: list[str] = []
        self.diffs: list[dict[str, str]] = []

    def bring(self, entry: dict[str, Any]) -> None:
        path, directory = Path(entry["path"]), entry["directory"]
        mode = int(entry["mode"] or ("0755" if directory else "0644"), 8)
        wanted = identity(entry["owner"], entry["group"])
        if wanted is None and not self._module.check_mode:
            self._module.fail_json(
                msg=f"{path}: there is no user {entry['owner']} or no group {entry['group']}"
            )
        good = is_so(path, wanted, mode, directory=directory)
        if directory:
            if not good:
                self._note(path, "", "")
                if wanted and not self._module.check_mode:
                    path.mkdir(mode=0o700, parents=True, exist_ok=True)
                    os.chown(path, *wanted)
                    path.chmod(mode)
            return
        secret = entry["path"] in self._secrets
        content = self._secrets[entry["path"]] if secret else entry["content"]
        before = path.read_text() if path.is_file() else ""
        if good and before == content:
            return
        self._note(path, "" if secret else before, "" if secret else content)
        if wanted and not self._module.check_mode:
            self._replace(path, content, wanted, mode, entry["validate"])

    def _note(self, path: Path, before: str, after: str) -> None:
        self.written.append(str(path))
        self.diffs.append(
            {
                "before_header": str(path),
                "after_header": str(path),
                "before": before,
                "after": after,
            }
        )

    def _replace(
        self, path: Path, content: str, wanted: tuple[int, int], mode: int, validate: str | None
    ) -> None:
        """Write the file aside, have it checked, and rename it."""
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # mkstemp makes the file with mode 0600.
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w") as stream:
                stream.write(content)
                os.fchown(stream.fileno(), *wanted)
                os.fchmod(stream.fileno(), mode)
                stream.flush()
                os.fsync(stream.fileno())
            if validate:
                command = [part.replace("%s", partial) for part in shlex.split(validate)]
                status, output, error = self._module.run_command(command)
                if status:
                    self._module.fail_json(
                        msg=f"{path} was not replaced, because it is not valid: "
                        f"{(output + error).strip() or f'status {status}'}"
                    )
            Path(partial).replace(path)
        finally:
            Path(partial).unlink(missing_ok=True)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "path": {"type": "path", "required": True},
                    "directory": {"type": "bool", "default": False},
                    "content": {"type": "str"},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                    "validate": {"type": "str"},
                },
            },
            "secrets": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    writer = Writer(module)
    for entry in module.params["files"]:
        writer.bring(entry)
    module.exit_json(changed=bool(writer.written), written=writer.written, diff=writer.diffs)


if __name__ == "__main__":
    main()
