"""In which form an export is downloaded."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query

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
