"""What AutoBot's clients of the SLM server call, besides what they share with others."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends

from user_management.errors import Duplicate
from user_management.permissions import Permission
from user_management.population import Population
from user_management.schemas.auth import (
    LegacyCurrentUserResponse,
    LegacyUserCreate,
    LegacyUserResponse,
)
from user_management.schemas.users import UserCreate
from user_management.services import UserService
from user_management_web.caller import CurrentUserDep, OriginDep, context_of
from user_management_web.idempotency import OnceDep
from user_management_web.problems import BODY, problem_responses
from user_management_web.rbac import require_permission
from user_management_web.resources import ResourcesDep

router = APIRouter(
    prefix="/auth",
    tags=["authentication"],
    responses=problem_responses(
        "not_authenticated", "password_change_required", "internal_error", "database_unavailable"
    ),
)


async def get_user_service(
    resources: ResourcesDep, origin: OriginDep, user: CurrentUserDep
) -> AsyncIterator[UserService]:
    """For fleet administrators, about fleet administrators."""
    async with resources.session(Population.SLM) as session:
        yield UserService(session, context_of(origin, user), resources.hasher)


@router.get("/me", operation_id="get_current_user_of_autobot")
async def me(user: CurrentUserDep) -> LegacyCurrentUserResponse:
    """Who is logged in."""
    return LegacyCurrentUserResponse(
        username=user.username, is_admin=user.authority.is_platform_admin
    )


@router.post(
    "/users",
    operation_id="create_user_of_autobot",
    dependencies=[Depends(require_permission(Permission.USERS_CREATE, population=Population.SLM))],
    responses=problem_responses(
        *BODY,
        "permission_denied",
        "password_refused",
        "idempotency_key_reused",
        "duplicate",
        "database_unavailable",
        "hash_queue_full",
        "not_authenticated",
        "recent_authentication_required",
    ),
)
async def create_user(
    body: LegacyUserCreate,
    service: Annotated[UserService, Depends(get_user_service, scope="function")],
    once: OnceDep,
    caller: CurrentUserDep,
) -> LegacyUserResponse:
    """Create a fleet administrator. The e-mail address is `<username>@autobot.local`."""
    if body.is_admin:
        caller.check_recently_authenticated()
    new = UserCreate(
        username=body.username,
        email=f"{body.username}@autobot.local",
        password=body.password,
        is_admin=body.is_admin,
    )
    try:
        user = await once.create(
            service.session, lambda: service.create(new), service.get, Permission.USERS_READ
        )
    except Duplicate:
        # Also when it is the address: the client knows of none.
        raise Duplicate("Username already exists.") from None
    return LegacyUserResponse.of(user)
