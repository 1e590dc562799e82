"""Logical dumps: which stay, and whether there is room for one."""

from pathlib import Path

import pytest

from autobot_backup import databases, dump, paths
from autobot_backup.errors import BackupError
from tests.support.backup_repositories import CONFIGURATION


def test_the_newest_dumps_of_each_database_stay() -> None:
    names = [f"2026112{day}T030000Z-{kind}" for day in range(9) for kind in ("a.dump", "b.dump")]
    assert dump.old(names, keep=7) == [
        f"2026112{day}T030000Z-{kind}" for kind in ("a.dump", "b.dump") for day in range(2)
    ]


def test_a_dump_that_has_no_room_is_not_begun(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "STATE", state)
    monkeypatch.setattr(databases, "names", lambda: ["users"])
    monkeypatch.setattr(databases, "total_bytes", lambda: 10**18)
    with pytest.raises(BackupError, match="The dump needs 1000000000268 MB"):
        dump.dump(CONFIGURATION, {})
    assert list(state.iterdir()) == []
