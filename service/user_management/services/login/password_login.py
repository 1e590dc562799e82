"""Login with a name and a password.

A refused login gives nothing away. Whatever the reason, it runs the same statements, does the
work of one hash, and raises the same error; the reason stands in the audit log only. What was
tried too often is refused before the hash, for unknown users as for known ones.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import connection_released
from user_management.errors import HashQueueFull
from user_management.models import Organization, User, UserCredential
from user_management.names import login_words
from user_management.security.hashing import PasswordHasher
from user_management.security.passwords import as_one_time_password
from user_management.services.context import RequestContext
from user_management.services.limits import device_counters, login_counters
from user_management.services.login.account_status import ACCOUNT_STATUS_COLUMNS, UserRow
from user_management.services.login.devices import is_known
from user_management.services.login.gate import Attempt, LoginGate
from user_management.services.login.grant import Grant
from user_management.services.passwords import note_login, password_matches, password_setting

# The row may change while its password is hashed; once is bad luck, twice is an attack.
_ATTEMPTS: Final = 2

# A refused login reads as much of a user as there may be to read, and no relationship.
_CANDIDATE: Final = (
    select(*ACCOUNT_STATUS_COLUMNS)
    .select_from(User)
    .outerjoin(UserCredential, UserCredential.user_id == User.id)
    .outerjoin(Organization, Organization.id == User.org_id)
    .limit(1)
)


class PasswordLoginService:
    """Lets people of the session's database in by their password."""

    def __init__(
        self,
        session: AsyncSession,
        context: RequestContext,
        hasher: PasswordHasher,
        gate: LoginGate,
    ) -> None:
        self.session = session
        self._context = context
        self._hasher = hasher
        self._gate = gate

    async def login(
        self, identifier: str, password: str, device: bytes | None = None, route: str | None = None
    ) -> Grant:
        """Begin a session for a user name or e-mail address, in any case.

        `device` is the caller's browser, if it is one; `route` is for the audit log. No connection
        is held while the password is hashed. Raises InvalidCredentials, TooManyAttempts,
        HashQueueFull, DatabaseUnavailable.
        """
        words = login_words(identifier)
        for _ in range(_ATTEMPTS):
            attempt = await self._attempt(words, device)
            await self._gate.check_limits(attempt)
            if attempt.user is not None and attempt.user.must_change_password:
                password = as_one_time_password(password)
            setting = await password_setting(self.session, attempt.user_id)
            async with connection_released(self.session):
                password_hash = await self._hasher.hash_anew(password, setting)
            # Others may have failed meanwhile: whoever tries many at once learns nothing more.
            has_failed = await self._gate.check_limits(attempt)
            matches = await password_matches(self.session, attempt.user_id, password_hash)
            if setting is None or password_hash is None or not matches:
                reason = "no_password_set" if setting is None else "invalid_password"
                raise await self._gate.refuse(attempt, reason)
            now = datetime.now(UTC)
            cleared = await self._gate.check_account_status(attempt, now)
            user_id = cleared.user.user_id
            new_hash = await self._rehash(password, setting)
            # Unless the user is no longer what the password was found good for.
            if await note_login(self.session, user_id, password_hash, new_hash, now):
                return await self._gate.admit(cleared, route, has_failed=has_failed)
        raise await self._gate.refuse(attempt, "changed_meanwhile")

    async def _attempt(self, words: Sequence[str], device: bytes | None) -> Attempt:
        user = await self._candidate(words, device)
        if user is not None and device is not None and user.device_is_known:
            counters = device_counters(user.user_id, device)
        else:
            counters = login_counters(words[0], self._context.ip_address)
        return Attempt(user, counters, device)

    async def _candidate(self, words: Sequence[str], device: bytes | None) -> UserRow | None:
        # Names of deleted users are free for others, and not in the indexes. What was typed comes
        # first; then an e-mail address, should one of old be the user name of somebody else.
        typed = words[-1]
        found = await self.session.execute(
            _CANDIDATE.add_columns(is_known(device).label("device_is_known"))
            .where(
                User.deleted_at.is_(None),
                or_(User.username.in_(words), User.email.in_(words)),
            )
            .order_by(and_(User.username != typed, User.email != typed), User.email.not_in(words))
        )
        return found.one_or_none()

    async def _rehash(self, password: str, setting: str) -> str | None:
        """A hash at today's cost if the stored one is weaker; if that must wait, next time."""
        if not self._hasher.needs_rehash(setting):
            return None
        async with connection_released(self.session):
            try:
                return await self._hasher.hash(password)
            except HashQueueFull:
                return None
