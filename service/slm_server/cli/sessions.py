"""`slm sessions`: where users are logged in."""

from typing import Annotated
from uuid import UUID

import typer

from slm_server.cli.common import Connection, PopulationOption, find_user, run
from slm_server.cli.output import FormatOption, JsonOption, WideOption, show
from slm_server.cli.users import UserArgument
from user_management.schemas.sessions import SessionResponse
from user_management.services import AccountService

app = typer.Typer(no_args_is_help=True, help="Sessions.")

_COLUMNS = ("id", "created_at", "refreshed_at", "expires_at", "ip_address", "user_agent")


@app.command("list")
def list_sessions(
    population: PopulationOption,
    user: UserArgument,
    form: FormatOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the sessions of a user that go on."""

    async def work(connection: Connection) -> list[SessionResponse]:
        user_id = await find_user(connection.session, user)
        found = await _service(connection).sessions(user_id)
        return [SessionResponse.of(session, current=None) for session in found]

    show(run(population, work), _COLUMNS, form, as_json=as_json, wide=wide)


@app.command()
def end(
    population: PopulationOption,
    user: UserArgument,
    session: Annotated[UUID | None, typer.Option(help="Only this one; all unless given.")] = None,
) -> None:
    """End sessions of a user: their next request is refused."""

    async def work(connection: Connection) -> None:
        user_id = await find_user(connection.session, user)
        if session is None:
            await _service(connection).end_sessions(user_id)
        else:
            await _service(connection).end_session(user_id, session)

    run(population, work)
    typer.echo(f"Ended: {'all sessions' if session is None else session} of {user}.")


def _service(connection: Connection) -> AccountService:
    return AccountService(connection.session, connection.context, connection.hasher)
