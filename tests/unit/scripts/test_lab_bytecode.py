"""What Ansible sends to a lab's host is compiled once, and is what was sent."""

from __future__ import annotations

import marshal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[3] / "scripts"
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import lab_bytecode
lab_bytecode.KEPT = sys.argv[3]
sys.path.insert(0, sys.argv[2])
import sent, sent.part
print(sent.__file__, sent.__path__, sent.part.__file__, sent.part.VALUE)
"""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    return tmp_path / "sent.zip"


def sent(archive: Path, kept: Path, part: str = "VALUE = 1") -> str:
    """What a process prints that was sent a package with this module."""
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("sent/__init__.py", "")
        file.writestr("sent/part.py", part)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(SCRIPTS), str(archive), str(kept)],
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


def test_names_are_those_of_the_archive(archive: Path, kept: Path) -> None:
    assert sent(archive, kept) == (
        f"{archive}/sent/__init__.py ['{archive}/sent'] {archive}/sent/part.py 1"
    )


def test_the_next_process_takes_what_was_kept(archive: Path, kept: Path) -> None:
    sent(archive, kept)
    for path in kept.iterdir():
        path.write_bytes(marshal.dumps(compile("VALUE = 'kept'", "", "exec")))
    assert sent(archive, kept).endswith(" kept")


def test_other_sources_are_compiled(archive: Path, kept: Path) -> None:
    assert sent(archive, kept).endswith(" 1")
    assert sent(archive, kept, "VALUE = 2").endswith(" 2")


@pytest.mark.parametrize("damage", [b"", b"no bytecode"])
def test_what_was_damaged_is_compiled_again(archive: Path, kept: Path, damage: bytes) -> None:
    sent(archive, kept)
    for path in kept.iterdir():
        path.write_bytes(damage)
    assert sent(archive, kept).endswith(" 1")
    assert all(path.read_bytes() != damage for path in kept.iterdir())


def test_it_works_where_nothing_can_be_kept(archive: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "file"
    nowhere.touch()
    assert sent(archive, nowhere).endswith(" 1")
