"""Whose a refresh token is."""

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import RefreshRefused
from user_management.models import AuthSession, Organization, RefreshToken, User, UserCredential
from user_management.policy import Policy
from user_management.security.refresh_tokens import RefreshTokenKeys, code_of
from user_management.services.audit import AuditService
from user_management.services.context import RequestContext
from user_management.services.limits import LimitService, refresh_counters
from user_management.services.login.account_status import ACCOUNT_STATUS_COLUMNS, UserRow
from user_management.services.login.records import record_blocks

_SESSION: Final = (
    select(
        *ACCOUNT_STATUS_COLUMNS,
        AuthSession.id.label("session_id"),
        AuthSession.refresh_secret,
    )
    .join(User, User.id == AuthSession.user_id)
    .outerjoin(UserCredential, UserCredential.user_id == User.id)
    .outerjoin(Organization, Organization.id == User.org_id)
)


class RefreshTokenHolders:
    """Knows the sessions of refresh tokens, and counts tokens that it does not know."""

    def __init__(
        self,
        session: AsyncSession,
        context: RequestContext,
        keys: RefreshTokenKeys,
        policy: Policy,
    ) -> None:
        self.session = session
        self._context = context
        self.keys = keys
        self._limits = LimitService(session, policy)
        self._audit = AuditService(session, context)

    async def find(self, token: str, *, is_locked: bool = False) -> UserRow | None:
        """The session of a token and its user (ACCOUNT_STATUS_COLUMNS); None without one."""
        wanted = _SESSION.where(
            AuthSession.id
            == select(RefreshToken.session_id)
            .where(RefreshToken.token_hash.in_(self.keys.hashes(code_of(token))))
            .scalar_subquery()
        )
        if is_locked:
            wanted = wanted.with_for_update(key_share=True, of=AuthSession)
        holder = (await self.session.execute(wanted)).one_or_none()
        if holder is None or not self.keys.is_sealed(token, holder.session_id, holder.user_id):
            return None
        return holder

    async def refuse(self) -> RefreshRefused:
        """Count an unknown token; what to raise. Raises TooManyAttempts.

        Nothing is written once the address is blocked; a token that is known is never refused for
        the sake of others.
        """
        counters = refresh_counters(self._context.ip_address)
        await self._limits.check(counters)
        blocks, _ = await self._limits.record_failure(counters)
        await record_blocks(self._audit, blocks, None)
        return RefreshRefused()
