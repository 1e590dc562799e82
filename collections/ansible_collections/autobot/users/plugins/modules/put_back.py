#!/usr/bin/python
"""Put a host's files back as they were before its first deployment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.before import (
    ABSENT,
    BEFORE,
    DIRECTORY,
    UNIT,
    Before,
    copy,
    give,
    members,
    state_of,
)

DOCUMENTATION = """
module: put_back
short_description: a host's files as they were before its first deployment
description:
  - Goes by what deployments have noted (C(module_utils/before)). A path that they wrote,
    and that is still as one of them left it, gets its first copy back, or is removed where nothing
    was. A path that somebody else has changed since is not touched, and named.
  - Each file is replaced in one step; what was put back is right at the next time, so that a run
    that is killed is completed by the next one.
options:
  directory:
    description: Where the first copies are.
    type: path
    default: /var/lib/autobot-before
  below:
    description: Only what is below one of these paths; all by default.
    type: list
    elements: path
    default: [/]
  trees:
    description: Directories of the deployments alone, which go with all that is in them.
    type: list
    elements: path
    default: []
  trial:
    description: >-
      Command that must accept the files before they are put back, and in check mode too. It sees
      them in place of those of the one path of O(below), and nobody else does.
    type: list
    elements: str
    default: []
"""

RETURN = """
put_back:
  description: Paths that got their first copy.
  type: list
  elements: str
  returned: always
removed:
  description: Paths that were not there before.
  type: list
  elements: str
  returned: always
conflicts:
  description: >-
    Paths that somebody else has changed since, each with C(was), C(there) or C(absent) before the
    first deployment, and C(kept), where its first copy is or would be.
  type: list
  elements: dict
  returned: always
left:
  description: Paths that are not as they were, and stay, each with the reason behind a colon.
  type: list
  elements: str
  returned: always
kept:
  description: Paths of the first copies that were there.
  type: list
  elements: str
  returned: always
noted:
  description: All units that deployments let run.
  type: list
  elements: str
  returned: always
units:
  description: Units that deployments let run, and that did not run before or are removed.
  type: list
  elements: str
  returned: always
again:
  description: Units that ran, whose files are put back.
  type: list
  elements: str
  returned: always
