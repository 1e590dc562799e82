"""Login, refresh and logout of fleet administrators in a browser: the tokens are in cookies."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response

from slm_server.api.auth import issue
from user_management.errors import NotAuthenticated, TooManyAttempts
from user_management.schemas.auth import BrowserSessionResponse, LoginRequest
from user_management.security.tokens import AccessClaims
from user_management.services.login.grant import Grant
from user_management.services.login.logout import LogoutService
from user_management_web.browser import (
    BrowserCookies,
    clear_cookies,
    cookie_of,
    csrf_parameter,
    same_origin,
    set_cookie,
)
from user_management_web.caller import CookieClaimsDep
from user_management_web.login import (
    DeviceDep,
    LogoutDep,
    PasswordLoginDep,
    RefreshDep,
    keep_device,
)
from user_management_web.problems import LOGIN, SESSION, problem, problem_responses
from user_management_web.rbac import public
from user_management_web.resources import Resources, ResourcesDep

COOKIES: Final = BrowserCookies(access="__Host-slm-access", refresh="__Host-slm-refresh")

router = APIRouter(
    prefix="/slm-auth/browser",
    tags=["authentication"],
    dependencies=[Depends(public), Depends(same_origin)],
    responses=problem_responses("cross_site_request", "internal_error"),
)


def _described(*security: Mapping[str, list[str]]) -> dict[str, Any]:
    """What the description says besides: the header, and the cookies one of which is used."""
    extra: dict[str, Any] = {"parameters": [csrf_parameter()]}
    return extra | {"security": list(security)} if security else extra


async def get_refresh_token(request: Request) -> str | None:
    """What the refresh cookie holds."""
    return cookie_of(request, COOKIES.refresh)


RefreshTokenDep = Annotated[str | None, Depends(get_refresh_token)]


@router.post(
    "/login",
    operation_id="begin_browser_session",
    openapi_extra=_described(),
    responses=problem_responses(*LOGIN),
)
async def begin_browser_session(
    body: LoginRequest,
    former: CookieClaimsDep,
    former_token: RefreshTokenDep,
    device: DeviceDep,
    service: PasswordLoginDep,
    logout: LogoutDep,
    resources: ResourcesDep,
    response: Response,
) -> BrowserSessionResponse:
    """Begin a session, as `login` does, and end the one that the browser had before."""
    grant = await service.login(body.username, body.password, device)
    await _end(logout, former, former_token)
    keep_device(response, resources, device)
    return _answer(response, resources, grant)


@router.post(
    "/refresh",
    operation_id="refresh_browser_session",
    openapi_extra=_described({"browser_refresh": []}),
    responses=problem_responses(*SESSION, "too_many_attempts"),
    response_model=BrowserSessionResponse,
)
async def refresh_browser_session(
    token: RefreshTokenDep, service: RefreshDep, resources: ResourcesDep, response: Response
) -> BrowserSessionResponse | Response:
    """Go on with the session, as `refresh` does. Once it has ended, the cookies go too."""
    try:
        if not token:
            raise NotAuthenticated
        return _answer(response, resources, await service.refresh(token))
    except NotAuthenticated as error:
        refusal = problem(error.code, error.detail)
        clear_cookies(refusal, COOKIES)
        return refusal


@router.post(
    "/logout",
    operation_id="end_browser_session",
    status_code=204,
    openapi_extra=_described({}, {"browser": []}, {"browser_refresh": []}),
    responses=problem_responses("database_unavailable"),
)
async def end_browser_session(
    claims: CookieClaimsDep, token: RefreshTokenDep, service: LogoutDep, response: Response
) -> None:
    """End the session, also by the refresh cookie alone, and let the browser forget all of it.

    Whoever is not logged in is answered the same: the browser is logged out afterwards.
    """
    await _end(service, claims, token)
    clear_cookies(response, COOKIES)
    # Not "cookies": those would be the ones of all hosts of the domain.
    response.headers["Clear-Site-Data"] = '"cache", "storage"'


async def _end(
    service: LogoutService, claims: AccessClaims | None, refresh_token: str | None
) -> None:
    """End the sessions of the cookies. What is unknown opens nothing, and its address may be
    blocked for what others did: the browser forgets it anyway.
    """
    with suppress(NotAuthenticated, TooManyAttempts):
        await service.logout(claims, refresh_token)


def _answer(response: Response, resources: Resources, grant: Grant) -> BrowserSessionResponse:
    """What may be seen of the grant; its tokens are in cookies."""
    issued = issue(resources, grant)
    set_cookie(response, COOKIES.access, issued.token, issued.expires_in)
    if grant.refresh_token is not None:
        set_cookie(response, COOKIES.refresh, grant.refresh_token, issued.refresh_expires_in)
    return BrowserSessionResponse(
        session_id=grant.session_id,
        must_change_password=grant.must_change_password,
        expires_in=issued.expires_in,
        refresh_expires_in=issued.refresh_expires_in,
    )
