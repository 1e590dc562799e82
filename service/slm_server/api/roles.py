"""The routes for roles and for who has them, one set for each population."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from slm_server.api.dependencies import (
    CALLER,
    CONFIRMED,
    RECENTLY,
    SHOWN,
    created,
    needs,
    service_of,
)
from slm_server.api.paging import PageDep, Search, page_fields
from user_management.permissions import Permission
from user_management.population import Population
from user_management.schemas.roles import (
    PermissionListResponse,
    PermissionResponse,
    RoleAssignment,
    RoleCreate,
    RoleDetails,
    RoleListResponse,
    RoleUpdate,
    UserRolesResponse,
)
from user_management.services import RoleService
from user_management.services.role_assignments import RoleAssignmentService
from user_management.services.roles import DescribedRole, list_permissions
from user_management_web.idempotency import OnceDep
from user_management_web.preconditions import ETAG_HEADER, IfMatchDep, etag_of
from user_management_web.problems import BODY, problem_responses
from user_management_web.rbac import require_permission
from user_management_web.resources import ResourcesDep

_CREATED = created("role")
_ASSIGNED: dict[int | str, dict[str, Any]] = {201: {"headers": ETAG_HEADER}}

permissions_router = APIRouter(tags=["permissions"], responses=problem_responses(*CALLER))


@permissions_router.get(
    "/permissions",
    operation_id="list_permissions",
    dependencies=[Depends(require_permission(Permission.USERS_READ))],
)
async def get_permissions(resources: ResourcesDep) -> PermissionListResponse:
    """What roles are made of; the same for both populations."""
    async with resources.session(Population.SLM) as session:
        found = await list_permissions(session)
    return PermissionListResponse(permissions=[PermissionResponse.of(each) for each in found])


def create_router(population: Population) -> APIRouter:
    """The routes under `/<population>-roles`, and those for the roles of a user."""

    ServiceDep = Annotated[  # noqa: N806
        RoleService,
        service_of(population, lambda session, context, _: RoleService(session, context)),
    ]
    AssignmentsDep = Annotated[  # noqa: N806
        RoleAssignmentService,
        service_of(population, lambda session, context, _: RoleAssignmentService(session, context)),
    ]

    reads = needs(Permission.USERS_READ, population)
    manages = [*needs(Permission.ADMIN_USERS, population), RECENTLY]

    router = APIRouter(
        tags=[f"{population} roles"], responses=problem_responses(*CALLER, "validation_error")
    )

    @router.post(
        f"/{population}-roles",
        operation_id=f"create_{population}_role",
        status_code=201,
        dependencies=manages,
        responses=_CREATED
        | CONFIRMED
        | problem_responses(*BODY, "idempotency_key_reused", "duplicate"),
    )
    async def create_role(
        body: RoleCreate,
        request: Request,
        response: Response,
        service: ServiceDep,
        once: OnceDep,
    ) -> RoleDetails:
        """Create a role of permissions that the caller has."""
        role = await once.create(
            service.session, lambda: service.create(body), service.get, Permission.USERS_READ
        )
        response.headers["Location"] = f"{request.url.path}/{role.id}"
        return _answer(role, response)

    @router.get(f"/{population}-roles", operation_id=f"list_{population}_roles", dependencies=reads)
    async def list_roles(
        service: ServiceDep, page: PageDep, resources: ResourcesDep, search: Search = None
    ) -> RoleListResponse:
        """List roles, newest first. `search` is a part of the name, in any case of letters."""
        found = await service.list(search, page)
        return RoleListResponse(
            roles=[_shape(role) for role in found.items],
            **page_fields(resources, found, page),
        )

    @router.get(
        f"/{population}-roles/{{role_id}}",
        operation_id=f"get_{population}_role",
        dependencies=reads,
        responses=SHOWN | problem_responses("not_found"),
    )
    async def get_role(role_id: UUID, response: Response, service: ServiceDep) -> RoleDetails:
        """Read one role."""
        return _answer(await service.get(role_id), response)

    @router.patch(
        f"/{population}-roles/{{role_id}}",
        operation_id=f"update_{population}_role",
        dependencies=manages,
        responses=SHOWN
        | CONFIRMED
        | problem_responses(*BODY, "not_found", "duplicate", "system_role", "precondition_failed"),
    )
    async def update_role(
        role_id: UUID,
        body: RoleUpdate,
        response: Response,
        service: ServiceDep,
        expected: IfMatchDep,
    ) -> RoleDetails:
        """Change the fields that are given. Permissions act at once, on all who have the role."""
        return _answer(await service.update(role_id, body, expected), response)

    @router.delete(
        f"/{population}-roles/{{role_id}}",
        operation_id=f"delete_{population}_role",
        status_code=204,
        dependencies=manages,
        responses=CONFIRMED | problem_responses("not_found", "system_role", "precondition_failed"),
    )
    async def delete_role(role_id: UUID, service: ServiceDep, expected: IfMatchDep) -> None:
        """Delete a role for good. Whoever has it loses it, and their sessions end."""
        await service.delete(role_id, expected)

    @router.post(
        f"/{population}-users/{{user_id}}/roles",
        operation_id=f"assign_{population}_role",
        status_code=201,
        dependencies=manages,
        responses=_ASSIGNED
        | CONFIRMED
        | problem_responses(*BODY, "not_found", "duplicate", "idempotency_key_reused"),
    )
    async def assign_role(
        user_id: UUID,
        body: RoleAssignment,
        response: Response,
        service: AssignmentsDep,
        once: OnceDep,
    ) -> UserRolesResponse:
        """Give a role to a user. Nobody gives a permission that they do not have themselves."""
        user = await once.create(
            service.session,
            lambda: service.assign(user_id, body.role_id),
            service.get_user,
            Permission.USERS_READ,
        )
        response.headers["ETag"] = etag_of(user.updated_at)
        return UserRolesResponse.of(user)

    @router.get(
        f"/{population}-users/{{user_id}}/roles",
        operation_id=f"list_roles_of_{population}_user",
        dependencies=reads,
        responses=SHOWN | problem_responses("not_found"),
    )
    async def list_roles_of_user(
        user_id: UUID, response: Response, service: AssignmentsDep
    ) -> UserRolesResponse:
        """The roles of a user; the version is the user's."""
        user = await service.get_user(user_id)
        response.headers["ETag"] = etag_of(user.updated_at)
        return UserRolesResponse.of(user)

    @router.delete(
        f"/{population}-users/{{user_id}}/roles/{{role_id}}",
        operation_id=f"revoke_{population}_role",
        status_code=204,
        dependencies=manages,
        responses=CONFIRMED | problem_responses("not_found"),
    )
    async def revoke_role(user_id: UUID, role_id: UUID, service: AssignmentsDep) -> None:
        """Take a role from a user. Their sessions end, if the role allows anything."""
        await service.revoke(user_id, role_id)

    return router


def _answer(described: DescribedRole, response: Response) -> RoleDetails:
    """A role, and its version as a header."""
    response.headers["ETag"] = etag_of(described.role.updated_at)
    return _shape(described)


def _shape(described: DescribedRole) -> RoleDetails:
    return RoleDetails.of(described.role, described.permissions, described.user_count)
