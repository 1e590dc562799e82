"""The drill: the newest backup, and a random moment, are restored into a scratch cluster.

At the restore point of a backup the rows must be exactly those that were recorded when it was
taken. At a random moment nobody has recorded anything; there the rules hold that always hold.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections.abc import Iterable, Mapping
from typing import Any

from autobot_backup import databases, files, live_cluster, paths, psql, records
from autobot_backup.backups import Backup
from autobot_backup.catalogue import Catalogue
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError
from autobot_backup.scratch import ScratchCluster
from autobot_backup.target import RecoveryTarget
from autobot_backup.times import format_time

# Services may set a time of their own, and their hosts' clocks may differ.
CLOCK_TOLERANCE = 60

# table -> how many rows, and two sums over hashes of them
Content = Mapping[str, list[str]]


def compare(recorded: Mapping[str, Content], found: Mapping[str, Content]) -> str:
    """The first difference between what was recorded and what was restored; empty if none."""
    if not any(int(rows) for tables in recorded.values() for rows, *_ in tables.values()):
        return "Nothing is recorded with which it could be compared."
    for database in sorted(recorded.keys() | found.keys()):
        if database not in found or database not in recorded:
            where = "in the restored cluster" if database not in found else "in the record"
            return f"The database {database} is missing {where}."
        before, now = recorded[database], found[database]
        for table in sorted(before.keys() | now.keys()):
            if table not in now or table not in before:
                where = "in the restored database" if table not in now else "in the record"
                return f"The table {table} of {database} is missing {where}."
            if before[table][0] != now[table][0]:
                return (
                    f"The table {table} of {database} has {now[table][0]} rows; "
                    f"recorded were {before[table][0]}."
                )
            if before[table] != now[table]:
                return f"Rows of the table {table} of {database} differ from what was recorded."
    return ""


def incomplete_schema(
    restored: list[str], live: list[str], tables: Iterable[str], schema: Mapping[str, Any]
) -> str:
    """Why what was restored is less than the release's schema; empty if it is not.

    `restored` and `live` are revisions, `tables` what was restored.
    """
    again = (
        "The next backup has it: systemctl start autobot-backup-incr, then autobot-backup-drill."
    )
    if not restored:
        return f"it has no schema of a release: the backup is older than the first one. {again}"
    if restored != live:
        return (
            f"its schema is of revision {', '.join(restored)}, and the live one of "
            f"{', '.join(live) or 'none'}: the backup is older than that. {again}"
        )
    missing = sorted(set(schema["tables"]) - set(tables))
    # Of another release, which was deployed alone or gone back to, the tables are not known here.
    if schema["revision"] in restored and missing:
        return (
            f"{len(missing)} of the {len(schema['tables'])} tables of the release's schema are "
            f"missing: {', '.join(missing[:5])}. If the live database has them: {again}"
        )
    return ""


def several_revisions(revisions: list[str]) -> str:
    """Why the revision of a schema cannot be right; a database of somebody else has none.

    Which one it is says nothing: a release that was taken back had its own for a while.
    """
    if len(revisions) > 1:
        return f"its schema has several revisions at once: {', '.join(revisions)}."
    return ""


NEWEST = """
SELECT format('SELECT %L, extract(epoch FROM max(%I)) FROM %I.%I', format('%I.%I.%I', nspname,
    relname, attname), attname, nspname, relname)
FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind = 'r' AND attname IN ('created_at', 'updated_at')
    AND atttypid IN ('timestamptz'::regtype, 'timestamp'::regtype)
    AND nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
