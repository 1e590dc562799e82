"""What the check of the backups says when something is wrong."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from autobot_backup import backup as autobot_backup
from autobot_backup import check as autobot_check
from autobot_backup.backup import Configuration, Repository

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
    monkeypatch.setattr(autobot_backup, "info", lambda *_: {})

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="")

    monkeypatch.setattr(autobot_backup, "run", run)
    said = autobot_check.first_failure(configuration, force=False)
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
    assert autobot_check.first(found, 2, ", ") == said
