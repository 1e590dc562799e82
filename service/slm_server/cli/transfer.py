"""`slm import` and `slm export`: the way in for existing installations, and the way out."""

import asyncio
import gc
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO, Final, TextIO

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from sqlalchemy.exc import DBAPIError

from slm_server.cli.common import (
    ExcelOption,
    PopulationOption,
    check_excel,
    fail,
    password_line,
)
from slm_server.cli.output import cell, print_rows
from user_management.config import Settings, load_settings
from user_management.database import Database
from user_management.errors import ConfigurationError, DomainError, reason
from user_management.population import Population
from user_management.services import OPERATOR, RequestContext
from user_management.transfer.exporter import ExportFormat, exported
from user_management.transfer.importer import Importer, Summary
from user_management.transfer.lines import SourceError
from user_management.transfer.matching import Verdict
from user_management.transfer.reference_data import Outcome
from user_management.transfer.report import IMPORTED, outcome_line, summary_line
from user_management.transfer.source_databases import SCHEMES, source_database
from user_management.transfer.sources import (
    FILE_KINDS,
    Source,
    SourceKind,
    file_source,
    sqlite_rows,
    streamed,
)

# The exit status when all is done but rows were left out.
INCOMPLETE: Final = 3
# How many of the rows that there is something to say about are shown to people.
SHOWN: Final = 20

_STANDARD_INPUT: Final = "-"


def import_users(
    population: PopulationOption,
    kind: Annotated[SourceKind, typer.Option("--from", help="What the source is.")],
    source: Annotated[
        str,
        typer.Argument(
            help="A file; - for standard input; or postgresql://user@host/database, without "
            "a password."
        ),
    ],
    apply: Annotated[
        bool, typer.Option("--apply", help="Do it. Without this, only tell what would be done.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write what becomes of each row to this file, as NDJSON.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what becomes of each row, as NDJSON.")
    ] = False,
    password_stdin: Annotated[
        bool,
        typer.Option("--password-stdin", help="Read the source's password from standard input."),
    ] = False,
) -> None:
    """Import users with their passwords. Without --apply, only tell what would be done.

    Whoever is here already, by id, username or e-mail address, keeps what they have and gets what
    they lack. Ends with status 3 when rows were left out.
    """
    try:
        settings = load_settings()
        opened = _opened(kind, source, settings, password_stdin=password_stdin)
        with _report(report, as_json=as_json) as tell:
            summary = asyncio.run(_import(settings, population, opened, tell, apply=apply))
            tell.end(population, kind, summary, applied=apply)
    except (ConfigurationError, DomainError, SourceError) as error:
        fail(str(error))
    except DBAPIError as error:
        refused = f"The database refused: {reason(error.orig or error)}"
        fail(f"{refused}\nWhat was imported so far stays. Import again.")
    if not summary.is_complete:
        raise typer.Exit(INCOMPLETE)


def export_users(
    population: PopulationOption,
    output: Annotated[ExportFormat, typer.Option("--format", help="How to write them.")],
    with_hashes: Annotated[
        bool,
        typer.Option(
            "--with-hashes",
            help="With the hashes of their passwords, as an import elsewhere needs them.",
        ),
    ] = False,
    excel: ExcelOption = False,
) -> None:
    """Write all users on standard output, oldest first, as an import reads them again."""
    check_excel(output, excel=excel)
    try:
        asyncio.run(
            _export(load_settings(), population, output, with_hashes=with_hashes, excel=excel)
        )
    except (ConfigurationError, DomainError) as error:
        fail(str(error))


async def _import(
    settings: Settings,
    population: Population,
    opened: AbstractAsyncContextManager[Source],
    tell: "_Report",
    *,
    apply: bool,
) -> Summary:
    # Rows make no cycles, and going through all loaded modules looking for some takes a fifth of
    # the time.
    gc.freeze()
    async with _database(settings, population) as database, opened as source:
        importer = Importer(database, RequestContext(authority=OPERATOR), source, apply=apply)
        async for outcome in importer.run():
            tell.row(outcome)
        return importer.summary


async def _export(
    settings: Settings,
    population: Population,
    output: ExportFormat,
    *,
    with_hashes: bool,
    excel: bool,
) -> None:
    async with _database(settings, population) as database:
        async for piece in exported(database.session, output, with_hashes=with_hashes, excel=excel):
            typer.echo(piece.encode(), nl=False)


@asynccontextmanager
async def _database(settings: Settings, population: Population) -> AsyncIterator[Database]:
    database = Database(population, settings.database(population), pool_size=1, deadlines=False)
    try:
        yield database
    finally:
        await database.dispose()


