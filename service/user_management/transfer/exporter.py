"""Exporting users, as CSV or NDJSON that an import reads again."""

import csv
import io
import json
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ARRAY, Select, String, case, func, null, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.csvsafe import safe_cell
from user_management.models import Role, User, UserCredential, UserRole
from user_management.transfer.candidates import COLUMNS

_CHUNK: Final = 1000  # rows


class ExportFormat(StrEnum):
    """How users are written."""

    CSV = "csv"
    NDJSON = "ndjson"


async def exported(
    session: AsyncSession, output: ExportFormat, *, with_hashes: bool
) -> AsyncIterator[str]:
    """All users that are not deleted, oldest first, as text in pieces; CSV begins with a header.

    `with_hashes` adds the passwords' hashes, but not those of one-time passwords: where they are
    imported again, they would be good for ever.
    """
    columns = [column for column in COLUMNS if with_hashes or column != "password_hash"]
    if output is ExportFormat.CSV:
        yield _csv([columns])
    found = await session.stream(_users(columns).execution_options(yield_per=_CHUNK))
    async for rows in found.partitions():
        if output is ExportFormat.CSV:
            yield _csv([[_cell(value) for value in row] for row in rows])
        else:
            yield "".join(_line(columns, row) for row in rows)


def _users(columns: list[str]) -> Select[Any]:
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
    return (
        select(*(special.get(column, getattr(User, column)) for column in columns))
        .outerjoin(UserCredential, UserCredential.user_id == User.id)
        .where(User.deleted_at.is_(None))
        .order_by(User.created_at, User.id)
    )


def _line(columns: list[str], row: Any) -> str:
    members = dict(zip(columns, row, strict=True))
    return json.dumps(members, default=_plain, ensure_ascii=False) + "\n"


def _plain(value: Any) -> str:
    """UUIDs and times, which JSON lacks."""
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _csv(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case list():
            return safe_cell(";".join(value))
        case dict():
            return safe_cell(json.dumps(value, ensure_ascii=False))
        case _:
            return safe_cell(_plain(value))
