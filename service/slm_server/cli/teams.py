"""`slm teams`: teams of application users, and who is in them."""

from typing import Annotated
from uuid import UUID

import typer

from slm_server.cli.common import (
    Connection,
    LimitOption,
    confirm,
    find_organization,
    find_user,
    run,
)
from slm_server.cli.output import FormatOption, JsonOption, WideOption, show, show_one
from slm_server.cli.users import UserArgument
from user_management.models import TeamRole
from user_management.population import Population
from user_management.schemas.teams import MemberAdd, MemberResponse, TeamCreate, TeamResponse
from user_management.services.pages import PageRequest
from user_management.services.team_members import TeamMemberService
from user_management.services.teams import TeamFilter, TeamService

app = typer.Typer(no_args_is_help=True, help="Teams of application users.")

TeamArgument = Annotated[UUID, typer.Argument(help="The team's id, as `slm teams list` shows it.")]
RoleOption = Annotated[TeamRole, typer.Option(help="What they are in the team.")]
_COLUMNS = ("id", "name", "organization_id", "member_count")
_MEMBER_COLUMNS = ("username", "email", "role", "joined_at")


@app.command("list")
def list_teams(
    search: Annotated[str | None, typer.Option(help="A part of the name.")] = None,
    organization: Annotated[
        str | None, typer.Option(help="Only those of this organization: slug or id.")
    ] = None,
    limit: LimitOption = 100,
    form: FormatOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """List teams, newest first."""

    async def work(connection: Connection) -> list[TeamResponse]:
        org_id = organization and await find_organization(connection.session, organization)
        wanted = TeamFilter(search=search, org_id=org_id or None)
        page = await _service(connection).list(wanted, PageRequest(limit))
        return [TeamResponse.of(found.team, found.member_count) for found in page.items]

    show(run(Population.AUTOBOT, work), _COLUMNS, form, as_json=as_json, wide=wide)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name.")],
    organization: Annotated[
        str | None, typer.Option(help="Slug or id; the default organization unless given.")
    ] = None,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a team."""

    async def work(connection: Connection) -> TeamResponse:
        org_id = organization and await find_organization(connection.session, organization)
        new = TeamCreate(name=name, organization_id=org_id or None)
        made = await _service(connection).create(new)
        return TeamResponse.of(made.team, made.member_count)

    show_one(run(Population.AUTOBOT, work), form, as_json=as_json)


@app.command()
def delete(
    team: TeamArgument, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete a team; its members stay users."""
    confirm(f"Delete the team {team}?", yes=yes)

    async def work(connection: Connection) -> None:
        await _service(connection).delete(team)

    run(Population.AUTOBOT, work)
    typer.echo(f"Deleted: {team}.")


@app.command()
def members(
    team: TeamArgument,
    limit: LimitOption = 100,
    form: FormatOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the members of a team."""

    async def work(connection: Connection) -> list[MemberResponse]:
        page = await _members(connection).list(team, None, PageRequest(limit))
        return [MemberResponse.of(member) for member in page.items]

    show(run(Population.AUTOBOT, work), _MEMBER_COLUMNS, form, as_json=as_json, wide=wide)


@app.command()
def add(team: TeamArgument, user: UserArgument, role: RoleOption = TeamRole.MEMBER) -> None:
    """Put a user into a team."""

    async def work(connection: Connection) -> None:
        user_id = await find_user(connection.session, user)
        await _members(connection).add(team, MemberAdd(user_id=user_id, role=role))

    run(Population.AUTOBOT, work)
    typer.echo(f"Added: {user}, {role}.")


@app.command()
def remove(team: TeamArgument, user: UserArgument) -> None:
    """Take a user out of a team."""

    async def work(connection: Connection) -> None:
        await _members(connection).remove(team, await find_user(connection.session, user))

    run(Population.AUTOBOT, work)
    typer.echo(f"Removed: {user}.")


def _service(connection: Connection) -> TeamService:
    return TeamService(connection.session, connection.context)


def _members(connection: Connection) -> TeamMemberService:
    return TeamMemberService(connection.session, connection.context)
