#!/usr/bin/python
"""Write several files and directories to a host in one step."""

from __future__ import annotations

import grp
import os
import pwd
import re
import shlex
from base64 import b64decode
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.before import (
    ABSENT,
    DIRECTORY,
    Ledger,
    digest,
)
from ansible_collections.autobot.users.plugins.module_utils.files import replace_file
from ansible_collections.autobot.users.plugins.module_utils.survey.reading import (
    group_name,
    user_name,
)

DOCUMENTATION = """
module: host_files
short_description: several files and directories in one step
description:
  - Brings each entry, in order, to its content, owner and mode; a file is replaced as a whole.
  - What was there before the first deployment is kept, and what is written is noted, so that it can
    be told from what is somebody else's (C(module_utils/before)).
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
      exact:
        description: Whether a directory holds no other files than those of the entries.
        type: bool
        default: false
      absent:
        description: Whether nothing may be there; what is there goes with the others' change.
        type: bool
        default: false
      content:
        description: What the file holds; not given for a directory or where O(secrets) has it.
        type: str
      base64:
        description: Whether the content is coded so, because it is no text. A diff leaves it out.
        type: bool
        default: false
      edit:
        description:
          - Instead, what to change in a file that is there. Its owner, group and mode stay.
        type: dict
        suboptions:
          pattern: {description: Regular expression of Python; C(^) begins a line., type: str}
          replacement: {description: What takes the place of each match., type: str}
      backup:
        description: Whether a copy of a file that is replaced stays beside it.
        type: bool
        default: false
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
  aside:
    description:
      - Directory to which the files are written instead, all of them, when one is not as it must be
        in its place. Below C(files) they have their paths; C(absent) names, a line each, those that
        must not be there. What was written there for other entries stays.
      - Directories are made in their places.
    type: path
  always_aside:
    description: Whether they are written aside also when each is as it must be.
    type: bool
    default: false
"""

RETURN = """
written:
  description: Paths that were not as they must be.
  type: list
  elements: str
  returned: always
pending:
  description: Whether something is in C(aside), of these entries or of others.
  type: bool
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


def mode_of(entry: dict[str, Any]) -> int:
    """The permissions of an entry."""
    return int(entry["mode"] or ("0755" if entry["directory"] else "0644"), 8)


def files(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries that are no directories, and are to be there."""
    return [entry for entry in entries if not entry["directory"] and not entry["absent"]]


