"""The routes for teams of application users, and for their members."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from slm_server.api.dependencies import CALLER, SHOWN, created, needs, service_of
from slm_server.api.paging import PageDep, Search, page_fields
from user_management.models import TeamRole
from user_management.permissions import Permission
from user_management.population import Population
from user_management.schemas.teams import (
    MemberAdd,
    MemberAddedResponse,
    MemberListResponse,
    MemberResponse,
    MemberRoleUpdate,
    MembersUpdate,
    TeamCreate,
    TeamListResponse,
    TeamOfUserResponse,
    TeamResponse,
    TeamsOfUserResponse,
    TeamUpdate,
)
from user_management.services.team_members import TeamMemberService
from user_management.services.team_rows import CountedTeam
from user_management.services.teams import TeamFilter, TeamService
from user_management_web.idempotency import OnceDep
from user_management_web.preconditions import IfMatchDep, etag_of
from user_management_web.problems import BODY, problem_responses
from user_management_web.resources import ResourcesDep

_CREATED = created("team")


async def get_filter(search: Search = None, org_id: UUID | None = None) -> TeamFilter:
    """Which teams are asked for."""
    return TeamFilter(search=search, org_id=org_id)


ServiceDep = Annotated[
    TeamService,
    service_of(Population.AUTOBOT, lambda session, context, _: TeamService(session, context)),
]
MembersDep = Annotated[
    TeamMemberService,
    service_of(Population.AUTOBOT, lambda session, context, _: TeamMemberService(session, context)),
]

router = APIRouter(
    tags=["teams"],
    responses=problem_responses(*CALLER, "validation_error"),
)


@router.post(
    "/autobot-teams",
    operation_id="create_team",
    status_code=201,
    dependencies=needs(Permission.TEAMS_CREATE, Population.AUTOBOT),
    responses=_CREATED
    | problem_responses(*BODY, "idempotency_key_reused", "duplicate", "quota_exceeded"),
)
async def create_team(
    body: TeamCreate, request: Request, response: Response, service: ServiceDep, once: OnceDep
) -> TeamResponse:
    """Create a team. It may have no owner yet; who becomes one first is its first owner."""
    team = await once.create(
        service.session, lambda: service.create(body), service.get, Permission.TEAMS_READ
    )
    response.headers["Location"] = f"{request.url.path}/{team.id}"
    return _shown(team, response)


@router.get(
    "/autobot-teams",
    operation_id="list_teams",
    dependencies=needs(Permission.TEAMS_READ, Population.AUTOBOT),
)
async def list_teams(
    service: ServiceDep,
    wanted: Annotated[TeamFilter, Depends(get_filter)],
    page: PageDep,
    resources: ResourcesDep,
) -> TeamListResponse:
    """List teams, newest first. `search` is a part of the name."""
    found = await service.list(wanted, page)
    return TeamListResponse(
        teams=[TeamResponse.of(each.team, each.member_count) for each in found.items],
        **page_fields(resources, found, page),
    )


@router.get(
    "/autobot-teams/{team_id}",
    operation_id="get_team",
    dependencies=needs(Permission.TEAMS_READ, Population.AUTOBOT),
    responses=SHOWN | problem_responses("not_found"),
)
async def get_team(team_id: UUID, response: Response, service: ServiceDep) -> TeamResponse:
    """Read one team."""
    return _shown(await service.get(team_id), response)


@router.patch(
    "/autobot-teams/{team_id}",
    operation_id="update_team",
    dependencies=needs(Permission.TEAMS_MANAGE, Population.AUTOBOT),
    responses=SHOWN | problem_responses(*BODY, "not_found", "duplicate", "precondition_failed"),
)
async def update_team(
    team_id: UUID,
    body: TeamUpdate,
    response: Response,
    service: ServiceDep,
    expected: IfMatchDep,
) -> TeamResponse:
    """Change the fields that are given."""
    return _shown(await service.update(team_id, body, expected), response)


@router.delete(
    "/autobot-teams/{team_id}",
    operation_id="delete_team",
    status_code=204,
    dependencies=needs(Permission.TEAMS_DELETE, Population.AUTOBOT),
    responses=problem_responses("not_found", "precondition_failed"),
)
async def delete_team(team_id: UUID, service: ServiceDep, expected: IfMatchDep) -> None:
    """Delete a team softly. Its name is free again."""
    await service.delete(team_id, expected)


@router.get(
    "/autobot-teams/{team_id}/members",
    operation_id="list_team_members",
    dependencies=needs(Permission.TEAMS_READ, Population.AUTOBOT),
    responses=problem_responses("not_found"),
)
async def list_team_members(
    team_id: UUID,
    service: MembersDep,
    page: PageDep,
    resources: ResourcesDep,
    role: TeamRole | None = None,
) -> MemberListResponse:
    """List a team's members, the last to join first. Deleted users are not shown."""
    found = await service.list(team_id, role, page)
    return MemberListResponse(
        members=[MemberResponse.of(member) for member in found.items],
        **page_fields(resources, found, page),
    )


