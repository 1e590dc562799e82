"""What all commands share: sessions for the services, and how things are shown and refused."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, NoReturn, TypeVar
from uuid import UUID

import typer
from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table
from rich.text import Text
from sqlalchemy import String, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.config import Settings, load_settings
from user_management.database import Database
from user_management.errors import ConfigurationError, DomainError, NotFound
from user_management.models import Organization, Role, User
from user_management.population import Population
from user_management.security.hashing import PasswordHasher
from user_management.services import OPERATOR, RequestContext
from user_management.transfer.exporter import ExportFormat

T = TypeVar("T")

PopulationOption = Annotated[Population, typer.Option("--population", "-p", help="Whose.")]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
ExcelOption = Annotated[
    bool,
    typer.Option(
        "--excel", help="With the byte order mark by which spreadsheets know UTF-8; CSV only."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


def check_excel(form: ExportFormat, *, excel: bool) -> None:
    """Refuse `--excel` where it means nothing."""
    if excel and form is not ExportFormat.CSV:
        raise typer.BadParameter("It goes with --format csv.", param_hint="--excel")


@dataclass(frozen=True, slots=True)
class Connection:
    """What services are made of."""

    session: AsyncSession
    context: RequestContext
    hasher: PasswordHasher


@asynccontextmanager
async def connected(settings: Settings, population: Population) -> AsyncIterator[Connection]:
    """A session of one population's database, which is committed at the end.

    Raises ConfigurationError, DatabaseUnavailable.
    """
    database = Database(population, settings.database(population), pool_size=1)
    hasher = PasswordHasher(settings.bcrypt_cost, threads=1)
    try:
        async with database.session() as session:
            yield Connection(session, RequestContext(authority=OPERATOR), hasher)
    finally:
        hasher.close()
        await database.dispose()


def run(population: Population, work: Callable[[Connection], Coroutine[Any, Any, T]]) -> T:
    """Do a command's work in one transaction; what goes wrong ends the command with a sentence."""

    async def whole() -> T:
        async with connected(load_settings(), population) as connection:
            return await work(connection)

    try:
        return asyncio.run(whole())
    except ValidationError as error:
        fail("; ".join(f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors()))
    except (ConfigurationError, DomainError) as error:
        fail(str(error))


async def find_user(session: AsyncSession, name: str) -> UUID:
    """The id of the user with this user name, e-mail address or id. Raises NotFound."""
    wanted = name.strip().lower()
    found = await session.scalar(
        select(User.id)
        .where(
            User.deleted_at.is_(None),
            or_(User.username == wanted, User.email == wanted, cast(User.id, String) == wanted),
        )
        .order_by(User.username == wanted)
        .limit(1)
    )
    if found is None:
        raise NotFound(f"There is no user {name}.")
    return found


async def find_organization(session: AsyncSession, name: str) -> UUID:
    """The id of the organization with this slug or id. Raises NotFound."""
    found = await session.scalar(
        select(Organization.id).where(
            Organization.deleted_at.is_(None),
            or_(Organization.slug == name, cast(Organization.id, String) == name.lower()),
        )
    )
    if found is None:
        raise NotFound(f"There is no organization {name}.")
    return found


async def find_role(session: AsyncSession, name: str) -> UUID:
    """The id of the role with this id or, among those of no organization, this name.

    Raises NotFound.
    """
    found = await session.scalar(
        select(Role.id).where(
            or_(
                (func.lower(Role.name) == name.lower()) & Role.org_id.is_(None),
                cast(Role.id, String) == name.lower(),
            )
        )
    )
    if found is None:
        raise NotFound(f"There is no role {name}.")
    return found


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost, unless told not to; end the command if the answer is no."""
    if not yes:
        typer.confirm(question, abort=True)


def fail(message: str) -> NoReturn:
    """Say on standard error what is wrong, and end with status 1."""
    typer.echo(message, file=sys.stderr)
    raise typer.Exit(1)


def show(
    items: Iterable[BaseModel], columns: Sequence[str], *, as_json: bool, title: str | None = None
) -> None:
    """Print a list: a table of some fields for people, whole objects for scripts."""
    if as_json:
        typer.echo(json.dumps([item.model_dump(mode="json") for item in items], indent=2))
        return
    table = Table(*columns, title=title)
    for item in items:
        table.add_row(*(cell(getattr(item, column)) for column in columns))
    Console().print(table)


def show_one(item: BaseModel, *, as_json: bool) -> None:
    """Print one object: field by field for people, as JSON for scripts."""
    if as_json:
        typer.echo(item.model_dump_json(indent=2))
        return
    table = Table(show_header=False)
    for name in type(item).model_fields:
        table.add_row(name, cell(getattr(item, name)))
    Console().print(table)


def cell(value: Any) -> Text:
    """A value as plain text: what people typed is never taken for markup or a control sequence."""
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
    return Text("".join(character if character.isprintable() else "�" for character in text))
