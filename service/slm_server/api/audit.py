"""The routes for reading the audit logs."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from slm_server.api.dependencies import CONFIRMED, RECENTLY
from slm_server.api.downloads import DownloadDep, as_download
from slm_server.api.paging import CursorPageDep, next_cursor
from slm_server.audit_export import export, shaped
from user_management.models import AuditAction, AuditResourceType
from user_management.permissions import Permission
from user_management.population import Population
from user_management.schemas.audit import AuditLogListResponse, AuditLogResponse
from user_management.schemas.fields import TEXT_PATTERN, Moment
from user_management.services import AuditService, RequestContext
from user_management.services.audit_reading import AuditFilter, AuditReader
from user_management.services.login.caller import AuthenticatedUser
from user_management_web.caller import OriginDep, context_of
from user_management_web.problems import problem_responses
from user_management_web.rbac import require_permission
from user_management_web.resources import Resources, ResourcesDep

# More actions than there are.
_MAX_ACTIONS = 100

ReaderDep = Annotated[AuthenticatedUser, Depends(require_permission(Permission.AUDIT_READ))]
Word = Annotated[str, Query(max_length=100, pattern=TEXT_PATTERN)]

PROBLEMS = problem_responses(
    "not_authenticated",
    "permission_denied",
    "password_change_required",
    "validation_error",
    "internal_error",
    "database_unavailable",
)

router = APIRouter(prefix="/audit-logs", tags=["audit log"], responses=PROBLEMS)


@dataclass(frozen=True, slots=True)
class AuditSource:
    """One population's log, as far as the caller may see it."""

    resources: Resources
    population: Population
    context: RequestContext

    def session(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session that sees what the caller may see."""
        return self.resources.session(self.population, self.context.authority.scope)


async def get_source(
    resources: ResourcesDep,
    origin: OriginDep,
    user: ReaderDep,
    population: Annotated[Population, Query(description="Whose log.")] = Population.SLM,
) -> AuditSource:
    """The log that the query names. Raises PermissionDenied."""
    require_permission(Permission.AUDIT_READ, population=population).check(user)
    return AuditSource(resources, population, context_of(origin, user))


async def get_filter(
    action: Annotated[
        list[Annotated[str, Query(max_length=100, pattern=TEXT_PATTERN)]] | None,
        Query(max_length=_MAX_ACTIONS, description="May be given more than once."),
    ] = None,
    outcome: Word | None = None,
    actor: Annotated[UUID | None, Query(description="The id of a user of either database.")] = None,
    resource_type: Word | None = None,
    resource_id: UUID | None = None,
    ip_address: Word | None = None,
    since: Annotated[Moment | None, Query(description="Included.")] = None,
    until: Annotated[Moment | None, Query(description="Not included.")] = None,
) -> AuditFilter:
    """Which events are asked for."""
    return AuditFilter(
        actions=action,
        outcome=outcome,
        actor=actor,
        resource_type=resource_type,
        resource_id=resource_id,
        ip_address=ip_address,
        since=since,
        until=until,
    )


SourceDep = Annotated[AuditSource, Depends(get_source)]
FilterDep = Annotated[AuditFilter, Depends(get_filter)]


@router.get("", operation_id="list_audit_logs")
async def list_audit_logs(
    source: SourceDep, wanted: FilterDep, page: CursorPageDep
) -> AuditLogListResponse:
    """List events, newest first: those that meet all that is given."""
    async with source.session() as session:
        found = await AuditReader(session).list(wanted, page)
    return AuditLogListResponse(
        logs=[shaped(entry) for entry in found.items],
        next_cursor=next_cursor(source.resources, found.following),
        limit=page.limit,
    )


@router.get(
    "/export",
    operation_id="export_audit_logs",
    dependencies=[Depends(require_permission(Permission.AUDIT_READ)), RECENTLY],
    response_class=StreamingResponse,
    responses={
        **CONFIRMED,
        200: {
            "description": "All events that meet what is given, newest first.",
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
    },
)
async def export_audit_logs(
    source: SourceDep,
    wanted: FilterDep,
    download: DownloadDep,
) -> StreamingResponse:
    """Download events. In CSV, what a spreadsheet would run has an apostrophe in front.

    The download itself is an event.
    """
    async with source.session() as session:
        await AuditService(session, source.context).record_export(
            AuditAction.AUDIT_EXPORTED, AuditResourceType.AUDIT_LOG, download.form, wanted.given()
        )
    pieces = export(source.session, wanted, download.form, excel=download.excel)
    return await as_download(pieces, f"audit-{source.population}", download)


@router.get("/{audit_id}", operation_id="get_audit_log", responses=problem_responses("not_found"))
async def get_audit_log(audit_id: UUID, source: SourceDep) -> AuditLogResponse:
    """Read one event."""
    async with source.session() as session:
        return shaped(await AuditReader(session).get(audit_id))
