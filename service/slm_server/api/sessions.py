"""Sessions: one's own, and those of others together with all that lets them in."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter

from slm_server.api.dependencies import CALLER, CONFIRMED, RECENTLY, needs, service_of
from user_management.permissions import Permission
from user_management.population import Population
from user_management.schemas.sessions import (
    LockResponse,
    OneTimePasswordResponse,
    SessionListResponse,
    SessionResponse,
)
from user_management.services import AccountService
from user_management_web.caller import CurrentUserDep
from user_management_web.login import OwnSessionsDep
from user_management_web.problems import problem_responses

own = APIRouter(
    prefix="/slm-auth/sessions",
    tags=["authentication"],
    responses=problem_responses(
        "not_authenticated", "password_change_required", "internal_error", "database_unavailable"
    ),
)


@own.get("", operation_id="list_own_sessions")
async def list_own_sessions(user: CurrentUserDep, service: OwnSessionsDep) -> SessionListResponse:
    """List one's own sessions that go on, newest first."""
    found = await service.list(user)
    return SessionListResponse(
        sessions=[SessionResponse.of(session, user.session_id) for session in found]
    )


@own.delete("", operation_id="end_other_sessions", status_code=204)
async def end_other_sessions(user: CurrentUserDep, service: OwnSessionsDep) -> None:
    """End all of one's own sessions but this one."""
    await service.end_others(user)


@own.delete(
    "/{session_id}",
    operation_id="end_own_session",
    status_code=204,
    responses=problem_responses("not_found", "validation_error"),
)
async def end_own_session(session_id: UUID, user: CurrentUserDep, service: OwnSessionsDep) -> None:
    """End one of one's own sessions; of this one it is a logout."""
    await service.end(user, session_id)


def create_router(population: Population) -> APIRouter:
    """The routes about logins under `/<population>-users/{user_id}`, for fleet administrators."""

    service_dep = service_of(
        population,
        lambda session, context, resources: AccountService(session, context, resources.hasher),
    )

    router = APIRouter(
        prefix=f"/{population}-users/{{user_id}}",
        tags=[f"{population} users"],
        responses=problem_responses(*CALLER, "not_found", "validation_error"),
    )

    @router.get(
        "/sessions",
        operation_id=f"list_{population}_user_sessions",
        dependencies=needs(Permission.USERS_READ, population),
    )
    async def list_sessions(
        user_id: UUID, user: CurrentUserDep, service: Annotated[AccountService, service_dep]
    ) -> SessionListResponse:
        """List the user's sessions that go on, newest first."""
        found = await service.sessions(user_id)
        return SessionListResponse(
            sessions=[SessionResponse.of(session, user.session_id) for session in found]
        )

    @router.delete(
        "/sessions",
        operation_id=f"end_{population}_user_sessions",
        status_code=204,
        dependencies=needs(Permission.USERS_UPDATE, population),
    )
    async def end_sessions(user_id: UUID, service: Annotated[AccountService, service_dep]) -> None:
        """End all sessions of the user, one's own too if it is oneself."""
        await service.end_sessions(user_id)

    @router.delete(
        "/sessions/{session_id}",
        operation_id=f"end_{population}_user_session",
        status_code=204,
        dependencies=needs(Permission.USERS_UPDATE, population),
    )
    async def end_session(
        user_id: UUID, session_id: UUID, service: Annotated[AccountService, service_dep]
    ) -> None:
        """End one session of the user."""
        await service.end_session(user_id, session_id)

    @router.post(
        "/reset-password",
        operation_id=f"reset_{population}_user_password",
        dependencies=[*needs(Permission.USERS_UPDATE, population), RECENTLY],
        responses=CONFIRMED | problem_responses("database_unavailable", "hash_queue_full"),
    )
    async def reset_password(
        user_id: UUID, service: Annotated[AccountService, service_dep]
    ) -> OneTimePasswordResponse:
        """Replace the password by a random one that must be changed at the first login.

        The old password is void and all sessions end. Nobody resets their own: that takes the
        current password.
        """
        given = await service.reset_password(user_id)
        return OneTimePasswordResponse(
            one_time_password=given.password, expires_at=given.expires_at
        )

    @router.get(
        "/lock",
        operation_id=f"get_{population}_user_lock",
        dependencies=needs(Permission.USERS_READ, population),
    )
    async def get_lock(
        user_id: UUID, service: Annotated[AccountService, service_dep]
    ) -> LockResponse:
        """Tell whether failed logins keep the user out, under either of their names.

        It may be one address only. Where the user has logged in lately, they get in although
        strangers fail elsewhere. A blocked address, or the global block, does not show here.
        """
        lock = await service.lock(user_id)
        return LockResponse(locked_until=lock.until, failures=lock.failures)

    @router.post(
        "/unlock",
        operation_id=f"unlock_{population}_user",
        status_code=204,
        dependencies=[*needs(Permission.USERS_UPDATE, population), RECENTLY],
        responses=CONFIRMED,
    )
    async def unlock(user_id: UUID, service: Annotated[AccountService, service_dep]) -> None:
        """Forget the user's failed attempts, so that they can try again at once. Nobody forgets
        their own.
        """
        await service.unlock(user_id)

    return router
