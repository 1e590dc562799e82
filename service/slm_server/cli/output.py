"""How commands print what they found: a table in a terminal, whole values everywhere else."""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from pydantic_core import to_json, to_jsonable_python
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text


class OutputFormat(StrEnum):
    """How objects are printed."""

    TABLE = "table"
    TSV = "tsv"
    JSON = "json"
    NDJSON = "ndjson"


FormatOption = Annotated[
    OutputFormat | None,
    typer.Option("--format", help="A table in a terminal, else tsv, unless given."),
]
WideOption = Annotated[
    bool, typer.Option("--wide", help="All columns, however wide the terminal is.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
# Where there is no other format.
JsonObjectOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

# What a table takes beside the values: a line before each column and one behind the last, and a
# blank on both sides of each value.
_FRAME: Final = 3


def show(
    items: Iterable[object],
    columns: Sequence[str],
    form: OutputFormat | None = None,
    *,
    as_json: bool = False,
    wide: bool = False,
    identifying: int = 1,
) -> None:
    """Print a list: some fields of each as a table or tab-separated, or whole objects as JSON.

    The first `identifying` columns are those that are typed again: no terminal is too narrow for
    them.
    """
    chosen = _chosen(form, as_json=as_json)
    if chosen is OutputFormat.JSON:
        typer.echo(json.dumps([to_jsonable_python(item) for item in items], indent=2))
    elif chosen is OutputFormat.NDJSON:
        for item in items:
            typer.echo(to_json(item).decode())
    else:
        rows = [[cell(getattr(item, column)) for column in columns] for item in items]
        print_rows(columns, rows, chosen, wide=wide, identifying=identifying)


def show_one(item: object, form: OutputFormat | None = None, *, as_json: bool = False) -> None:
    """Print one object: a field a line, or as JSON."""
    chosen = _chosen(form, as_json=as_json)
    if chosen is OutputFormat.JSON:
        typer.echo(to_json(item, indent=2).decode())
    elif chosen is OutputFormat.NDJSON:
        typer.echo(to_json(item).decode())
    elif chosen is OutputFormat.TSV:
        for name in to_jsonable_python(item):
            typer.echo(f"{name}\t{cell(getattr(item, name))}")
    else:
        table = Table(show_header=False)
        for name in to_jsonable_python(item):
            table.add_row(name, Text(cell(getattr(item, name)), overflow="fold"))
        Console().print(table)


def print_rows(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    form: OutputFormat | None = None,
    *,
    wide: bool = False,
    identifying: int = 1,
) -> None:
    """Print cells under their headings: as a table in a terminal, else tab-separated.

    Where the terminal is too narrow the last columns are left out, and said to be; the first
    `identifying` ones never are, and no value is cut.
    """
    if _chosen(form) is OutputFormat.TSV:
        for row in (columns, *rows):
            typer.echo("\t".join(row))
        return
    widths = [max(map(cell_len, each)) for each in zip(columns, *rows, strict=True)]
    console = Console(width=_width(widths) if wide else None)
    shown = len(columns)
    while shown > identifying and _width(widths[:shown]) > console.width:
        shown -= 1
    table = Table()
    for column in columns[:shown]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row[:shown]))
    console.print(table)
    if shown < len(columns):
        left_out = ", ".join(columns[shown:])
        console.print(Text(f"The terminal is too narrow for {left_out}: --wide shows all."))


def cell(value: Any) -> str:
    """A value on one line: what people typed is never taken for a control sequence."""
    if value is None:
        text = "-"
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, datetime):
        text = value.isoformat(sep=" ", timespec="seconds")
    elif isinstance(value, list):
        text = ", ".join(getattr(each, "name", None) or str(each) for each in value)
    else:
        text = str(value)
    return "".join(character if character.isprintable() else "�" for character in text)


def _chosen(form: OutputFormat | None, *, as_json: bool = False) -> OutputFormat:
    if as_json:
        return OutputFormat.JSON
    return form or (OutputFormat.TABLE if sys.stdout.isatty() else OutputFormat.TSV)


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + _FRAME * len(widths) + 1
