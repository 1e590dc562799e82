"""`slm audit`: who did what, and whether the log of it is what was written."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack, nullcontext
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import TypeAdapter, ValidationError

from slm_server.audit_export import export, shaped
from slm_server.cli.common import (
    Connection,
    ExcelOption,
    LimitOption,
    PopulationOption,
    check_excel,
    connected,
    fail,
    run,
)
from slm_server.cli.output import FormatOption, JsonObjectOption, JsonOption, WideOption, show
from user_management.config import Settings, load_settings
from user_management.errors import ConfigurationError, DomainError
from user_management.models import AuditAction, AuditResourceType
from user_management.population import Population
from user_management.schemas.audit import AuditLogResponse
from user_management.schemas.fields import Moment
from user_management.services import AuditService
from user_management.services.audit_reading import AuditFilter, AuditReader
from user_management.services.audit_verification import Verification, verify
from user_management.services.pages import PageRequest
from user_management.transfer.exporter import ExportFormat

app = typer.Typer(no_args_is_help=True, help="The audit log.")

_COLUMNS = (
    *("created_at", "action", "outcome", "actor", "resource_type", "resource_id"),
    *("ip_address", "details"),
)
_moment: TypeAdapter[datetime] = TypeAdapter(Moment)


def _parse_moment(text: str) -> datetime:
    try:
        return _moment.validate_python(text)
    except ValidationError:
        raise typer.BadParameter("Give a time such as 2026-01-31T23:59:59Z.") from None


Actions = Annotated[list[str] | None, typer.Option("--action", help="May be given more than once.")]
Outcome = Annotated[str | None, typer.Option(help="success or failure.")]
Actor = Annotated[UUID | None, typer.Option(help="The id of who did it, in either database.")]
ResourceType = Annotated[str | None, typer.Option(help="Such as user or session.")]
ResourceId = Annotated[UUID | None, typer.Option(help="What it was done to.")]
IpAddress = Annotated[str | None, typer.Option(help="Where it came from.")]
Since = Annotated[datetime | None, typer.Option(parser=_parse_moment, help="Included.")]
Until = Annotated[datetime | None, typer.Option(parser=_parse_moment, help="Not included.")]


@app.command("list")
def list_command(
    population: PopulationOption,
    actions: Actions = None,
    outcome: Outcome = None,
    actor: Actor = None,
    resource_type: ResourceType = None,
    resource_id: ResourceId = None,
    ip_address: IpAddress = None,
    since: Since = None,
    until: Until = None,
    limit: LimitOption = 50,
    form: FormatOption = None,
    wide: WideOption = False,
    as_json: JsonOption = False,
) -> None:
    """List events, newest first."""
    wanted = AuditFilter(
        actions or None, outcome, actor, resource_type, resource_id, ip_address, since, until
    )

    async def work(connection: Connection) -> list[AuditLogResponse]:
        page = await AuditReader(connection.session).list(wanted, PageRequest(limit))
        return [shaped(entry) for entry in page.items]

    show(run(population, work), _COLUMNS, form, as_json=as_json, wide=wide)


@app.command("export")
def export_command(
    population: PopulationOption,
    actions: Actions = None,
    outcome: Outcome = None,
    actor: Actor = None,
    resource_type: ResourceType = None,
    resource_id: ResourceId = None,
    ip_address: IpAddress = None,
    since: Since = None,
    until: Until = None,
    form: Annotated[
        ExportFormat,
        typer.Option("--format", help="In CSV, what a spreadsheet would run gets an apostrophe."),
    ] = ExportFormat.CSV,
    excel: ExcelOption = False,
) -> None:
    """Write all events to standard output, newest first. The export itself is an event."""
    check_excel(form, excel=excel)
    wanted = AuditFilter(
        actions or None, outcome, actor, resource_type, resource_id, ip_address, since, until
    )

    async def work(connection: Connection) -> None:
        service = AuditService(connection.session, connection.context)
        await service.record_export(
            AuditAction.AUDIT_EXPORTED, AuditResourceType.AUDIT_LOG, form, wanted.given()
        )
        async for piece in export(
            lambda: nullcontext(connection.session), wanted, form, excel=excel
        ):
            sys.stdout.write(piece)

    run(population, work)


@app.command("verify")
def verify_command(
    population: Annotated[
        Population | None,
        typer.Option("--population", "-p", help="Only that population's log; both unless given."),
    ] = None,
    as_json: JsonObjectOption = False,
) -> None:
    """Check the audit logs against their seals and anchors; status 1 when something is wrong."""
    populations = list(Population) if population is None else [population]
    try:
        results = asyncio.run(_verify(load_settings(), populations))
    except (ConfigurationError, DomainError) as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps({result.population: _report(result) for result in results}))
    else:
        typer.echo("\n".join(line for result in results for line in _sentences(result)))
    if not all(result.is_intact for result in results):
        fail(
            "Keep the databases, their backups and the journal as they are, and see "
            "docs/audit.md for what each finding means and what to do."
        )


async def _verify(settings: Settings, populations: list[Population]) -> list[Verification]:
    async with AsyncExitStack() as stack:
        sessions = {
            each: (await stack.enter_async_context(connected(settings, each))).session
            for each in Population
        }
        slm, autobot = sessions[Population.SLM], sessions[Population.AUTOBOT]
        pairs = {Population.SLM: (slm, autobot), Population.AUTOBOT: (autobot, slm)}
        return [await verify(*pairs[population]) for population in populations]


def _report(result: Verification) -> dict[str, Any]:
    return {
        "intact": result.is_intact,
        "head": {"seq": result.head.seq, "hash": result.head.hash.hex()},
        "anchor": result.anchor and {"seq": result.anchor.seq, "hash": result.anchor.hash.hex()},
        "counts": result.counts,
        "findings": [
            {
                "kind": finding.kind,
                "seq": finding.seq,
                "audit_id": str(finding.audit_id) if finding.audit_id else None,
                "detail": finding.detail,
            }
            for finding in result.findings
        ],
        "seconds": round(result.seconds, 3),
        "rows_per_second": round(result.rows_per_second),
    }


def _sentences(result: Verification) -> list[str]:
    state = "intact" if result.is_intact else "NOT INTACT"
    lines = [
        f"{result.population}: {state}: {result.head.seq} links, head {result.head.hash.hex()}, "
        f"{result.seconds:.1f} s, {result.rows_per_second:.0f} rows/s"
    ]
    for finding in result.findings:
        where = f"link {finding.seq}" if finding.seq is not None else "no link"
        row = f", row {finding.audit_id}" if finding.audit_id else ""
        lines.append(f"  {finding.kind}: {where}{row}: {finding.detail}")
    more = result.counts.total() - len(result.findings)
    if more:
        counts = ", ".join(f"{count} {kind}" for kind, count in result.counts.items())
        lines.append(f"  and {more} more: {counts} in all")
    return lines
