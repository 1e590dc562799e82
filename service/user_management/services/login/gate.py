"""Where every login ends: its limits, its refusal, and the beginning of its session.

A way to log in reads who it may be (ACCOUNT_STATUS_COLUMNS), asks `check_limits`, verifies what
they prove, and asks again, because others may have failed in between. It ends with `refuse`, or
with `check_account_status` and `admit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import InvalidCredentials
from user_management.policy import Policy
from user_management.security.refresh_tokens import RefreshTokenKeys
from user_management.services.audit import AuditService
from user_management.services.context import Actor, RequestContext, population_of
from user_management.services.limits import Counter, LimitService
from user_management.services.login.account_status import UserRow, refusal_reason
from user_management.services.login.devices import note_device
from user_management.services.login.grant import Grant, grant_of
from user_management.services.login.records import (
    record_blocks,
    record_login,
    record_refused_login,
)
from user_management.services.sessions import begin_session


@dataclass(frozen=True, slots=True)
class Attempt:
    """To log in as `user`, None for an unknown one, whose failure counts for `counters`.

    `device` is the caller's browser, if it is one.
    """

    user: UserRow | None
    counters: Sequence[Counter]
    device: bytes | None = None

    @property
    def user_id(self) -> UUID | None:
        """The user's."""
        return self.user.user_id if self.user else None


@dataclass(frozen=True, slots=True)
class Cleared:
    """An attempt of a user who may be here at the moment `now`: `check_account_status` gives it."""

    attempt: Attempt
    user: UserRow
    now: datetime


class LoginGate:
    """Lets people of the session's database in, or not."""

    def __init__(
        self,
        session: AsyncSession,
        context: RequestContext,
        refresh_tokens: RefreshTokenKeys,
        policy: Policy,
    ) -> None:
        self.session = session
        self._context = context
        self._refresh_tokens = refresh_tokens
        self._policy = policy
        self._audit = AuditService(session, context)
        self._limits = LimitService(session, policy)

    async def check_limits(self, attempt: Attempt) -> bool:
        """Whether one like it has failed before. Raises TooManyAttempts."""
        return await self._limits.check(
            attempt.counters, user_id=attempt.user_id, address=self._context.ip_address
        )

    async def check_account_status(self, attempt: Attempt, now: datetime) -> Cleared:
        """The attempt of who may be here. Raises what `refuse` gives for whoever may not."""
        user = attempt.user
        reason = None if user is None else refusal_reason(user._mapping, now)
        if user is None or reason is not None:
            raise await self.refuse(attempt, reason)
        return Cleared(attempt, user, now)

    async def refuse(self, attempt: Attempt, reason: str | None) -> InvalidCredentials:
        """Count and record a refusal, for that reason if there is such a user; what to raise.

        Raises TooManyAttempts itself if a block began since the last look.
        """
        blocks, counted = await self._limits.record_failure(attempt.counters)
        if not counted:
            await self.check_limits(attempt)
        if attempt.user is None:
            reason = "user_not_found"
        await record_refused_login(self._audit, attempt.user, reason)
        await record_blocks(self._audit, blocks, attempt.user_id)
        return InvalidCredentials()

    async def admit(self, cleared: Cleared, route: str | None, *, has_failed: bool) -> Grant:
        """Begin a session for who has proved to be the user, and forget the failures before it."""
        user, now = cleared.user, cleared.now
        if has_failed:
            await self._limits.reset(cleared.attempt.counters)
        if cleared.attempt.device is not None:
            await note_device(self.session, cleared.attempt.device, user.user_id)
        begun = await begin_session(
            self.session,
            self._context,
            self._policy,
            self._refresh_tokens,
            user_id=user.user_id,
            now=now,
        )
        actor = Actor(population_of(self.session), user.user_id, user.username)
        await record_login(self._audit, actor, begun.id, user.org_id, route)
        return grant_of(user, begun.id, now, begun.expires_at, begun.refresh_token)
