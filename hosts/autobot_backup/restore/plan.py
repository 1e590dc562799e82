"""The plan of a restore: what it would do, or why it cannot. Nothing is touched."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from autobot_backup import databases, live_cluster, paths, pgbackrest, psql
from autobot_backup.backups import Backup
from autobot_backup.catalogue import Catalogue
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError
from autobot_backup.scratch import require_restore_space
from autobot_backup.target import RecoveryTarget
from autobot_backup.times import format_time, parse_time

# When WAL is stuck on the host, what was committed so shortly before its end may not be there.
DOUBT_SECONDS = 120


def databases_of(configuration: Configuration, backup: Backup) -> list[str]:
    """The databases in a backup."""
    output = pgbackrest.run(
        configuration,
        "info",
        "--output=json",
        f"--set={backup.label}",
        repository=backup.repository,
    )
    (entry,) = [
        each
        for stanza in json.loads(output)
        for each in stanza["backup"]
        if each["label"] == backup.label
    ]
    return sorted(each["name"] for each in entry["database-ref"] if each["name"] != "postgres")


@dataclass(frozen=True)
class LiveState:
    """The live server as a plan has to know it."""

    # Why what was committed last has not reached the repository, if it has not.
    archive_failure: str = ""
    # The one that it writes; 0 where there is no server, or one that nobody backs up.
    timeline: int = 0


def archive_live_wal(configuration: Configuration) -> LiveState:
    """Bring what the live server has into the repository, and see which timeline it is on."""
    clusters = Catalogue(configuration).clusters
    if not live_cluster.is_running(configuration):
        return LiveState()
    timeline = 0
    try:
        # A host that was set up anew has a cluster that nobody backs up.
        if databases.system_identifier() in clusters:
            ((found,),) = psql.query("postgres", "SELECT timeline_id FROM pg_control_checkpoint()")
            timeline = int(found)
            live_cluster.archive_wal(configuration)
    except BackupError as error:
        return LiveState(str(error), timeline)
    return LiveState(timeline=timeline)


def timeline_conflict(target: RecoveryTarget, live: LiveState, *, whole: bool) -> str:
    """Why a target close to now would not have what the live server has committed."""
    # A younger one began after the time that is wanted: that is what going back is for.
    if not whole or live.timeline in (0, target.timeline):
        return ""
    if target.kind != "latest" and live.timeline > target.timeline:
        return ""
    return (
        f"PostgreSQL is on timeline {live.timeline}, and {target.text} in the repository is on "
        f"timeline {target.timeline}, which does not have what PostgreSQL has committed since. "
        "Take a backup (systemctl start autobot-backup-full), then ask for latest or a later time."
    )


def already_there(kept: Path | str) -> str:
    return (
        f"{kept} is there already. Choose another restore_stamp, or remove it. "
        "Nothing was restored."
    )


def make_plan(
    configuration: Configuration,
    to: str,
    *,
    database: str = "",
    beside: bool = False,
    stamp: str = "",
    live: LiveState = LiveState(),
) -> dict[str, Any]:
    """What a restore would do; BackupError where it cannot. Nothing is touched."""
    now = time.time()
    if beside and not database:
        raise BackupError("Only a database can be left beside the live one: name it.")
    catalogue = Catalogue(configuration)
    target = catalogue.target(to, now)
    backup = target.backup
    archive = catalogue.archive(backup)
    whole = target.kind == "latest" or (
        target.kind == "time" and parse_time(to) > archive.end - DOUBT_SECONDS
    )
    if problem := timeline_conflict(target, live, whole=whole):
        raise BackupError(problem)
    if live.archive_failure and whole:
        raise BackupError(
            f"{live.archive_failure} Or stop PostgreSQL: what it has not archived is then taken "
            "from its disk."
        )
    present = databases_of(configuration, backup)
    if database and database not in present:
        raise BackupError(
            f"Backup {backup.label} has no database {database}. It has: {', '.join(present)}."
        )
    stamp = stamp or datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dt%H%M%Sz")
    data = Path(configuration.data_directory)
    where = paths.SCRATCH if database else data.parent
    needed, free = require_restore_space(where, backup)
    if database and beside:
        restored, kept, lost = f"{database}_restored_{stamp}", database, "nothing"
    elif database:
        restored, kept = database, f"{database}_before_{stamp}"
        lost = f"what was written to {database} after {target.text}; it stays in {kept}"
    else:
        restored, kept = str(data), f"{data}.before-{stamp}"
        lost = f"everything that was written after {target.text}; it stays in {kept}"
    new_name = restored if beside else kept
    if databases.exists(new_name) if database else os.path.lexists(new_name):
        raise BackupError(already_there(new_name))
    if target.kind == "latest" and not beside:
        lost = "what is not in the repository and not in this host's own WAL"
    return {
        "host": configuration.host,
        "to": to,
        "target": target.text,
        "databases": [database] if database else present,
        "repository": backup.repository.name,
        "repository_number": backup.repository.number,
        "backup": backup.label,
        "backup_complete": format_time(backup.stop),
        "timeline": target.timeline,
        "options": target.options,
        "complete": target.complete,
        "whole": whole,
        "stamp": stamp,
        "archive_end": format_time(archive.end),
        "archive_last": archive.last_segment(target.timeline),
        "database": database,
        "beside": beside,
        "restored": restored,
        "kept": kept,
        "lost": lost,
        "needed_bytes": needed,
        "free_bytes": free,
    }
