"""Login and logout of fleet administrators."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends

from user_management.middleware.caller import (
    CurrentUserDep,
    OriginDep,
    SessionUserDep,
    context_of,
)
from user_management.middleware.problems import problem_responses
from user_management.middleware.rbac import public
from user_management.middleware.resources import ResourcesDep
from user_management.population import Population
from user_management.schemas.auth import (
    CurrentUserResponse,
    LoginRequest,
    PasswordChange,
    TokenResponse,
)
from user_management.services import AuthenticationService

router = APIRouter(tags=["authentication"], responses=problem_responses("internal_error"))

_BODY = ("bad_request", "body_too_large", "unsupported_media_type", "validation_error")
_CALLER = ("not_authenticated", "database_unavailable")


async def get_login_service(
    resources: ResourcesDep, origin: OriginDep
) -> AsyncIterator[AuthenticationService]:
    """For requests that need no token."""
    async with resources.session(Population.SLM) as session:
        yield AuthenticationService(session, origin, resources.hasher)


async def get_own_service(
    resources: ResourcesDep, origin: OriginDep, user: SessionUserDep
) -> AsyncIterator[AuthenticationService]:
    """For what users do about themselves."""
    async with resources.session(Population.SLM) as session:
        yield AuthenticationService(session, context_of(origin, user), resources.hasher)


# The commit comes before the response: with scope="function" a failed one still shows in it.
LoginServiceDep = Annotated[AuthenticationService, Depends(get_login_service, scope="function")]
OwnServiceDep = Annotated[AuthenticationService, Depends(get_own_service, scope="function")]


@router.post(
    "/slm-auth/login",
    operation_id="login",
    dependencies=[Depends(public)],
    responses=problem_responses(
        *_BODY, "invalid_credentials", "database_unavailable", "hash_queue_full"
    ),
)
@router.post(
    "/auth/login",
    operation_id="login_of_playbooks",
    dependencies=[Depends(public)],
    responses=problem_responses(
        *_BODY, "invalid_credentials", "database_unavailable", "hash_queue_full"
    ),
)
async def login(
    body: LoginRequest, service: LoginServiceDep, resources: ResourcesDep
) -> TokenResponse:
    """Begin a session. The answer is the same whatever the reason of a refusal."""
    begun = await service.login(body.username, body.password, resources.issuer.lifetime)
    token = resources.issuer.issue(
        subject=begun.username,
        user_id=begun.user_id,
        session_id=begun.session_id,
        admin=begun.is_admin,
        issued_at=begun.started_at,
    )
    return TokenResponse(
        access_token=token,
        expires_in=int(resources.issuer.lifetime.total_seconds()),
        must_change_password=begun.must_change_password,
    )


@router.get(
    "/slm-auth/me",
    operation_id="get_current_user",
    responses=problem_responses(*_CALLER, "password_change_required"),
)
async def me(user: CurrentUserDep) -> CurrentUserResponse:
    """Who is logged in."""
    return CurrentUserResponse(
        id=user.user_id,
        username=user.username,
        email=user.email,
        is_admin=user.authority.is_platform_admin,
        permissions=sorted(user.authority.permissions),
        org_id=user.authority.scope,
        must_change_password=user.must_change_password,
        last_login_at=user.last_login_at,
    )


@router.post(
    "/slm-auth/logout",
    operation_id="logout",
    status_code=204,
    responses=problem_responses(*_CALLER, "password_change_required"),
)
async def logout(user: CurrentUserDep, service: OwnServiceDep) -> None:
    """End the session; its token is worthless from now on."""
    await service.logout(user)


@router.post(
    "/slm-auth/change-password",
    operation_id="change_password",
    status_code=204,
    responses=problem_responses(
        *_BODY, *_CALLER, "current_password_wrong", "password_refused", "hash_queue_full"
    ),
)
async def change_password(
    body: PasswordChange, user: SessionUserDep, service: OwnServiceDep
) -> None:
    """Replace one's own password. All other sessions end, this one goes on."""
    await service.change_password(user, body.current_password, body.new_password)
