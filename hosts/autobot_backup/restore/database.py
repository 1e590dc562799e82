"""One database as it was at a recovery target, in place of the live one or beside it."""

from __future__ import annotations

import contextlib
import subprocess
import time
from typing import Any

from autobot_backup import databases, paths, process, psql
from autobot_backup.catalogue import Catalogue
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError
from autobot_backup.psql import quote_ident, quote_literal
from autobot_backup.scratch import ScratchCluster


def restore_database(configuration: Configuration, plan: dict[str, Any]) -> dict[str, Any]:
    """One database as it was at the target: out of a scratch cluster, then in by two renames."""
    process.become_postgres()
    begin = time.monotonic()
    database = plan["database"]
    incoming = plan["restored"] if plan["beside"] else f"{database}_restored"
    # What a restore left that was killed half way: connections refused, and a copy that is not
    # whole. One beside the live database is somebody's.
    allow_connections(database)
    if not plan["beside"] and databases.exists(incoming):
        psql.query("postgres", f"DROP DATABASE {quote_ident(incoming)} WITH (FORCE)")
    catalogue = Catalogue(configuration)
    with ScratchCluster(catalogue) as scratch:
        scratch.restore(catalogue.target(plan["to"], time.time()), database)
        last = scratch.last_transaction
        scratch.check([database])
        # Under its new name it is created with the old one's owner, locale and privileges.
        scratch.query(
            "ALTER DATABASE " + quote_ident(database) + " RENAME TO " + quote_ident(incoming)
        )
        scratch.query("DROP EXTENSION IF EXISTS amcheck", incoming)
        copy_database(configuration, incoming)
    psql.query(incoming, "ANALYZE")
    if not plan["beside"]:
        swap_names(database, incoming, plan["kept"])
    return {
        "seconds": round(time.monotonic() - begin, 1),
        "timeline": plan["timeline"],
        "own_wal": [],
        "last_transaction": last,
    }


def copy_database(configuration: Configuration, database: str) -> None:
    """A database of the scratch cluster into the live one, whole or not at all."""
    dump = [f"{configuration.programs}/pg_dump", "--format=custom", "--create", "--compress=0"]
    dump += [f"--host={paths.SCRATCH}", f"--dbname={database}"]
    restore = [f"{configuration.programs}/pg_restore", "--create", "--exit-on-error"]
    restore += ["--dbname=postgres"]
    with subprocess.Popen(dump, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/") as source:
        done = subprocess.run(
            restore, stdin=source.stdout, capture_output=True, text=True, check=False, cwd="/"
        )
        # A dump that nobody reads ends.
        if source.stdout is not None:
            source.stdout.close()
        _, said = source.communicate()
    if done.returncode or source.returncode:
        with contextlib.suppress(BackupError):
            psql.query("postgres", f"DROP DATABASE IF EXISTS {quote_ident(database)} WITH (FORCE)")
        words = " ".join(f"{said.decode(errors='replace')} {done.stderr}".split())
        words = words or f"exit status {source.returncode} and {done.returncode}"
        raise BackupError(
            f"{database} could not be copied into the live server: {words} "
            "The live database was not touched."
        )


def swap_names(database: str, incoming: str, kept: str) -> None:
    """Rename both, while nobody is connected; the services connect again by themselves."""
    old, new, aside = quote_ident(database), quote_ident(incoming), quote_ident(kept)
    if not databases.exists(database):
        psql.query("postgres", f"ALTER DATABASE {new} RENAME TO {old}")
        return
    try:
        with psql.Session("postgres") as session:
            session.query(f"ALTER DATABASE {old} ALLOW_CONNECTIONS false")
            session.query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                f"WHERE datname = {quote_literal(database)}"
            )
            session.query(
                f"BEGIN; ALTER DATABASE {old} RENAME TO {aside}; "
                f"ALTER DATABASE {new} RENAME TO {old}; COMMIT"
            )
    finally:
        # Also after a signal, which may have come on either side of the renames.
        allow_connections(database, kept)


def allow_connections(*names: str) -> None:
    """Let databases be connected to that refuse it."""
    for name in names:
        if psql.query(
            "postgres",
            f"SELECT 1 FROM pg_database WHERE NOT datallowconn AND datname = {quote_literal(name)}",
        ):
            sql = f"ALTER DATABASE {quote_ident(name)} ALLOW_CONNECTIONS true"
            psql.query("postgres", sql)
