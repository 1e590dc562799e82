"""A repository that is mounted from the peer is waited for."""

import pytest

from autobot_backup import sftp
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError


def test_a_repository_that_is_being_mounted_is_waited_for(
    mounting: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answers = list[str](), iter([False, False, True])
    monkeypatch.setattr("os.path.ismount", lambda _: next(answers))
    monkeypatch.setattr(sftp, "run", lambda _, command: asked.append(command))
    monkeypatch.setattr("time.sleep", lambda _: None)
    sftp.wait_for_mount(mounting)
    assert asked == ["pwd"]
    assert list(answers) == []


def test_a_peer_that_answers_and_is_not_mounted_is_named(
    mounting: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sftp, "run", lambda *_: "")
    monkeypatch.setattr(sftp, "MOUNT_PATIENCE", -1)
    with pytest.raises(BackupError, match=r"other answers.*autobot-repository"):
        sftp.wait_for_mount(mounting)
