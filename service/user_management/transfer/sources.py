"""Sources of users: files, and what all sources have in common.

A reader gives one row after another and keeps none. A row that cannot be read becomes an
InvalidRow; only what makes the whole source useless is a SourceError.
"""

import csv
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

import yaml

from user_management.csvsafe import original_cell
from user_management.models import Organization, Team
from user_management.transfer.candidates import COLUMNS, InvalidRow, Row, read_row

# Bytes. What is longer is no user, and must not fill the memory.
MAX_LINE: Final = 2**18
MAX_CONFIG: Final = 16 * 2**20

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
# What AutoBot calls differently in its configuration and in the fleet's table.
_CONFIG_COLUMNS: Final = {
    "password_hash": "password_hash",
    "email": "email",
    "created_at": "created_at",
    "last_login": "last_login_at",
}
SLM_COLUMNS: Final = {
    "username": "username",
    "password_hash": "password_hash",
    "is_active": "is_active",
    "is_admin": "is_platform_admin",
    "created_at": "created_at",
    "last_login": "last_login_at",
}


class SourceKind(StrEnum):
    """Where users can come from."""

    SLM_TABLE = "slm-table"
    UUID_TABLES = "uuid-tables"
    CONFIG = "config"
    CSV = "csv"
    NDJSON = "ndjson"


class SourceError(Exception):
    """Nothing can be read from the source. The message says what to do, and no secret."""


@dataclass(frozen=True, slots=True)
class SourceRole:
    """A role that an installation made for itself; `permissions` are names."""

    id: UUID
    org_id: UUID | None
    name: str
    description: str | None
    priority: int
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Users one after another, and what they refer to, which is few and is here at once."""

    kind: SourceKind
    rows: AsyncIterator[Row]
    organizations: tuple[Organization, ...] = field(default=())
    roles: tuple[SourceRole, ...] = field(default=())
    teams: tuple[Team, ...] = field(default=())


class _LineTooLongError(Exception):
    def __init__(self) -> None:
        super().__init__(f"the line is longer than {MAX_LINE} bytes")


class _Lines:
    """The lines of a stream, without a byte order mark. Bytes that are not UTF-8 stay in them as
    lone surrogates, so that only their row is lost.

    No generator: after the error for a line that is too long, the next line can be read.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._stream.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if self.number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = self._stream.readline(MAX_LINE)
            raise _LineTooLongError
        return line.decode("utf-8", "surrogateescape")

    @property
    def place(self) -> str:
        return f"line {self.number}"


def csv_rows(stream: BinaryIO) -> Iterator[Row]:
    """Rows below a header of names out of COLUMNS. An empty cell is an absent value.

    Raises SourceError when the header cannot be used.
    """
    lines = _Lines(stream)
    reader = csv.reader(lines, strict=True)
    columns = _header(reader)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _LineTooLongError) as error:
            yield InvalidRow(lines.place, "", f"It is not CSV: {error}.")
            continue
        if not cells:
            continue
        values = {
            column: original_cell(cell)
            for column, cell in zip(columns, cells, strict=False)
            if cell
        }
        if len(cells) == len(columns):
            yield read_row(lines.place, values)
        else:
            yield InvalidRow(
                lines.place,
                values.get("username", ""),
                f"It has {len(cells)} cells, the header has {len(columns)}.",
            )


def _header(reader: Iterator[list[str]]) -> list[str]:
    try:
        columns = next(reader)
    except StopIteration:
        raise SourceError("The source is empty: the first line names the columns.") from None
    except (csv.Error, _LineTooLongError) as error:
        raise SourceError(f"The first line cannot be read as CSV: {error}.") from None
    unknown = [column for column in columns if column not in COLUMNS]
    # Bytes that are not UTF-8 have become lone surrogates.
    if not "".join(unknown).isprintable():
        raise SourceError("The first line is not text in UTF-8. Save the file as CSV in UTF-8.")
    if unknown:
        raise SourceError(
            f"The first line must name the columns. Unknown: {', '.join(map(ascii, unknown))}. "
            f"Known: {', '.join(COLUMNS)}."
        )
    if len(set(columns)) != len(columns):
        raise SourceError("The first line names a column twice.")
    if "username" not in columns:
        raise SourceError("The first line names no column username.")
    return columns


