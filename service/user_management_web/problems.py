"""Every error as a problem (RFC 9457): one table, one form.

The codes are described for clients in docs/api-problems.md.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from user_management.errors import DomainError, InvalidValue, TemporarilyUnavailable
from user_management.schemas.fields import explain
from user_management.services.login.caller import RECENT

MEDIA_TYPE = "application/problem+json"

# code → (status, title). The title says what kind of problem it is, `detail` what happened.
PROBLEMS: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read"),
    "invalid_credentials": (401, "Login refused"),
    "not_authenticated": (401, "Not logged in"),
    "recent_authentication_required": (401, "Confirm that it is you"),
    "cross_site_request": (403, "Another site may have sent it"),
    "current_password_wrong": (403, "The current password is wrong"),
    "password_change_required": (403, "The one-time password must be changed first"),
    "permission_denied": (403, "Not allowed"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "duplicate": (409, "The value is taken"),
    "import_running": (409, "An import is running"),
    "last_administrator": (409, "The last administrator must stay"),
    "last_owner": (409, "The last owner must stay"),
    "organization_in_use": (409, "The organization has users"),
    "quota_exceeded": (409, "The organization is full"),
    "system_role": (409, "System roles stay as they are"),
    "precondition_failed": (412, "Somebody else has changed it"),
    "body_too_large": (413, "The request body is too large"),
    "unsupported_media_type": (415, "The request body is of the wrong type"),
    "idempotency_key_reused": (422, "The Idempotency-Key belongs to another request"),
    "password_refused": (422, "The new password was refused"),
    "unusable_file": (422, "The file cannot be imported"),
    "validation_error": (422, "The request is not valid"),
    "too_many_attempts": (429, "Too many failed attempts"),
    "internal_error": (500, "Internal error"),
    "database_unavailable": (503, "A database is unavailable"),
    "hash_queue_full": (503, "Too many logins at once"),
    "storage_full": (503, "The disk is full"),
}

# RFC 9470: the token is good, but what it stands for is too old.
_CHALLENGES = {
    "recent_authentication_required": 'Bearer error="insufficient_user_authentication", '
    f'max_age="{int(RECENT.total_seconds())}"'
}

# Problems of every route with a body, and of those that let people in.
BODY = ("bad_request", "body_too_large", "unsupported_media_type", "validation_error")
SESSION = ("not_authenticated", "database_unavailable")
LOGIN = (
    *BODY,
    *("invalid_credentials", "too_many_attempts", "database_unavailable", "hash_queue_full"),
)
REFRESH = (*BODY, *SESSION, "too_many_attempts")
CURRENT_PASSWORD = ("current_password_wrong", "too_many_attempts", "hash_queue_full")
PASSWORD_CHANGE = (*BODY, *SESSION, *CURRENT_PASSWORD, "password_refused")

_CODE_OF_STATUS = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}
_DETAIL_OF_STATUS = {
    400: "The request cannot be read.",
    404: "There is nothing at this address.",
    405: "This address does not take this method; see the Allow header.",
}
# More faults than this help nobody.
_LISTED_FAULTS = 20

PROBLEM_SCHEMA: dict[str, Any] = {
    "title": "Problem",
    "description": "An error (RFC 9457). `code` is stable and for programs, `detail` for people.",
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string", "description": "A URI reference that ends in the code."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "enum": list(PROBLEMS)},
        "errors": {
            "description": "The faults of a request that is not valid.",
            "type": "array",
            "items": {
                "type": "object",
                "required": ["in", "pointer", "detail"],
                "properties": {
                    "in": {"type": "string", "enum": ["body", "header", "path", "query"]},
                    "pointer": {
                        "type": "string",
                        "description": "A JSON pointer to the value.",
                    },
                    "detail": {"type": "string"},
                },
            },
        },
    },
}


def problem(
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, str]] = (),
) -> JSONResponse:
    """A response for an entry of PROBLEMS. Raises KeyError for an unknown code."""
    body = problem_body(code, detail)
    if errors:
        body["errors"] = list(errors)
    sent = dict(headers or {})
    if body["status"] == 401:
        sent["WWW-Authenticate"] = _CHALLENGES.get(code, "Bearer")
    return JSONResponse(body, body["status"], headers=sent, media_type=MEDIA_TYPE)


def problem_body(code: str, detail: str) -> dict[str, Any]:
    """The members of a problem, for an entry of PROBLEMS. Raises KeyError for an unknown code."""
    status, title = PROBLEMS[code]
    return {
        "type": f"/problems/{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }


def problem_of_status(
    status: int, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The problem for a mere status; `detail` is for those that the framework does not report.

    Raises KeyError for an unknown status.
    """
    return problem(_CODE_OF_STATUS[status], _DETAIL_OF_STATUS.get(status, detail), headers=headers)


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """What a route declares in `responses=` so that its problems stand in the OpenAPI document."""
    titles: dict[int, list[str]] = {}
    for code in codes:
        status, title = PROBLEMS[code]
        titles.setdefault(status, []).append(f"{title} (`{code}`)")
    return {
        status: {
            "description": "; ".join(described),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
            "headers": _described_headers(status),
        }
        for status, described in titles.items()
    }


