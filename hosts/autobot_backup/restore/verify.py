"""What came of a restore: read whole, counted, and what is wrong with it.

A drill compares with what was backed up, in autobot_backup.drill.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from autobot_backup import databases, process, psql
from autobot_backup.configuration import Configuration


def count(database: str) -> dict[str, int]:
    """Tables and rows of a database."""
    with psql.Session(database) as session:
        names = databases.tables(session)
        rows = [int(session.query(f"SELECT count(*) FROM {name}")[0][0]) for name in names]
    return {"tables": len(names), "rows": sum(rows)}


def check_live(configuration: Configuration, databases: Sequence[str]) -> str:
    """What pg_amcheck finds in the live databases; it leaves no extension behind."""
    with contextlib.ExitStack() as stack:
        for name in databases:
            there = "SELECT 1 FROM pg_extension WHERE extname = 'amcheck'"
            if not psql.query(name, there):
                psql.query(name, "CREATE EXTENSION amcheck SCHEMA pg_catalog")
                stack.callback(psql.query, name, "DROP EXTENSION amcheck")
        done = process.run(
            [f"{configuration.programs}/pg_amcheck", "--heapallindexed"]
            + [f"--database={name}" for name in databases]
        )
    return process.last_lines(done) if done.returncode else ""


def verify(
    configuration: Configuration, plan: dict[str, Any], revisions: Sequence[str]
) -> dict[str, Any]:
    """Read what was restored, whole: counts, revisions, and what is wrong with it."""
    names = [plan["restored"]] if plan["database"] else plan["databases"]
    problems = []
    # One database was checked before it was copied, and a copy has new indexes.
    if not plan["database"] and (damage := check_live(configuration, names)):
        problems.append(f"pg_amcheck finds damage: {damage}")
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        has = databases.revisions(name)
        found[name] = {**count(name), "revision": ", ".join(has)}
        if revisions and not set(has) <= set(revisions):
            problems.append(
                f"{name} has the schema {', '.join(has)}, which the release in use does not know: "
                "deploy the release that belongs to it, or a later one"
            )
    return {"databases": found, "problems": problems}
