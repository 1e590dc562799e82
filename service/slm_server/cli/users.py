"""`slm users`: the users of either population."""

import sys
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer
from pydantic import BaseModel

from slm_server.cli.common import (
    Connection,
    LimitOption,
    PopulationOption,
    confirm,
    find_user,
    password_line,
    run,
)
from slm_server.cli.output import FormatOption, JsonOption, WideOption, show, show_one
from user_management.schemas.sessions import OneTimePasswordResponse
from user_management.schemas.users import UserCreate, UserResponse, UserUpdate
from user_management.services import AccountService, ErasureService, UserService
from user_management.services.pages import PageRequest
from user_management.services.user_search import UserFilter
from user_management.transfer.doubtful import doubtful_names

app = typer.Typer(no_args_is_help=True, help="Users.")


class DoubtfulUser(BaseModel):
    """A user whose names would be refused today, and why."""

    id: UUID
    username: str
    email: str
    reason: str


UserArgument = Annotated[str, typer.Argument(help="User name, e-mail address or id.")]
NewOwnerOption = Annotated[
    str | None,
    typer.Option(
        "--new-owner",
        help="User name, e-mail address or id of who takes over the teams that would lose their "
        "last owner.",
    ),
]
_COLUMNS = ("username", "email", "roles", "is_platform_admin", "is_active", "last_login_at")


@app.command("list")
def list_users(
    population: PopulationOption,
    search: Annotated[str | None, typer.Option(help="Parts of names, or the id.")] = None,
    role: Annotated[str | None, typer.Option(help="Only those with this role.")] = None,
    active: Annotated[bool | None, typer.Option("--active/--disabled")] = None,
    limit: LimitOption = 100,
    form: FormatOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """List users, newest first."""
    wanted = UserFilter(search=search, role=role, is_active=active)

    async def work(connection: Connection) -> list[UserResponse]:
        page = await _service(connection).list(wanted, PageRequest(limit))
        return [UserResponse.of_row(row) for row in page.items]

    show(run(population, work), _COLUMNS, form, as_json=as_json, wide=wide, identifying=2)


@app.command("show")
def show_user(
    population: PopulationOption,
    user: UserArgument,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one user."""

    async def work(connection: Connection) -> UserResponse:
        user_id = await find_user(connection.session, user)
        return UserResponse.of(await _service(connection).get(user_id))

    show_one(run(population, work), form, as_json=as_json)


@app.command()
def check(
    population: PopulationOption,
    form: FormatOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """Name the users whose names would be refused today; they can log in as before.

    That is: another's name or address, one that people cannot tell from it, characters that cannot
    be seen. Give such a user another name, or address.
    """

    async def work(connection: Connection) -> list[DoubtfulUser]:
        return [DoubtfulUser(**asdict(found)) async for found in doubtful_names(connection.session)]

    columns = tuple(DoubtfulUser.model_fields)
    show(run(population, work), columns, form, as_json=as_json, wide=wide)


@app.command()
def create(
    population: PopulationOption,
    username: Annotated[str, typer.Option(help="3 to 100 letters, digits, underscores.")],
    email: Annotated[str, typer.Option(help="E-mail address.")],
    admin: Annotated[bool, typer.Option("--admin", help="A platform administrator.")] = False,
    organization: Annotated[UUID | None, typer.Option(help="The organization's id.")] = None,
    password_stdin: Annotated[
        bool,
        typer.Option(
            "--password-stdin",
            help="Read a first password from standard input, which must be changed at login. "
            "Otherwise it is asked for; leave it empty for a user without one.",
        ),
    ] = False,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a user."""
    password = _first_password(from_stdin=password_stdin)

    async def work(connection: Connection) -> UserResponse:
        new = UserCreate(
            username=username,
            email=email,
            is_admin=admin,
            org_id=organization,
            password=password,
            must_change_password=password is not None,
        )
        return UserResponse.of(await _service(connection).create(new))

    show_one(run(population, work), form, as_json=as_json)


@app.command()
def enable(population: PopulationOption, user: UserArgument) -> None:
    """Let a user log in again."""

    async def work(connection: Connection) -> None:
        user_id = await find_user(connection.session, user)
        await _service(connection).update(user_id, UserUpdate(is_active=True))

    run(population, work)
    typer.echo(f"Enabled: {user}.")


@app.command()
def disable(
    population: PopulationOption, user: UserArgument, new_owner: NewOwnerOption = None
) -> None:
    """Keep a user out; their sessions end at once."""

    async def work(connection: Connection) -> None:
        user_id = await find_user(connection.session, user)
        successor = await _successor(connection, new_owner)
        await _service(connection).update(user_id, UserUpdate(is_active=False), new_owner=successor)

    run(population, work)
    typer.echo(f"Disabled: {user}.")


@app.command()
def delete(
    population: PopulationOption,
    user: UserArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    new_owner: NewOwnerOption = None,
) -> None:
    """Delete a user softly; their sessions end at once and their names are free again."""
    confirm(f"Delete {user} of the {population} users?", yes=yes)

    async def work(connection: Connection) -> None:
        user_id = await find_user(connection.session, user)
        successor = await _successor(connection, new_owner)
        await _service(connection).delete(user_id, new_owner=successor)

    run(population, work)
    typer.echo(f"Deleted: {user}.")


@app.command()
def purge(
    population: PopulationOption,
    user: UserArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase what is known of a deleted user: names, address, picture, passwords, sessions.

    The row and its id stay, for what refers to them. It cannot be undone.
    """
    confirm(f"Erase for good what is known of {user} of the {population} users?", yes=yes)

    async def work(connection: Connection) -> UUID:
        return await ErasureService(connection.session, connection.context).erase(user)

    typer.echo(f"Erased: {run(population, work)}.")


@app.command("reset-password")
def reset_password(
    population: PopulationOption,
    user: UserArgument,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replace a user's password by a one-time password; their sessions end at once."""

    async def work(connection: Connection) -> OneTimePasswordResponse:
        user_id = await find_user(connection.session, user)
        made = await _accounts(connection).reset_password(user_id)
        return OneTimePasswordResponse(one_time_password=made.password, expires_at=made.expires_at)

    show_one(run(population, work), form, as_json=as_json)


@app.command()
def unlock(population: PopulationOption, user: UserArgument) -> None:
    """Forget the failed logins that keep a user out."""

    async def work(connection: Connection) -> None:
        await _accounts(connection).unlock(await find_user(connection.session, user))

    run(population, work)
    typer.echo(f"Unlocked: {user}.")


async def _successor(connection: Connection, new_owner: str | None) -> UUID | None:
    return None if new_owner is None else await find_user(connection.session, new_owner)


def _first_password(*, from_stdin: bool) -> str | None:
    """From standard input or a prompt, never from the command line, which others can read."""
    if from_stdin:
        return password_line()
    if not sys.stdin.isatty():
        return None
    prompt = "First password (empty: none)"
    return typer.prompt(prompt, default="", show_default=False, hide_input=True) or None


def _service(connection: Connection) -> UserService:
    return UserService(connection.session, connection.context, connection.hasher)


def _accounts(connection: Connection) -> AccountService:
    return AccountService(connection.session, connection.context, connection.hasher)
