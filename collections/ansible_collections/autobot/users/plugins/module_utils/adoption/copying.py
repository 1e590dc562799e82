"""Rows of a source, or of what served before, in the database that comes."""

from __future__ import annotations

import subprocess
import tempfile

from .contents import columns_of
from .servers import LOCK_TIMEOUT, MoveError, Server, Session, identifier, words


def transfer(source: Server, database: str, snapshot: str, target: Server, incoming: str) -> None:
    """A database as its snapshot has it, into an empty one of the target, of the same owner."""
    with tempfile.TemporaryFile("w+") as said:
        dump = source.start(
            "pg_dump",
            "--no-password",
            "--format=custom",
            "--compress=0",
            "--no-owner",
            "--no-privileges",
            "--no-publications",
            "--no-subscriptions",
            "--no-tablespaces",
            f"--snapshot={snapshot}",
            f"--lock-wait-timeout={LOCK_TIMEOUT}",
            f"--dbname={source.connection(database)}",
            stdout=subprocess.PIPE,
            stderr=said,
        )
        restore = target.start(
            "pg_restore",
            "--no-password",
            "--no-owner",
            "--no-privileges",
            f"--role={source.user}",
            "--exit-on-error",
            f"--dbname={target.connection(incoming)}",
            stdin=dump.stdout,
            stderr=said,
        )
        # A dump that nobody reads ends.
        if dump.stdout is not None:
            dump.stdout.close()
        if restore.wait() + abs(dump.wait()):
            said.seek(0)
            raise MoveError(f"The copy was refused: {words(said.read())}")


def carry(here: Session, there: Session, table: str, without_user: str) -> None:
    """Rows of a table about people, where nothing is yet; what becomes of those of nobody there is
    said by the beginning of a statement.
    """
    one, other = (columns_of(side)[table] for side in (here, there))
    listed = ", ".join(identifier(it) for it in one if it in other)
    rows = "pg_temp.carried"
    there.query(
        f"BEGIN; CREATE TEMPORARY TABLE carried ON COMMIT DROP AS SELECT {listed} FROM {table} "
        "WITH NO DATA"
    )
    there.load(rows, here.lines(f"COPY (SELECT {listed} FROM {table}) TO STDOUT"))
    there.query(
        f"{without_user.format(rows=rows)} WHERE user_id NOT IN (SELECT id FROM public.users);"
        f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {rows} ON CONFLICT DO NOTHING; COMMIT"
    )
