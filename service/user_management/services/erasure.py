"""Erasing what is known of deleted people: the answer to a request for erasure.

The row stays with its id, because other tables of AutoBot refer to it, and so do the audit log's
rows, which nobody can change.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import String, cast, delete, literal_column, null, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import InvalidValue, NotFound
from user_management.models import (
    AuditAction,
    AuditResourceType,
    AuthSession,
    KnownDevice,
    PasswordHistory,
    User,
    UserCredential,
    UserMFA,
    UserSSOLink,
)
from user_management.models.user import ERASED_DOMAIN
from user_management.services.audit import AuditService
from user_management.services.context import RequestContext

# Users for one statement, which has a deadline.
BATCH: Final = 500

# What hangs off a user and tells of them: where they logged in, and with what.
_OF_USERS: Final = (AuthSession, KnownDevice, PasswordHistory, UserCredential, UserMFA, UserSSOLink)


class ErasureService:
    """Erases the personal fields of deleted users of the session's database."""

    def __init__(self, session: AsyncSession, context: RequestContext) -> None:
        self.session = session
        self._audit = AuditService(session, context)

    async def erase(self, name: str) -> UUID:
        """Erase the deleted user with this user name, e-mail address or id, and return the id.

        Raises NotFound; InvalidValue when the user is not deleted, or several deleted ones were it.
        """
        wanted = name.strip().lower()
        named = or_(User.username == wanted, User.email == wanted, cast(User.id, String) == wanted)
        found = (await self.session.execute(select(User.id, User.deleted_at).where(named))).all()
        deleted: list[UUID] = [row.id for row in found if row.deleted_at is not None]
        if not found:
            raise NotFound(f"There is no user {name}, nor was there one.")
        if not deleted:
            raise InvalidValue("user", f"{name} is not deleted. Delete the user first.")
        if len(deleted) > 1:
            ids = ", ".join(sorted(map(str, deleted)))
            raise InvalidValue(
                "user", f"Several deleted users were {name}. Give one of the ids {ids}."
            )
        await self._erase(deleted)
        return deleted[0]

    async def erase_old(self, kept: timedelta) -> int:
        """Erase up to BATCH users who were deleted longer than `kept` ago; how many."""
        due = (
            select(User.id)
            .where(
                User.deleted_at < datetime.now(UTC) - kept,
                # A constant of the statement: the planner knows the index by its condition.
                User.email.not_like(literal_column(f"'%@{ERASED_DOMAIN}'")),
            )
            .order_by(User.deleted_at)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        )
        users = (await self.session.scalars(due)).all()
        if users:
            await self._erase(users)
        return len(users)

    async def _erase(self, users: Sequence[UUID]) -> None:
        for model in _OF_USERS:
            await self.session.execute(delete(model).where(model.user_id.in_(users)))
        identifier = cast(User.id, String)
        await self.session.execute(
            update(User)
            .where(User.id.in_(users))
            .values(
                username="deleted-" + identifier,
                email=identifier + f"@{ERASED_DOMAIN}",
                preferences={},
                **dict.fromkeys(
                    ("display_name", "bio", "avatar_url", "password_hash", "last_login_at"), null()
                ),
                email_verified_at=None,
            )
        )
        for user_id in users:
            await self._audit.record(AuditAction.USER_ERASED, AuditResourceType.USER, user_id)
