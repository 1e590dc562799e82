"""The services of those who log in, and of those who are logged in, about themselves."""

from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import NotAuthenticated
from user_management.security.devices import new_device
from user_management.security.tokens import AccessClaims
from user_management.services import RequestContext
from user_management.services.limits import MEMORY
from user_management.services.login.current_password import CurrentPassword
from user_management.services.login.gate import LoginGate
from user_management.services.login.logout import LogoutService, OwnSessionService
from user_management.services.login.password_change import OwnPasswordService
from user_management.services.login.password_login import PasswordLoginService
from user_management.services.login.refresh import RefreshService
from user_management.services.login.refresh_tokens import RefreshTokenHolders
from user_management_web.browser import cookie_of, set_cookie
from user_management_web.caller import OriginDep, SessionUserDep, context_of
from user_management_web.resources import Resources, ResourcesDep


async def get_session(resources: ResourcesDep) -> AsyncIterator[AsyncSession]:
    """A transaction in the database of those who log in here."""
    async with resources.session(resources.callers) as session:
        yield session


# The commit comes before the response: with scope="function" a failed one still shows in it.
SessionDep = Annotated[AsyncSession, Depends(get_session, scope="function")]


async def get_password_login(
    session: SessionDep, origin: OriginDep, resources: ResourcesDep
) -> PasswordLoginService:
    """Without a token."""
    gate = LoginGate(session, origin, resources.refresh_tokens, resources.policy)
    return PasswordLoginService(session, origin, resources.hasher, gate)


async def get_refresh(
    session: SessionDep, origin: OriginDep, resources: ResourcesDep
) -> RefreshService:
    """Likewise."""
    holders = _holders(session, origin, resources)
    return RefreshService(session, origin, holders, resources.policy)


async def get_logout(
    session: SessionDep, origin: OriginDep, resources: ResourcesDep
) -> LogoutService:
    """Likewise."""
    return LogoutService(session, origin, _holders(session, origin, resources))


async def get_own_sessions(
    origin: OriginDep, user: SessionUserDep, session: SessionDep
) -> OwnSessionService:
    """Of those who are logged in."""
    return OwnSessionService(session, context_of(origin, user))


async def get_own_password(
    origin: OriginDep, user: SessionUserDep, session: SessionDep, resources: ResourcesDep
) -> OwnPasswordService:
    """Likewise."""
    context = context_of(origin, user)
    hasher, policy = resources.hasher, resources.policy
    current_password = CurrentPassword(session, context, hasher, policy)
    return OwnPasswordService(session, context, current_password, hasher, policy)


def _holders(
    session: AsyncSession, origin: RequestContext, resources: Resources
) -> RefreshTokenHolders:
    return RefreshTokenHolders(session, origin, resources.refresh_tokens, resources.policy)


PasswordLoginDep = Annotated[PasswordLoginService, Depends(get_password_login)]
RefreshDep = Annotated[RefreshService, Depends(get_refresh)]
LogoutDep = Annotated[LogoutService, Depends(get_logout)]
OwnSessionsDep = Annotated[OwnSessionService, Depends(get_own_sessions)]
OwnPasswordDep = Annotated[OwnPasswordService, Depends(get_own_password)]


async def log_out(
    resources: Resources,
    origin: RequestContext,
    claims: AccessClaims | None,
    refresh_token: str | None,
    also: UUID | None = None,
) -> bool:
    """As LogoutService.logout; without a token no database is asked for it."""
    if claims is None and refresh_token is None:
        raise NotAuthenticated
    async with resources.session(resources.callers) as session:
        service = LogoutService(session, origin, _holders(session, origin, resources))
        return await service.logout(claims, refresh_token, also)


async def get_device(request: Request, resources: ResourcesDep) -> bytes:
    """The browser, by the cookie of an earlier login; a new one where there is no such cookie."""
    cookie = cookie_of(request, resources.device_cookie)
    return (cookie and resources.devices.opened(cookie)) or new_device()


DeviceDep = Annotated[bytes, Depends(get_device)]


def keep_device(response: Response, resources: Resources, device: bytes) -> None:
    """Let the browser keep by what it is known again; a logout takes nothing of it away."""
    lifetime = int(MEMORY.total_seconds())
    set_cookie(response, resources.device_cookie, resources.devices.sealed(device), lifetime)
