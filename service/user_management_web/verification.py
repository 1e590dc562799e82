"""For AutoBot's other services: who is calling, and may they. docs/verification.md shows how.

They hold no secret key and ask no other service: a token is verified with the public key, and its
session and user are read from the database on each request, so what the SLM server does to a user
is felt by the next one.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from user_management.config import load_settings
from user_management.database import Database
from user_management.permissions import Permission
from user_management.population import Population
from user_management.security.tokens import REALMS, TokenVerifier
from user_management.services.login.caller import AuthenticatedUser
from user_management_web.caller import CurrentUserDep, get_current_user
from user_management_web.problems import add_problem_handlers
from user_management_web.rbac import (
    Access,
    Requirement,
    require_all_permissions,
    require_any_permission,
    require_permission,
)
from user_management_web.resources import Verification

__all__ = [
    "AuthenticatedUser",
    "CurrentUserDep",
    "Permission",
    "add_problem_handlers",
    "current_user",
    "require_all_permissions",
    "require_any_permission",
    "require_permission",
    "require_site_permission",
    "verifying",
]

# A dependency: the caller, who has logged in at the backend and changed their one-time password.
current_user: Final = get_current_user


def require_site_permission(permission: Permission) -> Requirement:
    """A dependency: the caller, who holds the permission for the whole site.

    It refuses members of an organization too: what they hold, they hold within it.
    """
    return Requirement(Access("holders", frozenset({permission}), population=Population.SLM))


@asynccontextmanager
async def verifying(app: FastAPI) -> AsyncIterator[None]:
    """The lifespan of an application that lets application users in, or a part of one.

    Reads AUTOBOT_PUBLIC_KEYS_FILE and AUTOBOT_POSTGRES_*. Raises ConfigurationError when a setting
    is missing or wrong; the database need not be up.
    """
    settings = load_settings()
    database = Database(Population.AUTOBOT, settings.database(Population.AUTOBOT))
    app.state.resources = Verification(
        callers=Population.AUTOBOT,
        databases={Population.AUTOBOT: database},
        verifier=TokenVerifier(settings.autobot_public_keys(), REALMS[Population.AUTOBOT]),
    )
    try:
        yield
    finally:
        await database.dispose()