def _described_headers(status: int) -> dict[str, Any]:
    name, schema = {
        401: ("WWW-Authenticate", {"type": "string"}),
        429: ("Retry-After", {"type": "integer", "minimum": 1}),
        503: ("Retry-After", {"type": "integer", "minimum": 1}),
    }.get(status, (None, None))
    return {} if name is None else {name: {"required": True, "schema": schema}}


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of the application with a problem."""
    app.exception_handler(DomainError)(_domain_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    app.exception_handler(HTTPException)(_http_exception)


async def _domain_error(_request: Request, error: DomainError) -> JSONResponse:
    headers = {}
    if isinstance(error, TemporarilyUnavailable):
        headers["Retry-After"] = str(error.retry_after)
    errors = []
    if isinstance(error, InvalidValue):
        errors.append({"in": error.where, "pointer": f"/{error.field}", "detail": error.detail})
    return problem(error.code, error.detail, headers=headers, errors=errors)


async def _http_exception(request: Request, error: HTTPException) -> JSONResponse:
    headers = {}
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(_allowed_methods(request)))
    return problem_of_status(error.status_code, error.detail, headers)


async def _validation_error(_request: Request, error: RequestValidationError) -> JSONResponse:
    faults = error.errors()
    if any(fault["type"] == "json_invalid" for fault in faults):
        return problem("bad_request", "The request body is not valid JSON.")
    # The values themselves are not repeated: one of them may be a password.
    errors = [_fault(fault) for fault in faults[:_LISTED_FAULTS]]
    return problem(
        "validation_error", f"The request is not valid. {_in_short(errors)}", errors=errors
    )


def _in_short(errors: Sequence[Mapping[str, str]]) -> str:
    """The first fault in a sentence, and how many more there are."""
    first, *others = errors
    name = first["pointer"].removeprefix("/") or first["in"]
    more = f" ({len(others)} more in `errors`.)" if others else ""
    return f"{name}: {first['detail']}.{more}"


def _fault(fault: Mapping[str, Any]) -> dict[str, str]:
    where, *path = fault["loc"]
    return {
        "in": str(where),
        "pointer": "".join(f"/{_escape(str(part))}" for part in path),
        "detail": explain(fault),
    }


def _escape(token: str) -> str:
    """One token of a JSON pointer (RFC 6901), without what UTF-8 cannot carry."""
    text = token.encode(errors="replace").decode()
    return text.replace("~", "~0").replace("/", "~1")


def _allowed_methods(request: Request) -> set[str]:
    """All methods that the address takes; the framework names those of one route only."""
    allowed = set(_methods_at(request.app.routes, request.scope["path"]))
    return allowed | {"HEAD"} if "GET" in allowed else allowed


def _methods_at(routes: Sequence[Any], path: str) -> Iterable[str]:
    found = [
        route
        for route in iter_route_contexts(routes)
        if compile_path(route.path or "")[0].match(path)
    ]
    # One that is written out is not an id.
    for route in [route for route in found if route.path == path] or found:
        yield from route.methods or ()
