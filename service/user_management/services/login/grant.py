"""What a way in gives."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from user_management.services.login.account_status import UserRow


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login gives, and each refresh. The session ends at `expires_at` unless refreshed.

    Without `refresh_token` the session was prolonged by its access token.
    """

    session_id: UUID
    user_id: UUID
    username: str
    email: str
    org_id: UUID | None
    is_admin: bool
    must_change_password: bool
    granted_at: datetime
    expires_at: datetime
    refresh_token: str | None


def grant_of(
    user: UserRow, session_id: UUID, now: datetime, expires_at: datetime, refresh_token: str
) -> Grant:
    """The grant of a session that has begun or was refreshed."""
    return Grant(
        session_id=session_id,
        user_id=user.user_id,
        username=user.username,
        email=user.email,
        org_id=user.org_id,
        is_admin=user.is_platform_admin,
        must_change_password=bool(user.must_change_password),
        granted_at=now,
        expires_at=expires_at,
        refresh_token=refresh_token,
    )
