"""Who is calling and from where, as dependencies of routes.

Authorisation is read from the database on each request; no claim of a token decides anything.
"""

import ipaddress
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from user_management.errors import NotAuthenticated, PasswordChangeRequired
from user_management.security.tokens import AccessClaims
from user_management.services import RequestContext
from user_management.services.login.caller import AuthenticatedUser, authenticate
from user_management_web.browser import cookie_of, same_origin
from user_management_web.resources import get_verification_of

_USER_AGENT_LENGTH = 500
# Where a request remembers whose it is.
_CALLER: Final = "user_management.caller"


async def get_origin(request: Request) -> RequestContext:
    """Where the request comes from, before it is known from whom."""
    agent = request.headers.get("user-agent")
    return RequestContext(
        ip_address=_address(request.client.host if request.client else None),
        user_agent=_text(agent)[:_USER_AGENT_LENGTH].replace("\0", "") if agent else None,
    )


def _text(header: str) -> str:
    """A header as it was meant: clients send UTF-8 today, and the server reads Latin-1."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header


def _address(host: str | None) -> str | None:
    """Only what is an address; the server in front may hand on anything."""
    try:
        return str(ipaddress.ip_address(host or ""))
    except ValueError:
        return None


OriginDep = Annotated[RequestContext, Depends(get_origin)]


async def get_bearer_user(request: Request) -> AuthenticatedUser:
    """The person behind the token of the header. Raises NotAuthenticated, DatabaseUnavailable."""
    known_by = get_verification_of(request)
    claims = known_by.verifier.verify(_bearer_of(request))
    return await authenticate(known_by.databases[known_by.callers], claims)


def _bearer_of(request: Request) -> str:
    """The token of the header. Raises NotAuthenticated."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated
    return token


async def get_browser_user(request: Request) -> AuthenticatedUser:
    """The person behind the token of the cookie, where the application has one.

    Raises NotAuthenticated, CrossSiteRequest, DatabaseUnavailable.
    """
    known_by = get_verification_of(request)
    claims = known_by.verifier.verify(_cookie_token_of(request))
    await same_origin(request)
    return await authenticate(known_by.databases[known_by.callers], claims)


def _cookie_token_of(request: Request) -> str:
    """The token of the cookie. Raises NotAuthenticated."""
    cookies = get_verification_of(request).cookies
    token = cookie_of(request, cookies.access) if cookies else None
    if not token:
        raise NotAuthenticated
    return token


async def get_bearer_claims(request: Request) -> AccessClaims | None:
    """What the token of the header says, also one that has expired: to end its session, and for
    nothing else. None where there is none that was made here.
    """
    with suppress(NotAuthenticated):
        return get_verification_of(request).verifier.identify(_bearer_of(request))
    return None


async def get_cookie_claims(request: Request) -> AccessClaims | None:
    """Likewise of the cookie. Raises CrossSiteRequest."""
    with suppress(NotAuthenticated):
        claims = get_verification_of(request).verifier.identify(_cookie_token_of(request))
        await same_origin(request)
        return claims
    return None


async def get_claims(request: Request) -> AccessClaims | None:
    """Likewise of the header or, where there is none, of the cookie. Raises CrossSiteRequest."""
    by_header = "authorization" in request.headers
    return await (get_bearer_claims if by_header else get_cookie_claims)(request)


class SessionUser(SecurityBase):
    """Depend on one: the person behind the token, also one who must change the password first.

    One dependency, not a chain: it is a part of nearly every request. The API's description shows
    it as the bearer scheme.
    """

    model = HTTPBearer(bearerFormat="JWT", description="A login's token")
    scheme_name = "bearer"

    async def __call__(self, request: Request) -> AuthenticatedUser:
        """The caller. Raises NotAuthenticated, CrossSiteRequest, DatabaseUnavailable; see `check`.

        With an Authorization header no cookie counts.

        No connection is held afterwards: a slow database of the other population must not use up
        this one's.
        """
        user: AuthenticatedUser | None = request.scope.get(_CALLER)
        if user is None:
            by_header = "authorization" in request.headers
            user = await (get_bearer_user if by_header else get_browser_user)(request)
            request.scope[_CALLER] = user
        self.check(user)
        return user

    def check(self, user: AuthenticatedUser) -> None:
        """Raise nothing: whoever has a session may come."""


class CurrentUser(SessionUser):
    """Depend on one: the caller, past the one-time password."""

    def check(self, user: AuthenticatedUser) -> None:
        """Raise PasswordChangeRequired where it is."""
        if user.must_change_password:
            raise PasswordChangeRequired


get_session_user: Final = SessionUser()
get_current_user: Final = CurrentUser()

SessionUserDep = Annotated[AuthenticatedUser, Depends(get_session_user)]
CurrentUserDep = Annotated[AuthenticatedUser, Depends(get_current_user)]
BearerClaimsDep = Annotated[AccessClaims | None, Depends(get_bearer_claims)]
CookieClaimsDep = Annotated[AccessClaims | None, Depends(get_cookie_claims)]
ClaimsDep = Annotated[AccessClaims | None, Depends(get_claims)]


def context_of(origin: RequestContext, user: AuthenticatedUser) -> RequestContext:
    """The origin together with who it turned out to be."""
    return replace(origin, actor=user.actor, authority=user.authority, session_id=user.session_id)
