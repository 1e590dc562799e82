"""`slm roles`: roles, and who has them."""

from typing import Annotated

import typer

from slm_server.cli.common import (
    Connection,
    LimitOption,
    PopulationOption,
    confirm,
    find_role,
    find_user,
    run,
)
from slm_server.cli.output import FormatOption, JsonOption, WideOption, show, show_one
from slm_server.cli.users import UserArgument
from user_management.permissions import Permission
from user_management.schemas.roles import RoleCreate, RoleDetails
from user_management.services import RoleService
from user_management.services.pages import PageRequest
from user_management.services.role_assignments import RoleAssignmentService
from user_management.services.roles import DescribedRole

app = typer.Typer(no_args_is_help=True, help="Roles and permissions.")

RoleArgument = Annotated[str, typer.Argument(help="The role's name or id.")]
_COLUMNS = ("name", "priority", "is_system", "user_count", "permissions")


@app.command("list")
def list_roles(
    population: PopulationOption,
    limit: LimitOption = 100,
    form: FormatOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """List roles, newest first."""

    async def work(connection: Connection) -> list[RoleDetails]:
        page = await _service(connection).list(None, PageRequest(limit))
        return [_details(role) for role in page.items]

    show(run(population, work), _COLUMNS, form, as_json=as_json, wide=wide)


@app.command()
def create(
    population: PopulationOption,
    name: Annotated[str, typer.Argument(help="Its name.")],
    permission: Annotated[list[Permission], typer.Option(help="One of its permissions; repeat.")],
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a role."""

    async def work(connection: Connection) -> RoleDetails:
        new = RoleCreate(name=name, permissions=frozenset(permission))
        return _details(await _service(connection).create(new))

    show_one(run(population, work), form, as_json=as_json)


@app.command()
def delete(
    population: PopulationOption,
    role: RoleArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a role; those who have it lose it."""
    confirm(f"Delete the role {role} of the {population} users?", yes=yes)

    async def work(connection: Connection) -> None:
        await _service(connection).delete(await find_role(connection.session, role))

    run(population, work)
    typer.echo(f"Deleted: {role}.")


@app.command()
def assign(population: PopulationOption, user: UserArgument, role: RoleArgument) -> None:
    """Give a user a role."""

    async def work(connection: Connection) -> None:
        session = connection.session
        await _assignments(connection).assign(
            await find_user(session, user), await find_role(session, role)
        )

    run(population, work)
    typer.echo(f"{user} has the role {role}.")


@app.command()
def revoke(population: PopulationOption, user: UserArgument, role: RoleArgument) -> None:
    """Take a role from a user; unless it allowed nothing, their sessions end at once."""

    async def work(connection: Connection) -> None:
        session = connection.session
        await _assignments(connection).revoke(
            await find_user(session, user), await find_role(session, role)
        )

    run(population, work)
    typer.echo(f"{user} has no longer the role {role}.")


def _details(found: DescribedRole) -> RoleDetails:
    return RoleDetails.of(found.role, found.permissions, found.user_count)


def _service(connection: Connection) -> RoleService:
    return RoleService(connection.session, connection.context)


def _assignments(connection: Connection) -> RoleAssignmentService:
    return RoleAssignmentService(connection.session, connection.context)
