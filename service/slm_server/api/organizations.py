"""The routes for organizations of application users."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from slm_server.api.dependencies import CALLER, SHOWN, created, needs, service_of
from slm_server.api.paging import PageDep, Search, page_fields
from user_management.models import Organization
from user_management.permissions import Permission
from user_management.population import Population
from user_management.schemas.fields import SLUG_LENGTH, SLUG_PATTERN
from user_management.schemas.organizations import (
    OrganizationCreate,
    OrganizationListResponse,
    OrganizationResponse,
    OrganizationStatistics,
    OrganizationUpdate,
    TeamStatistics,
    UserStatistics,
)
from user_management.services.organizations import OrganizationFilter, OrganizationService
from user_management_web.idempotency import OnceDep
from user_management_web.preconditions import IfMatchDep, etag_of
from user_management_web.problems import BODY, problem_responses
from user_management_web.resources import ResourcesDep

_CREATED = created("organization")
_READ = needs(Permission.TEAMS_READ, Population.AUTOBOT)
_WRITE = needs(Permission.ADMIN_ORGANIZATION, Population.AUTOBOT)


async def get_filter(search: Search = None, is_active: bool | None = None) -> OrganizationFilter:
    """Which organizations are asked for."""
    return OrganizationFilter(search=search, is_active=is_active)


WithTeams = Annotated[
    bool,
    Query(
        description="The organization's teams, whose owners cannot log in then, rest with it. "
        "Needs `teams:manage`; without it, an organization with such teams stays active."
    ),
]
ServiceDep = Annotated[
    OrganizationService,
    service_of(
        Population.AUTOBOT, lambda session, context, _: OrganizationService(session, context)
    ),
]

router = APIRouter(
    prefix="/organizations",
    tags=["organizations"],
    responses=problem_responses(*CALLER, "validation_error"),
)


@router.post(
    "",
    operation_id="create_organization",
    status_code=201,
    dependencies=_WRITE,
    responses=_CREATED | problem_responses(*BODY, "idempotency_key_reused", "duplicate"),
)
async def create_organization(
    body: OrganizationCreate,
    request: Request,
    response: Response,
    service: ServiceDep,
    once: OnceDep,
) -> OrganizationResponse:
    """Create an organization. For administrators of all organizations only."""
    organization = await once.create(
        service.session, lambda: service.create(body), service.get, Permission.TEAMS_READ
    )
    response.headers["Location"] = f"{request.url.path}/{organization.id}"
    return _shown(organization, response)


@router.get("", operation_id="list_organizations", dependencies=_READ)
async def list_organizations(
    service: ServiceDep,
    wanted: Annotated[OrganizationFilter, Depends(get_filter)],
    page: PageDep,
    resources: ResourcesDep,
) -> OrganizationListResponse:
    """List organizations, newest first. `search` is a part of the name or slug."""
    found = await service.list(wanted, page)
    return OrganizationListResponse(
        organizations=[OrganizationResponse.of(each) for each in found.items],
        **page_fields(resources, found, page),
    )


# Before the routes with an id, one of which would take `slug` for it.
@router.get(
    "/slug/{slug}",
    operation_id="get_organization_by_slug",
    dependencies=_READ,
    responses=SHOWN | problem_responses("not_found"),
)
async def get_organization_by_slug(
    slug: Annotated[str, Path(min_length=1, max_length=SLUG_LENGTH, pattern=SLUG_PATTERN)],
    response: Response,
    service: ServiceDep,
) -> OrganizationResponse:
    """Read one organization by its slug."""
    return _shown(await service.get_by_slug(slug), response)


@router.get(
    "/{org_id}",
    operation_id="get_organization",
    dependencies=_READ,
    responses=SHOWN | problem_responses("not_found"),
)
async def get_organization(
    org_id: UUID, response: Response, service: ServiceDep
) -> OrganizationResponse:
    """Read one organization."""
    return _shown(await service.get(org_id), response)


@router.get(
    "/{org_id}/stats",
    operation_id="get_organization_stats",
    dependencies=_READ,
    responses=problem_responses("not_found"),
)
async def get_organization_stats(org_id: UUID, service: ServiceDep) -> OrganizationStatistics:
    """Count an organization's users and teams."""
    figures = await service.figures(org_id)
    organization, max_users = figures.organization, figures.max_users
    return OrganizationStatistics(
        organization_id=organization.id,
        name=organization.name,
        slug=organization.slug,
        subscription_tier=organization.subscription_tier,
        users=UserStatistics(
            current=figures.users,
            max="unlimited" if max_users is None else max_users,
            can_add=max_users is None or figures.users < max_users,
        ),
        teams=TeamStatistics(current=figures.teams),
        is_active=organization.is_active,
        created_at=organization.created_at,
    )


@router.patch(
    "/{org_id}",
    operation_id="update_organization",
    dependencies=_WRITE,
    responses=SHOWN | problem_responses(*BODY, "not_found", "last_owner", "precondition_failed"),
)
async def update_organization(
    org_id: UUID,
    body: OrganizationUpdate,
    response: Response,
    service: ServiceDep,
    expected: IfMatchDep,
    with_teams: WithTeams = False,
) -> OrganizationResponse:
    """Change the fields that are given.

    Who manages one organization can change neither `max_users` nor `subscription_tier` nor
    `is_active`.
    """
    return _shown(await service.update(org_id, body, expected, with_teams=with_teams), response)


@router.post(
    "/{org_id}/activate",
    operation_id="activate_organization",
    dependencies=_WRITE,
    responses=SHOWN | problem_responses("not_found", "precondition_failed"),
)
async def activate_organization(
    org_id: UUID, response: Response, service: ServiceDep, expected: IfMatchDep
) -> OrganizationResponse:
    """Let the organization's users log in again."""
    return _shown(
        await service.update(org_id, OrganizationUpdate(is_active=True), expected), response
    )


@router.post(
    "/{org_id}/deactivate",
    operation_id="deactivate_organization",
    dependencies=_WRITE,
    responses=SHOWN | problem_responses("not_found", "last_owner", "precondition_failed"),
)
async def deactivate_organization(
    org_id: UUID,
    response: Response,
    service: ServiceDep,
    expected: IfMatchDep,
    with_teams: WithTeams = False,
) -> OrganizationResponse:
    """End the sessions of the organization's users; none of them can log in until it is active."""
    changes = OrganizationUpdate(is_active=False)
    return _shown(await service.update(org_id, changes, expected, with_teams=with_teams), response)


@router.delete(
    "/{org_id}",
    operation_id="delete_organization",
    status_code=204,
    dependencies=_WRITE,
    responses=problem_responses("not_found", "organization_in_use", "precondition_failed"),
)
async def delete_organization(org_id: UUID, service: ServiceDep, expected: IfMatchDep) -> None:
    """Delete an organization that has no users softly, with its teams. The slug is free again."""
    await service.delete(org_id, expected)


def _shown(organization: Organization, response: Response) -> OrganizationResponse:
    response.headers["ETag"] = etag_of(organization.updated_at)
    return OrganizationResponse.of(organization)
