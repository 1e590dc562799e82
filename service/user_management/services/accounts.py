"""What administrators do about the logins of others: sessions, one-time passwords, blocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import connection_released
from user_management.errors import NotFound, PermissionDenied
from user_management.models import AuditAction, AuditResourceType, AuthSession, User
from user_management.security.hashing import PasswordHasher
from user_management.security.passwords import (
    ONE_TIME_PASSWORD_LIFETIME,
    generate_one_time_password,
)
from user_management.services.audit import AuditService
from user_management.services.authorization import check_may_manage
from user_management.services.context import RequestContext, is_oneself, population_of
from user_management.services.limits import LoginLock, read_lock, unlock
from user_management.services.one_time_passwords import give_one_time_password
from user_management.services.sessions import (
    SESSION_NOT_FOUND,
    end_session,
    end_sessions,
    list_sessions,
)

_USER_NOT_FOUND = "User not found."


@dataclass(frozen=True, slots=True)
class OneTimePassword:
    """A password that must be changed at the first login, before `expires_at`."""

    password: str
    expires_at: datetime


class AccountService:
    """Ends sessions, resets passwords and lifts blocks of users of the session's database.

    All of it needs the right to manage that user; reading does not.
    """

    def __init__(
        self, session: AsyncSession, context: RequestContext, hasher: PasswordHasher
    ) -> None:
        self.session = session
        self._context = context
        self._hasher = hasher
        self._audit = AuditService(session, context)

    async def sessions(self, user_id: UUID) -> Sequence[AuthSession]:
        """The user's sessions that go on, newest first. Raises NotFound."""
        await self._one(_visible(user_id))
        return await list_sessions(self.session, user_id)

    async def lock(self, user_id: UUID) -> LoginLock:
        """Whether failures keep the user's logins out. Raises NotFound."""
        return await read_lock(self.session, await self._one(_visible(user_id)))

    async def end_session(self, user_id: UUID, session_id: UUID) -> None:
        """End one session. Raises NotFound, PermissionDenied."""
        user = await self._managed(user_id)
        if not await end_session(self.session, session_id, AuditAction.LOGOUT, user_id=user_id):
            raise NotFound(SESSION_NOT_FOUND)
        await self._audit.record(
            AuditAction.LOGOUT,
            AuditResourceType.SESSION,
            session_id,
            org_id=user.org_id,
            details={"user_id": str(user_id), "username": user.username},
        )

    async def end_sessions(self, user_id: UUID) -> None:
        """End all sessions. Raises NotFound, PermissionDenied."""
        user = await self._managed(user_id)
        ended = await end_sessions(self.session, user_id, AuditAction.LOGOUT)
        await self._record(AuditAction.LOGOUT, user, {"sessions_ended": ended})

    async def reset_password(self, user_id: UUID) -> OneTimePassword:
        """Replace the password by a random one-time password, and end all sessions.

        Raises NotFound, PermissionDenied, also for oneself, HashQueueFull.
        """
        await self._managed(user_id)
        self._check_other(
            user_id,
            "Change your own password with the current one; it cannot be reset by yourself.",
        )
        password = generate_one_time_password()
        async with connection_released(self.session):
            password_hash = await self._hasher.hash(password)
        # Once more: the connection was given back meanwhile.
        user = await self._managed(user_id)
        expires_at = datetime.now(UTC) + ONE_TIME_PASSWORD_LIFETIME
        await give_one_time_password(self.session, user_id, password_hash, expires_at)
        # After the new password: until then the old one could still begin a session.
        await end_sessions(self.session, user_id, AuditAction.PASSWORD_RESET_REQUESTED)
        await self._record(
            AuditAction.PASSWORD_RESET_REQUESTED,
            user,
            {"expires_at": expires_at.isoformat(timespec="seconds")},
        )
        return OneTimePassword(password, expires_at)

    async def unlock(self, user_id: UUID) -> None:
        """Forget the user's failures, from all addresses.

        Raises NotFound, PermissionDenied, also for oneself.
        """
        user = await self._managed(user_id)
        self._check_other(
            user_id,
            "Your own failed attempts pass by themselves, or another administrator unlocks.",
        )
        await unlock(self.session, user)
        await self._record(AuditAction.ACCOUNT_UNLOCKED, user)

    def _check_other(self, user_id: UUID, advice: str) -> None:
        """Raise PermissionDenied for oneself: what a stolen token can do must not give whoever has
        it the account, nor more guesses of its password.
        """
        if is_oneself(self._context.actor, population_of(self.session), user_id):
            raise PermissionDenied(advice)

    async def _managed(self, user_id: UUID) -> User:
        """The user, locked, whom the caller may manage."""
        user = await self._one(_visible(user_id).with_for_update(key_share=True))
        await check_may_manage(self.session, self._context.authority, user)
        return user

    async def _one(self, statement: Select[User]) -> User:
        user = await self.session.scalar(statement)
        if user is None:
            raise NotFound(_USER_NOT_FOUND)
        return user

    async def _record(
        self, action: AuditAction, user: User, details: dict[str, Any] | None = None
    ) -> None:
        await self._audit.record(
            action, AuditResourceType.USER, user.id, org_id=user.org_id, details=details
        )


def _visible(user_id: UUID) -> Select[User]:
    return select(User).where(User.id == user_id, User.deleted_at.is_(None))