"""

SYSTEMD = Path("/etc/systemd/system")
UNIT_FILES = (".service", ".socket", ".timer")
# Of a host that is as it was found again.
NOTHING: dict[str, list[Any]] = {
    name: []
    for name in ("put_back", "removed", "conflicts", "left", "kept", "noted", "units", "again")
}


def is_below(path: Path, tops: list[Path]) -> bool:
    return any(top == path or top in path.parents for top in tops)


def is_same(path: Path, kept: Path) -> bool:
    """Whether a path is as its copy, owner, group and mode included."""
    if state_of(path) != state_of(kept):
        return False
    one, other = path.lstat(), kept.lstat()
    return (one.st_uid, one.st_gid, one.st_mode) == (other.st_uid, other.st_gid, other.st_mode)


class Way:
    """The way back of one host, and what is on it."""

    def __init__(self, before: Before, below: list[Path], trees: list[Path]) -> None:
        self.before = before
        self._below = below
        self._trees = trees
        self._known = before.known()
        self._paths: dict[str, str] = json.loads(before.manifest.read_text())["paths"]
        self.put_back: list[Path] = []
        self.removed: list[Path] = []
        self.conflicts: list[dict[str, str]] = []
        self.left: list[str] = []
        written = sorted(Path(path) for path in self._known if path.startswith("/"))
        for path in written:
            if is_below(path, below) and not is_below(path, trees):
                self._judge(path)
        self._judge_links()
        for tree in trees:
            if is_below(tree, below):
                self._judge_tree(tree)
        # From the deepest up: one may be empty only then.
        for path in reversed(written):
            if DIRECTORY in self._known[str(path)] and is_below(path, below):
                self._judge_directory(path)
        for top, what in self._paths.items():
            self._name_others(Path(top), what)

    def _judge(self, path: Path) -> None:
        kept = self.before.copy_of(path)
        was_there = os.path.lexists(kept)
        states = self._known[str(path)] - {DIRECTORY}
        now = state_of(path)
        if not states or (is_same(path, kept) if was_there else now == ABSENT):
            return
        if was_there and now == state_of(kept):
            self.put_back.append(path)
        elif now not in states:
            self.conflicts.append(
                {"path": str(path), "kept": str(kept), "was": "there" if was_there else ABSENT}
            )
        elif was_there:
            self.put_back.append(path)
        else:
            self.removed.append(path)

    def _judge_links(self) -> None:
        """What enabled a unit: systemd's own link, which `systemctl disable` takes out too."""
        mine = {*self.noted(), *(path.name for path in self.removed)}
        for path in sorted(SYSTEMD.glob("*.wants/*")) if is_below(SYSTEMD, self._below) else ():
            if path.name in mine and not os.path.lexists(self.before.copy_of(path)):
                self.removed.append(path)
        for directory in sorted({path.parent for path in self.removed}):
            if (
                directory.suffix == ".wants"
                and not os.path.lexists(self.before.copy_of(directory))
                and set(directory.iterdir()) <= set(self.removed)
            ):
                self.removed.append(directory)

    def _judge_tree(self, tree: Path) -> None:
        if os.path.lexists(self.before.copy_of(tree)):
            self._leave(tree, "it was there before the first deployment, and has files of others")
        elif os.path.lexists(tree):
            self.removed.append(tree)

    def _judge_directory(self, path: Path) -> None:
        if is_below(path, self._trees) or not path.is_dir() or path.is_symlink():
            return
        kept = self.before.copy_of(path)
        if os.path.lexists(kept):
            if not is_same(path, kept):
                self.put_back.append(path)
            return
        if set(path.iterdir()) <= set(self.removed):
            self.removed.append(path)
        elif not any(Path(each["path"]).parent == path for each in self.conflicts):
            self._leave(path, "it holds data, or what others have put there")

    def _name_others(self, top: Path, what: str) -> None:
        """Name what differs from the copies and is nobody's here."""
        if is_below(top, self._trees) or not is_below(top, self._below):
            return
        if what == ABSENT:
            if os.path.lexists(top) and top not in self.removed and str(top) not in self._known:
                self._leave(top, "it came with a package")
            return
        known = {str(path) for path in self.removed} | set(self._known)
        kept = self.before.copy_of(top)
        names = {each.relative_to(top) for each in members(top)}
        names |= {each.relative_to(kept) for each in members(kept)}
        for name in sorted(names):
            path, copied = top / name, kept / name
            if str(path) in known or is_below(path, self.removed):
                continue
            if not os.path.lexists(copied):
                self._leave(path, "a package or somebody else has put it there since")
            elif not is_same(path, copied):
                self._leave(path, f"somebody else has changed it since; its first copy is {copied}")

    def _leave(self, path: Path, why: str) -> None:
        self.left.append(f"{path}: {why}")

    def said(self) -> dict[str, Any]:
        """What the module returns."""
        return {
            "put_back": [str(path) for path in self.put_back],
            "removed": [str(path) for path in self.removed],
            "conflicts": self.conflicts,
            "left": self.left,
            "kept": self.kept(),
            "noted": self.noted(),
            "units": self.units(),
            "again": self.again(),
        }

    def kept(self) -> list[str]:
        return [path for path, what in self._paths.items() if what == "kept"]

    def noted(self) -> list[str]:
        return sorted(name for name, states in self._known.items() if UNIT in states)

    def units(self) -> list[str]:
        """What a deployment has brought to run."""
        noted = set(self.noted()) - self._ran()
        files = {path.name for path in self.removed if self._is_unit(path)}
        present = {path.name for path in SYSTEMD.iterdir()} if SYSTEMD.is_dir() else set()
        gone = {
            name for name in noted if str(SYSTEMD / name) in self._known and name not in present
        }
        return sorted((noted | files) - gone)

    def again(self) -> list[str]:
        """What ran, and gets its file back."""
        return sorted({path.name for path in self.put_back if self._is_unit(path)} & self._ran())

    def _is_unit(self, path: Path) -> bool:
        return path.parent == SYSTEMD and path.suffix in UNIT_FILES

    def _ran(self) -> set[str]:
        """The units that were active at the first time: UNIT LOAD ACTIVE SUB DESCRIPTION."""
        listed = self.before.directory / "running/units"
        lines = listed.read_text().splitlines() if listed.exists() else []
        return {
            words[0] for words in map(str.split, lines) if len(words) > 2 and words[2] == "active"
        }

    def go(self, root: str = "") -> None:
        """Put back and remove, below another root where it is a trial. Raises OSError."""
        for path in self.put_back:
            place = Path(f"{root}{path}")
            kept = self.before.copy_of(path)
            if kept.is_dir() and not kept.is_symlink():
                give(place, kept)
                continue
            place.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            part = place.with_name(f".{place.name}.autobot-part")
            part.unlink(missing_ok=True)
            copy(kept, part)
            part.replace(place)
        for path in self.removed:
            place = Path(f"{root}{path}")
            if place.is_dir() and not place.is_symlink():
                # Whoever put something there since keeps it.
                shutil.rmtree(place) if path in self._trees else remove_empty(place)
            else:
                place.unlink(missing_ok=True)


