"""Ending sessions; the next request with one of their tokens is refused."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import AuthSession


async def end_session(session: AsyncSession, session_id: UUID, reason: str) -> None:
    """End one session."""
    await session.execute(
        update(AuthSession)
        .where(AuthSession.id == session_id, AuthSession.ended_at.is_(None))
        .values(ended_at=datetime.now(UTC), end_reason=reason)
    )


async def end_sessions(
    session: AsyncSession, user_id: UUID, reason: str, *, keep: UUID | None = None
) -> None:
    """End all sessions of a user, but for the one to `keep`."""
    await session.execute(
        update(AuthSession)
        .where(
            AuthSession.user_id == user_id,
            AuthSession.ended_at.is_(None),
            AuthSession.id.is_distinct_from(keep),
        )
        .values(ended_at=datetime.now(UTC), end_reason=reason)
    )
