"""What routes have in common: what they answer, what they ask, where their service works."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final, TypeVar

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.permissions import Permission
from user_management.population import Population
from user_management.services import RequestContext
from user_management_web.caller import CurrentUserDep, OriginDep, context_of
from user_management_web.preconditions import ETAG_HEADER
from user_management_web.problems import problem_responses
from user_management_web.rbac import recently_authenticated, require_permission
from user_management_web.resources import Resources, ResourcesDep

T = TypeVar("T")
Answers = dict[int | str, dict[str, Any]]

# Problems of every route that needs a permission.
CALLER: Final = (
    "not_authenticated",
    "permission_denied",
    "password_change_required",
    "internal_error",
    "database_unavailable",
)

# What a stolen token must not do; after what the route needs.
RECENTLY: Final = Depends(recently_authenticated)
CONFIRMED: Final[Answers] = problem_responses("not_authenticated", "recent_authentication_required")

SHOWN: Final[Answers] = {200: {"headers": ETAG_HEADER}}


def created(what: str) -> Answers:
    """The answer of a route that creates `what`."""
    location = {
        "required": True,
        "description": f"The address of the new {what}.",
        "schema": {"type": "string"},
    }
    return {201: {"headers": {**ETAG_HEADER, "Location": location}}}


def needs(permission: Permission, population: Population) -> list[Any]:
    """The dependencies of a route that asks for a permission."""
    return [Depends(require_permission(permission, population=population))]


def service_of(
    population: Population, make: Callable[[AsyncSession, RequestContext, Resources], T]
) -> Any:
    """A dependency: a service in a transaction of its own, which sees what the caller may see."""

    async def get_service(
        resources: ResourcesDep, origin: OriginDep, user: CurrentUserDep
    ) -> AsyncIterator[T]:
        async with resources.session(population, user.authority.scope) as session:
            yield make(session, context_of(origin, user), resources)

    # The commit comes before the response: with scope="function" a failed one still shows in it.
    return Depends(get_service, scope="function")
