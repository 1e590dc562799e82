"""A file is replaced as a whole, or stays as it was."""

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.autobot.users.plugins.module_utils.files import replace_file
from ansible_collections.autobot.users.plugins.plugin_utils.private_files import write_private


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("before")
    return path


def test_it_gets_its_content_and_permissions_at_once(path: Path) -> None:
    owner = (os.getuid(), os.getgid())

    def check(partial: str) -> None:
        assert Path(partial).read_text() == "after"
        assert stat.S_IMODE(Path(partial).stat().st_mode) == 0o640
        assert path.read_text() == "before"

    replace_file(path, b"after", mode=0o640, owner=owner, check=check)
    assert path.read_text() == "after"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_what_was_there(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        replace_file(path, b"after")
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_refused_leaves_what_was_there(path: Path) -> None:
    def refuse(_: str) -> None:
        raise ValueError("not valid")

    with pytest.raises(ValueError, match="not valid"):
        replace_file(path, b"after", check=refuse)
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_what_is_private_is_its_owners_with_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_private(path, b"secret")
    assert path.read_bytes() == b"secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