class Writer:
    """Brings entries to what they must be, in their places or aside."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._secrets: dict[str, str] = module.params["secrets"]
        self._aside: str | None = module.params["aside"]
        self._ledger = Ledger()
        self.written: list[str] = []
        self.diffs: list[dict[str, str]] = []

    def bring(self, given: list[dict[str, Any]]) -> None:
        entries = [self._edited(entry) if entry.get("edit") else entry for entry in given]
        wrong = [entry for entry in entries if not entry["absent"] and not self._is_right(entry)]
        strangers = self._strangers(entries)
        if self._module.check_mode:
            return
        self._note_all(entries, wrong, strangers)
        for entry in wrong:
            if entry["directory"]:
                self._make(entry)
        if self._aside is None:
            for entry in files(wrong):
                self._write(entry, Path(entry["path"]))
            for path in strangers:
                path.unlink()
        elif self.written or self._module.params["always_aside"]:
            Path(self._aside).mkdir(mode=0o700, parents=True, exist_ok=True)
            for entry in files(entries):
                self._write(entry, Path(f"{self._aside}/files{entry['path']}"))
            with (Path(self._aside) / "absent").open("a") as absent:
                absent.writelines(f"{path}\n" for path in strangers)

    @property
    def pending(self) -> bool:
        """Whether something is, or would be, aside: of these entries or of others."""
        aside = self._aside
        return aside is not None and (bool(self.written) or os.path.lexists(aside))

    def _edited(self, entry: dict[str, Any]) -> dict[str, Any]:
        """An entry that changes a file, as one that has all of the file."""
        path = Path(entry["path"])
        if not path.is_file():
            self._module.fail_json(msg=f"{path} is not there, and cannot be changed.")
        state, edit = path.stat(), entry["edit"]
        return {
            **entry,
            "content": re.sub(
                edit["pattern"], edit["replacement"], path.read_text(), flags=re.MULTILINE
            ),
            "owner": user_name(state.st_uid),
            "group": group_name(state.st_gid),
            "mode": f"{state.st_mode & 0o7777:o}",
        }

    def _note_all(
        self, entries: list[dict[str, Any]], wrong: list[dict[str, Any]], strangers: list[Path]
    ) -> None:
        """Say what is to be written, also of what an interrupted run has written already."""
        for entry in wrong:
            if entry["directory"]:
                self._ledger.note(entry["path"], DIRECTORY)
        for entry in files(entries):
            self._ledger.note(entry["path"], digest(self._content(entry)))
        for path in strangers:
            self._ledger.note(path, ABSENT)

    def _is_right(self, entry: dict[str, Any]) -> bool:
        """Whether an entry is in its place as it must be; noted where it is not."""
        path, directory = Path(entry["path"]), entry["directory"]
        wanted = identity(entry["owner"], entry["group"])
        if wanted is None and not self._module.check_mode:
            self._module.fail_json(
                msg=f"{path}: there is no user {entry['owner']} or no group {entry['group']}"
            )
        good = is_so(path, wanted, mode_of(entry), directory=directory)
        before = path.read_bytes() if not directory and path.is_file() else b""
        content = b"" if directory else self._content(entry)
        if good and before == content:
            return True
        if entry["path"] in self._secrets or entry["base64"]:
            before = content = b""
        self._note(path, before.decode(errors="replace"), content.decode(errors="replace"))
        return False

    def _strangers(self, entries: list[dict[str, Any]]) -> list[Path]:
        """What is to go: the files of exact directories that no entry names, and those named so."""
        named = {entry["path"] for entry in entries}
        found = [
            Path(entry["path"])
            for entry in entries
            if entry["absent"] and os.path.lexists(entry["path"])
        ] + [
            path
            for entry in entries
            if entry["exact"]
            for path in sorted(Path(entry["path"]).glob("*"))
            if str(path) not in named
        ]
        for path in found:
            self._note(path, "", "")
        return found

    def _content(self, entry: dict[str, Any]) -> bytes:
        path = entry["path"]
        content: str = self._secrets[path] if path in self._secrets else entry["content"]
        return b64decode(content) if entry["base64"] else content.encode()

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

    def _make(self, entry: dict[str, Any]) -> None:
        """Make a directory, or give it its owner and mode."""
        path = Path(entry["path"])
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if wanted := identity(entry["owner"], entry["group"]):
            os.chown(path, *wanted)
        path.chmod(mode_of(entry))

    def _write(self, entry: dict[str, Any], place: Path) -> None:
        if entry["backup"] and self._aside is None and place.exists():
            kept = self._module.backup_local(str(place))
            self._ledger.note(kept, digest(Path(kept).read_bytes()))
        if wanted := identity(entry["owner"], entry["group"]):
            self._replace(place, self._content(entry), wanted, mode_of(entry), entry["validate"])

    def _replace(
        self, path: Path, content: bytes, wanted: tuple[int, int], mode: int, validate: str | None
    ) -> None:
        """Write the file aside, have it checked, and rename it."""

        def check(partial: str) -> None:
            if not validate:
                return
            command = [part.replace("%s", partial) for part in shlex.split(validate)]
            status, output, error = self._module.run_command(command)
            if status:
                self._module.fail_json(
                    msg=f"{path} was not replaced, because it is not valid: "
                    f"{(output + error).strip() or f'status {status}'}"
                )

        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        replace_file(path, content, mode=mode, owner=wanted, check=check)


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
                    "exact": {"type": "bool", "default": False},
                    "absent": {"type": "bool", "default": False},
                    "content": {"type": "str"},
                    "base64": {"type": "bool", "default": False},
                    "edit": {
                        "type": "dict",
                        "options": {"pattern": {"type": "str"}, "replacement": {"type": "str"}},
                    },
                    "backup": {"type": "bool", "default": False},
                    "owner": {"type": "str", "default": "root"},
                    "group": {"type": "str", "default": "root"},
                    "mode": {"type": "str"},
                    "validate": {"type": "str"},
                },
            },
            "secrets": {"type": "dict", "default": {}, "no_log": True},
            "aside": {"type": "path"},
            "always_aside": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    writer = Writer(module)
    writer.bring(module.params["files"])
    module.exit_json(
        changed=bool(writer.written),
        written=writer.written,
        pending=writer.pending,
        diff=writer.diffs,
    )


if __name__ == "__main__":
    main()