@router.post(
    "/autobot-teams/{team_id}/members",
    operation_id="add_team_member",
    status_code=201,
    dependencies=needs(Permission.TEAMS_MANAGE, Population.AUTOBOT),
    responses=problem_responses(
        *BODY,
        "not_found",
        "idempotency_key_reused",
        "duplicate",
        "quota_exceeded",
        "precondition_failed",
    ),
)
async def add_team_member(
    team_id: UUID,
    body: MemberAdd,
    service: MembersDep,
    once: OnceDep,
    expected: IfMatchDep,
) -> MemberAddedResponse:
    """Add a user of the team's organization; one of no organization joins it. `If-Match` is the
    team's version, as below.
    """
    member = await once.create(
        service.session,
        lambda: service.add(team_id, body, expected),
        service.get,
        Permission.TEAMS_READ,
    )
    return MemberAddedResponse(member=MemberResponse.of(member))


@router.patch(
    "/autobot-teams/{team_id}/members",
    operation_id="change_team_members",
    dependencies=needs(Permission.TEAMS_MANAGE, Population.AUTOBOT),
    responses=SHOWN
    | problem_responses(
        *BODY, "not_found", "duplicate", "last_owner", "quota_exceeded", "precondition_failed"
    ),
)
async def change_team_members(
    team_id: UUID,
    body: MembersUpdate,
    response: Response,
    service: MembersDep,
    expected: IfMatchDep,
) -> TeamResponse:
    """Add, change and remove several members at once: all of it, or nothing."""
    return _shown(await service.change(team_id, body, expected), response)


@router.patch(
    "/autobot-teams/{team_id}/members/{user_id}",
    operation_id="change_team_member",
    dependencies=needs(Permission.TEAMS_MANAGE, Population.AUTOBOT),
    responses=problem_responses(*BODY, "not_found", "last_owner", "precondition_failed"),
)
async def change_team_member(
    team_id: UUID,
    user_id: UUID,
    body: MemberRoleUpdate,
    service: MembersDep,
    expected: IfMatchDep,
) -> MemberResponse:
    """Make a member something else. The last owner stays one."""
    return MemberResponse.of(await service.change_role(team_id, user_id, body.role, expected))


@router.delete(
    "/autobot-teams/{team_id}/members/{user_id}",
    operation_id="remove_team_member",
    status_code=204,
    dependencies=needs(Permission.TEAMS_MANAGE, Population.AUTOBOT),
    responses=problem_responses("not_found", "last_owner", "precondition_failed"),
)
async def remove_team_member(
    team_id: UUID, user_id: UUID, service: MembersDep, expected: IfMatchDep
) -> None:
    """Take a member out of the team. The last owner stays."""
    await service.remove(team_id, user_id, expected)


@router.get(
    "/autobot-users/{user_id}/teams",
    operation_id="list_teams_of_user",
    dependencies=needs(Permission.TEAMS_READ, Population.AUTOBOT),
    responses=problem_responses("not_found"),
)
async def list_teams_of_user(
    user_id: UUID, service: ServiceDep, page: PageDep, resources: ResourcesDep
) -> TeamsOfUserResponse:
    """List the teams that a user is in, newest first."""
    found = await service.list_of_user(user_id, page)
    return TeamsOfUserResponse(
        teams=[
            TeamOfUserResponse.with_membership(each.team, each.member_count, each.membership)
            for each in found.items
        ],
        **page_fields(resources, found, page),
    )


def _shown(counted: CountedTeam, response: Response) -> TeamResponse:
    response.headers["ETag"] = etag_of(counted.team.updated_at)
    return TeamResponse.of(counted.team, counted.member_count)
