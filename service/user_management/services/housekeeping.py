"""Removing what nobody needs any more."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import (
    AuthSession,
    IdempotencyRecord,
    KnownDevice,
    PasswordHistory,
    RateLimit,
)
from user_management.models.base import Base
from user_management.services.context import OPERATOR, RequestContext
from user_management.services.erasure import ErasureService
from user_management.services.limits import MEMORY

# Rows for one statement, which has a deadline.
BATCH: Final = 5_000
# Long enough to look into what somebody did in a session.
SESSIONS_KEPT: Final = timedelta(days=30)
REQUESTS_KEPT: Final = timedelta(hours=24)
# Of each user: as many as a policy can reasonably forbid to use again.
PASSWORDS_KEPT: Final = 24
# With more than that, of which each statement looks at some.
CROWDED_USERS: Final = 500


class HousekeepingService:
    """Removes old rows of the session's database, and what deleted users have left."""

    def __init__(self, session: AsyncSession, deleted_users_kept: timedelta) -> None:
        self.session = session
        self._deleted_users_kept = deleted_users_kept

    async def run(self) -> dict[str, int]:
        """Remove up to BATCH rows of each table, and erase users; how many, by table.

        Refresh tokens go with their sessions, uncounted.
        """
        erasure = ErasureService(self.session, RequestContext(authority=OPERATOR))
        erased = await erasure.erase_old(self._deleted_users_kept)
        now = datetime.now(UTC)
        over_at = func.least(AuthSession.ended_at, AuthSession.expires_at)
        due: Mapping[type[Base], ColumnElement[bool]] = {
            AuthSession: over_at < now - SESSIONS_KEPT,
            RateLimit: RateLimit.expires_at < now,
            KnownDevice: KnownDevice.last_login_at < now - MEMORY,
            IdempotencyRecord: IdempotencyRecord.created_at < now - REQUESTS_KEPT,
            PasswordHistory: PasswordHistory.id.in_(_surplus_passwords()),
        }
        removed = {
            model.__tablename__: await self._remove(model, condition)
            for model, condition in due.items()
        }
        return {**removed, "users": erased}

    async def _remove(self, model: type[Base], condition: ColumnElement[bool]) -> int:
        key = inspect(model).primary_key
        # Locked and looked at again before it is removed: a row in use may have become young.
        batch = (
            select(*key)
            .where(condition)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
            .cte("batch")
        )
        removed = delete(model).where(tuple_(*key).in_(select(batch))).returning(*key)
        return len((await self.session.execute(removed)).all())


def _surplus_passwords() -> Select[tuple[UUID]]:
    """Those beyond the newest of their user."""
    crowded = (
        select(PasswordHistory.user_id)
        .group_by(PasswordHistory.user_id)
        .having(func.count() > PASSWORDS_KEPT)
        .limit(CROWDED_USERS)
    )
    newest_first = (PasswordHistory.created_at.desc(), PasswordHistory.id.desc())
    rank = func.row_number().over(partition_by=PasswordHistory.user_id, order_by=newest_first)
    ranked = (
        select(PasswordHistory.id, rank.label("rank"))
        .where(PasswordHistory.user_id.in_(crowded))
        .subquery()
    )
    return select(ranked.c.id).where(ranked.c.rank > PASSWORDS_KEPT)
