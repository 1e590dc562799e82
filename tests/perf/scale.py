"""A table of very many users: pages at any depth, search, and an import."""

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID

from tests.perf.figures import Aim, Report
from tests.perf.load import Answers, Connection, connections, request
from tests.perf.machine import ROOT
from tests.perf.servers import SIGNING_KEY, Contender, Databases
from tests.support.database_server import SERVICE
from user_management.security.cursors import CursorCodec, Position
from user_management.security.tokens import SigningKey

DEPTHS = (10, 50, 90, 99)  # percent
TERMS = {
    "unique": "kxanberg2",
    "rare": "zoltan xan",
    "in 0.1 %": "holmford",
    "common": "anna",
    "in most": "example",
    "absent": "qqqwxyz",
    "digits": "12345",
    "two common letters": "an",
    "two rare letters": "zq",
    "one letter": "z",
    "accents": "ZOLTÁN XÁN",
    "common, accents": "ánna",
    "words in another order": "xan zoltan",
    "two short words": "xa zq",
    "one character": "龙",
    "two characters": "明国",
    "two rare characters": "周雨",
    "three rare characters": "周雨龙",
}
# PostgreSQL decides on the plan of a prepared statement after five runs.
DISCARDED, RUNS = 8, 15
SEARCH = Aim(25)
PAGE = Aim(1.5)
IMPORTED = 20_000
IMPORTS = 3

_DURATION = re.compile(r"duration: ([0-9.]+) ms")
# Not those that end sessions, which the service asks for each second.
_COUNT = re.compile(r"\bcount\s*\((?!.*pg_stat_activity)", re.IGNORECASE)
_COLUMNS = "username, email, display_name, password_hash"


def fill(found: Databases, users: int) -> float:
    """Make the users; seconds that it took."""
    start = time.perf_counter()
    people = (Path(__file__).parent / "people.sql").read_text()
    found.autobot.psql(f"\\set users {users}\n{people}")
    return time.perf_counter() - start


class Statements:
    """What the service says to the database of the application users, from the server's log."""

    def __init__(self, found: Databases) -> None:
        self._log = found.server.directory / "log"
        self._read = 0

    @classmethod
    @contextmanager
    def logged(cls, found: Databases) -> Iterator["Statements"]:
        """Connections that are made while the block runs log each statement."""
        role = f"ALTER ROLE {SERVICE} IN DATABASE {found.autobot.name}"
        found.server.sql(f"{role} SET log_min_duration_statement = 0")
        try:
            yield cls(found)
        finally:
            found.server.sql(f"{role} RESET log_min_duration_statement")

    def new(self) -> str:
        """What was logged since the last call."""
        with self._log.open() as log:
            log.seek(self._read)
            text = log.read()
            self._read = log.tell()
        return text


async def measure(
    report: Report, found: Databases, contender: Contender, statements: Statements
) -> None:
    """Pages and searches one by one: in the server, and as a whole."""
    token = await contender.token()
    async with connections(contender.socket) as [connection]:
        reader = _Reader(report, connection, statements, token)
        await _pages(report, found, reader)
        await _searches(reader)
    report.add("statements that count, in the requests above", reader.counts, "", Aim(0))


class _Reader:
    """Asks for lists and looks at what that means for the database."""

    def __init__(
        self, report: Report, connection: Connection, statements: Statements, token: str
    ) -> None:
        self.counts = 0
        self._report = report
        self._connection = connection
        self._statements = statements
        self._token = token

    async def read(self, queries: Mapping[str, Mapping[str, str]]) -> dict[str, float]:
        """Ask by turns and report each; median milliseconds of the whole requests."""
        server: dict[str, list[float]] = {name: [] for name in queries}
        whole = {name: Answers() for name in queries}
        self._statements.new()
        for _ in range(DISCARDED + RUNS):
            for name, query in queries.items():
                path = f"/api/autobot-users?{urlencode(query)}"
                await self._connection.ask(request("GET", path, token=self._token), whole[name])
                said = self._statements.new()
                server[name].append(sum(map(float, _DURATION.findall(said))))
                self.counts += len(_COUNT.findall(said))
        for name, answers in whole.items():
            self._report.note(name, answers)
            aim = SEARCH if "search" in queries[name] else None
            self._report.add(f"{name}, in PostgreSQL", server[name][DISCARDED:], "ms", aim)
            milliseconds = [1000 * seconds for seconds in answers.seconds[DISCARDED:]]
            self._report.add(f"{name}, whole request", milliseconds, "ms")
        return {
            name: statistics.median(answers.seconds[DISCARDED:]) for name, answers in whole.items()
        }


async def _pages(report: Report, found: Databases, reader: _Reader) -> None:
    signing_key = SigningKey.from_pem(SIGNING_KEY, variable="SLM_SIGNING_KEY")
    codec = CursorCodec(signing_key.derive("cursors of lists"))
    users = int(found.autobot.sql("SELECT count(*) FROM users"))
    queries = {"first page": {"limit": "100"}}
    for depth in DEPTHS:
        row = found.autobot.sql(
            "SELECT to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), id"
            f" FROM users ORDER BY created_at DESC, id DESC OFFSET {users * depth // 100} LIMIT 1"
        )
        created_at, _, identifier = row.partition("|")
        position = Position(datetime.fromisoformat(f"{created_at}+00:00"), UUID(identifier))
        queries[f"page at {depth} %"] = {"limit": "100", "cursor": codec.encode(position)}
    medians = await reader.read(queries)
    for name in list(queries)[1:]:
        report.add(f"{name} over first page", medians[name] / medians["first page"], "times", PAGE)


async def _searches(reader: _Reader) -> None:
    await reader.read(
        {
            f"search, {kind} ({term})": {"limit": "100", "search": term}
            for kind, term in TERMS.items()
        }
    )


def compare_import(report: Report, found: Databases) -> None:
    """`slm import` and a bare COPY in turn, each time with people who are not there yet."""
    copied, imported = [], []
    for number in range(IMPORTS):
        copied.append(IMPORTED / _copy(found, _people(found, f"copied{number}")))
        imported.append(IMPORTED / _import(found, _people(found, f"imported{number}")))
    report.add("bare COPY into the indexed table", copied, "rows/s")
    report.add("slm import", imported, "rows/s")
    shares = [100 * ours / bare for ours, bare in zip(imported, copied, strict=True)]
    report.add("slm import, of bare COPY", shares, "%", Aim(20, at_least=True))


def _people(found: Databases, prefix: str) -> Path:
    """A CSV file of people like those who are there."""
    path = found.server.directory / f"{prefix}.csv"
    found.autobot.psql(
        f"\\copy (SELECT '{prefix}.' || username AS username, '{prefix}.' || email AS email,"
        f" display_name, password_hash FROM users LIMIT {IMPORTED})"
        f" TO '{path}' (FORMAT csv, HEADER)"
    )
    return path


def _copy(found: Databases, people: Path) -> float:
    """Seconds of a COPY."""
    start = time.perf_counter()
    found.autobot.psql(f"\\copy users ({_COLUMNS}) FROM '{people}' (FORMAT csv, HEADER)")
    return time.perf_counter() - start


def _import(found: Databases, people: Path) -> float:
    """Seconds of `slm import`, from its start to its end."""
    options = ("--population", "autobot", "--from", "csv", "--apply", str(people))
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "slm_server.cli", "import", *options],
        cwd=ROOT,
        env=found.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"slm import ends with {done.returncode}:\n{done.stderr}")
    return time.perf_counter() - start