def remove_empty(path: Path) -> None:
    """Remove a directory, if nothing is in it."""
    if not any(path.iterdir()):
        path.rmdir()


def tried(way: Way, path: Path, command: list[str]) -> str:
    """What a command says against the files as they would be; nothing where it accepts them.

    They are put over those in use in a namespace of mounts that the command alone has.
    """
    with tempfile.TemporaryDirectory(dir=way.before.directory) as directory:
        trial = Path(f"{directory}{path}")
        trial.parent.mkdir(parents=True)
        copy(path, trial)
        way.go(directory)
        mounted = 'mount --bind "$0" "$1" && shift && exec "$@"'
        done = subprocess.run(  # noqa: S603 - the command is the role's
            ["unshare", "--mount", "sh", "-c", mounted, trial, path, *command],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
        )
    said = (done.stderr + done.stdout).strip()
    return (said or f"it ended with {done.returncode}") if done.returncode else ""


def undone(before: Before) -> list[Path]:
    """Where an undo has put the first copies by which it went."""
    return sorted(before.directory.parent.glob(f"{before.directory.name}-undone-*"))


def refusal(before: Before) -> str:
    """Why there is no way back, in words; nothing where there is one."""
    if before.confirmed.exists():
        return (
            f"The take-over was confirmed ({before.confirmed.read_text().strip()}): what was there "
            "before it is gone for good. Nothing was changed. What is left is to go back to an "
            "earlier state of the databases: playbooks/restore.yml."
        )
    if not before.manifest.exists():
        return (
            f"There is nothing in {before.directory}: this host was never deployed. "
            "Nothing was changed."
        )
    paths = json.loads(before.manifest.read_text())["paths"]
    if "ours" in paths.values():
        return (
            "A release that kept no copies has deployed this host: what was there before it is "
            "not known. Nothing was changed. What is left is to go back to an earlier release: "
            "playbooks/rollback.yml."
        )
    return ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "default": str(BEFORE)},
            "below": {"type": "list", "elements": "path", "default": ["/"]},
            "trees": {"type": "list", "elements": "path", "default": []},
            "trial": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    parameters: dict[str, Any] = module.params
    before = Before(Path(parameters["directory"]))
    if not before.manifest.exists() and undone(before):
        module.exit_json(changed=False, **NOTHING)
    if why := refusal(before):
        module.fail_json(msg=why)
    below = [Path(path) for path in parameters["below"]]
    way = Way(before, below, [Path(path) for path in parameters["trees"]])
    said = way.said()
    if way.put_back or way.removed:
        try:
            if parameters["trial"] and (wrong := tried(way, below[0], parameters["trial"])):
                module.fail_json(
                    msg=f"What was there before below {below[0]} is refused: {wrong} Nothing below "
                    f"it was put back: correct the copies in {before.copy_of(below[0])}, and run "
                    "again."
                )
            if not module.check_mode:
                way.go()
        except (OSError, subprocess.CalledProcessError) as error:
            reason = getattr(error, "stderr", "") or error
            module.fail_json(msg=f"Not all was put back: {reason} Remove the cause, and run again.")
    module.exit_json(changed=bool(way.put_back or way.removed), **said)


if __name__ == "__main__":
    main()
