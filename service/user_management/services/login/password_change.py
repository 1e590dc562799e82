"""What callers do with the password that they have: change it, and confirm who they are."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import connection_released
from user_management.errors import NotAuthenticated, PasswordRefused
from user_management.models import AuditAction, AuditResourceType
from user_management.policy import Policy
from user_management.security.hashing import PasswordHasher, normalize_password
from user_management.security.passwords import as_one_time_password, check_new_password
from user_management.services.audit import AuditService
from user_management.services.context import RequestContext
from user_management.services.login.caller import AuthenticatedUser
from user_management.services.login.current_password import CurrentPassword
from user_management.services.passwords import (
    change_password,
    confirm_session,
    earlier_password_settings,
    is_earlier_password,
)
from user_management.services.sessions import end_sessions


class OwnPasswordService:
    """Changes and checks the passwords of callers, in the session's database."""

    def __init__(
        self,
        session: AsyncSession,
        context: RequestContext,
        current_password: CurrentPassword,
        hasher: PasswordHasher,
        policy: Policy,
    ) -> None:
        self.session = session
        self._hasher = hasher
        self._policy = policy
        self._audit = AuditService(session, context)
        self._current_password = current_password

    async def change(
        self, user: AuthenticatedUser, current_password: str, new_password: str
    ) -> None:
        """Replace the caller's password and end their other sessions; the current one goes on.

        Raises CurrentPasswordWrong, PasswordRefused, TooManyAttempts, HashQueueFull.
        """
        if user.must_change_password:
            current_password = as_one_time_password(current_password)
        remembered = self._policy.password_history
        earlier = await earlier_password_settings(self.session, user.user_id, remembered)
        current = await self._current_password.check(
            user.user_id,
            user.session_id,
            current_password,
            AuditAction.PASSWORD_CHANGED,
            user.org_id,
        )
        if normalize_password(new_password) == normalize_password(current_password):
            raise PasswordRefused("The new password is the current one. Choose another.")
        check_new_password(new_password, context_words=(user.username, user.email))
        async with connection_released(self.session):
            known = [await self._hasher.hash_anew(new_password, each) for each in earlier]
            new_hash = await self._hasher.hash(new_password)
        await self._check_unused(user.user_id, [each for each in known if each is not None])
        # Whoever changed it in the meantime was first: the password given is not the current one.
        if not await change_password(self.session, user.user_id, current, new_hash, remembered):
            raise await self._current_password.refused(
                user.user_id, user.session_id, AuditAction.PASSWORD_CHANGED, user.org_id
            )
        await self._current_password.reset_failures(user.user_id, user.session_id)
        await confirm_session(self.session, user.session_id, user.user_id, new_hash)
        await self._finish_change(user)

    async def confirm(self, user: AuthenticatedUser, current_password: str) -> None:
        """Take note that the caller has just proved who they are.

        Raises CurrentPasswordWrong, TooManyAttempts, HashQueueFull.
        """
        action = AuditAction.AUTHENTICATION_CONFIRMED
        current = await self._current_password.check(
            user.user_id, user.session_id, current_password, action, user.org_id
        )
        # Whoever changed the password or ended the session in the meantime was first.
        if not await confirm_session(self.session, user.session_id, user.user_id, current):
            raise NotAuthenticated("The session has ended. Log in again.")
        await self._current_password.reset_failures(user.user_id, user.session_id)
        await self._audit.record(
            action, AuditResourceType.SESSION, user.session_id, org_id=user.org_id
        )

    async def _check_unused(self, user_id: UUID, known: Sequence[str]) -> None:
        remembered = self._policy.password_history
        if await is_earlier_password(self.session, user_id, remembered, known):
            raise PasswordRefused(
                f"You have used this password before; the last {remembered} cannot be used again. "
                "Choose another."
            )

    async def _finish_change(self, user: AuthenticatedUser) -> None:
        await end_sessions(
            self.session, user.user_id, AuditAction.PASSWORD_CHANGED, keep=user.session_id
        )
        done = [AuditAction.PASSWORD_CHANGED]
        if user.must_change_password:
            done.append(AuditAction.PASSWORD_RESET_COMPLETED)
        for action in done:
            await self._audit.record(
                action, AuditResourceType.USER, user.user_id, org_id=user.authority.org_id
            )
