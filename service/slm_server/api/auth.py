"""Login, refresh and logout of fleet administrators."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request

from slm_server.api.routes import BODY
from user_management.middleware.caller import (
    CurrentUserDep,
    OriginDep,
    SessionUserDep,
    context_of,
    get_session_user,
)
from user_management.middleware.problems import problem_responses
from user_management.middleware.rbac import public
from user_management.middleware.resources import Resources, ResourcesDep
from user_management.population import Population
from user_management.schemas.auth import (
    CurrentUserResponse,
    LoginRequest,
    PasswordChange,
    RefreshRequest,
    TokenResponse,
)
from user_management.services import AuthenticationService, Grant

router = APIRouter(tags=["authentication"], responses=problem_responses("internal_error"))

_LOGIN = ("invalid_credentials", "too_many_attempts", "database_unavailable", "hash_queue_full")
_REFRESH = ("not_authenticated", "too_many_attempts", "database_unavailable")
_CALLER = ("not_authenticated", "database_unavailable")


async def get_login_service(
    resources: ResourcesDep, origin: OriginDep
) -> AsyncIterator[AuthenticationService]:
    """For requests that need no token."""
    async with resources.session(Population.SLM) as session:
        yield AuthenticationService(session, origin, resources.hasher, resources.policy)


async def get_own_service(
    resources: ResourcesDep, origin: OriginDep, user: SessionUserDep
) -> AsyncIterator[AuthenticationService]:
    """For what users do about themselves."""
    async with resources.session(Population.SLM) as session:
        yield AuthenticationService(
            session, context_of(origin, user), resources.hasher, resources.policy
        )


# The commit comes before the response: with scope="function" a failed one still shows in it.
LoginServiceDep = Annotated[AuthenticationService, Depends(get_login_service, scope="function")]
OwnServiceDep = Annotated[AuthenticationService, Depends(get_own_service, scope="function")]


@router.post(
    "/slm-auth/login",
    operation_id="login",
    dependencies=[Depends(public)],
    responses=problem_responses(*BODY, *_LOGIN),
)
@router.post(
    "/auth/login",
    operation_id="login_of_playbooks",
    dependencies=[Depends(public)],
    responses=problem_responses(*BODY, *_LOGIN),
)
async def login(
    body: LoginRequest, service: LoginServiceDep, resources: ResourcesDep
) -> TokenResponse:
    """Begin a session. The answer is the same whatever the reason of a refusal."""
    return _tokens(resources, await service.login(body.username, body.password))


@router.post(
    "/slm-auth/refresh",
    operation_id="refresh",
    dependencies=[Depends(public)],
    responses=problem_responses(*BODY, *_REFRESH),
)
async def refresh(
    body: RefreshRequest, service: LoginServiceDep, resources: ResourcesDep
) -> TokenResponse:
    """Go on with a session. The refresh token is replaced; for ten seconds the old one gives the
    same again, after that it ends the session.
    """
    return _tokens(resources, await service.refresh(body.refresh_token))


@router.post(
    "/auth/refresh",
    operation_id="refresh_of_autobot",
    dependencies=[Depends(public)],
    openapi_extra={"security": [{}, {get_session_user.scheme_name: []}]},
    responses=problem_responses(*BODY, *_REFRESH),
)
async def refresh_of_autobot(
    service: LoginServiceDep,
    resources: ResourcesDep,
    request: Request,
    body: RefreshRequest | None = None,
) -> TokenResponse:
    """Go on with a session by its refresh token or, without a body, by its access token."""
    if body is not None:
        return _tokens(resources, await service.refresh(body.refresh_token))
    user = await get_session_user(request)
    return _tokens(resources, await service.prolong(user))


def _tokens(resources: Resources, grant: Grant) -> TokenResponse:
    token = resources.issuer.issue(
        subject=grant.username,
        user_id=grant.user_id,
        session_id=grant.session_id,
        admin=grant.is_admin,
        issued_at=grant.granted_at,
    )
    session_left = grant.expires_at - grant.granted_at
    return TokenResponse(
        access_token=token,
        # A token is worth nothing once its session has ended.
        expires_in=int(min(resources.issuer.lifetime, session_left).total_seconds()),
        refresh_token=grant.refresh_token,
        refresh_expires_in=int(session_left.total_seconds()),
        session_id=grant.session_id,
        must_change_password=grant.must_change_password,
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
        *BODY,
        *_CALLER,
        "current_password_wrong",
        "password_refused",
        "too_many_attempts",
        "hash_queue_full",
    ),
)
async def change_password(
    body: PasswordChange, user: SessionUserDep, service: OwnServiceDep
) -> None:
    """Replace one's own password. All other sessions end, this one goes on."""
    await service.change_password(user, body.current_password, body.new_password)
