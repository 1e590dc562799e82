"""What the databases hold, recorded exactly at a restore point; the backup vouches for it."""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from autobot_backup import databases, files, paths, pgbackrest, psql
from autobot_backup.backups import Backup
from autobot_backup.configuration import Configuration, Repository
from autobot_backup.errors import BackupError

RESTORE_POINT_PATIENCE = 10

# How values look in a digest must not depend on a server's settings.
DIGEST_SETTINGS = """
SET timezone = 'UTC'; SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; SET extra_float_digits = 1;
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
"""


def digest(session: psql.Session) -> dict[str, list[str]]:
    """Of each table: how many rows, and two sums over hashes of them, which no order changes."""
    # A row as text, without a cast: owners can make one from their row types, and it is called.
    # With .* it is the whole row also where a column has that name.
    text = "textin(record_out(digested.*))"
    found = {}
    for table in databases.tables(session):
        (row,) = session.query(
            f"SELECT count(*), coalesce(sum(hashtextextended({text}, 0)::numeric), 0),"
            f" coalesce(sum(hashtextextended({text}, 1)::numeric), 0) FROM {table} digested"
        )
        found[table] = row
    return found


def exact_restore_point(sessions: list[psql.Session], name: str) -> tuple[str, str]:
    """Make a restore point at which the sessions' snapshots are exactly what is restored.

    Nothing is locked. When no transaction was writing as the snapshots were taken, and none has
    begun to write until the point was made, the two show the same rows; else it is tried again.
    Returns the name of the point, and its LSN.
    """
    deadline = time.monotonic() + RESTORE_POINT_PATIENCE
    attempt = 0
    with psql.Session("postgres") as witness:
        while time.monotonic() < deadline:
            attempt += 1
            point = name if attempt == 1 else f"{name}_{attempt}"
            seen = set()
            for session in sessions:
                session.query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                (row,) = session.query(
                    "SELECT pg_snapshot_xmin(s), pg_snapshot_xmax(s) FROM pg_current_snapshot() s"
                )
                seen.update(row)
            if len(seen) == 1:
                ((lsn, latest),) = witness.query(
                    f"SELECT pg_create_restore_point('{point}'),"
                    " pg_snapshot_xmax(pg_current_snapshot())"
                )
                if seen == {latest}:
                    return point, lsn
            for session in sessions:
                session.query("ROLLBACK")
            time.sleep(0.02)
    raise BackupError(
        f"For {RESTORE_POINT_PATIENCE} s there was no moment without a transaction that writes. "
        "A long one may be under way; see pg_stat_activity."
    )


def take(label: str, point: str) -> dict[str, Any]:
    """What all databases hold, exactly at a restore point that is made for it."""
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(psql.Session(name)) for name in databases.names()}
        for session in sessions.values():
            session.query(DIGEST_SETTINGS)
        made, lsn = exact_restore_point(list(sessions.values()), point)
        found = {
            "backup": label,
            "point": made,
            "lsn": lsn,
            "time": time.time(),
            "databases": {name: digest(session) for name, session in sessions.items()},
        }
    # So that the point leaves the host now, not with the next switch.
    psql.query("postgres", "SELECT pg_switch_wal()")
    return found


def rows(found: dict[str, Any]) -> int:
    """How many rows a record counts."""
    return sum(int(row[0]) for tables in found["databases"].values() for row in tables.values())


def save(configuration: Configuration, repository: Repository, found: dict[str, Any]) -> Path:
    """Keep a record here, and its point and SHA-256 with the backup itself."""
    path = paths.RECORDS / f"{found['backup']}.json"
    checksum = files.write_json(path, found, 0o600)
    pgbackrest.run(
        configuration,
        "annotate",
        f"--set={found['backup']}",
        f"--annotation=point={found['point']}",
        # The next record of this backup replaces the one above; its point stays one to go back to.
        f"--annotation=point-{found['point']}={found['point']}",
        f"--annotation=record={checksum}",
        repository=repository,
    )
    return path


def forget(configuration: Configuration) -> None:
    """Remove the records of backups that no repository has any more."""
    known = {
        backup["label"]
        for repository in configuration.backup_repositories
        for backup in pgbackrest.backups(configuration, repository)
    }
    for path in paths.RECORDS.glob("*.json"):
        if path.stem not in known:
            path.unlink()


def read(backup: Backup) -> dict[str, Any]:
    """What was recorded for a backup, if it is still what the backup itself vouches for."""
    path = paths.RECORDS / f"{backup.label}.json"
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise BackupError(
            f"{path} is missing, so nothing says what backup {backup.label} holds. "
            "The next backup writes one: systemctl start autobot-backup-incr."
        ) from None
    if hashlib.sha256(text).hexdigest() != backup.annotations.get("record"):
        raise BackupError(
            f"{path} is not what was written when backup {backup.label} was taken: "
            "somebody has changed it, or the repository."
        )
    record: dict[str, Any] = json.loads(text)
    return record
