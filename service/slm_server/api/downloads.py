"""Exports as downloads: in which form, and the answer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query
from fastapi.responses import StreamingResponse

from slm_server.audit_export import MEDIA_TYPES, chain
from user_management.errors import InvalidValue
from user_management.transfer.exporter import ExportFormat


@dataclass(frozen=True, slots=True)
class Download:
    """A format; `excel`: with the byte order mark by which spreadsheets know UTF-8."""

    form: ExportFormat
    excel: bool


async def get_download(
    form: Annotated[ExportFormat, Query(alias="format")] = ExportFormat.CSV,
    excel: Annotated[
        bool,
        Query(description="With a byte order mark, by which spreadsheets know UTF-8; CSV only."),
    ] = False,
) -> Download:
    """What the query asks for. Raises InvalidValue."""
    if excel and form is not ExportFormat.CSV:
        raise InvalidValue("excel", "It goes with format=csv only.", where="query")
    return Download(form, excel)


DownloadDep = Annotated[Download, Depends(get_download)]


async def as_download(
    pieces: AsyncIterator[str], name: str, download: Download
) -> StreamingResponse:
    """The answer with a file. A database that is away is noticed while there is still an error to
    answer with: the first piece is waited for.
    """
    first = await anext(pieces)
    return StreamingResponse(
        chain(first, pieces),
        media_type=MEDIA_TYPES[download.form],
        headers={"Content-Disposition": f'attachment; filename="{name}.{download.form}"'},
    )
