"""The fleet administrators' audit log at the address, and in the form, that AutoBot has had."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from slm_server.api.audit import PROBLEMS, Word
from user_management.permissions import Permission
from user_management.population import Population
from user_management.schemas.audit import (
    SecurityAuditLog,
    SecurityAuditLogListResponse,
    actions_of,
)
from user_management.schemas.fields import Moment
from user_management.services.audit import FAILURE, SUCCESS
from user_management.services.audit_reading import AuditFilter, AuditReader
from user_management.services.pages import PageRequest
from user_management_web.problems import problem_responses
from user_management_web.rbac import require_permission
from user_management_web.resources import ResourcesDep

_MAX_PAGE = 1_000_000

router = APIRouter(
    prefix="/security",
    tags=["audit log"],
    dependencies=[Depends(require_permission(Permission.AUDIT_READ, population=Population.SLM))],
    responses=PROBLEMS,
)


async def get_filter(
    category: Word | None = None,
    username: Annotated[Word | None, Query(description="A part of it, in any case.")] = None,
    action: Annotated[Word | None, Query(description="A part of it, in any case.")] = None,
    success: bool | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
) -> AuditFilter:
    """Which events are asked for."""
    outcomes = {None: None, True: SUCCESS, False: FAILURE}
    return AuditFilter(
        actions=None if category is None else actions_of(category),
        outcome=outcomes[success],
        since=since,
        until=until,
        action_part=action,
        username_part=username,
    )


@router.get("/audit-logs", operation_id="list_security_audit_logs")
async def list_security_audit_logs(
    resources: ResourcesDep,
    wanted: Annotated[AuditFilter, Depends(get_filter)],
    page: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 50,
) -> SecurityAuditLogListResponse:
    """List events of fleet administrators. New clients use `/api/audit-logs`."""
    async with resources.session(Population.SLM) as session:
        found = await AuditReader(session).list(
            wanted, PageRequest(per_page, (page - 1) * per_page, with_total=True)
        )
    return SecurityAuditLogListResponse(
        logs=[SecurityAuditLog.of(each.row, each.actor) for each in found.items],
        total=found.total or 0,
        page=page,
        per_page=per_page,
    )


@router.get(
    "/audit-logs/{log_id}",
    operation_id="get_security_audit_log",
    responses=problem_responses("not_found"),
)
async def get_security_audit_log(log_id: UUID, resources: ResourcesDep) -> SecurityAuditLog:
    """Read one event."""
    async with resources.session(Population.SLM) as session:
        entry = await AuditReader(session).get(log_id)
    return SecurityAuditLog.of(entry.row, entry.actor)
