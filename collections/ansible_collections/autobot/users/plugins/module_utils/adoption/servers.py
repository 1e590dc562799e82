"""A PostgreSQL server, asked with psql."""

from __future__ import annotations

import re
import secrets
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import IO, Any

CONNECT_SECONDS = "10"
LOCK_TIMEOUT = "60s"
# A host that is gone ends what waits for it after half a minute, not after the kernel's two hours.
KEEPALIVES = "keepalives_idle=15 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=30000"
SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Rows read alike on both servers, names mean what the catalog calls so; the fence is for others.
OPTIONS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "client_min_messages": "warning",
    "search_path": "pg_catalog",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": LOCK_TIMEOUT,
    "idle_in_transaction_session_timeout": "0",
}
# Fields of a complaint that quote rows or statements, and what ends them.
ROWS_FOLLOW = re.compile(r"(DETAIL|CONTEXT|LINE \d+): ")
NEXT_FIELD = re.compile(r"(ERROR|FATAL|PANIC|WARNING|HINT): |(psql|pg_dump|pg_restore): ")
Rows = list[list[str]]


class MoveError(Exception):
    """The move cannot go on. The message says why, and holds no secret."""


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL has it, whatever standard_conforming_strings says."""
    quoted = "'" + text.replace("'", "''") + "'"
    return " E" + quoted.replace("\\", "\\\\") if "\\" in text else quoted


def words(output: str) -> str:
    """What psql, pg_dump or pg_restore complained of, in one line, without values of rows."""
    lines = [re.sub(r"^psql:<stdin>:\d+: ", "", it.strip()) for it in output.splitlines()]
    said = []
    quotes_rows = False
    for line in lines:
        # A value may have several lines.
        if ROWS_FOLLOW.match(line) or NEXT_FIELD.match(line):
            quotes_rows = bool(ROWS_FOLLOW.match(line))
        if line and not quotes_rows:
            said.append(line)
    return " ".join(said)


@dataclass(frozen=True)
class Server:
    """A server, and as whom it is asked.

    `account` is the user of this host who runs the programs; `programs` their directory. Without a
    `host` it is the server of this host, over its socket.
    """

    user: str
    programs: str
    host: str = ""
    port: int = 5432
    password: str = field(default="", repr=False)
    tls: str = ""
    authority: str = ""
    account: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What the programs are told: nobody else on the host can read a password in there."""
        options = {**OPTIONS, **self.options}
        told = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGSSLMODE": self.tls,
            "PGSSLROOTCERT": self.authority,
            "PGCONNECT_TIMEOUT": CONNECT_SECONDS,
            "PGAPPNAME": "autobot-adoption",
            "PGOPTIONS": " ".join(f"-c {name}={value}" for name, value in options.items()),
            "PGCLIENTENCODING": "UTF8",
            "LC_ALL": "C.UTF-8",
            "PATH": SYSTEM_PATH,
        }
        return {name: value for name, value in told.items() if value}

    @staticmethod
    def connection(database: str) -> str:
        """A database as the programs' option --dbname has it."""
        quoted = database.replace("\\", "\\\\").replace("'", "\\'")
        return f"dbname='{quoted}' {KEEPALIVES}"

    def start(self, program: str, *arguments: str, **streams: Any) -> subprocess.Popen[str]:
        """One of PostgreSQL's programs, as the account. It can reach no terminal for a password."""
        command = [f"{self.programs}/{program}", *arguments]
        if self.account:
            command = ["runuser", f"--user={self.account}", "--", *command]
        return subprocess.Popen(
            command,
            env=self.environment(),
            encoding="utf-8",
            # A database without an encoding has other bytes, too.
            errors="surrogateescape",
            cwd="/",
            start_new_session=True,
            **streams,
        )

    def run(self, database: str, script: str) -> Rows:
        """The rows of statements. Raises MoveError with the server's words."""
        with Session(self, database) as session:
            return session.query(script)


class Session:
    """A session that stays open."""

    def __init__(self, server: Server, database: str) -> None:
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the session
        self._process = server.start(
            "psql",
            "--no-psqlrc",
            "--no-password",
            "--quiet",
            "--tuples-only",
            "--no-align",
            "--set=ON_ERROR_STOP=1",
            # The rest of a complaint quotes rows.
            "--set=VERBOSITY=terse",
            "--field-separator=\x1f",
            f"--dbname={server.connection(database)}",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        # psql says goodbye at the end of its input; one whose statement still runs is ended.
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._said.close()

    def query(self, script: str) -> Rows:
        """The rows of statements. Raises MoveError with the server's words."""
        return [line.split("\x1f") for line in self.lines(script)]

    def lines(self, script: str) -> Iterator[str]:
        """The rows of statements as psql writes them: those of COPY … TO STDOUT, one a line."""
        return self._asked([script, "\n;"])

    def load(self, target: str, lines: Iterable[str]) -> None:
        """Rows for a table, as COPY writes them."""
        rows = (f"{line}\n" for line in lines)
        # No semicolon behind the rows: psql of 17.12 would ignore all that follows it.
        for _ in self._asked(chain([f"COPY {target} FROM STDIN;\n"], rows, ["\\."])):
            pass

    def _asked(self, script: Iterable[str]) -> Iterator[str]:
        # No row can be the same.
        end = f"-- {secrets.token_hex(16)} --"
        requests = self._stream(self._process.stdin)
        answers = self._stream(self._process.stdout)
        try:
            requests.writelines(script)
            requests.write(f"\n\\echo '{end}'\n")
            requests.flush()
        except BrokenPipeError:
            pass  # It has said why.
        for line in answers:
            if line.rstrip("\n") == end:
                return
            yield line.rstrip("\n")
        self._process.wait()
        self._said.seek(0)
        raise MoveError(words(self._said.read()) or "psql ended without a word.")

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        if stream is None:
            raise ValueError("psql runs without pipes")
        return stream
