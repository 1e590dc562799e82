"""Exporting users, as CSV or NDJSON that an import reads again."""

import csv
import json
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ARRAY, Select, String, case, func, null, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.csvsafe import BYTE_ORDER_MARK, safe_cell
from user_management.models import Role, User, UserCredential, UserRole
from user_management.moments import Clamped
from user_management.security.cursors import Position
from user_management.services.audit_reading import SessionFactory
from user_management.services.user_search import FILTERED, Conditions, UserFilter, filtering
from user_management.transfer.column_readers import COLUMNS

_CHUNK: Final = 500  # rows that are looked through at a time


class ExportFormat(StrEnum):
    """How rows are written."""

    CSV = "csv"
    NDJSON = "ndjson"


async def exported(
    open_session: SessionFactory,
    output: ExportFormat,
    wanted: UserFilter = UserFilter(),  # noqa: B008  frozen
    *,
    with_hashes: bool,
    excel: bool = False,
) -> AsyncIterator[str]:
    """The users that are meant and not deleted, oldest first, as text in pieces.

    CSV begins with a header, for `excel` after a byte order mark. In between no connection is
    held. `with_hashes` adds the passwords' hashes, but not those of one-time passwords: where they
    are imported again, they would be good for ever. Raises DatabaseUnavailable.
    """
    columns = [column for column in COLUMNS if with_hashes or column != "password_hash"]
    head = _csv([columns]) if output is ExportFormat.CSV else ""
    if excel:
        head = BYTE_ORDER_MARK + head
    after: Position | None = None
    async with open_session() as session:
        conditions = await filtering(session, wanted)
    while True:
        async with open_session() as session:
            following = await _following(session, wanted, after)
            rows = (await session.execute(_users(columns, wanted, conditions, after))).all()
        if output is ExportFormat.CSV:
            yield head + _csv([[_cell(value) for value in row] for row in rows])
        else:
            yield "".join(_line(columns, row) for row in rows)
        if following is None:
            return
        head, after = "", following


def _looked_through(wanted: UserFilter, after: Position | None) -> Select[Any]:
    """The next users, meant or not: however few are meant, no statement takes long."""
    users = select(*FILTERED).where(User.deleted_at.is_(None))
    if wanted.org_id is not None:
        users = users.where(User.org_id == wanted.org_id)
    if after is not None:
        users = users.where(tuple_(User.created_at, User.id) > tuple_(*after))
    return users.order_by(User.created_at, User.id).limit(_CHUNK)


async def _following(
    session: AsyncSession, wanted: UserFilter, after: Position | None
) -> Position | None:
    """The last of the next users, None when no others follow."""
    last = _looked_through(wanted, after).with_only_columns(User.created_at, User.id)
    found = (await session.execute(last.offset(_CHUNK - 1).limit(1))).one_or_none()
    return None if found is None else Position(found.created_at, found.id)


def _users(
    columns: list[str], wanted: UserFilter, conditions: Conditions, after: Position | None
) -> Select[Any]:
    special = {
        "password_hash": case(
            (UserCredential.must_change_password, null()), else_=User.password_hash
        ),
        "roles": func.array(
            select(Role.name)
            .join(UserRole, UserRole.role_id == Role.id)
            .where(UserRole.user_id == User.id)
            .order_by(Role.priority.desc(), Role.name)
            .scalar_subquery(),
            type_=ARRAY(String),
        ),
    }
    recent = _looked_through(wanted, after).subquery()
    return (
        select(*(special.get(column, getattr(User, column)) for column in columns))
        .join(recent, recent.c.id == User.id)
        .outerjoin(UserCredential, UserCredential.user_id == User.id)
        .where(*conditions(recent.c))
        .order_by(recent.c.created_at, recent.c.id)
    )


def _line(columns: list[str], row: Any) -> str:
    members = dict(zip(columns, row, strict=True))
    return json.dumps(members, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> str | None:
    """UUIDs and times, which JSON lacks. No import takes a moment that no calendar has."""
    if isinstance(value, Clamped):
        return None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


class _Pieces(list[str]):
    """What a CSV writer writes to. It quotes what holds an end of a line of its own, CR LF: only
    so are all line ends quoted. On hosts a line ends with LF.
    """

    def write(self, line: str) -> None:
        self.append(line.removesuffix("\r\n") + "\n")


def _csv(rows: list[list[str]]) -> str:
    text = _Pieces()
    csv.writer(text).writerows(rows)
    return "".join(text)


def _names(names: list[str]) -> str:
    """With semicolons between them; as JSON when a reader could not tell them apart."""
    text = ";".join(names)
    is_plain = not text.startswith("[") and [name.strip() for name in text.split(";")] == names
    return text if is_plain or not names else json.dumps(names, ensure_ascii=False)


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return safe_cell(_names(value))
        case dict():
            return safe_cell(json.dumps(value, ensure_ascii=False))
        case _:
            return safe_cell(_plain(value) or "")
