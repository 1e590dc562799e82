"""The routes of the backend: login, who is calling, refresh, logout, changing the password."""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from autobot_backend.roles import role_at_login, role_of
from autobot_backend.schemas import (
    CheckResponse,
    CurrentUserResponse,
    Done,
    LoggedInUser,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    RefreshResponse,
)
from user_management.autobot_roles import AutobotRole
from user_management.errors import NotAuthenticated, TooManyAttempts
from user_management.schemas.auth import LoginRequest, PasswordChange, RefreshRequest
from user_management.security.autobot_tokens import Claims
from user_management.services.login.caller import AuthenticatedUser
from user_management.services.login.grant import Grant
from user_management_web.caller import (
    BearerClaimsDep,
    CurrentUserDep,
    OriginDep,
    SessionUserDep,
    get_session_user,
)
from user_management_web.gateway import keep_gateway_cookie
from user_management_web.login import (
    DeviceDep,
    OwnPasswordDep,
    PasswordLoginDep,
    RefreshDep,
    keep_device,
    log_out,
)
from user_management_web.problems import (
    BODY,
    LOGIN,
    PASSWORD_CHANGE,
    REFRESH,
    SESSION,
    problem_responses,
)
from user_management_web.rbac import public
from user_management_web.resources import IssuedToken, Resources, ResourcesDep

router = APIRouter(
    prefix="/auth", tags=["authentication"], responses=problem_responses("internal_error")
)

_BEARER_OR_NOT: Final[dict[str, Any]] = {"security": [{}, {get_session_user.scheme_name: []}]}


async def get_user_if_any(request: Request) -> AuthenticatedUser | None:
    """The caller, None when nobody is logged in."""
    try:
        return await get_session_user(request)
    except NotAuthenticated:
        return None


UserIfAnyDep = Annotated[AuthenticatedUser | None, Depends(get_user_if_any)]


@router.post(
    "/login",
    operation_id="login",
    dependencies=[Depends(public)],
    responses=problem_responses(*LOGIN),
)
async def login(
    body: LoginRequest,
    device: DeviceDep,
    service: PasswordLoginDep,
    resources: ResourcesDep,
    response: Response,
) -> LoginResponse:
    """Begin a session. The answer is the same whatever the reason of a refusal.

    The cookie opens nothing: by it a browser is known again when others fail to log in.
    """
    grant = await service.login(body.username, body.password, device)
    role = await role_at_login(service.session, grant)
    issued = _issue(resources, grant, role)
    keep_device(response, resources, device)
    keep_gateway_cookie(response, resources, grant.session_id, grant.user_id)
    return LoginResponse(
        user=LoggedInUser(
            username=grant.username,
            user_id=grant.user_id,
            role=role,
            email=grant.email,
            last_login=grant.granted_at,
        ),
        token=issued.token,
        expires_in=issued.expires_in,
        refresh_token=grant.refresh_token,
        refresh_expires_in=issued.refresh_expires_in,
        session_id=grant.session_id,
        must_change_password=grant.must_change_password,
    )


@router.post(
    "/refresh",
    operation_id="refresh",
    dependencies=[Depends(public)],
    openapi_extra=_BEARER_OR_NOT,
    responses=problem_responses(*REFRESH),
)
async def refresh(
    service: RefreshDep,
    resources: ResourcesDep,
    request: Request,
    body: RefreshRequest | None = None,
) -> RefreshResponse:
    """Go on with a session by its refresh token or, without a body, by its access token.

    The refresh token is replaced; for ten seconds the old one gives the same again, after that it
    ends the session.
    """
    if body is not None:
        grant = await service.refresh(body.refresh_token)
    else:
        grant = await service.prolong(await get_session_user(request))
    issued = _issue(resources, grant, await role_at_login(service.session, grant))
    return RefreshResponse(
        token=issued.token,
        expires_in=issued.expires_in,
        refresh_token=grant.refresh_token,
        refresh_expires_in=issued.refresh_expires_in,
        session_id=grant.session_id,
        must_change_password=grant.must_change_password,
    )


def _issue(resources: Resources, grant: Grant, role: AutobotRole) -> IssuedToken:
    """A token with what AutoBot's programs read from theirs; here nothing is decided by it."""
    claims = _claims(grant, role)
    return resources.issue(grant, subject=str(grant.user_id), claims=claims, is_lasting=True)


def claims_of(user: AuthenticatedUser) -> Claims:
    """What AutoBot's API reads from a token of its own."""
    return _claims(user, role_of(user))


def _claims(user: AuthenticatedUser | Grant, role: AutobotRole) -> Claims:
    return {
        "username": user.username,
        "role": role,
        "email": user.email,
        "user_id": str(user.user_id),
        "org_id": str(user.org_id) if user.org_id else None,
    }


@router.get(
    "/me",
    operation_id="get_current_user",
    responses=problem_responses(*SESSION, "password_change_required"),
)
async def me(user: CurrentUserDep) -> CurrentUserResponse:
    """Who is logged in."""
    return CurrentUserResponse(
        user_id=user.user_id,
        username=user.username,
        email=user.email,
        role=role_of(user),
        permissions=sorted(user.authority.permissions),
        org_id=user.authority.org_id,
        last_login=user.last_login_at,
    )


@router.get(
    "/check",
    operation_id="check",
    dependencies=[Depends(public)],
    openapi_extra=_BEARER_OR_NOT,
    responses=problem_responses("database_unavailable"),
)
async def check(user: UserIfAnyDep) -> CheckResponse:
    """Whether somebody is logged in."""
    if user is None:
        return CheckResponse(authenticated=False, role=None, must_change_password=False)
    return CheckResponse(
        authenticated=True,
        role=role_of(user),
        must_change_password=user.must_change_password,
    )


@router.post(
    "/logout",
    operation_id="logout",
    dependencies=[Depends(public)],
    openapi_extra=_BEARER_OR_NOT,
    responses=problem_responses(*BODY, "database_unavailable"),
)
async def logout(
    claims: BearerClaimsDep,
    resources: ResourcesDep,
    origin: OriginDep,
    body: LogoutRequest | None = None,
) -> LogoutResponse:
    """End the session of the token, also of one that has expired, that of the refresh token, and
    the one that is named if it is another of the same person.

    Everybody gets an answer: `success` is false when no token was given that is one of a session.
    """
    named = body or LogoutRequest()
    also = _session_id(named.session_id)
    try:
        await log_out(resources, origin, claims, named.refresh_token, also)
    except (NotAuthenticated, TooManyAttempts):
        return LogoutResponse(success=False, message="Nobody was logged in with this")
    return LogoutResponse(success=True, message="Logged out")


def _session_id(text: str | None) -> UUID | None:
    """The session that is named, None when there is none that could be one of ours."""
    try:
        return UUID(text or "")
    except ValueError:
        return None


@router.post(
    "/change-password",
    operation_id="change_password",
    responses=problem_responses(*PASSWORD_CHANGE),
)
async def change_password(
    body: PasswordChange, user: SessionUserDep, service: OwnPasswordDep
) -> Done:
    """Replace one's own password. All other sessions end, this one goes on."""
    await service.change(user, body.current_password, body.new_password)
    return Done(message="Password changed")
