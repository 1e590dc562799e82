"""The whole cluster as it was at a recovery target, in place of the live one; for root."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from autobot_backup import live_cluster, pgbackrest, process, psql, server_log
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError
from autobot_backup.live_cluster import LiveCluster
from autobot_backup.restore.plan import already_there
from autobot_backup.wal import segment_name, segment_number


def unarchived_segments(
    server: LiveCluster, directories: Sequence[Path], timeline: int, last: str
) -> dict[str, Path]:
    """Segments of a timeline after the last in the repository, from this cluster's directories."""
    found: dict[str, Path] = {}
    identifier = server.system_identifier(server.data)
    for data in directories:
        directory = data / "pg_wal"
        if not directory.is_dir() or server.system_identifier(data) != identifier:
            continue
        for path in directory.iterdir():
            if (
                re.fullmatch(r"[0-9A-F]{24}", path.name)
                and int(path.name[:8], 16) == timeline
                and path.name > last
                and path.name not in found
                and server.has_written(path)
            ):
                found[path.name] = path
    return dict(sorted(found.items()))


def first_missing(found: Iterable[str], last: str) -> str:
    """The first segment that is missing between the repository's last and those of this host."""
    number = segment_number(last) if last else None
    for name in found:
        here = segment_number(name)
        if number is not None and here != number + 1:
            return segment_name(int(name[:8], 16), number + 1)
        number = here
    return ""


def copy_unarchived_wal(server: LiveCluster, kept: Path, timeline: int, last: str) -> list[str]:
    """Give recovery the WAL that this host has and the repository has not; the segments' names."""
    # The newest first; an earlier restore may have left what was never archived.
    earlier = sorted(kept.parent.glob(f"{server.data.name}.before-*"), reverse=True)
    directories = [kept, *(each for each in earlier if each != kept)]
    found = unarchived_segments(server, directories, timeline, last)
    if gap := first_missing(found, last):
        raise BackupError(
            f"The WAL segment {gap} is neither in the repository nor on this host, and later ones "
            "are here. What they hold cannot be brought back: ask for a time before they were "
            "written."
        )
    for name, path in found.items():
        server.run_as_postgres("cp", "--", path, server.data / "pg_wal" / name)
    return list(found)


def restore_cluster(configuration: Configuration, plan: dict[str, Any]) -> dict[str, Any]:
    """Put the cluster as it was at the target in the place of the live one."""
    server = live_cluster.LiveCluster(configuration)
    kept = Path(plan["kept"])
    if os.path.lexists(kept):
        raise BackupError(already_there(kept))
    # Else it was lost, and nothing is kept.
    there = os.path.lexists(server.data)
    with live_cluster.timers_stopped():
        begin = time.monotonic()
        try:
            server.stop()
            if there:
                server.move(server.data, kept)
            server.run_as_postgres("mkdir", "--parents", "--mode=0700", "--", server.data)
            done = process.run(
                process.as_postgres(
                    "pgbackrest",
                    f"--stanza={configuration.stanza}",
                    f"--repo={plan['repository_number']}",
                    "--log-level-console=off",
                    "--log-level-stderr=error",
                    *plan["options"],
                    "restore",
                ),
                cwd="/",
            )
            if done.returncode:
                said = pgbackrest.error_lines(done.stderr) or f"exit status {done.returncode}"
                raise BackupError(f"pgbackrest restore: {said}")
            copied = (
                copy_unarchived_wal(server, kept, plan["timeline"], plan["archive_last"])
                if plan["whole"]
                else []
            )
            try:
                server.recover()
            except BackupError as error:
                if not (plan["complete"] and server_log.MISSED_TARGET in str(error)):
                    raise
                server.run_as_postgres(
                    *("tee", "--append", "--", server.data / "postgresql.auto.conf"),
                    said="recovery_target_time = ''\n",
                )
                server.recover()
        except BaseException as error:
            came = roll_back(server, kept, there=there)
            if not isinstance(error, BackupError | OSError):
                raise
            raise BackupError(f"{error} {came}") from error
        seconds = time.monotonic() - begin
        log = server.new_log()
    # What follows only asks.
    process.become_postgres()
    ((timeline,),) = psql.query("postgres", "SELECT timeline_id FROM pg_control_checkpoint()")
    return {
        "seconds": round(seconds, 1),
        "timeline": int(timeline),
        "own_wal": copied,
        "last_transaction": server_log.last_transaction(log),
    }


def roll_back(server: LiveCluster, kept: Path, *, there: bool) -> str:
    """The old data directory in its place, and its server running; what came of that.

    `there`: there was one. What is in its place is removed only when it was set aside before.
    """
    try:
        server.stop()
        if os.path.lexists(kept):
            server.remove()
            server.move(kept, server.data)
        elif not there:
            server.remove()
            return f"{server.data} is missing, as it was before."
        server.start()
        server.query("SELECT 1")
    except BackupError as error:
        where = kept if os.path.lexists(kept) else server.data
        return f"The old data are in {where}, and PostgreSQL does not serve them: {error}"
    return (
        "The old data directory is back in its place, and PostgreSQL serves it: "
        "nothing has changed."
    )
