"""The routes for users, one set for each population."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from slm_server.api.dependencies import CALLER, CONFIRMED, SHOWN, created, needs, service_of
from slm_server.api.paging import Search, SortedPageDep, page_fields
from user_management.permissions import Permission
from user_management.population import Population
from user_management.schemas.fields import Moment
from user_management.schemas.users import UserCreate, UserListResponse, UserResponse, UserUpdate
from user_management.services import UserService
from user_management.services.context import is_oneself
from user_management.services.login.current_password import CurrentPassword
from user_management.services.organizations import check_organization
from user_management.services.user_search import UserFilter
from user_management.services.users import PROTECTED_BY_PASSWORD
from user_management_web.caller import CurrentUserDep
from user_management_web.idempotency import OnceDep
from user_management_web.preconditions import IfMatchDep, etag_of
from user_management_web.problems import BODY, CURRENT_PASSWORD, problem_responses
from user_management_web.rbac import require_permission
from user_management_web.resources import Resources, ResourcesDep

_CREATED = created("user")
# What lets somebody into an account, or decides what they may do.
_PROTECTED: Final = frozenset({"email", "username", "is_admin"})
NewOwner = Annotated[
    UUID | None,
    Query(
        description="Of teams that would lose their last owner with the user, this one becomes an "
        "owner. Needs `teams:manage`."
    ),
]


async def get_filter(
    search: Search = None,
    is_active: bool | None = None,
    role: Annotated[str | None, Query(max_length=100, pattern=r"^[^\x00]*$")] = None,
    org_id: UUID | None = None,
    team_id: UUID | None = None,
    last_login_before: Moment | None = None,
    last_login_after: Moment | None = None,
) -> UserFilter:
    """Which users are asked for."""
    return UserFilter(
        search=search,
        is_active=is_active,
        role=role,
        org_id=org_id,
        team_id=team_id,
        last_login_before=last_login_before,
        last_login_after=last_login_after,
    )


def create_router(population: Population) -> APIRouter:
    """The routes under `/<population>-users`, for fleet administrators."""

    service_dep = service_of(
        population,
        lambda session, context, resources: UserService(
            session,
            context,
            resources.hasher,
            CurrentPassword(session, context, resources.hasher, resources.policy),
        ),
    )
    # Fleet administrators are limited to theirs, or to none.
    protected = _PROTECTED | {"org_id"} if population is Population.SLM else _PROTECTED

    gives_roles = require_permission(Permission.ADMIN_USERS, population=population)

    router = APIRouter(
        prefix=f"/{population}-users",
        tags=[f"{population} users"],
        responses=problem_responses(*CALLER, "validation_error"),
    )

    @router.post(
        "",
        operation_id=f"create_{population}_user",
        status_code=201,
        dependencies=needs(Permission.USERS_CREATE, population),
        responses=_CREATED
        | CONFIRMED
        | problem_responses(
            *BODY,
            "password_refused",
            "idempotency_key_reused",
            "duplicate",
            "quota_exceeded",
            "database_unavailable",
            "hash_queue_full",
        ),
    )
    async def create_user(
        body: UserCreate,
        request: Request,
        response: Response,
        service: Annotated[UserService, service_dep],
        once: OnceDep,
        resources: ResourcesDep,
        user: CurrentUserDep,
    ) -> UserResponse:
        """Create a user. To give them roles takes `admin:users` here, too; for that, and to make
        an administrator, who calls must have authenticated within ten minutes.
        """
        if body.role_ids:
            gives_roles.check(user)
        if body.role_ids or body.is_admin:
            user.check_recently_authenticated()
        await _check_limit(population, resources, body.org_id)
        made = await once.create(
            service.session, lambda: service.create(body), service.get, Permission.USERS_READ
        )
        response.headers["Location"] = f"{request.url.path}/{made.id}"
        response.headers["ETag"] = etag_of(made.updated_at)
        return UserResponse.of(made)

    @router.get(
        "",
        operation_id=f"list_{population}_users",
        dependencies=needs(Permission.USERS_READ, population),
    )
    async def list_users(
        service: Annotated[UserService, service_dep],
        wanted: Annotated[UserFilter, Depends(get_filter)],
        asked: SortedPageDep,
        resources: ResourcesDep,
    ) -> UserListResponse:
        """List users. Deleted ones are not shown, disabled ones are.

        `search` is a user's id, or words in any order: each is a part of the user name, e-mail
        address or display name, whatever its case and accents. A word of one or two letters alone
        is their beginning; of scripts without spaces, as Chinese, one character is enough.
        """
        page, sort = asked
        found = await service.list(wanted, page, sort)
        return UserListResponse(
            users=[UserResponse.of_row(row) for row in found.items],
            **page_fields(resources, found, page, sort),
        )

    @router.get(
        "/{user_id}",
        operation_id=f"get_{population}_user",
        dependencies=needs(Permission.USERS_READ, population),
        responses=SHOWN | problem_responses("not_found"),
    )
    async def get_user(
        user_id: UUID, response: Response, service: Annotated[UserService, service_dep]
    ) -> UserResponse:
        """Read one user."""
        user = await service.get(user_id)
        response.headers["ETag"] = etag_of(user.updated_at)
        return UserResponse.of(user)

    @router.patch(
        "/{user_id}",
        operation_id=f"update_{population}_user",
        dependencies=needs(Permission.USERS_UPDATE, population),
        responses=SHOWN
        | CONFIRMED
        | problem_responses(
            *(*BODY, *CURRENT_PASSWORD),
            "not_found",
            "duplicate",
            "last_administrator",
            "last_owner",
            "quota_exceeded",
            "precondition_failed",
        ),
    )
    async def update_user(
        user_id: UUID,
        body: UserUpdate,
        response: Response,
        service: Annotated[UserService, service_dep],
        expected: IfMatchDep,
        resources: ResourcesDep,
        user: CurrentUserDep,
        new_owner: NewOwner = None,
    ) -> UserResponse:
        """Change the fields that are given. Disabling or demoting a user ends their sessions.

        With an address, a name or administrator's rights among them, who calls must have
        authenticated within ten minutes. One's own name and address take `current_password`.
        """
        asked = protected & body.given().keys()
        if is_oneself(user.actor, population, user_id):
            # The current password, which the service asks for, is a better proof.
            asked -= PROTECTED_BY_PASSWORD
        if asked:
            user.check_recently_authenticated()
        await _check_limit(population, resources, body.org_id)
        updated = await service.update(user_id, body, expected, new_owner)
        response.headers["ETag"] = etag_of(updated.updated_at)
        return UserResponse.of(updated)

    @router.delete(
        "/{user_id}",
        operation_id=f"delete_{population}_user",
        status_code=204,
        dependencies=needs(Permission.USERS_DELETE, population),
        responses=problem_responses(
            "not_found", "last_administrator", "last_owner", "precondition_failed"
        ),
    )
    async def delete_user(
        user_id: UUID,
        service: Annotated[UserService, service_dep],
        expected: IfMatchDep,
        new_owner: NewOwner = None,
    ) -> None:
        """Delete a user softly and end their sessions. The names are free again."""
        await service.delete(user_id, expected, new_owner)

    return router


async def _check_limit(population: Population, resources: Resources, org_id: UUID | None) -> None:
    """Fleet administrators are limited to an organization of the other database."""
    if population is Population.SLM and org_id is not None:
        async with resources.session(Population.AUTOBOT) as session:
            await check_organization(session, org_id)