def ndjson_rows(stream: BinaryIO) -> Iterator[Row]:
    """One JSON object per line, with members out of COLUMNS; null is an absent value."""
    lines = _Lines(stream)
    while True:
        try:
            line = next(lines)
            if line.strip():
                yield _json_row(lines.place, json.loads(line))
        except StopIteration:
            return
        except (ValueError, RecursionError):
            yield InvalidRow(lines.place, "", "It is not JSON.")
        except _LineTooLongError as error:
            yield InvalidRow(lines.place, "", f"It is not JSON: {error}.")


def _json_row(place: str, values: Any) -> Row:
    if not isinstance(values, dict):
        return InvalidRow(place, "", "It is not a JSON object.")
    unknown = [name for name in values if name not in COLUMNS]
    if unknown:
        return InvalidRow(
            place,
            str(values.get("username") or ""),
            f"Unknown: {', '.join(map(ascii, unknown))}. Known: {', '.join(COLUMNS)}.",
        )
    return read_row(place, values)


def config_rows(stream: BinaryIO) -> Iterator[Row]:
    """The users in AutoBot's configuration, YAML or JSON: `security_config.allowed_users`.

    The role `admin` makes a platform administrator. Raises SourceError when there are none.
    """
    for username, entry in _allowed_users(stream).items():
        place = f"allowed_users.{username}"
        if not isinstance(username, str) or not isinstance(entry, dict):
            yield InvalidRow(
                place, str(username), "It is not a text with members below it; quote the name."
            )
            continue
        role = entry.get("role")
        yield read_row(
            place,
            _renamed(_CONFIG_COLUMNS, entry)
            | {
                "username": username,
                "is_platform_admin": role == "admin",
                "roles": None if role in (None, "admin") else [role],
            },
        )


def _allowed_users(stream: BinaryIO) -> dict[Any, Any]:
    text = stream.read(MAX_CONFIG + 1)
    if len(text) > MAX_CONFIG:
        raise SourceError(f"The configuration is larger than {MAX_CONFIG} bytes.")
    found = _parsed(text)
    for name in ("security_config", "allowed_users"):
        found = found.get(name) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise SourceError("The configuration holds no security_config.allowed_users with names.")
    return found


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        # Without what stands there: it may be a secret.
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise SourceError(f"Line {line} is neither YAML nor JSON: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise SourceError("The configuration is neither YAML nor JSON in UTF-8.") from None


def sqlite_rows(path: Path) -> Iterator[Row]:
    """The table `users` of the fleet manager's SQLite file. Raises SourceError."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
            database.row_factory = sqlite3.Row
            for record in database.execute(slm_query()):
                yield slm_row(dict(record))
    except sqlite3.Error as error:
        raise SourceError(f"{path} is no SQLite file of the fleet manager: {error}.") from None


def slm_query() -> str:
    """What is read of the fleet manager's table, in any SQL."""
    return f"SELECT id, {', '.join(SLM_COLUMNS)} FROM users ORDER BY id"  # noqa: S608


def slm_row(record: Mapping[str, Any]) -> Row:
    """A row of the fleet manager's table, whose integer ids are left behind."""
    return read_row(f"id {record['id']}", _renamed(SLM_COLUMNS, record))


def _renamed(names: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {ours: values[theirs] for theirs, ours in names.items() if theirs in values}


FILE_ROWS: Final[Mapping[SourceKind, Callable[[BinaryIO], Iterator[Row]]]] = {
    SourceKind.CSV: csv_rows,
    SourceKind.NDJSON: ndjson_rows,
    SourceKind.CONFIG: config_rows,
}


async def streamed(rows: Iterable[Row]) -> AsyncIterator[Row]:
    """Rows of a file, for whoever reads those of a database too."""
    for row in rows:
        yield row
