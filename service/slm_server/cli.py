"""The command `slm`."""

import asyncio
import json
import sys
from datetime import datetime
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError

from user_management.config import Settings, load_settings
from user_management.database import Database
from user_management.errors import ConfigurationError, DomainError
from user_management.population import Population
from user_management.schemas.users import UserCreate
from user_management.security.hashing import PasswordHasher
from user_management.services import AdministratorService, FirstAdministrator, RequestContext

app = typer.Typer(no_args_is_help=True, help="Tools of the SLM server for operators.")
admin = typer.Typer(no_args_is_help=True, help="Administrators.")
app.add_typer(admin, name="admin")


@app.callback()
def main() -> None:
    """Keep `admin` a command of its own."""


@admin.command()
def create(
    population: Annotated[Population, typer.Option(help="Whose administrator.")],
    username: Annotated[str, typer.Option(help="3 to 100 letters, digits, underscores.")],
    email: Annotated[str, typer.Option(help="E-mail address.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Create a population's first administrator, with a one-time password.

    Does nothing when there is one. If the only one never replaced the one-time password and it
    has expired, they get a new one.
    """
    try:
        new = UserCreate(username=username, email=email, is_admin=True)
        result = asyncio.run(_create(load_settings(), population, new))
    except ValidationError as error:
        _fail("; ".join(f"--{fault['loc'][0]}: {fault['msg']}" for fault in error.errors()))
    except (ConfigurationError, DomainError) as error:
        _fail(str(error))
    typer.echo(json.dumps(_report(result)) if as_json else _sentence(population, result))


async def _create(
    settings: Settings, population: Population, new: UserCreate
) -> FirstAdministrator:
    database = Database(population, settings.database(population), pool_size=1)
    hasher = PasswordHasher(settings.bcrypt_cost, threads=1)
    try:
        async with database.session() as session:
            service = AdministratorService(session, RequestContext(), hasher)
            return await service.ensure_first(new)
    finally:
        hasher.close()
        await database.dispose()


def _report(result: FirstAdministrator) -> dict[str, Any]:
    report: dict[str, Any] = {"created": result.outcome == "created", "username": result.username}
    if result.outcome == "renewed":
        report["renewed"] = True
    if result.password is not None and result.expires_at is not None:
        report |= {"password": result.password, "expires_at": _utc(result.expires_at)}
    return report


def _sentence(population: Population, result: FirstAdministrator) -> str:
    if result.password is None or result.expires_at is None:
        return f"The {population} users have an administrator already: {result.username}."
    return (
        f"Administrator of the {population} users {result.outcome}: {result.username}\n"
        f"One-time password: {result.password}\n"
        f"It must be changed at the first login, before {_utc(result.expires_at)}."
    )


def _utc(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _fail(message: str) -> NoReturn:
    typer.echo(message, file=sys.stderr)
    raise typer.Exit(1)


if __name__ == "__main__":
    app()
