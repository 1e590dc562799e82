"""Sessions: how they begin, go on and end.

Once a session has ended, the next request with one of its tokens is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from sqlalchemy import Interval, Select, func, insert, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import AuthSession, RefreshToken
from user_management.models.base import UtcDateTime
from user_management.policy import Policy
from user_management.security.refresh_tokens import (
    RefreshTokenKeys,
    new_code,
    new_refresh_secret,
    next_code,
)
from user_management.services.context import RequestContext

# For so long a used refresh token gives the same as it gave before: tabs of a browser share one.
GRACE: Final = timedelta(seconds=10)
# More refreshes than this do not fit into the time of grace.
_LONGEST_CHAIN: Final = 10_000
# More sessions of one user than this are not listed; all can be ended together.
LISTED_SESSIONS: Final = 1000

SESSION_NOT_FOUND: Final = "Session not found."


@dataclass(frozen=True, slots=True)
class BegunSession:
    """A new session; `expires_at` is when it ends unless it is refreshed."""

    id: UUID
    expires_at: datetime
    refresh_token: str


async def begin_session(
    session: AsyncSession,
    context: RequestContext,
    policy: Policy,
    keys: RefreshTokenKeys,
    *,
    user_id: UUID,
    now: datetime,
) -> BegunSession:
    """Begin a session with its first refresh token. The server says when that is."""
    session_id, code = uuid4(), new_code()
    begun = BegunSession(
        id=session_id,
        expires_at=now + min(policy.session_idle, policy.session_absolute),
        refresh_token=keys.sealed(code, now, session_id, user_id),
    )
    made = (
        insert(AuthSession)
        .values(
            id=begun.id,
            user_id=user_id,
            expires_at=begun.expires_at,
            refresh_secret=new_refresh_secret(),
            ip_address=context.ip_address,
            user_agent=context.user_agent,
        )
        .returning(AuthSession.id)
        .cte("made")
    )
    # One statement for both: logins of one user wait for each other here.
    await session.execute(
        insert(RefreshToken).from_select(
            ["token_hash", "session_id"], select(literal(keys.hash(code)), made.c.id)
        )
    )
    return begun


async def prolong_session(
    session: AsyncSession, policy: Policy, session_id: UUID, now: datetime
) -> datetime | None:
    """Move the idle deadline, up to the absolute one; the new one, or None if it has ended."""
    expires_at: datetime | None = await session.scalar(
        update(AuthSession)
        .where(
            AuthSession.id == session_id,
            AuthSession.ended_at.is_(None),
            AuthSession.expires_at > now,
            AuthSession.created_at > now - policy.session_absolute,
        )
        .values(
            refreshed_at=now,
            expires_at=func.least(
                literal(now + policy.session_idle, UtcDateTime),
                AuthSession.created_at + literal(policy.session_absolute, Interval),
            ),
        )
        .returning(AuthSession.expires_at)
        .execution_options(synchronize_session=False)
    )
    return expires_at


async def rotate_refresh_token(
    session: AsyncSession,
    keys: RefreshTokenKeys,
    session_id: UUID,
    *,
    secret: bytes,
    code: str,
    now: datetime,
) -> str | None:
    """Use a code of the session, whose row is locked; the one that replaces it.

    None: it was used before, longer ago than two tabs of one browser would explain.
    """
    possible = keys.hashes(code)
    found = await session.execute(
        select(RefreshToken.token_hash, RefreshToken.used_at).where(
            RefreshToken.session_id == session_id,
            or_(RefreshToken.token_hash.in_(possible), RefreshToken.used_at.is_(None)),
        )
    )
    used_at_of = {row.token_hash: row.used_at for row in found}
    presented = next(each for each in possible if each in used_at_of)
    used_at = used_at_of.pop(presented)
    following = next_code(code, secret)
    if used_at is None:
        await session.execute(
            update(RefreshToken).where(RefreshToken.token_hash == presented).values(used_at=now)
        )
        await session.execute(
            insert(RefreshToken).values(token_hash=keys.hash(following), session_id=session_id)
        )
        return following
    if used_at <= now - GRACE:
        return None
    # Another tab may have gone on already: the last of the chain is the one that is not used.
    for _ in range(_LONGEST_CHAIN):
        if not used_at_of.keys().isdisjoint(keys.hashes(following)):
            return following
        following = next_code(following, secret)
    return None


async def list_sessions(session: AsyncSession, user_id: UUID) -> Sequence[AuthSession]:
    """The sessions of a user that go on, newest first."""
    found = await session.scalars(
        select(AuthSession)
        .where(
            AuthSession.user_id == user_id,
            AuthSession.ended_at.is_(None),
            AuthSession.expires_at > datetime.now(UTC),
        )
        .order_by(AuthSession.created_at.desc(), AuthSession.id)
        .limit(LISTED_SESSIONS)
    )
    return found.all()


async def end_session(
    session: AsyncSession, session_id: UUID, reason: str, *, user_id: UUID | None = None
) -> bool:
    """End one session, if it is that of `user_id` where given; whether there was one to end."""
    conditions = [AuthSession.id == session_id, AuthSession.ended_at.is_(None)]
    if user_id is not None:
        conditions += [AuthSession.user_id == user_id, AuthSession.expires_at > datetime.now(UTC)]
    ended = await session.scalars(
        update(AuthSession)
        .where(*conditions)
        .values(ended_at=datetime.now(UTC), end_reason=reason)
        .returning(AuthSession.id)
        .execution_options(synchronize_session=False)
    )
    return ended.one_or_none() is not None


async def end_sessions(
    session: AsyncSession, user_id: UUID, reason: str, *, keep: UUID | None = None
) -> int:
    """End all sessions of a user, but for the one to `keep`; how many there were."""
    ended = await session.scalars(
        update(AuthSession)
        .where(
            AuthSession.user_id == user_id,
            AuthSession.ended_at.is_(None),
            AuthSession.id.is_distinct_from(keep),
        )
        .values(ended_at=datetime.now(UTC), end_reason=reason)
        .returning(AuthSession.id)
        .execution_options(synchronize_session=False)
    )
    return len(ended.all())


async def end_sessions_of_all(session: AsyncSession, users: Select[UUID], reason: str) -> None:
    """End all sessions of the users whose ids are selected."""
    await session.execute(
        update(AuthSession)
        .where(AuthSession.user_id.in_(users), AuthSession.ended_at.is_(None))
        .values(ended_at=datetime.now(UTC), end_reason=reason)
        .execution_options(synchronize_session=False)
    )
