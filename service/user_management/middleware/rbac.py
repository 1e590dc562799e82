"""What a route asks of its caller. Every route declares one of these.

Other applications use them the same way, with `Resources` of their own in `app.state.resources`:

    @app.get("/reports", dependencies=[Depends(require_permission(Permission.FILES_VIEW))])
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from fastapi.dependencies.models import Dependant

from user_management.errors import PermissionDenied
from user_management.middleware.caller import (
    CurrentUserDep,
    get_current_user,
    get_session_user,
)
from user_management.permissions import Permission
from user_management.population import Population
from user_management.services import AuthenticatedUser

Requirement = Callable[..., Awaitable[AuthenticatedUser]]


@dataclass(frozen=True, slots=True)
class Access:
    """What a route asks: who it is for, and which permissions they need (all of them)."""

    audience: str
    permissions: frozenset[Permission] = field(default_factory=frozenset)


PUBLIC: Final = Access("everybody")
LOGGED_IN: Final = Access("everybody who is logged in")
ONE_TIME: Final = Access("everybody who is logged in, also with a one-time password")

_ACCESS: Final = "access"


async def public() -> None:
    """Everybody may call the route."""


def require_permission(
    *permissions: Permission, population: Population | None = None
) -> Requirement:
    """A dependency: the caller, who holds all of the permissions.

    Raises PermissionDenied otherwise. With `population` SLM also when the caller acts for one
    organization of AutoBot only: fleet administrators belong to none.
    """
    needed = frozenset(permissions)

    async def check(user: CurrentUserDep) -> AuthenticatedUser:
        if not user.authority.holds(needed):
            raise PermissionDenied(f"This needs the permission {', '.join(sorted(needed))}.")
        if population is Population.SLM and user.authority.scope is not None:
            raise PermissionDenied("You manage one organization; this is not part of it.")
        return user

    setattr(check, _ACCESS, Access("holders", needed))
    return check


def access_of(dependant: Dependant) -> Access | None:
    """What a route asks, from its tree of dependencies; None when it declares nothing."""
    found = set(_declared(dependant))
    for access in found:
        if access.permissions:
            return access
    return next((access for access in (LOGGED_IN, ONE_TIME, PUBLIC) if access in found), None)


def _declared(dependant: Dependant) -> list[Access]:
    mine = {public: PUBLIC, get_current_user: LOGGED_IN, get_session_user: ONE_TIME}
    here = mine.get(dependant.call) or getattr(dependant.call, _ACCESS, None)  # type: ignore[arg-type]
    below = [access for each in dependant.dependencies for access in _declared(each)]
    return below if here is None else [here, *below]