"""


def newest_rows(database: str) -> dict[str, float]:
    """Column to the newest time in it, of all columns that say when a row came or changed."""
    with psql.Session(database, str(paths.SCRATCH)) as session:
        session.query("SET timezone = 'UTC'")
        rows = [session.query(row[0])[0] for row in session.query(NEWEST)]
    return {column: float(newest) for column, newest in rows if newest}


def newer_row(newest: Mapping[str, float], wanted: float) -> str:
    """The first column that knows of something after the moment that was restored."""
    for column, seconds in sorted(newest.items()):
        if seconds > wanted + CLOCK_TOLERANCE:
            return (
                f"{column} has a row of {format_time(seconds)}, and what was restored ends at "
                f"{format_time(wanted)}."
            )
    return ""


class Drill:
    """One drill, and what has come of it so far."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.result: dict[str, Any] = {
            "ok": False,
            "finished": 0.0,
            "seconds": 0.0,
            "backup": "",
            "target": "",
            "databases": 0,
            "tables": 0,
            "rows": 0,
            "failure": "",
            "verified": self._verified(),
        }

    @staticmethod
    def _verified() -> float | None:
        """When a drill succeeded last."""
        try:
            last = json.loads(paths.DRILL_RESULT.read_text())
        except (OSError, ValueError):
            return None
        # A drill that compared nothing was none.
        is_empty = last.get("ok") and not last.get("rows")
        verified: float | None = None if is_empty else last.get("verified")
        return verified

    def run(self) -> dict[str, Any]:
        """Both restores; the result is written whatever comes of them."""
        try:
            self._drill()
            self.result["ok"] = True
        except (BackupError, OSError, subprocess.SubprocessError) as error:
            self.result["failure"] = " ".join(str(error).split())
        except BaseException as error:
            self.result["failure"] = f"It was ended before it was done ({error!r})."
            raise
        finally:
            self.result["finished"] = time.time()
            if self.result["ok"]:
                self.result["verified"] = self.result["finished"]
            files.write_json(paths.DRILL_RESULT, self.result)
        return self.result

    def _drill(self) -> None:
        # A repository that is away is named at once, not after the WAL has waited for it.
        catalogue = Catalogue(self.configuration)
        live_cluster.archive_wal(self.configuration)
        backup = catalogue.backups[-1]
        self.result["backup"] = backup.label
        if backup.damaged:
            raise BackupError(
                f"Backup {backup.label} was taken from damaged data: pgBackRest found pages with "
                "wrong checksums (pgbackrest info --set). Check the live server's disk."
            )
        if not backup.point:
            raise BackupError(
                f"Backup {backup.label} has no record: it was ended before that was written. "
                "The next backup writes one: systemctl start autobot-backup-incr."
            )
        record = records.read(backup)
        # Not restored, but no WAL up to it may be missing.
        catalogue.target("latest", time.time())
        with ScratchCluster(catalogue) as scratch:
            self._compare_with_record(scratch, catalogue, record, backup)
            self._restore_random_time(scratch, catalogue)

    def _restore(self, scratch: ScratchCluster, target: RecoveryTarget) -> list[str]:
        seconds = scratch.restore(target)
        # What a restore takes is what the slower of the two took.
        self.result["seconds"] = max(self.result["seconds"], round(seconds, 1))
        targets = [self.result["target"], target.text]
        self.result["target"] = ", ".join(filter(None, targets))
        return databases.names(str(paths.SCRATCH))

    def _compare_with_record(
        self,
        scratch: ScratchCluster,
        catalogue: Catalogue,
        record: Mapping[str, Any],
        backup: Backup,
    ) -> None:
        """The newest backup, at its restore point: exactly the recorded rows."""
        names = self._restore(scratch, catalogue.target(backup.point, time.time()))
        found, tables = {}, {}
        for name in names:
            with psql.Session(name, str(paths.SCRATCH)) as session:
                session.query(records.DIGEST_SETTINGS)
                found[name] = records.digest(session)
                tables[name] = databases.tables(session, "'p', 'u'")
        contents = [table for database in found.values() for table in database.values()]
        self.result["databases"] = len(found)
        self.result["tables"] = len(contents)
        self.result["rows"] = sum(int(table[0]) for table in contents)
        if difference := compare(record["databases"], found):
            raise BackupError(f"Backup {backup.label} at {backup.point}: {difference}")
        for schema in self.configuration.schemas:
            if fault := self._schema_fault(schema, tables):
                raise BackupError(f"Backup {backup.label} at {backup.point}: {fault}")
        scratch.check(names)

    @staticmethod
    def _schema_fault(schema: Mapping[str, Any], tables: Mapping[str, list[str]]) -> str:
        """What of the release's schema is not in the restored database; empty if all is."""
        ours = schema["database"]
        if ours not in tables:
            return f"The database {ours} is missing."
        restored = databases.revisions(ours, str(paths.SCRATCH))
        live = databases.revisions(ours)
        fault = incomplete_schema(restored, live, tables[ours], schema)
        return f"Of {ours}, {fault}" if fault else ""

    def _schemas_since(self, catalogue: Catalogue) -> float:
        """When all databases first held a schema of a release, of what is recorded."""
        table = f"public.{databases.VERSION_TABLE}"
        records = [
            files.read_json(paths.RECORDS / f"{backup.label}.json") for backup in catalogue.backups
        ]
        return min(
            float(record["time"])
            for record in records
            if all(
                table in record.get("databases", {}).get(schema["database"], {})
                for schema in self.configuration.schemas
            )
        )

    def _restore_random_time(self, scratch: ScratchCluster, catalogue: Catalogue) -> None:
        """A random moment since there is something to restore: what holds at any time."""
        wanted = random.uniform(self._schemas_since(catalogue), time.time())  # noqa: S311 - no secret
        try:
            target = catalogue.target(format_time(wanted), time.time())
        except BackupError as error:
            raise BackupError(f"At {format_time(wanted)}: {error}") from error
        names = self._restore(scratch, target)
        ours = [schema["database"] for schema in self.configuration.schemas]
        for name in names:
            restored = databases.revisions(name, str(paths.SCRATCH))
            fault = several_revisions(restored) or newer_row(newest_rows(name), wanted)
            if name in ours and not restored:
                fault = "it has no schema of a release."
            if fault:
                raise BackupError(f"At {target.text}, {name}: {fault}")
        if missing := [name for name in ours if name not in names]:
            raise BackupError(f"At {target.text}: {', '.join(missing)} is missing.")
        scratch.check(names)
