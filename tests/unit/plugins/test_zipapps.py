"""A program of several modules comes to a host as one file, which changes when a source does."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.autobot.users.plugins.plugin_utils.zipapps import built

MAIN = "demo.cli:main"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return made(tmp_path / "one", ["__init__.py", "cli.py", "inner/__init__.py", "inner/deep.py"])


def made(directory: Path, names: list[str]) -> Path:
    """A package whose files are written in this order."""
    texts = {
        "cli.py": "from demo.inner.deep import STATUS\ndef main(): print('here'); return STATUS\n",
        "inner/deep.py": "STATUS = 3\n",
    }
    for name in names:
        path = directory / "demo" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(texts.get(name, ""))
    return directory / "demo"


def test_the_application_runs(package: Path, tmp_path: Path) -> None:
    file = tmp_path / "demo.pyz"
    file.write_bytes(built(package, MAIN))
    done = subprocess.run([sys.executable, "-I", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "here\n", "")
    assert file.read_bytes().startswith(b"#!/usr/bin/python3 -I\n")


def test_the_same_sources_are_the_same_bytes(package: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "two", ["inner/deep.py", "inner/__init__.py", "cli.py", "__init__.py"])
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "cli.cpython-311.pyc").touch()
    os.utime(other / "cli.py", (0, 2**31))
    (other / "cli.py").chmod(0o700)
    assert built(package, MAIN) == built(other, MAIN)
    (other / "inner" / "deep.py").write_text("STATUS = 4\n")
    assert built(package, MAIN) != built(other, MAIN)


def test_it_is_the_same_with_every_zlib(package: Path, tmp_path: Path) -> None:
    """Nothing is compressed, and no date of this machine is in it."""
    file = tmp_path / "demo.pyz"
    file.write_bytes(built(package, MAIN))
    with zipfile.ZipFile(file) as archive:
        found = archive.infolist()
    assert {each.compress_type for each in found} == {zipfile.ZIP_STORED}
    assert {each.date_time for each in found} == {(1980, 1, 1, 0, 0, 0)}
    assert [each.filename for each in found] == [
        *("demo/__init__.py", "demo/cli.py", "demo/inner/__init__.py", "demo/inner/deep.py"),
        "__main__.py",
    ]