def _opened(
    kind: SourceKind, source: str, settings: Settings, *, password_stdin: bool
) -> AbstractAsyncContextManager[Source]:
    is_url = source.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))
    if is_url and kind not in FILE_KINDS:
        return source_database(kind, source, _password(settings, from_stdin=password_stdin))
    if is_url or (kind is SourceKind.UUID_TABLES):
        wanted = "a file or -" if is_url else "the URL postgresql://user@host/database"
        raise SourceError(f"The source of {kind} is {wanted}.")
    return _file(kind, source)


@asynccontextmanager
async def _file(kind: SourceKind, name: str) -> AsyncIterator[Source]:
    if kind is SourceKind.SLM_TABLE:
        yield Source(kind, streamed(sqlite_rows(Path(name))))
        return
    with _stream(name) as stream:
        yield file_source(kind, stream)


@contextmanager
def _stream(name: str) -> Iterator[BinaryIO]:
    if name == _STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(Path(name).open("rb"))
        except OSError as error:
            raise SourceError(f"{name} cannot be read: {error.strerror}.") from None
        yield stream


def _password(settings: Settings, *, from_stdin: bool) -> SecretStr | None:
    """None: the source asks for none, or libpq's password file has it."""
    if from_stdin:
        return SecretStr(password_line())
    if settings.source_database_password is None and sys.stdin.isatty():
        return SecretStr(
            typer.prompt(
                "Password of the source", default="", hide_input=True, show_default=False, err=True
            )
        )
    return settings.source_database_password


class _Report:
    """Tells people and programs what becomes of each row. Keeps only what is shown to people."""

    def __init__(self, lines: list[TextIO], advance: Callable[[], None], *, for_people: bool):
        self._lines = lines
        self._for_people = for_people
        self._advance = advance
        self._remarkable: list[Outcome] = []
        self._unshown = 0

    def row(self, outcome: Outcome) -> None:
        """Take the next one."""
        self._advance()
        self._write(outcome_line(outcome))
        if outcome.reason is not None and len(self._remarkable) < SHOWN:
            self._remarkable.append(outcome)
        elif outcome.reason is not None:
            self._unshown += 1

    def end(
        self, population: Population, kind: SourceKind, summary: Summary, *, applied: bool
    ) -> None:
        """Sum up."""
        self._write(summary_line(population, kind, summary, applied=applied))
        if self._for_people:
            self._show(summary, applied=applied)

    def _write(self, line: str) -> None:
        for stream in self._lines:
            stream.write(line)

    def _show(self, summary: Summary, *, applied: bool) -> None:
        if self._remarkable:
            columns = ("source", "name", "outcome", "reason")
            print_rows(columns, list(map(_cells, self._remarkable)), wide=True)
        if self._unshown:
            typer.echo(f"… and {self._unshown} more: --json has them all.")
        counts = {resource: summary.of(resource) for resource in IMPORTED}
        used = {resource: each for resource, each in counts.items() if any(each.values())}
        print_rows(
            ("", *Verdict),
            [[resource, *map(str, each.values())] for resource, each in used.items()],
            wide=True,
        )
        if lines := summary.lines:
            typer.echo(
                f"{lines.total} lines: {lines.header} of the header, {lines.empty} empty, "
                f"{lines.rows} of rows, {lines.lost} lost."
            )
        for quota in summary.over_quota:
            typer.echo(
                f"The organization {quota.slug} may have {quota.limit} users and has {quota.users}."
            )
        if not applied:
            typer.echo("Nothing was written. Add --apply to do it.")


@contextmanager
def _report(path: Path | None, *, as_json: bool) -> Iterator[_Report]:
    """With a line for each row in the file and on standard output, as far as wanted."""
    with ExitStack() as stack:
        lines: list[TextIO] = [sys.stdout] if as_json else []
        if path is not None:
            try:
                lines.append(stack.enter_context(path.open("w")))
            except OSError as error:
                fail(f"{path} cannot be written: {error.strerror}.")
        advance = stack.enter_context(_progress())
        yield _Report(lines, advance, for_people=not as_json)


@contextmanager
def _progress() -> Iterator[Callable[[], None]]:
    """Something that moves, if somebody looks."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.completed} rows"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda: progress.advance(task)


def _cells(outcome: Outcome) -> list[str]:
    return [
        cell(each) for each in (outcome.place, outcome.name, outcome.verdict, outcome.reason or "")
    ]
