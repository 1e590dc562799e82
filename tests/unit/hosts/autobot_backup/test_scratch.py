"""The scratch cluster: one at a time, and with room for it."""

from pathlib import Path

import pytest

from autobot_backup.backups import Backup
from autobot_backup.catalogue import Catalogue
from autobot_backup.errors import BackupError
from autobot_backup.scratch import ScratchCluster, require_restore_space
from tests.support.backup_repositories import CONFIGURATION, NEAR


@pytest.mark.usefixtures("state", "repositories")
class TestScratch:
    def test_only_one_at_a_time(self) -> None:
        catalogue = Catalogue(CONFIGURATION)
        with ScratchCluster(catalogue), pytest.raises(BackupError, match="Wait until it has ended"):
            ScratchCluster(catalogue).__enter__()
        with ScratchCluster(catalogue):
            pass

    def test_what_was_left_is_removed(self, state: Path) -> None:
        (state / "scratch" / "data" / "base").mkdir(parents=True)
        (state / "scratch" / "log").touch()
        with ScratchCluster(Catalogue(CONFIGURATION)):
            assert list((state / "scratch").iterdir()) == []

    def test_too_little_room_is_told_in_numbers(self, tmp_path: Path) -> None:
        backup = Backup("B", NEAR, "17-1", 0, 0, "", "", 1, 10**18)
        with pytest.raises(BackupError, match="needs 1250000000268 MB") as caught:
            require_restore_space(tmp_path / "not" / "yet", backup)
        assert "are free" in str(caught.value)
