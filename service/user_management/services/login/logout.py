"""Ending sessions of one's own."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import NotAuthenticated, NotFound
from user_management.models import AuditAction, AuditResourceType, AuthSession, User
from user_management.security.tokens import AccessClaims
from user_management.services.audit import AuditService
from user_management.services.context import Actor, RequestContext, population_of
from user_management.services.login.caller import AuthenticatedUser
from user_management.services.login.records import record_logout
from user_management.services.login.refresh_tokens import RefreshTokenHolders
from user_management.services.sessions import (
    SESSION_NOT_FOUND,
    end_session,
    end_sessions,
    list_sessions,
)


class LogoutService:
    """Ends sessions that are named by their tokens, in the session's database."""

    def __init__(
        self, session: AsyncSession, context: RequestContext, holders: RefreshTokenHolders
    ) -> None:
        self.session = session
        self._holders = holders
        self._audit = AuditService(session, context)

    async def logout(
        self,
        claims: AccessClaims | None,
        refresh_token: str | None = None,
        also: UUID | None = None,
    ) -> bool:
        """End the sessions that are named: by an access token, also one that has expired, by a
        refresh token, also one that was replaced, and `also` if it is one of the same person.

        Whether one has ended now; they are over in either case. Raises NotAuthenticated, and for
        an unknown refresh token TooManyAttempts too, when none was named.
        """
        owners: dict[UUID, UUID] = {}
        if (
            refresh_token is not None
            and (holder := await self._holders.find(refresh_token)) is not None
        ):
            owners[holder.session_id] = holder.user_id
        if claims is not None:
            owners[claims.session_id] = claims.user_id
        if not owners:
            raise NotAuthenticated if refresh_token is None else await self._holders.refuse()
        if also is not None and also not in owners:
            owners[also] = next(reversed(owners.values()))
        has_ended = False
        # In one order, always: two that name each other do not wait for each other.
        for session_id, user_id in sorted(owners.items()):
            if await end_session(self.session, session_id, AuditAction.LOGOUT, user_id=user_id):
                await self._record_logout_of(user_id, session_id)
                has_ended = True
        return has_ended

    async def _record_logout_of(self, user_id: UUID, session_id: UUID) -> None:
        found = await self.session.execute(
            select(User.username, User.org_id).where(User.id == user_id)
        )
        username, org_id = found.one()
        actor = Actor(population_of(self.session), user_id, username)
        await record_logout(self._audit, actor, session_id, org_id)


class OwnSessionService:
    """Lists and ends the sessions of callers, in the session's database."""

    def __init__(self, session: AsyncSession, context: RequestContext) -> None:
        self.session = session
        self._audit = AuditService(session, context)

    async def list(self, user: AuthenticatedUser) -> Sequence[AuthSession]:
        """The caller's sessions that go on, newest first."""
        return await list_sessions(self.session, user.user_id)

    async def end(self, user: AuthenticatedUser, session_id: UUID) -> None:
        """End one of the caller's sessions. Raises NotFound."""
        if not await end_session(
            self.session, session_id, AuditAction.LOGOUT, user_id=user.user_id
        ):
            raise NotFound(SESSION_NOT_FOUND)
        await record_logout(self._audit, user.actor, session_id, user.org_id)

    async def end_others(self, user: AuthenticatedUser) -> None:
        """End all of the caller's sessions but the one that asks for it."""
        ended = await end_sessions(
            self.session, user.user_id, AuditAction.LOGOUT, keep=user.session_id
        )
        await self._audit.record(
            AuditAction.LOGOUT,
            AuditResourceType.USER,
            user.user_id,
            org_id=user.authority.org_id,
            details={"sessions_ended": ended},
        )
