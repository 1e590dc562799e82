"""What all commands share: sessions for the services, and how things are shown and refused."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
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
from sqlalchemy import ColumnElement, String, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from user_management.config import Settings, load_settings
from user_management.database import Database
from user_management.errors import ConfigurationError, DomainError, InvalidValue, NotFound
from user_management.models import Organization, Role, User
from user_management.names import login_words, shown_address
from user_management.population import Population
from user_management.security.hashing import PasswordHasher
from user_management.services import OPERATOR, RequestContext

T = TypeVar("T")

PopulationOption = Annotated[Population, typer.Option("--population", "-p", help="Whose.")]
LimitOption = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


class AmbiguousNameError(Exception):
    """A name may mean more than one thing. The message names them."""


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
    except InvalidValue as error:
        fail(f"{error.field}: {error}")
    except (ConfigurationError, DomainError, AmbiguousNameError) as error:
        fail(str(error))


async def find_user(session: AsyncSession, name: str) -> UUID:
    """The id of the user with this name, address or id. Raises NotFound, AmbiguousNameError."""
    words = login_words(name)
    found = await session.execute(
        select(User.id, User.username, User.email).where(
            User.deleted_at.is_(None),
            or_(User.username.in_(words), User.email.in_(words), _is_id(User.id, name)),
        )
    )
    return _only(
        "user", name, {row.id: f"{row.username} ({shown_address(row.email)})" for row in found}
    )


async def find_organization(session: AsyncSession, name: str) -> UUID:
    """The id of the organization with this slug or id. Raises NotFound, AmbiguousNameError."""
    found = await session.execute(
        select(Organization.id, Organization.name).where(
            Organization.deleted_at.is_(None),
            or_(Organization.slug == name, _is_id(Organization.id, name)),
        )
    )
    return _only("organization", name, {row.id: row.name for row in found})


async def find_role(session: AsyncSession, name: str) -> UUID:
    """The id of the role with this id or, among those of no organization, this name.

    Raises NotFound, AmbiguousNameError.
    """
    found = await session.execute(
        select(Role.id, Role.name).where(
            or_(
                (func.lower(Role.name) == name.lower()) & Role.org_id.is_(None),
                _is_id(Role.id, name),
            )
        )
    )
    return _only("role", name, {row.id: row.name for row in found})


def _is_id(column: InstrumentedAttribute[UUID], name: str) -> ColumnElement[bool]:
    return cast(column, String) == name.strip().lower()


def _only(kind: str, name: str, found: Mapping[UUID, str]) -> UUID:
    """The one that is meant. Raises NotFound, AmbiguousNameError."""
    if not found:
        raise NotFound(f"There is no {kind} {name}.")
    if len(found) > 1:
        meant = "; ".join(f"{what}, id {key}" for key, what in found.items())
        raise AmbiguousNameError(
            f"{name} may be more than one {kind}: {meant}. Give the id of one."
        )
    return next(iter(found))


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
