"""Going on with a session."""

from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import NotAuthenticated, RefreshRefused
from user_management.models import AuditAction
from user_management.policy import Policy
from user_management.security.refresh_tokens import began_at, code_of
from user_management.services.audit import AuditService
from user_management.services.context import RequestContext
from user_management.services.login.account_status import refusal_reason
from user_management.services.login.caller import AuthenticatedUser
from user_management.services.login.grant import Grant, grant_of
from user_management.services.login.records import record_stolen_token
from user_management.services.login.refresh_tokens import RefreshTokenHolders
from user_management.services.sessions import end_session, prolong_session, rotate_refresh_token


class RefreshService:
    """Prolongs sessions of people of the session's database."""

    def __init__(
        self,
        session: AsyncSession,
        context: RequestContext,
        holders: RefreshTokenHolders,
        policy: Policy,
    ) -> None:
        self.session = session
        self._holders = holders
        self._policy = policy
        self._audit = AuditService(session, context)

    async def refresh(self, token: str) -> Grant:
        """Go on with a session by its refresh token, which is replaced.

        A token that was replaced before, longer ago than GRACE, was stolen or belongs to the
        thief: it ends the session. Raises RefreshRefused, TooManyAttempts.
        """
        now = datetime.now(UTC)
        holder = await self._holders.find(token, is_locked=True)
        if holder is None:
            raise await self._holders.refuse()
        began = began_at(token)
        if refusal_reason(holder._mapping, now) is not None or holder.refresh_secret is None:
            raise RefreshRefused
        # The database says so too, unless somebody has begun an old session anew there.
        if began <= now - self._policy.session_absolute:
            raise RefreshRefused
        expires_at = await prolong_session(self.session, self._policy, holder.session_id, now)
        if expires_at is None:
            raise RefreshRefused
        following = await rotate_refresh_token(
            self.session,
            self._holders.keys,
            holder.session_id,
            secret=holder.refresh_secret,
            code=code_of(token),
            now=now,
        )
        if following is None:
            await end_session(self.session, holder.session_id, AuditAction.SUSPICIOUS_ACTIVITY)
            await record_stolen_token(self._audit, holder, holder.session_id)
            raise RefreshRefused
        replacement = self._holders.keys.sealed(following, began, holder.session_id, holder.user_id)
        return grant_of(holder, holder.session_id, now, expires_at, replacement)

    async def prolong(self, user: AuthenticatedUser) -> Grant:
        """Go on with the caller's session by its access token. Raises NotAuthenticated."""
        now = datetime.now(UTC)
        expires_at = await prolong_session(self.session, self._policy, user.session_id, now)
        if expires_at is None:
            raise NotAuthenticated("The session has ended. Log in again.")
        return Grant(
            session_id=user.session_id,
            user_id=user.user_id,
            username=user.username,
            email=user.email,
            org_id=user.org_id,
            is_admin=user.is_admin,
            must_change_password=user.must_change_password,
            granted_at=now,
            expires_at=expires_at,
            refresh_token=None,
        )
