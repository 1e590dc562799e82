"""Asking callers for the password that they have, before what protects their account changes.

A token that somebody has stolen does not do for it, nor does it serve to guess the password:
failures slow the session down, and no other session or login of the user.
"""

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import connection_released
from user_management.errors import CurrentPasswordWrong
from user_management.models import AuditAction
from user_management.policy import Policy
from user_management.security.hashing import PasswordHasher
from user_management.services.audit import AuditService
from user_management.services.context import RequestContext
from user_management.services.limits import LimitService, password_counters
from user_management.services.login.records import record_blocks, record_wrong_password
from user_management.services.passwords import password_matches, password_setting


class CurrentPassword:
    """Of a user who is logged in, in the session's database."""

    def __init__(
        self,
        session: AsyncSession,
        context: RequestContext,
        hasher: PasswordHasher,
        policy: Policy,
    ) -> None:
        self.session = session
        self._hasher = hasher
        self._limits = LimitService(session, policy)
        self._audit = AuditService(session, context)

    async def check(
        self,
        user_id: UUID,
        session_id: UUID,
        password: str,
        action: AuditAction,
        org_id: UUID | None = None,
    ) -> str:
        """The hash of the password, which is the user's.

        The connection is given back meanwhile, and what was written is committed. Failures count
        for the session; they are in the audit log, as failures of the action. Raises
        CurrentPasswordWrong, TooManyAttempts, HashQueueFull.
        """
        counters = password_counters(user_id, session_id)
        setting = await password_setting(self.session, user_id)
        await self._limits.check(counters)
        async with connection_released(self.session):
            current = await self._hasher.hash_anew(password, setting)
        # Others may have failed meanwhile: whoever tries many at once learns nothing more.
        await self._limits.check(counters)
        matches = await password_matches(self.session, user_id, current)
        if current is None or not matches:
            raise await self.refused(user_id, session_id, action, org_id)
        return current

    async def reset_failures(self, user_id: UUID, session_id: UUID) -> None:
        """Forget the failures that a success makes good."""
        await self._limits.reset(password_counters(user_id, session_id))

    async def refused(
        self, user_id: UUID, session_id: UUID, action: AuditAction, org_id: UUID | None = None
    ) -> CurrentPasswordWrong:
        """Count and record that it was not the user's; what to raise. Raises TooManyAttempts itself
        if a block began since the last look.
        """
        counters = password_counters(user_id, session_id)
        blocks, counted = await self._limits.record_failure(counters)
        if not counted:
            await self._limits.check(counters)
        await record_wrong_password(self._audit, action, user_id, org_id)
        await record_blocks(self._audit, blocks, user_id)
        return CurrentPasswordWrong()
