"""What pgBackRest says, and why it could not."""

import json
from subprocess import CompletedProcess

import pytest

from autobot_backup import pgbackrest, process, sftp
from autobot_backup.configuration import Configuration, Repository
from autobot_backup.errors import BackupError


def test_errors_are_told_in_one_line() -> None:
    said = (
        "ERROR: [082]: WAL segment 1 was not archived\n"
        "       HINT: check the archive_command.\n"
        "       HINT: use option --log-level-console=detail\n"
    )
    assert (
        pgbackrest.error_lines(said)
        == "[082]: WAL segment 1 was not archived HINT: check the archive_command."
    )


def test_why_a_repository_is_not_mounted_is_what_ssh_says(
    mounting: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:

    def away(*_: object) -> str:
        raise BackupError("sftp x@y (other): Host key verification failed.")

    monkeypatch.setattr(sftp, "run", away)
    monkeypatch.setattr(process, "run", lambda *_, **__: pytest.fail("nothing is there to ask"))
    with pytest.raises(BackupError, match="Host key verification failed"):
        pgbackrest.run(mounting, "backup", repository=mounting.repositories[0])


def test_a_mount_that_breaks_while_it_is_read_is_told_as_what_ssh_says(
    mounting: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted = iter([True, False])
    status = {"code": pgbackrest.STATUS_OTHER, "message": "[5] Input/output error"}
    said = json.dumps([{"backup": [], "db": [], "repo": [{"status": status}]}])

    def away(*_: object) -> str:
        raise BackupError("sftp x@y (other): Connection timed out")

    monkeypatch.setattr("os.path.ismount", lambda _: next(mounted))
    monkeypatch.setattr(process, "run", lambda *_, **__: CompletedProcess([], 0, said, ""))
    monkeypatch.setattr(sftp, "run", away)
    with pytest.raises(BackupError, match="Connection timed out"):
        pgbackrest.info(mounting, mounting.repositories[0])


def test_a_second_repository_does_not_need_the_mount(
    mounting: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Repository(2, "host:/mnt", "host", "/mnt", None, backup=True)
    monkeypatch.setattr(process, "run", lambda *_, **__: CompletedProcess([], 0, "[]", ""))
    assert pgbackrest.info(mounting, second)["backup"] == []
