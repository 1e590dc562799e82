"""The service of those who log in, and of those who are logged in, about themselves."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response

from user_management.errors import NotAuthenticated
from user_management.security.devices import new_device
from user_management.security.tokens import AccessClaims
from user_management.services import AuthenticationService, RequestContext
from user_management.services.limits import MEMORY
from user_management_web.browser import cookie_of, set_cookie
from user_management_web.caller import OriginDep, SessionUserDep, context_of
from user_management_web.resources import Resources, ResourcesDep


async def get_login_service(
    resources: ResourcesDep, origin: OriginDep
) -> AsyncIterator[AuthenticationService]:
    """For requests that need no token."""
    async with resources.session(resources.callers) as session:
        yield resources.authentication(session, origin)


async def get_own_service(
    resources: ResourcesDep, origin: OriginDep, user: SessionUserDep
) -> AsyncIterator[AuthenticationService]:
    """For what users do about themselves."""
    async with resources.session(resources.callers) as session:
        yield resources.authentication(session, context_of(origin, user))


# The commit comes before the response: with scope="function" a failed one still shows in it.
LoginServiceDep = Annotated[AuthenticationService, Depends(get_login_service, scope="function")]
OwnServiceDep = Annotated[AuthenticationService, Depends(get_own_service, scope="function")]


async def log_out(
    resources: Resources,
    origin: RequestContext,
    claims: AccessClaims | None,
    refresh_token: str | None,
    also: UUID | None = None,
) -> bool:
    """As AuthenticationService.logout; without a token no database is asked for it."""
    if claims is None and refresh_token is None:
        raise NotAuthenticated
    async with resources.session(resources.callers) as session:
        return await resources.authentication(session, origin).logout(claims, refresh_token, also)


async def get_device(request: Request, resources: ResourcesDep) -> bytes:
    """The browser, by the cookie of an earlier login; a new one where there is no such cookie."""
    cookie = cookie_of(request, resources.device_cookie)
    return (cookie and resources.devices.opened(cookie)) or new_device()


DeviceDep = Annotated[bytes, Depends(get_device)]


def keep_device(response: Response, resources: Resources, device: bytes) -> None:
    """Let the browser keep by what it is known again; a logout takes nothing of it away."""
    lifetime = int(MEMORY.total_seconds())
    set_cookie(response, resources.device_cookie, resources.devices.sealed(device), lifetime)
