"""A scratch cluster beside the live one, in which backups are brought back."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from autobot_backup import files, paths, pgbackrest, process, psql, server_log
from autobot_backup.backups import Backup
from autobot_backup.catalogue import Catalogue
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError
from autobot_backup.target import RecoveryTarget


def require_restore_space(path: Path, backup: Backup) -> tuple[int, int]:
    """Bytes that a restore needs, and bytes that are free; refused when there are too few."""
    return files.require_space(path, int(backup.size * 1.25), "The restore")


def restore_command(configuration: Configuration, data: Path) -> str:
    """How a server that is not the live one gets WAL.

    Not ahead of need: that would take the lock and the spool of the live server's archiving.
    """
    return (
        f"pgbackrest --stanza={configuration.stanza} --pg1-path={data} --no-archive-async"
        ' archive-get %f "%p"'
    )


class ScratchCluster:
    """A cluster of its own beside the live one: another directory and socket, no port, no archive.

    One at a time; what one that was killed has left is removed by the next.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.configuration = catalogue.configuration
        self.data = paths.SCRATCH / "data"
        self.log = paths.SCRATCH / "log"
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> ScratchCluster:
        self._lock = os.open(paths.SCRATCH_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise BackupError(
                f"A drill or a restore uses {paths.SCRATCH} already. Wait until it has ended (see "
                "systemctl status autobot-backup-drill), then try again."
            ) from None
        self._clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()
        os.close(self._lock)

    def _program(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return process.run([f"{self.configuration.programs}/{name}", *arguments], cwd="/")

    def _clear(self) -> None:
        """End its server, also that of a run that was killed, and empty the directory."""
        if (self.data / "postmaster.pid").exists():
            self._program(
                "pg_ctl", "stop", "--mode=immediate", "--wait", "--silent", f"--pgdata={self.data}"
            )
        if self._server is not None:
            self._server.wait()
            self._server = None
        paths.SCRATCH.mkdir(mode=0o700, exist_ok=True)
        # It may be a disk of its own, so it stays.
        for path in paths.SCRATCH.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def restore(self, target: RecoveryTarget, database: str = "") -> float:
        """Bring back the cluster, or one database of it, until it takes writes; the seconds."""
        self._clear()
        require_restore_space(paths.SCRATCH, target.backup)
        begin = time.monotonic()
        options = [f"--db-include={database}"] if database else []
        pgbackrest.run(
            self.configuration,
            "restore",
            f"--pg1-path={self.data}",
            *target.options,
            *options,
            "--archive-mode=off",
            f"--recovery-option=restore_command={restore_command(self.configuration, self.data)}",
            repository=target.backup.repository,
        )
        if not self._start():
            log = self.log.read_text()
            again = target.kind == "time" and target.complete and server_log.MISSED_TARGET in log
            if not (again and self._start("recovery_target_time=")):
                raise BackupError(
                    f"Backup {target.backup.label} cannot be brought to {target.text}: "
                    f"{server_log.failure(self.log.read_text())}"
                )
        return time.monotonic() - begin

    def _start(self, *settings: str) -> bool:
        """Start the server and wait until recovery has ended; whether it lived to see that."""
        (paths.SCRATCH / "postgresql.conf").touch()
        (paths.SCRATCH / "pg_ident.conf").touch()
        (paths.SCRATCH / "pg_hba.conf").write_text("local all postgres peer\n")
        options = [
            f"config_file={paths.SCRATCH}/postgresql.conf",
            f"hba_file={paths.SCRATCH}/pg_hba.conf",
            f"ident_file={paths.SCRATCH}/pg_ident.conf",
            f"unix_socket_directories={paths.SCRATCH}",
            "listen_addresses=",
            "archive_mode=off",
            "ssl=off",
            "shared_preload_libraries=",
            # The unit's sandbox allows no code that is made at run time.
            "jit=off",
            # Nobody asks before recovery has ended, so the settings of the live server do not bind.
            "hot_standby=off",
            "shared_buffers=32MB",
            "max_connections=20",
            # Nothing of it has to outlive a crash.
            "fsync=off",
            "full_page_writes=off",
            "autovacuum=off",
            "logging_collector=off",
            "log_destination=stderr",
            "log_line_prefix=",
            "log_timezone=UTC",
            *settings,
        ]
        command = [f"{self.configuration.programs}/postgres", "-D", str(self.data)]
        command += [part for option in options for part in ("-c", option)]
        with self.log.open("wb") as log:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )
        while self._server.poll() is None:
            with contextlib.suppress(BackupError):
                self.query("SELECT 1")
                return True
            time.sleep(0.1)
        return False

    def query(self, sql: str, database: str = "postgres") -> list[list[str]]:
        """The rows of a query."""
        return psql.query(database, sql, str(paths.SCRATCH))

    def check(self, databases: Sequence[str]) -> None:
        """Have pg_amcheck read every table and index of the databases."""
        done = self._program(
            "pg_amcheck",
            f"--host={paths.SCRATCH}",
            "--install-missing",
            "--heapallindexed",
            "--parent-check",
            *(f"--database={name}" for name in databases),
        )
        if done.returncode:
            raise BackupError(
                f"pg_amcheck finds damage in what was restored: {process.last_lines(done)}"
            )

    @property
    def last_transaction(self) -> str:
        """When the last transaction that was brought back was committed."""
        return server_log.last_transaction(self.log.read_text())
