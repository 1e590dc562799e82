"""Sources of users: files, and what all sources have in common.

A reader gives one row after another and keeps none. A row that cannot be read becomes an
InvalidRow; only what makes the whole source useless is a SourceError.
"""

import json
import sqlite3
from collections.abc import AsyncIterator, Hashable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

import yaml

from user_management.models import Organization, Team
from user_management.transfer.candidates import InvalidRow, Row, read_row
from user_management.transfer.column_readers import COLUMNS, DoubleNameError, distinct
from user_management.transfer.csv_rows import csv_rows
from user_management.transfer.lines import LineCount, Lines, LineTooLongError, SourceError

MAX_CONFIG: Final = 16 * 2**20  # bytes

_MERGE: Final = "tag:yaml.org,2002:merge"
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
    """Users one after another, and what they refer to, which is few and is here at once.

    `lines` are those of a file that have been read so far. `undated` are the ids of things whose
    time of creation cannot be used.
    """

    kind: SourceKind
    rows: AsyncIterator[Row]
    lines: LineCount | None = None
    organizations: tuple[Organization, ...] = field(default=())
    roles: tuple[SourceRole, ...] = field(default=())
    teams: tuple[Team, ...] = field(default=())
    undated: frozenset[UUID] = frozenset()


def ndjson_rows(stream: BinaryIO, count: LineCount | None = None) -> Iterator[Row]:
    """One JSON object per line, with members out of COLUMNS; null is an absent value."""
    count = count if count is not None else LineCount()
    lines = Lines(stream)
    while True:
        try:
            line = next(lines)
            if not line.strip():
                count.empty += 1
                continue
            row = _json_row(lines.place, json.loads(line, object_pairs_hook=distinct))
        except StopIteration:
            return
        except DoubleNameError as error:
            row = InvalidRow(lines.place, "", str(error))
        except (ValueError, RecursionError):
            row = InvalidRow(lines.place, "", "It is not JSON.")
        except LineTooLongError as error:
            row = InvalidRow(lines.place, "", f"It is not JSON: {error}.")
        count.rows += 1
        yield row


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
            key=username,
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


class _Loader(yaml.SafeLoader):
    """Reads YAML in which no key stands twice: of two users, one would get lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            if first := lines.get((key.tag, key.value)):
                raise SourceError(
                    f"The key {key.value!a} stands in line {first} and again in line {line}."
                )
            lines[key.tag, key.value] = line
        return super().construct_mapping(node, deep=deep)

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> Any:
        """A date that is none stays text, and only its row is lost."""
        try:
            return super().construct_yaml_timestamp(node)
        except (ValueError, OverflowError):
            return self.construct_scalar(node)


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text, object_pairs_hook=distinct)
    except DoubleNameError as error:
        raise SourceError(f"The key {error}") from None
    except (ValueError, RecursionError):
        pass
    try:
        return yaml.load(text, _Loader)  # noqa: S506  a safe one
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
            for record in database.execute(SLM_QUERY):
                yield slm_row(dict(record))
    except sqlite3.Error as error:
        raise SourceError(f"{path} is no SQLite file of the fleet manager: {error}.") from None


_SLM_VALUES: Final = ", ".join(
    f"CAST({theirs} AS text) AS {theirs}" if ours.endswith("_at") else theirs
    for theirs, ours in SLM_COLUMNS.items()
)
# What is read of the fleet manager's table, in any SQL. Times as text: PostgreSQL has some that
# Python has not.
SLM_QUERY: Final = f"SELECT id, {_SLM_VALUES} FROM users ORDER BY id"  # noqa: S608


def slm_row(record: Mapping[str, Any]) -> Row:
    """A row of the fleet manager's table, whose integer ids are left behind."""
    return read_row(
        f"id {record['id']}", _renamed(SLM_COLUMNS, record), key=str(record["username"])
    )


def _renamed(names: Mapping[str, str], values: Mapping[str, Any]) -> dict[str, Any]:
    return {ours: values[theirs] for theirs, ours in names.items() if theirs in values}


FILE_KINDS: Final = frozenset({SourceKind.CONFIG, SourceKind.CSV, SourceKind.NDJSON})


def file_source(kind: SourceKind, stream: BinaryIO) -> Source:
    """A source that is a file, out of FILE_KINDS. Reading its rows raises SourceError."""
    lines = LineCount()
    match kind:
        case SourceKind.CSV:
            return Source(kind, streamed(csv_rows(stream, lines)), lines)
        case SourceKind.NDJSON:
            return Source(kind, streamed(ndjson_rows(stream, lines)), lines)
        case _:
            return Source(kind, streamed(config_rows(stream)))


async def streamed(rows: Iterator[Row]) -> AsyncIterator[Row]:
    """Rows of a file, for whoever reads those of a database too."""
    for row in rows:
        yield row
