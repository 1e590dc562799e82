"""What the check of the backups says when something is wrong."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import pytest

from autobot_backup import check, files, pgbackrest, process, psql
from autobot_backup.configuration import Configuration, Repository

REPOSITORY = Repository(
    1, "redis:/srv/repo/1 (192.0.2.23)", "redis", "/srv/repo/1", "/repo/1", backup=True
)


@pytest.fixture
def configuration(tmp_path: Path) -> Configuration:
    (tmp_path / "pg_wal" / "archive_status").mkdir(parents=True)
    return Configuration(
        host="slm",
        stanza="users",
        data_directory=str(tmp_path),
        programs="/usr/lib/postgresql/17/bin",
        peer="redis",
        peer_login="autobot-repo-users@192.0.2.23",
        max_age_seconds=1,
        schemas=(),
        repositories=(REPOSITORY,),
    )


def test_a_repository_whose_room_cannot_be_asked_is_named(
    configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a directory that is a link to nowhere, `df` over SFTP fails without a word."""
    monkeypatch.setattr(pgbackrest, "info", lambda *_: {})

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="")

    monkeypatch.setattr(process, "run", run)
    said = check.first_failure(configuration, force=False)
    assert said.startswith(
        "redis:/srv/repo/1 (192.0.2.23) cannot be used: "
        "sftp autobot-repo-users@192.0.2.23 (redis): df /repo/1: exit status 1. PostgreSQL goes on;"
    )


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (["a"], "a"),
        (["a", "b"], "a, b"),
        (["a", "b", "c"], "a, b and 1 more"),
        (["a", "b", "c", "d"], "a, b and 2 more"),
    ],
)
def test_of_many_the_first_are_named_and_the_others_counted(found: list[str], said: str) -> None:
    assert check.shortened(found, 2, ", ") == said


def segment(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


@pytest.mark.parametrize(
    ("present", "missing"),
    [
        ([2, 3, 4], []),
        ([2, 4], [3]),
        ([254, 255, 256, 257], []),
        ([254, 257], [255, 256]),
        ([7], []),
        ([], []),
    ],
)
def test_wal_that_is_missing_is_found(present: list[int], missing: list[int]) -> None:
    found = check.gaps(map(segment, present), 256)
    assert found == [segment(number) for number in missing]


def test_each_timeline_is_looked_at_by_itself() -> None:
    names = [segment(2), segment(3), segment(9, 2), segment(11, 2)]
    assert check.gaps(names, 256) == [segment(10, 2)]


@pytest.mark.parametrize(
    ("archived", "missing"),
    [
        ({"17-1": {segment(2), segment(3), segment(4)}}, []),
        # Nothing has no gap.
        ({}, [segment(2), segment(3)]),
        ({"17-1": {segment(3), segment(4)}}, [segment(2)]),
        ({"17-1": {segment(1), segment(2)}}, [segment(3)]),
        ({"17-1": {segment(2), segment(3)}, "17-2": {segment(9), segment(11)}}, [segment(10)]),
    ],
)
def test_wal_that_a_backup_needs_is_asked_for(
    host: Configuration,
    monkeypatch: pytest.MonkeyPatch,
    archived: dict[str, set[str]],
    missing: list[str],
) -> None:
    needs = {"archive": {"start": segment(2), "stop": segment(3)}}
    monkeypatch.setattr(psql, "query", lambda *_: [["16777216"]])
    monkeypatch.setattr(check, "archived_segments", lambda *_: archived)
    monkeypatch.setattr(pgbackrest, "backups", lambda *_: [needs])
    assert check.missing_segments(host, host.repositories[0]) == missing


def test_without_a_repository_the_check_fails(host: Configuration) -> None:
    nowhere = dataclasses.replace(host, repositories=())
    assert "No repository keeps" in check.first_failure(nowhere, force=False)


@pytest.mark.parametrize(
    ("hours", "words"), [(50, ""), (50.1, "people is 50 hours old: full disk")]
)
def test_a_dump_that_is_too_old_is_named(
    host: Configuration, monkeypatch: pytest.MonkeyPatch, hours: float, words: str
) -> None:
    monkeypatch.setattr(files, "read_json", lambda _: {"made": 1000, "failure": "full disk"})
    monkeypatch.setattr(pgbackrest, "backups", lambda *_: [])
    assert words in (said := check.dump_age(host, 1000 + hours * 3600))
    assert bool(said) is bool(words)


def test_a_dump_that_was_never_made_is_as_old_as_the_backups(
    host: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "read_json", lambda _: {})
    monkeypatch.setattr(pgbackrest, "backups", lambda *_: [{"timestamp": {"stop": 1000}}])
    assert check.dump_age(host, 1000 + 50 * 3600) == ""
    assert "51 hours old" in check.dump_age(host, 1000 + 51 * 3600)


@pytest.mark.parametrize(("seconds", "words"), [(9, ""), (10, "last, is 0 minutes old")])
def test_a_backup_that_is_older_than_the_host_is_told_is_named(
    host: Configuration, monkeypatch: pytest.MonkeyPatch, seconds: int, words: str
) -> None:
    known = [{"label": name, "timestamp": {"stop": stop}} for name, stop in (("a", 0), ("last", 7))]
    monkeypatch.setattr(pgbackrest, "backups", lambda *_: known)
    assert words in (said := check.backup_age(host, host.repositories[0], 7 + seconds))
    assert bool(said) is bool(words)


CHECKS = ("free_space", "backup_age", "missing_wal", "verified_files", "dump_age")


@pytest.mark.parametrize("failing", CHECKS)
def test_what_each_check_finds_is_said(
    host: Configuration, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    monkeypatch.setattr(pgbackrest, "info", lambda *_: {})
    monkeypatch.setattr(pgbackrest, "run", lambda *_: "")
    for name in CHECKS:
        said = "It is so." if name == failing else ""
        monkeypatch.setattr(check, name, lambda *_, said=said, **__: said)
    assert check.first_failure(host, force=False) == "It is so."
