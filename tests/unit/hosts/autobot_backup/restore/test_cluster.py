"""A cluster that is restored has all that the host has; one that cannot be is as it was."""

import contextlib
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autobot_backup import live_cluster, process
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError
from autobot_backup.live_cluster import LiveCluster
from autobot_backup.restore.cluster import copy_unarchived_wal, restore_cluster
from autobot_backup.wal import SEGMENT_BYTES, segment_name, segment_number
from tests.support.backup_repositories import CONFIGURATION


class Disk(LiveCluster):
    """A server whose files are this test's, and whose systemd is made up."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self.done: list[str] = []

    def stop(self) -> None:
        self.done.append("stop")

    def start(self) -> None:
        self.done.append("start")

    def query(self, sql: str) -> str:
        return sql


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(process, "as_postgres", lambda *command: [*map(str, command)])
    server = Disk(replace(CONFIGURATION, data_directory=f"{tmp_path}/17/main"))
    monkeypatch.setattr(live_cluster, "LiveCluster", lambda _: server)
    monkeypatch.setattr(live_cluster, "timers_stopped", contextlib.nullcontext)
    return server


class TestOwnWal:
    """What the repository has not, from this host's disk."""

    @pytest.fixture
    def directories(self, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """What an earlier restore and this one have set aside; both are of the same cluster."""
        found = [Path(f"{disk.data}.before-{name}") for name in ("earlier", "now")]
        for directory in (disk.data, *found):
            (directory / "pg_wal").mkdir(parents=True)
        monkeypatch.setattr(disk, "system_identifier", lambda _: "7")
        return found

    def write(self, directory: Path, name: str, number: int | None = None) -> None:
        """A segment, and where it says that it is in the WAL."""
        if number is None:
            number = segment_number(name)
        page = struct.pack("=HHIQ", 0xD116, 2, int(name[:8], 16), number * SEGMENT_BYTES)
        (directory / "pg_wal" / name).write_bytes(page + bytes(100))

    def test_all_that_was_set_aside_is_used(self, disk: Disk, directories: list[Path]) -> None:
        earlier, now = directories
        self.write(earlier, segment_name(1, 4))
        self.write(earlier, segment_name(1, 5))
        self.write(now, segment_name(1, 6))
        self.write(now, segment_name(2, 7))
        # Only named ahead, for what will be written.
        self.write(now, segment_name(1, 8), 2)
        names = copy_unarchived_wal(disk, now, 1, segment_name(1, 4))
        assert names == [segment_name(1, 5), segment_name(1, 6)]
        assert sorted(path.name for path in (disk.data / "pg_wal").iterdir()) == names

    def test_a_gap_is_refused(self, disk: Disk, directories: list[Path]) -> None:
        for number in (5, 7):
            self.write(directories[1], segment_name(1, number))
        with pytest.raises(BackupError, match=segment_name(1, 6)):
            copy_unarchived_wal(disk, directories[1], 1, segment_name(1, 4))
        with pytest.raises(BackupError, match=segment_name(1, 4)):
            copy_unarchived_wal(disk, directories[1], 1, segment_name(1, 3))


class TestPuttingBack:
    """A restore that fails leaves the server as it found it."""

    def plan(self, disk: Disk) -> dict[str, Any]:
        return {
            "kept": f"{disk.data}.before-x",
            "repository_number": 1,
            "options": [],
            "whole": False,
        }

    @pytest.fixture(autouse=True)
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = process.run

        def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            if command[0] == "pgbackrest":
                return subprocess.CompletedProcess(command, 1, "", "ERROR: [099]: no way")
            return real(command, **options)

        monkeypatch.setattr(process, "run", run)

    def test_the_old_data_come_back(self, disk: Disk) -> None:
        disk.data.mkdir(parents=True)
        (disk.data / "PG_VERSION").touch()
        with pytest.raises(BackupError, match=r"no way The old data directory is back"):
            restore_cluster(CONFIGURATION, self.plan(disk))
        assert (disk.data / "PG_VERSION").exists()
        assert not Path(self.plan(disk)["kept"]).exists()
        assert disk.done[-1] == "start"

    def test_what_was_kept_before_is_never_in_the_way(self, disk: Disk) -> None:
        disk.data.mkdir(parents=True)
        (disk.data / "PG_VERSION").touch()
        Path(self.plan(disk)["kept"]).mkdir()
        with pytest.raises(BackupError, match="is there already"):
            restore_cluster(CONFIGURATION, self.plan(disk))
        assert (disk.data / "PG_VERSION").exists()
        assert disk.done == []
        with pytest.raises(BackupError, match="is there already"):
            disk.move(disk.data, Path(self.plan(disk)["kept"]))

    def test_data_that_were_lost_are_no_obstacle(self, disk: Disk) -> None:
        disk.data.parent.parent.mkdir(exist_ok=True)
        with pytest.raises(BackupError, match=r"no way .* is missing, as it was before"):
            restore_cluster(CONFIGURATION, self.plan(disk))
        assert not disk.data.exists()

    def test_a_server_that_does_not_stop_keeps_its_data(
        self, disk: Disk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop() -> None:
            raise BackupError("does not stop")

        disk.data.mkdir(parents=True)
        (disk.data / "PG_VERSION").touch()
        monkeypatch.setattr(disk, "stop", stop)
        with pytest.raises(BackupError, match="PostgreSQL does not serve them"):
            restore_cluster(CONFIGURATION, self.plan(disk))
        assert (disk.data / "PG_VERSION").exists()
