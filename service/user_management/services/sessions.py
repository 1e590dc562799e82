"""Ending sessions; the next request with one of their tokens is refused."""

from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import Select, update
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


async def end_sessions_of_all(session: AsyncSession, users: Select[UUID], reason: str) -> None:
    """End all sessions of the users whose ids are selected."""
    await session.execute(
        update(AuthSession)
        .where(AuthSession.user_id.in_(users), AuthSession.ended_at.is_(None))
        .values(ended_at=datetime.now(UTC), end_reason=reason)
        .execution_options(synchronize_session=False)
    )
