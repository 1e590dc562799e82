"""What nginx asks before it passes a request on to AutoBot's own service, and what it is told.

AutoBot's services believe whoever has a token of their form, and many of their routes ask for none.
So each request is judged here, by its session, user and permissions as the database has them at
that moment, and goes on with a token that is good for a minute; docs/gateway.md has the whole way.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final
from urllib.parse import quote
from uuid import UUID

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from user_management.errors import CrossSiteRequest, DomainError, NotAuthenticated, NotFound
from user_management.security.autobot_tokens import Claims
from user_management.services.login.caller import (
    AuthenticatedUser,
    NamedSession,
    SessionOf,
    authenticate,
    prolong_in_use,
)
from user_management_web.browser import SAFE_METHODS, cookie_of
from user_management_web.caller import CurrentUser, get_bearer_user
from user_management_web.problems import problem
from user_management_web.resources import Gateway, Resources

# Not under /api: nginx has no way here but its own question.
PATH: Final = "/gateway/caller"
# What the request is whose caller is asked for: the question itself is a GET without a body.
METHOD_HEADER: Final = "X-Gateway-Method"
UPGRADE_HEADER: Final = "X-Gateway-Upgrade"
# What goes on: the token, the cookies that are not ours, and whose request it is.
AUTHORIZATION_HEADER: Final = "X-Gateway-Authorization"
COOKIE_HEADER: Final = "X-Gateway-Cookie"
SESSION_HEADER: Final = "X-Gateway-Session"
USER_HEADER: Final = "X-Gateway-User"


class AuthRequestMiddleware:
    """Answers nginx before anything else sees the request: it comes before each that is passed on.

    Who fulfils `requirement` passes, as `claims_of` them say. It answers 204, or as errors say:
    401, 403, 503, and 404 where the service is no gateway. nginx writes the log.
    """

    def __init__(
        self,
        app: ASGIApp,
        requirement: CurrentUser,
        claims_of: Callable[[AuthenticatedUser], Claims],
    ) -> None:
        self._app = app
        self._requirement = requirement
        self._claims_of = claims_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        try:
            answer = await self._answer(Request(scope))
        except DomainError as error:
            answer = problem(error.code, error.detail)
        await answer(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        resources: Resources = request.app.state.resources
        gateway = resources.gateway
        if gateway is None:
            raise NotFound
        user = await _caller(request, resources, gateway)
        self._requirement.check(user)
        await prolong_in_use(resources.databases[resources.callers], resources.policy, user)
        return Response(
            status_code=204,
            headers={
                AUTHORIZATION_HEADER: f"Bearer {gateway.tokens.token(self._claims_of(user))}",
                COOKIE_HEADER: "; ".join(_cookies_of_others(request, resources, gateway)),
                SESSION_HEADER: f"{user.session_id}.{user.user_id}",
                USER_HEADER: quote(user.username),
            },
        )


def keep_gateway_cookie(
    response: Response, resources: Resources, session_id: UUID, user_id: UUID
) -> None:
    """Let the browser prove whose a request is that no script adds a header to: a WebSocket, a
    page. The cookie is good on the gateway's paths and for nothing else. Without a gateway: none.
    """
    gateway = resources.gateway
    if gateway is None:
        return
    sealed = gateway.seals.sealed(session_id.bytes + user_id.bytes)
    for path in gateway.cookie_paths:
        response.set_cookie(
            gateway.cookie,
            sealed,
            max_age=int(resources.policy.session_absolute.total_seconds()),
            path=path,
            secure=True,
            httponly=True,
            samesite="strict",
        )


async def _caller(request: Request, resources: Resources, gateway: Gateway) -> AuthenticatedUser:
    """The person behind the header or, where there is none, behind a cookie.

    Raises NotAuthenticated, CrossSiteRequest, DatabaseUnavailable.
    """
    if "authorization" in request.headers:
        return await get_bearer_user(request)
    database = resources.databases[resources.callers]
    for named in _named_by_cookies(request, resources, gateway):
        if not _is_from_own_page(request, gateway):
            raise CrossSiteRequest
        with suppress(NotAuthenticated):
            return await authenticate(database, named)
    raise NotAuthenticated


def _named_by_cookies(
    request: Request, resources: Resources, gateway: Gateway
) -> Iterator[NamedSession]:
    sealed = gateway.seals.opened(cookie_of(request, gateway.cookie) or "")
    if sealed is not None:
        yield SessionOf(UUID(bytes=sealed[:16]), UUID(bytes=sealed[16:]))
    if resources.cookies is not None:
        with suppress(NotAuthenticated):
            token = cookie_of(request, resources.cookies.access) or ""
            yield resources.verifier.verify(token)


def _is_from_own_page(request: Request, gateway: Gateway) -> bool:
    """Whether a page of ours, or of AutoBot's, has made the browser send the request.

    AutoBot's pages do not send our X-CSRF, so what changes something, and a WebSocket, has to come
    with what browsers say by themselves: no program has the cookie.
    """
    headers = request.headers
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    # To the letter, the port too: as nginx was asked, and as browsers say it.
    own = f"{request.scope['scheme']}://{headers.get('host', '')}"
    is_safe = headers.get(METHOD_HEADER) in SAFE_METHODS and not headers.get(UPGRADE_HEADER)
    if origin not in (None, own, *gateway.origins):
        return False
    if site is not None:
        return site == "same-origin" or (is_safe and site == "none")
    return is_safe or origin is not None


def _cookies_of_others(request: Request, resources: Resources, gateway: Gateway) -> Iterator[str]:
    ours = {gateway.cookie, resources.device_cookie, *(resources.cookies or ())}
    for header in request.headers.getlist("cookie"):
        for pair in header.split(";"):
            if pair.strip(" ").partition("=")[0] not in ours:
                yield pair.strip(" ")
