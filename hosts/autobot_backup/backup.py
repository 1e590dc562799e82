"""Backups into every repository, each with a record of what is in the databases."""

from __future__ import annotations

import time
from typing import Any

from autobot_backup import databases, files, lock, paths, pgbackrest, psql, records
from autobot_backup.configuration import Configuration


def take(
    configuration: Configuration,
    kind: str,
    labels: dict[str, str] | None = None,
    point: str | None = None,
) -> list[dict[str, Any]]:
    """Take a backup into each repository, and record what is in the databases."""
    taken = []
    annotations = [f"--annotation={key}={value}" for key, value in (labels or {}).items()]
    with lock.exclusive():
        for repository in configuration.backup_repositories:
            start = time.monotonic()
            pgbackrest.run(
                configuration, "backup", f"--type={kind}", *annotations, repository=repository
            )
            newest = pgbackrest.backups(configuration, repository)[-1]
            taken.append(
                {
                    "repository": repository.name,
                    "label": newest["label"],
                    "type": newest["type"],
                    "database_bytes": newest["info"]["size"],
                    "repository_bytes": newest["info"]["repository"].get("delta", 0),
                    "seconds": round(time.monotonic() - start, 1),
                }
            )
        found = records.take(taken[0]["label"], point or f"backup_{taken[0]['label']}")
        for repository, each in zip(configuration.backup_repositories, taken, strict=True):
            records.save(configuration, repository, {**found, "backup": each["label"]})
            each |= {"point": found["point"], "rows": records.rows(found)}
        records.forget(configuration)
    return taken


def unrecorded_tables(configuration: Configuration) -> list[str]:
    """The tables that came after what is recorded of the newest backup."""
    known = pgbackrest.backups(configuration, configuration.backup_repositories[0])
    found = files.read_json(paths.RECORDS / f"{known[-1]['label']}.json") if known else {}
    recorded = found.get("databases", {})
    missing = []
    for name in databases.names():
        with psql.Session(name) as session:
            missing += [
                f"{table} of {name}"
                for table in databases.tables(session)
                if table not in recorded.get(name, {})
            ]
    return missing
