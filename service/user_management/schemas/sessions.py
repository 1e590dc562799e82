"""Sessions, and what an administrator gives instead of a password."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel

from user_management.models import AuthSession


class SessionResponse(BaseModel):
    """A session that goes on: where it began, and until when it lasts unless refreshed."""

    id: UUID
    created_at: datetime
    refreshed_at: datetime | None
    expires_at: datetime
    ip_address: str | None
    user_agent: str | None
    # Whether it is the one that asks.
    is_current: bool

    @classmethod
    def of(cls, session: AuthSession, current: UUID | None) -> Self:
        """Shape a session for the wire; `current` is the caller's, if any."""
        return cls(
            id=session.id,
            created_at=session.created_at,
            refreshed_at=session.refreshed_at,
            expires_at=session.expires_at,
            ip_address=session.ip_address,
            user_agent=session.user_agent,
            is_current=session.id == current,
        )


class SessionListResponse(BaseModel):
    """The newest thousand sessions, newest first."""

    sessions: list[SessionResponse]


class OneTimePasswordResponse(BaseModel):
    """Shown once. It serves only to choose another password."""

    one_time_password: str
    expires_at: datetime


class LockResponse(BaseModel):
    """What failed logins do to a user: `locked_until` is null when nothing keeps them out.

    `failures` is the most that count together: those of one name, or of a name and an address.
    """

    locked_until: datetime | None
    failures: int
