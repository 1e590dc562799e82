"""`slm organizations`: the tenants of the application."""

from typing import Annotated

import typer

from slm_server.cli.common import Connection, LimitOption, confirm, find_organization, run
from slm_server.cli.output import FormatOption, JsonOption, WideOption, show, show_one
from user_management.population import Population
from user_management.schemas.organizations import (
    OrganizationCreate,
    OrganizationResponse,
    OrganizationUpdate,
)
from user_management.services.organizations import OrganizationFilter, OrganizationService
from user_management.services.pages import PageRequest

app = typer.Typer(no_args_is_help=True, help="Organizations of application users.")

OrganizationArgument = Annotated[str, typer.Argument(help="Slug or id.")]
MaxUsersOption = Annotated[int, typer.Option(help="How many users it may have; -1: any number.")]
_COLUMNS = ("slug", "name", "max_users", "is_active", "id")


@app.command("list")
def list_organizations(
    search: Annotated[str | None, typer.Option(help="A part of the name or slug.")] = None,
    limit: LimitOption = 100,
    form: FormatOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """List organizations, newest first."""

    async def work(connection: Connection) -> list[OrganizationResponse]:
        page = await _service(connection).list(OrganizationFilter(search), PageRequest(limit))
        return [OrganizationResponse.of(organization) for organization in page.items]

    show(run(Population.AUTOBOT, work), _COLUMNS, form, as_json=as_json, wide=wide)


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Its name.")],
    slug: Annotated[str | None, typer.Option(help="Made from the name unless given.")] = None,
    max_users: MaxUsersOption = -1,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create an organization."""

    async def work(connection: Connection) -> OrganizationResponse:
        new = OrganizationCreate(name=name, slug=slug, max_users=max_users)
        return OrganizationResponse.of(await _service(connection).create(new))

    show_one(run(Population.AUTOBOT, work), form, as_json=as_json)


@app.command()
def update(
    organization: OrganizationArgument,
    max_users: MaxUsersOption,
    form: FormatOption = None,
    as_json: JsonOption = False,
) -> None:
    """Change how many users an organization may have."""

    async def work(connection: Connection) -> OrganizationResponse:
        org_id = await find_organization(connection.session, organization)
        changes = OrganizationUpdate(max_users=max_users)
        return OrganizationResponse.of(await _service(connection).update(org_id, changes))

    show_one(run(Population.AUTOBOT, work), form, as_json=as_json)


@app.command()
def delete(
    organization: OrganizationArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an organization that has no users."""
    confirm(f"Delete the organization {organization}?", yes=yes)

    async def work(connection: Connection) -> None:
        await _service(connection).delete(await find_organization(connection.session, organization))

    run(Population.AUTOBOT, work)
    typer.echo(f"Deleted: {organization}.")


def _service(connection: Connection) -> OrganizationService:
    return OrganizationService(connection.session, connection.context)
