"""`slm admin`: the first administrators."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from slm_server.cli.common import connected, fail, password_line
from slm_server.cli.output import JsonObjectOption
from user_management.config import Settings, load_settings
from user_management.errors import ConfigurationError, DomainError, InvalidValue
from user_management.population import Population
from user_management.schemas.fields import explain
from user_management.schemas.users import UserCreate
from user_management.services import (
    AdministratorService,
    AdministratorStatus,
    FirstAdministrator,
)

app = typer.Typer(no_args_is_help=True, help="Administrators.")


@app.command()
def create(
    population: Annotated[Population, typer.Option(help="Whose administrator.")],
    username: Annotated[str, typer.Option(help="3 to 100 letters, digits, underscores.")],
    email: Annotated[str, typer.Option(help="E-mail address.")],
    as_json: JsonObjectOption = False,
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin",
            help="Take the one-time password from standard input. It also replaces one that was "
            "never used.",
        ),
    ] = False,
) -> None:
    """Create a population's first administrator, with a one-time password.

    Does nothing when there is one. If the only one never replaced the one-time password and it
    has expired, they get a new one.
    """
    try:
        new = UserCreate(username=username, email=email, is_admin=True)
        password = password_line() if password_stdin else None
        result = asyncio.run(_create(load_settings(), population, new, password))
    except ValidationError as error:
        fail("; ".join(f"--{fault['loc'][0]}: {explain(fault)}" for fault in error.errors()))
    except InvalidValue as error:
        fail(f"--{error.field}: {error}")
    except (ConfigurationError, DomainError) as error:
        fail(str(error))
    typer.echo(json.dumps(_report(result)) if as_json else _sentence(population, result))


@app.command()
def status(
    as_json: JsonObjectOption = False,
) -> None:
    """Tell for each population whether there is an administrator who can enter.

    missing: there is none; unused: the only one still has the one-time password; expired: the
    same, and it is no longer valid; established: anything else.
    """
    try:
        statuses = asyncio.run(_statuses(load_settings()))
    except (ConfigurationError, DomainError) as error:
        fail(str(error))
    if as_json:
        report = {
            population: {"state": found.state, "username": found.username}
            for population, found in statuses.items()
        }
        typer.echo(json.dumps(report))
        return
    for population, found in statuses.items():
        typer.echo(
            f"{population}: {found.state}" + (f" ({found.username})" if found.username else "")
        )


async def _create(
    settings: Settings, population: Population, new: UserCreate, password: str | None
) -> FirstAdministrator:
    async with _administrators(settings, population) as service:
        return await service.ensure_first(new, password)


async def _statuses(settings: Settings) -> dict[Population, AdministratorStatus]:
    async def status_of(population: Population) -> AdministratorStatus:
        async with _administrators(settings, population) as service:
            return await service.status()

    return dict(zip(Population, await asyncio.gather(*map(status_of, Population)), strict=True))


@asynccontextmanager
async def _administrators(
    settings: Settings, population: Population
) -> AsyncIterator[AdministratorService]:
    async with connected(settings, population) as connection:
        yield AdministratorService(connection.session, connection.context, connection.hasher)


def _report(result: FirstAdministrator) -> dict[str, Any]:
    report: dict[str, Any] = {"outcome": result.outcome, "username": result.username}
    if result.password is not None:
        report["password"] = result.password
    if result.expires_at is not None:
        report["expires_at"] = _utc(result.expires_at)
    return report


def _sentence(population: Population, result: FirstAdministrator) -> str:
    if result.expires_at is None:
        return f"The {population} users have an administrator already: {result.username}."
    password = result.password or "the one given"
    return (
        f"Administrator of the {population} users {result.outcome}: {result.username}\n"
        f"One-time password: {password}\n"
        f"It must be changed at the first login, before {_utc(result.expires_at)}."
    )


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
