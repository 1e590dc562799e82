"""Sessions of PostgreSQL's superuser, over psql and the server's socket."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

from autobot_backup.errors import BackupError

# Owners make what they like in their databases, and a superuser's session must not call it: names
# mean PostgreSQL's own things, and a view in the place of a table is refused by the server.
SAFE_OPTIONS = "-c search_path=pg_catalog -c restrict_nonsystem_relation_kind=view,foreign-table"


class Session:
    """A session of PostgreSQL's superuser that stays open."""

    END = "-- the answer ends here --"

    def __init__(self, database: str, socket_directory: str | None = None) -> None:
        command = ["psql", "-XAtq", "--set=ON_ERROR_STOP=1", "--field-separator=\x1f"]
        command += ["--dbname", database] + (
            ["--host", socket_directory] if socket_directory else []
        )
        self._database = database
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "LC_ALL": "C.UTF-8",
                "PGAPPNAME": "autobot-backup",
                "PGOPTIONS": SAFE_OPTIONS,
            },
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        # psql says goodbye at the end of its input; one whose query still runs is ended.
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def query(self, sql: str) -> list[list[str]]:
        """The rows of the statements, or BackupError with the server's words."""
        requests, answers = self._process.stdin, self._process.stdout
        if requests is None or answers is None:
            raise ValueError("psql runs without pipes")
        # One that has ended has said why.
        with suppress(BrokenPipeError):
            requests.write(f"{sql.rstrip().rstrip(';')};\n\\echo {self.END!r}\n")
            requests.flush()
        lines: list[str] = []
        for line in answers:
            if line.rstrip("\n") == self.END:
                return [each.split("\x1f") for each in lines]
            lines.append(line.rstrip("\n"))
        raise BackupError(f"PostgreSQL, database {self._database}: {' '.join(lines).strip()}")


def query(database: str, sql: str, socket_directory: str | None = None) -> list[list[str]]:
    """The rows of one query."""
    with Session(database, socket_directory) as session:
        return session.query(sql)


def quote_ident(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def quote_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
