"""The service of those who log in, and of those who are logged in, about themselves."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends

from user_management.middleware.caller import OriginDep, SessionUserDep, context_of
from user_management.middleware.resources import ResourcesDep
from user_management.services import AuthenticationService


async def get_login_service(
    resources: ResourcesDep, origin: OriginDep
) -> AsyncIterator[AuthenticationService]:
    """For requests that need no token."""
    async with resources.session(resources.callers) as session:
        yield resources.authentication(session, origin)


async def get_own_service(
    resources: ResourcesDep, origin: OriginDep, user: SessionUserDep
) -> AsyncIterator[AuthenticationService]:
    """For what users do about themselves."""
    async with resources.session(resources.callers) as session:
        yield resources.authentication(session, context_of(origin, user))


# The commit comes before the response: with scope="function" a failed one still shows in it.
LoginServiceDep = Annotated[AuthenticationService, Depends(get_login_service, scope="function")]
OwnServiceDep = Annotated[AuthenticationService, Depends(get_own_service, scope="function")]
