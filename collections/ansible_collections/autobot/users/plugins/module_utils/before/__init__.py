"""What a host was like before its first deployment, and what deployments have written to it.

Both are below one directory, for root only. `files` has copies of what was there, by their paths;
`manifest.json` says what was kept. `written` has a line for each state that a deployment gave to a
path, `STATE PATH`: the SHA-256 of a file's content, `absent`, or `directory`; and `unit NAME` for
each unit that it let run. A line is written before what it says is done, so that a deployment that
is killed leaves nothing that nobody knows of. What follows the last line break is of a line that
was not written whole: nothing was done that it would have said.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BEFORE = Path("/var/lib/autobot-before")
ABSENT = "absent"
DIRECTORY = "directory"
UNIT = "unit"
LINE = re.compile(rf"([0-9a-f]{{64}}|{ABSENT}|{DIRECTORY}|{UNIT}) (.+)")


def digest(content: bytes) -> str:
    """The state of a file with this content."""
    return hashlib.sha256(content).hexdigest()


def state_of(path: Path) -> str:
    """What a path is now: a digest, `absent`, `directory`, or `link TARGET`."""
    if path.is_symlink():
        return f"link {path.readlink()}"
    if path.is_dir():
        return DIRECTORY
    # What is neither, such as a socket, has nothing that could be compared.
    return digest(path.read_bytes() if path.is_file() else b"") if path.exists() else ABSENT


def members(path: Path) -> Iterator[Path]:
    """A path, and all that is below it."""
    yield path
    if path.is_dir() and not path.is_symlink():
        for directory, directories, files in os.walk(path):
            yield from (Path(directory, name) for name in (*directories, *files))


def copy(path: Path, to: Path) -> None:
    """Copy a file, link or directory with owner, mode, time and attributes.

    Raises CalledProcessError, whose `stderr` says why.
    """
    subprocess.run(  # noqa: S603 - the paths are the deployment's own
        ["cp", "--archive", "--no-target-directory", path, to],  # noqa: S607
        check=True,
        capture_output=True,
        text=True,
    )


def give(path: Path, like: Path) -> None:
    """Give a directory the owner, group and mode of another. Raises OSError."""
    state = like.stat()
    os.chown(path, state.st_uid, state.st_gid)
    path.chmod(state.st_mode & 0o7777)


class Before:
    """What is known of one host."""

    def __init__(self, directory: Path = BEFORE) -> None:
        self.directory = directory
        self.manifest = directory / "manifest.json"
        self.confirmed = directory / "confirmed"
        self.written = directory / "written"

    @property
    def is_open(self) -> bool:
        """Whether a way back is kept: there are first copies, and nobody has given them up."""
        return self.manifest.exists() and not self.confirmed.exists()

    def copy_of(self, path: Path) -> Path:
        """Where the copy of a path is, if it was there."""
        return Path(f"{self.directory}/files{path}")

    def known(self) -> dict[str, set[str]]:
        """The paths that deployments have written, and names of units, with the states of each."""
        found: dict[str, set[str]] = {}
        if self.written.exists():
            for line in self.written.read_text(errors="replace").split("\n")[:-1]:
                if said := LINE.fullmatch(line):
                    found.setdefault(said[2], set()).add(said[1])
        return found


class Ledger:
    """Notes what a deployment is about to write; nothing where no way back is kept."""

    def __init__(self, before: Before | None = None) -> None:
        self._before = before or Before()
        self._known = self._before.known() if self._before.is_open else {}

    def note(self, path: str | Path, state: str) -> None:
        """Say that a path gets this state; keep what is there if it was not kept with the rest."""
        if not self._before.is_open or state in self._known.get(str(path), ()):
            return
        if state != UNIT and str(path) not in self._known:
            self._keep(Path(path), state)
            for parent in Path(path).parents:
                if not parent.exists():
                    self._add(str(parent), DIRECTORY)
        self._add(str(path), state)

    def _keep(self, path: Path, state: str) -> None:
        """What a package brought after the first copies, for example; not what is so already."""
        kept = self._before.copy_of(path)
        now = state_of(path)
        if now == ABSENT or os.path.lexists(kept):
            return
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if now == DIRECTORY:
            # Whose it is, and without what is in it.
            kept.mkdir()
            give(kept, path)
        elif now != state:
            part = self._before.directory / "part"
            copy(path, part)
            part.replace(kept)

    def _add(self, path: str, state: str) -> None:
        states = self._known.setdefault(path, set())
        if state not in states:
            states.add(state)
            with self._before.written.open("ab+") as written:
                written.truncate(length_of_lines(written))
                written.write(f"{state} {path}\n".encode())
                written.flush()
                os.fsync(written.fileno())


def length_of_lines(file: BinaryIO) -> int:
    """How much of a file is whole lines."""
    file.seek(0)
    return file.read().rfind(b"\n") + 1
