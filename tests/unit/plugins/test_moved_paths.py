"""What an earlier release kept elsewhere is moved while services use it."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_files import COLLECTION, ROOT, load_plugin

MODULE = COLLECTION / "plugins/modules/moved_paths.py"


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host that the first release has deployed."""
    (tmp_path / "autobot/tls").mkdir(parents=True)
    (tmp_path / "autobot/tls/ca.crt").write_text("the CA\n")
    (tmp_path / "autobot/theirs").write_text("AutoBot's\n")
    return tmp_path


def run(host: Path, *names: str, check: bool = False) -> dict[str, Any]:
    """What the module says."""
    moves = [
        {"path": f"{host}/autobot/{name}", "to": f"{host}/autobot-users/{name}"} for name in names
    ]
    arguments = {
        "moves": moves,
        "marker": f"{host}/autobot/tls/ca.crt",
        "_ansible_check_mode": check,
    }
    done = subprocess.run(
        [sys.executable, MODULE],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_both_names_lead_to_it(host: Path) -> None:
    assert run(host, "tls", "never-there")["moved"] == [f"{host}/autobot/tls"]
    assert (host / "autobot/tls").readlink() == host / "autobot-users/tls"
    assert not (host / "autobot-users/tls").is_symlink()
    assert (host / "autobot/tls/ca.crt").read_text() == "the CA\n"
    assert (host / "autobot-users").stat().st_mode & 0o777 == 0o755
    assert (host / "autobot/theirs").read_text() == "AutoBot's\n"


def test_what_was_moved_stays(host: Path) -> None:
    run(host, "tls")
    assert run(host, "tls")["changed"] is False
    assert (host / "autobot-users/tls/ca.crt").read_text() == "the CA\n"


def test_an_interrupted_move_is_taken_up(host: Path) -> None:
    (host / "autobot-users").mkdir()
    (host / "autobot-users/tls").symlink_to(host / "autobot-users/tls")
    assert run(host, "tls")["changed"] is True
    assert (host / "autobot-users/tls/ca.crt").read_text() == "the CA\n"


def test_what_is_there_is_not_replaced(host: Path) -> None:
    (host / "autobot-users/tls").mkdir(parents=True)
    assert run(host, "tls")["changed"] is False
    assert (host / "autobot/tls").is_dir()


def test_where_no_release_of_ours_was_nothing_is_moved(host: Path) -> None:
    (host / "autobot/tls/ca.crt").unlink()
    assert run(host, "tls", "theirs")["changed"] is False
    assert not (host / "autobot/tls").is_symlink()


def test_check_mode_only_says_it(host: Path) -> None:
    assert run(host, "tls", check=True)["changed"] is True
    assert not (host / "autobot-users").exists()


def test_what_cannot_be_moved_is_as_it_was(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved_paths = load_plugin("modules.moved_paths")

    def refuse(*_paths: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(moved_paths, "exchange", refuse)
    with pytest.raises(OSError, match="cross-device"):
        moved_paths.move(host / "autobot/tls", host / "autobot-users/tls")
    assert (host / "autobot/tls/ca.crt").read_text() == "the CA\n"
    assert not (host / "autobot-users/tls").is_symlink()


def test_where_it_cannot_be_moved_the_operator_is_told(host: Path) -> None:
    (host / "autobot-users").write_text("in the way\n")
    said = run(host, "tls")
    assert said["failed"] is True
    assert "Move it by hand" in said["msg"]
    assert (host / "autobot/tls/ca.crt").read_text() == "the CA\n"


def test_every_path_of_the_first_releases_has_its_new_name() -> None:
    variables = yaml.safe_load((ROOT / "roles/base/vars/main.yml").read_text())
    moves = variables["base_former_paths"]
    for each in moves:
        assert each["to"] == each["path"].replace("/autobot/", "/autobot-users/")
    assert variables["base_former_marker"].startswith(moves[-1]["path"] + "/")
