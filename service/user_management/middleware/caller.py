"""Who is calling and from where, as dependencies of routes.

Authorisation is read from the database on each request; no claim of a token decides anything.
"""

import ipaddress
from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from user_management.database import SlmSession
from user_management.errors import NotAuthenticated, PasswordChangeRequired, PermissionDenied
from user_management.middleware.resources import ResourcesDep
from user_management.population import Population
from user_management.security.hashing import PasswordHasher
from user_management.security.tokens import AccessClaims
from user_management.services import AuthenticatedUser, AuthenticationService, RequestContext

_USER_AGENT_LENGTH = 500

_bearer = HTTPBearer(
    scheme_name="bearer", bearerFormat="JWT", description="A login's token", auto_error=False
)


def get_origin(request: Request) -> RequestContext:
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


async def get_session_user(
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    resources: ResourcesDep,
    origin: OriginDep,
) -> AuthenticatedUser:
    """The fleet administrator behind the token, also one who must change the password first.

    The connection is given back before anything else happens: a slow database of the other
    population must not use up this one's.
    """
    if credentials is None:
        raise NotAuthenticated
    claims = resources.verifier.verify(credentials.credentials)
    async with resources.session(Population.SLM) as session:
        return await authenticated(session, claims, resources.hasher, origin)


async def authenticated(
    session: SlmSession, claims: AccessClaims, hasher: PasswordHasher, origin: RequestContext
) -> AuthenticatedUser:
    """The fleet administrator that the claims name; nobody else has tokens of this issuer.

    Raises NotAuthenticated.
    """
    return await AuthenticationService(session, origin, hasher).authenticate(claims)


SessionUserDep = Annotated[AuthenticatedUser, Depends(get_session_user)]


async def get_current_user(user: SessionUserDep) -> AuthenticatedUser:
    """The caller, past the one-time password."""
    if user.must_change_password:
        raise PasswordChangeRequired
    return user


CurrentUserDep = Annotated[AuthenticatedUser, Depends(get_current_user)]


async def get_administrator(user: CurrentUserDep) -> AuthenticatedUser:
    """The caller, who is an administrator."""
    if not user.is_admin:
        raise PermissionDenied("Only administrators may do this.")
    return user


AdministratorDep = Annotated[AuthenticatedUser, Depends(get_administrator)]


def context_of(origin: RequestContext, user: AuthenticatedUser) -> RequestContext:
    """The origin together with who it turned out to be."""
    return replace(origin, actor=user.actor)
