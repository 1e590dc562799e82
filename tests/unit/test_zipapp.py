"""A program of several modules comes to a host as one file, which changes when a source does."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from role_files import load_file

PLUGIN = load_file("collections/ansible_collections/autobot/users/plugins/action/zipapp.py")
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
    file.write_bytes(PLUGIN.built(package, MAIN))
    done = subprocess.run([sys.executable, "-I", file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "here\n", "")
    assert file.read_bytes().startswith(b"#!/usr/bin/python3 -I\n")


def test_the_same_sources_are_the_same_bytes(package: Path, tmp_path: Path) -> None:
    other = made(tmp_path / "two", ["inner/deep.py", "inner/__init__.py", "cli.py", "__init__.py"])
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "cli.cpython-311.pyc").touch()
    os.utime(other / "cli.py", (0, 2**31))
    (other / "cli.py").chmod(0o700)
    assert PLUGIN.built(package, MAIN) == PLUGIN.built(other, MAIN)
    (other / "inner" / "deep.py").write_text("STATUS = 4\n")
    assert PLUGIN.built(package, MAIN) != PLUGIN.built(other, MAIN)


def test_it_is_the_same_with_every_zlib(package: Path, tmp_path: Path) -> None:
    """Nothing is compressed, and no date of this machine is in it."""
    file = tmp_path / "demo.pyz"
    file.write_bytes(PLUGIN.built(package, MAIN))
    with zipfile.ZipFile(file) as archive:
        found = archive.infolist()
    assert {each.compress_type for each in found} == {zipfile.ZIP_STORED}
    assert {each.date_time for each in found} == {(1980, 1, 1, 0, 0, 0)}
    assert [each.filename for each in found] == [
        *("demo/__init__.py", "demo/cli.py", "demo/inner/__init__.py", "demo/inner/deep.py"),
        "__main__.py",
    ]


class Task(SimpleNamespace):
    """A task, as far as an action asks it."""

    def copy(self) -> "Task":
        return Task(**vars(self))


def test_the_file_is_copied_and_its_directory_made(package: Path) -> None:
    copied: list[tuple[dict[str, Any], bytes]] = []

    def copy(name: str, task: Task, **_: Any) -> Any:
        assert name == "ansible.legacy.copy"
        copied.append((dict(task.args), Path(task.args["src"]).read_bytes()))
        return SimpleNamespace(run=lambda **_: {"changed": True, "diff": []})

    arguments = {"package": str(package), "main": MAIN, "path": "/usr/local/lib/demo/demo.pyz"}
    task = Task(args=arguments, action="x", async_val=0, check_mode=True, diff=True)
    action = PLUGIN.ActionModule(
        task=task,
        connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
        play_context=SimpleNamespace(),
        loader=DataLoader(),
        templar=None,
        shared_loader_obj=None,
    )
    action._shared_loader_obj = SimpleNamespace(action_loader=SimpleNamespace(get=copy))
    assert action.run(task_vars={}) == {"changed": True, "diff": []}
    ((given, content),) = copied
    source = Path(given.pop("src"))
    assert source.name == "demo.pyz"
    assert not source.exists()
    assert content == PLUGIN.built(package, MAIN)
    assert given == {
        **{"dest": "/usr/local/lib/demo/", "mode": "0755"},
        **{"owner": "root", "group": "root"},
    }
