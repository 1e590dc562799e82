"""What a host is configured with, what its repositories hold, and where it keeps its state."""

import dataclasses
from pathlib import Path

import pytest

from autobot_backup import live_cluster, paths, pgbackrest
from autobot_backup.configuration import Configuration, Repository
from autobot_backup.wal import segment_name
from tests.support.backup_repositories import Repositories, entry, wal


@pytest.fixture
def host() -> Configuration:
    """A host with one repository, as the program knows it."""
    repository = Repository(1, "other:/repo (192.0.2.2)", "other", "/repo", "/repo", backup=True)
    schema = {"database": "people", "revision": "0005", "tables": ["public.users"]}
    return Configuration(
        "host", "people", "/data", "/bin", "other", "x@y", 9, (schema,), (repository,)
    )


@pytest.fixture
def mounting(host: Configuration, tmp_path: Path) -> Configuration:
    """That host with an old pgBackRest, while its repository is not mounted."""
    return dataclasses.replace(host, mount=str(tmp_path))


@pytest.fixture
def repositories(monkeypatch: pytest.MonkeyPatch) -> Repositories:
    """Noon: a backup. Ten minutes of WAL on timeline 1. At 600 s back to 130 s, on timeline 2.

    A backup at 400 s, of what was then given up, and one at 660 s, of the new timeline.
    """
    made = Repositories()
    made.backups = [
        entry("B1", 0, segment_name(1, 1), segment_name(1, 1), "0/1000100"),
        entry("B2", 400, segment_name(1, 7), segment_name(1, 7), "0/7000100"),
        entry("B3", 660, segment_name(2, 4), segment_name(2, 4), "0/4000100"),
    ]
    made.segments = wal(1, 1, 10, 0) | wal(2, 3, 9, 600)
    made.histories = {2: (600, "1\t0/3000050\tbefore 2026-01-31 12:02:11+00\n\n")}
    monkeypatch.setattr(pgbackrest, "info", made.info)
    monkeypatch.setattr(pgbackrest, "run", made.pgbackrest)
    return made


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/var/lib/autobot-backup of a host."""
    monkeypatch.setattr(paths, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(paths, "DRILL_RESULT", tmp_path / "drill.json")
    monkeypatch.setattr(paths, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(paths, "SCRATCH_LOCK", tmp_path / "scratch.lock")
    monkeypatch.setattr(live_cluster, "archive_wal", lambda _: None)
    return tmp_path
