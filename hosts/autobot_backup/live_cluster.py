"""The live cluster: whether it runs, its archiving, its systemd unit and its log."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from autobot_backup import process, psql, server_log
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError
from autobot_backup.wal import SEGMENT_BYTES, segment_number

# How long WAL may take to reach the repository before it counts as stuck.
ARCHIVE_PATIENCE = 60


def is_running(configuration: Configuration) -> bool:
    """Whether the main process of the live server does."""
    try:
        pid = Path(configuration.data_directory, "postmaster.pid").read_text().split()[0]
    except (OSError, IndexError):
        return False
    return Path("/proc", pid).exists()


def archive_wal(configuration: Configuration) -> None:
    """Bring all that is committed into the repository, and after it one transaction more.

    So that recovery finds what is newer than any time that has been.
    """
    ((name,),) = psql.query(
        "postgres",
        "SELECT pg_current_xact_id() \\g /dev/null\nSELECT pg_walfile_name(pg_switch_wal() - 1)",
    )
    sql = f"SELECT coalesce(last_archived_wal, '') >= '{name}' FROM pg_stat_archiver"
    deadline = time.monotonic() + ARCHIVE_PATIENCE
    while psql.query("postgres", sql) != [["t"]]:
        if time.monotonic() > deadline:
            raise BackupError(
                f"The WAL segment {name} of {configuration.host} has not reached the repository "
                f"for {ARCHIVE_PATIENCE} s. Remove the cause, which autobot-backup check names."
            )
        time.sleep(0.2)


class LiveCluster:
    """The live cluster, its systemd unit and its log; for root."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.data = Path(configuration.data_directory)
        version, cluster = self.data.parts[-2:]
        self.unit = f"postgresql@{version}-{cluster}.service"
        self.log = Path(f"/var/log/postgresql/postgresql-{version}-{cluster}.log")
        self._logged = 0

    def query(self, sql: str) -> str:
        done = process.run(
            process.as_postgres("psql", "-XAtq", "--set=ON_ERROR_STOP=1", "--dbname=postgres"),
            input=sql,
            cwd="/",
        )
        if done.returncode:
            raise BackupError(f"PostgreSQL: {process.last_lines(done)}")
        return done.stdout.strip()

    @property
    def is_running(self) -> bool:
        return is_running(self.configuration)

    def run_as_postgres(self, *command: str | Path, said: str | None = None) -> None:
        """Change files as postgres does: in its directories a link could lead root anywhere."""
        done = process.run(process.as_postgres(*command), input=said, cwd="/")
        if done.returncode:
            raise BackupError(f"{command[0]}: {process.last_lines(done)}")

    def move(self, source: Path, target: Path) -> None:
        """Give a directory another name, which nothing has."""
        self.run_as_postgres("mv", "--no-clobber", "--no-target-directory", source, target)
        # mv counts it as done when there was something.
        if os.path.lexists(source):
            raise BackupError(f"{source} could not be renamed: {target} is there already.")

    def remove(self) -> None:
        """Remove the data directory."""
        self.run_as_postgres("rm", "--recursive", "--force", "--one-file-system", "--", self.data)

    def has_written(self, segment: Path) -> bool:
        """Whether a segment is what its name says, not a recycled one that will be written."""
        first = process.run(
            process.as_postgres(
                "od", "--address-radix=n", "--format=u8", "--read-bytes=16", "--", segment
            ),
            cwd="/",
        ).stdout.split()
        # A page begins with its kind and timeline; then comes where it is in the WAL.
        position = segment_number(segment.name) * SEGMENT_BYTES
        return first[1:] == [str(position)]

    def new_log(self) -> str:
        """What it has logged since it was last started here."""
        log = process.as_postgres("tail", f"--bytes=+{self._logged + 1}", "--", self.log)
        return process.run(log, cwd="/").stdout

    def start(self) -> None:
        with contextlib.suppress(OSError):
            self._logged = self.log.stat().st_size
        process.run(["systemctl", "reset-failed", self.unit])
        process.run(["systemctl", "start", self.unit])

    def stop(self) -> None:
        process.run(["systemctl", "stop", self.unit])
        if self.is_running:
            raise BackupError(f"{self.unit} does not stop; see: journalctl --unit {self.unit}")

    def recover(self) -> None:
        """Start it and wait until recovery has ended, however long that takes."""
        self.start()
        while self.is_running:
            with contextlib.suppress(BackupError):
                if self.query("SELECT pg_is_in_recovery()") == "f":
                    return
            time.sleep(0.2)
        raise BackupError(f"PostgreSQL: {server_log.failure(self.new_log())}")

    def system_identifier(self, data: Path) -> str:
        done = process.run(
            process.as_postgres(f"{self.configuration.programs}/pg_controldata", data), cwd="/"
        )
        found = re.search(r"Database system identifier: +(\d+)", done.stdout)
        return found[1] if found else ""


@contextlib.contextmanager
def timers_stopped() -> Iterator[None]:
    """No backup, check or drill begins or goes on meanwhile."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active"]
    listed = process.run([*command, "autobot-backup-*.timer"])
    timers = [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]
    process.run(["systemctl", "stop", *timers, "autobot-backup-*.service"])
    try:
        yield
    finally:
        if timers:
            process.run(["systemctl", "start", *timers])
