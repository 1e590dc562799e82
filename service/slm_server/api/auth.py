"""Login, refresh, logout, and what fleet administrators do with their password."""

from fastapi import APIRouter, Depends, Request, Response

from user_management.errors import NotAuthenticated
from user_management.schemas.auth import (
    CurrentUserResponse,
    LoginRequest,
    LogoutRequest,
    PasswordChange,
    PasswordConfirmation,
    RefreshRequest,
    TokenResponse,
)
from user_management.security.autobot_tokens import Claims
from user_management.services.login.caller import AuthenticatedUser
from user_management.services.login.grant import Grant
from user_management.services.login.records import LEGACY_LOGIN_ROUTE
from user_management_web.caller import (
    ClaimsDep,
    CurrentUserDep,
    OriginDep,
    SessionUserDep,
    get_bearer_user,
    get_session_user,
)
from user_management_web.gateway import keep_gateway_cookie
from user_management_web.login import OwnPasswordDep, PasswordLoginDep, RefreshDep, log_out
from user_management_web.problems import (
    BODY,
    CURRENT_PASSWORD,
    LOGIN,
    PASSWORD_CHANGE,
    REFRESH,
    SESSION,
    problem_responses,
)
from user_management_web.rbac import any_session_token, public
from user_management_web.resources import IssuedToken, Resources, ResourcesDep

router = APIRouter(tags=["authentication"], responses=problem_responses("internal_error"))


@router.post(
    "/slm-auth/login",
    operation_id="login",
    dependencies=[Depends(public)],
    responses=problem_responses(*LOGIN),
)
async def login(
    body: LoginRequest, service: PasswordLoginDep, resources: ResourcesDep
) -> TokenResponse:
    """Begin a session. The answer is the same whatever the reason of a refusal."""
    return _tokens(resources, await service.login(body.username, body.password))


@router.post(
    "/auth/login",
    operation_id="login_of_playbooks",
    dependencies=[Depends(public)],
    responses=problem_responses(*LOGIN),
)
async def login_of_autobot(
    body: LoginRequest, service: PasswordLoginDep, resources: ResourcesDep, response: Response
) -> TokenResponse:
    """Begin a session of AutoBot's own pages and programs, as `login` does."""
    grant = await service.login(body.username, body.password, route=LEGACY_LOGIN_ROUTE)
    keep_gateway_cookie(response, resources, grant.session_id, grant.user_id)
    return _tokens(resources, grant, is_lasting=True)


@router.post(
    "/slm-auth/refresh",
    operation_id="refresh",
    dependencies=[Depends(public)],
    responses=problem_responses(*REFRESH),
)
async def refresh(
    body: RefreshRequest, service: RefreshDep, resources: ResourcesDep
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
    responses=problem_responses(*REFRESH),
)
async def refresh_of_autobot(
    service: RefreshDep,
    resources: ResourcesDep,
    request: Request,
    body: RefreshRequest | None = None,
) -> TokenResponse:
    """Go on with a session by its refresh token or, without a body, by its access token."""
    if body is not None:
        grant = await service.refresh(body.refresh_token)
        return _tokens(resources, grant, is_lasting=True)
    # Not by a cookie: the answer holds a token, which no script of a page may have.
    user = await get_bearer_user(request)
    return _tokens(resources, await service.prolong(user), is_lasting=True)


def claims_of(user: AuthenticatedUser) -> Claims:
    """What AutoBot's fleet manager reads from a token of its own."""
    return {"sub": user.username, "admin": user.is_admin}


def issue(resources: Resources, grant: Grant, *, is_lasting: bool = False) -> IssuedToken:
    """A token with what AutoBot's programs read from theirs; here nothing is decided by it."""
    return resources.issue(
        grant, subject=grant.username, claims={"admin": grant.is_admin}, is_lasting=is_lasting
    )


def _tokens(resources: Resources, grant: Grant, *, is_lasting: bool = False) -> TokenResponse:
    issued = issue(resources, grant, is_lasting=is_lasting)
    return TokenResponse(
        access_token=issued.token,
        expires_in=issued.expires_in,
        refresh_token=grant.refresh_token,
        refresh_expires_in=issued.refresh_expires_in,
        session_id=grant.session_id,
        must_change_password=grant.must_change_password,
    )


@router.get(
    "/slm-auth/me",
    operation_id="get_current_user",
    responses=problem_responses(*SESSION, "password_change_required"),
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
    dependencies=[Depends(any_session_token)],
    openapi_extra={
        "security": [{}, {get_session_user.scheme_name: []}, {"browser": []}],
    },
    responses=problem_responses(*BODY, *SESSION, "cross_site_request", "too_many_attempts"),
)
async def logout(
    claims: ClaimsDep,
    resources: ResourcesDep,
    origin: OriginDep,
    body: LogoutRequest | None = None,
) -> None:
    """End the session of the access token, also of one that has expired, and that of the refresh
    token: all of their tokens are worthless from now on. 401 when none of them has ended one.
    """
    if not await log_out(resources, origin, claims, body.refresh_token if body else None):
        raise NotAuthenticated("The session has ended already.")


@router.post(
    "/slm-auth/confirm",
    operation_id="confirm",
    status_code=204,
    responses=problem_responses(*BODY, *SESSION, *CURRENT_PASSWORD, "password_change_required"),
)
async def confirm(
    body: PasswordConfirmation, user: CurrentUserDep, service: OwnPasswordDep
) -> None:
    """Prove again who is calling. For ten minutes the session may do what asks for it."""
    await service.confirm(user, body.current_password)


@router.post(
    "/slm-auth/change-password",
    operation_id="change_password",
    status_code=204,
    responses=problem_responses(*PASSWORD_CHANGE),
)
async def change_password(
    body: PasswordChange, user: SessionUserDep, service: OwnPasswordDep
) -> None:
    """Replace one's own password. All other sessions end, this one goes on."""
    await service.change(user, body.current_password, body.new_password)
