"""What a route asks of its caller. Every route declares one of these.

Other applications use them the same way, with `Resources` of their own in `app.state.resources`:

    @app.get("/reports", dependencies=[Depends(require_permission(Permission.FILES_VIEW))])
"""

from dataclasses import dataclass, field
from typing import Final

from fastapi.dependencies.models import Dependant

from user_management.errors import PermissionDenied
from user_management.permissions import Permission
from user_management.population import Population
from user_management.services import Authority
from user_management.services.login.caller import AuthenticatedUser
from user_management_web.caller import (
    CurrentUser,
    get_current_user,
    get_session_user,
)


@dataclass(frozen=True, slots=True)
class Access:
    """What a route asks of its caller.

    They need `permissions`: all of them, or with `one_suffices` any. With `population` SLM it is
    not for those who are limited to one organization: fleet administrators belong to none. With
    `is_platform_admin` it is for platform administrators only.
    """

    audience: str
    permissions: frozenset[Permission] = field(default_factory=frozenset)
    one_suffices: bool = False
    population: Population | None = None
    is_platform_admin: bool = False

    def refusal(self, authority: Authority) -> str | None:
        """Why somebody who is logged in may not come here, None when they may."""
        held = [authority.holds(frozenset({permission})) for permission in self.permissions]
        if held and not (any(held) if self.one_suffices else all(held)):
            return f"This needs the permission {self.needed}."
        if authority.scope is not None and self.population is Population.SLM:
            return "You manage one organization; this is not part of it."
        if self.is_platform_admin and not authority.is_platform_admin:
            return "This is for platform administrators only."
        return None

    @property
    def needed(self) -> str:
        """The permissions in words."""
        return (" or " if self.one_suffices else " and ").join(sorted(self.permissions))


PUBLIC: Final = Access("everybody")
LOGGED_IN: Final = Access("everybody who is logged in")
ONE_TIME: Final = Access("everybody who is logged in, also with a one-time password")
ANY_SESSION_TOKEN: Final = Access("everybody who has a token of a session, also an expired one")


class Requirement(CurrentUser):
    """Depend on one: the caller, who has the access."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def check(self, user: AuthenticatedUser) -> None:
        """Raise PermissionDenied unless the user has the access."""
        super().check(user)
        refusal = self.access.refusal(user.authority)
        if refusal is not None:
            raise PermissionDenied(refusal)


class RecentlyAuthenticated(CurrentUser):
    """Depend on one: the caller, who has just proved who they are.

    For what a stolen token must not do. It goes after what the route asks besides: nobody is asked
    for their password for what they may not do anyway.
    """

    def check(self, user: AuthenticatedUser) -> None:
        """Raise RecentAuthenticationRequired unless they have."""
        super().check(user)
        user.check_recently_authenticated()


recently_authenticated: Final = RecentlyAuthenticated()


async def public() -> None:
    """Everybody may call the route."""


async def any_session_token() -> None:
    """Whoever has a token of a session, also one that has expired, may call the route."""


def require_permission(
    permission: Permission, *, population: Population | None = None
) -> Requirement:
    """A dependency: the caller, who holds the permission.

    It raises PermissionDenied otherwise; with `population` SLM also when the caller acts for one
    organization of AutoBot only: fleet administrators belong to none.
    """
    return Requirement(Access("holders", frozenset({permission}), population=population))


def require_platform_administrator(
    permission: Permission, *, population: Population
) -> Requirement:
    """A dependency: the caller, a platform administrator; else as require_permission."""
    return Requirement(
        Access("holders", frozenset({permission}), population=population, is_platform_admin=True)
    )


def require_all_permissions(
    *permissions: Permission, population: Population | None = None
) -> Requirement:
    """A dependency: the caller, who holds all of the permissions; else as require_permission."""
    return Requirement(Access("holders", frozenset(permissions), population=population))


def require_any_permission(
    *permissions: Permission, population: Population | None = None
) -> Requirement:
    """A dependency: the caller, who holds one of the permissions; else as require_permission."""
    return Requirement(
        Access("holders", frozenset(permissions), one_suffices=True, population=population)
    )


def asks_for_recent_authentication(dependant: Dependant) -> bool:
    """Whether a route always asks its caller to have just proved who they are."""
    return dependant.call is recently_authenticated or any(
        asks_for_recent_authentication(each) for each in dependant.dependencies
    )


def access_of(dependant: Dependant) -> Access | None:
    """What a route asks, from its tree of dependencies; None when it declares nothing."""
    found = set(_declared(dependant))
    for access in found:
        if access.permissions:
            return access
    return next(
        (access for access in (LOGGED_IN, ONE_TIME, ANY_SESSION_TOKEN, PUBLIC) if access in found),
        None,
    )


def _declared(dependant: Dependant) -> list[Access]:
    mine = {
        public: PUBLIC,
        any_session_token: ANY_SESSION_TOKEN,
        get_current_user: LOGGED_IN,
        get_session_user: ONE_TIME,
    }
    call = dependant.call
    here = call.access if isinstance(call, Requirement) else mine.get(call)
    below = [access for each in dependant.dependencies for access in _declared(each)]
    return below if here is None else [here, *below]
