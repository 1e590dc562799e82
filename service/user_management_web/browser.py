"""Sessions of browsers: tokens in cookies that no script reads, and what other sites make of them.

A browser sends cookies whoever wrote the page, so a request that counts because of one has to show
that it comes from a page of this origin. docs/security.md has the reasons.
"""

from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from fastapi import Request, Response

from user_management.errors import CrossSiteRequest
from user_management_web.problems import problem_responses

CSRF_HEADER: Final = "X-CSRF"
CSRF_VALUE: Final = "1"

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_FORBIDDEN: Final = "403"
_BEARER: Final[dict[str, list[str]]] = {"bearer": []}


class BrowserCookies(NamedTuple):
    """The names of the cookies with an application's tokens.

    `__Host-` before them: no other host and no plain HTTP can set them.
    """

    access: str
    refresh: str


def cookie_of(request: Request, name: str) -> str | None:
    """What the browser sends as the cookie of exactly this name.

    `request.cookies` takes all that Unicode has for white space off the names: what another host
    has set would come to have a name that begins with `__Host-`.
    """
    for header in request.headers.getlist("cookie"):
        for pair in header.split(";"):
            given, _, value = pair.strip(" ").partition("=")
            if given == name:
                return value
    return None


def set_cookie(response: Response, name: str, token: str, lifetime: int) -> None:
    """Let the browser keep a token, for so many seconds."""
    response.set_cookie(
        name,
        token,
        max_age=lifetime,
        path="/",
        secure=True,
        httponly=True,
        samesite="strict",
    )


def clear_cookies(response: Response, cookies: BrowserCookies) -> None:
    """Let the browser forget the tokens."""
    for name in cookies:
        response.delete_cookie(name, path="/", secure=True, httponly=True, samesite="strict")


async def same_origin(request: Request) -> None:
    """Depend on it: the request comes from a page of this origin, or from a program.

    Raises CrossSiteRequest.
    """
    is_safe = request.method in SAFE_METHODS
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if (
        not (is_safe or request.headers.get(CSRF_HEADER) == CSRF_VALUE)
        # `none` is what people type or have as a bookmark.
        or site not in ({None, "same-origin", "none"} if is_safe else {None, "same-origin"})
        or not (origin is None or _is_own(origin, request))
    ):
        raise CrossSiteRequest


def _is_own(origin: str, request: Request) -> bool:
    """Whether scheme and host are ours. The port is not compared: behind a mapping of ports nobody
    here knows which one the browser sees, and nginx says none for 443. A page of another port is
    `same-site` to Sec-Fetch-Site; browsers without that ask beforehand whether it may send X-CSRF.
    """
    try:
        theirs = urlsplit(origin)
        ours = urlsplit(f"{request.scope['scheme']}://{request.headers.get('host', '')}")
        return theirs.hostname is not None and (theirs.scheme, theirs.hostname) == (
            ours.scheme,
            ours.hostname,
        )
    except ValueError:
        return False


def csrf_parameter() -> dict[str, Any]:
    """X-CSRF in the API's description, of a route that asks for it always."""
    return {
        "name": CSRF_HEADER,
        "in": "header",
        "required": True,
        "description": "No page of another origin can send it.",
        "schema": {"type": "string", "enum": [CSRF_VALUE]},
    }


def describe_cookies(document: dict[str, Any], cookies: BrowserCookies) -> None:
    """Say in the API's description that the cookie counts wherever a bearer token has to be."""
    schemes = document["components"]["securitySchemes"]
    schemes["browser"] = {
        "type": "apiKey",
        "in": "cookie",
        "name": cookies.access,
        "description": (
            "A browser's login. It counts when there is no Authorization header. All but GET and "
            f"HEAD need `{CSRF_HEADER}: {CSRF_VALUE}`, and nothing may come from another origin."
        ),
    }
    schemes["browser_refresh"] = {"type": "apiKey", "in": "cookie", "name": cookies.refresh}
    [refusal] = problem_responses("cross_site_request").values()
    for item in document["paths"].values():
        for operation in item.values():
            if operation.get("security") == [_BEARER]:
                operation["security"] = [_BEARER, {"browser": []}]
                answers = operation["responses"]
                if _FORBIDDEN in answers:
                    answers[_FORBIDDEN]["description"] += f"; {refusal['description']}"
                else:
                    answers[_FORBIDDEN] = refusal
