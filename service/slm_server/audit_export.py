"""The audit log as a file: comma-separated values, or one JSON object a line."""

import csv
import io
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from user_management.csvsafe import BYTE_ORDER_MARK, safe_cell
from user_management.schemas.audit import AuditLogResponse
from user_management.services.audit_reading import (
    AuditEntry,
    AuditFilter,
    SessionFactory,
    read_in_chunks,
)
from user_management.transfer.exporter import ExportFormat

MEDIA_TYPES: Final = {
    ExportFormat.CSV: "text/csv; charset=utf-8",
    ExportFormat.NDJSON: "application/x-ndjson",
}

_COLUMNS: Final = (
    *("id", "seq", "created_at", "action", "outcome"),
    *("actor_population", "actor_user_id", "actor_username"),
    *("resource_type", "resource_id", "org_id", "ip_address", "user_agent", "details"),
)


def shaped(entry: AuditEntry) -> AuditLogResponse:
    """An event as clients see it."""
    return AuditLogResponse.of(entry.row, entry.actor, entry.seq)


async def export(
    open_session: SessionFactory, wanted: AuditFilter, form: ExportFormat, *, excel: bool = False
) -> AsyncIterator[str]:
    """The file, piece by piece: never more than a chunk of it is in memory.

    For `excel` it begins with a byte order mark.
    """
    write = _as_csv if form is ExportFormat.CSV else _as_ndjson
    is_first = True
    async for entries in read_in_chunks(open_session, wanted):
        yield (BYTE_ORDER_MARK if excel and is_first else "") + write(entries, is_first)
        is_first = False


async def chain(first: str, others: AsyncIterator[str]) -> AsyncIterator[str]:
    """A file whose first piece was waited for."""
    yield first
    async for piece in others:
        yield piece


def _as_ndjson(entries: Sequence[AuditEntry], _is_first: bool) -> str:
    return "".join(f"{shaped(entry).model_dump_json()}\n" for entry in entries)


def _as_csv(entries: Sequence[AuditEntry], is_first: bool) -> str:
    piece = io.StringIO()
    writer = csv.writer(piece)
    if is_first:
        writer.writerow(_COLUMNS)
    writer.writerows(map(_cells, entries))
    return piece.getvalue()


def _cells(entry: AuditEntry) -> list[str]:
    event: dict[str, Any] = shaped(entry).model_dump(mode="json")
    actor = event.pop("actor") or {}
    event |= {f"actor_{name}": value for name, value in actor.items()}
    event["details"] = json.dumps(event["details"], ensure_ascii=False)
    values = (event.get(column) for column in _COLUMNS)
    return ["" if value is None else safe_cell(str(value)) for value in values]
