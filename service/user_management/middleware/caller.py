"""Who is calling and from where, as dependencies of routes.

Authorisation is read from the database on each request; no claim of a token decides anything.
"""

import ipaddress
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from user_management.errors import NotAuthenticated, PasswordChangeRequired
from user_management.middleware.resources import ResourcesDep
from user_management.services import AuthenticatedUser, RequestContext, authenticate

_USER_AGENT_LENGTH = 500

_bearer = HTTPBearer(
    scheme_name="bearer", bearerFormat="JWT", description="A login's token", auto_error=False
)


async def get_origin(request: Request) -> RequestContext:
    """Where the request comes from, before it is known from whom."""
    agent = request.headers.get("user-agent")
    return RequestContext(
        ip_address=_address(request.client.host if request.client else None),
        user_agent=agent[:_USER_AGENT_LENGTH].replace("\0", "") if agent else None,
    )


def _address(host: str | None) -> str | None:
    """Only what is an address; the server in front may hand on anything."""
    try:
        return str(ipaddress.ip_address(host or ""))
    except ValueError:
        return None


OriginDep = Annotated[RequestContext, Depends(get_origin)]


BearerDep = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


async def get_session_user(
    credentials: BearerDep,
    resources: ResourcesDep,
) -> AuthenticatedUser:
    """The person behind the token, also one who must change the password first.

    No connection is held afterwards: a slow database of the other population must not use up
    this one's.
    """
    if credentials is None:
        raise NotAuthenticated
    claims = resources.verifier.verify(credentials.credentials)
    return await authenticate(resources.databases[resources.callers], claims)


SessionUserDep = Annotated[AuthenticatedUser, Depends(get_session_user)]


async def get_current_user(user: SessionUserDep) -> AuthenticatedUser:
    """The caller, past the one-time password."""
    if user.must_change_password:
        raise PasswordChangeRequired
    return user


CurrentUserDep = Annotated[AuthenticatedUser, Depends(get_current_user)]


def context_of(origin: RequestContext, user: AuthenticatedUser) -> RequestContext:
    """The origin together with who it turned out to be."""
    return replace(origin, actor=user.actor, authority=user.authority)
