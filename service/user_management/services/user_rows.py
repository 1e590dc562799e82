"""Reading a user, also for a change."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from user_management.errors import LastAdministrator, NotFound
from user_management.models import User
from user_management.services.authorization import check_may_manage
from user_management.services.context import Authority
from user_management.services.versions import check_version

_USER_NOT_FOUND = "User not found."


def visible_users() -> Select[User]:
    """Users who are not deleted."""
    return select(User).where(User.deleted_at.is_(None))


async def one_user(session: AsyncSession, statement: Select[User]) -> User:
    """The user that is selected, with their roles. Raises NotFound."""
    user = await session.scalar(statement.options(selectinload(User.roles)))
    if user is None:
        raise NotFound(_USER_NOT_FOUND)
    return user


async def lock_user(
    session: AsyncSession,
    authority: Authority,
    user_id: UUID,
    expected: Collection[datetime] | None,
    *,
    takes_administrator: bool,
    successor: UUID | None = None,
) -> User:
    """Read a user for a change. Raises NotFound, PermissionDenied, PreconditionFailed, and
    LastAdministrator if the change takes the last administrator who can log in away.

    The administrators are locked together with the user and the `successor`, all in the order
    of their ids, so that two such changes wait for each other and the second sees what the
    first left.
    """
    administrators: dict[UUID, bool] = {}
    if takes_administrator:
        is_administrator = User.is_platform_admin & User.is_active
        rows = await session.execute(
            select(User.id, is_administrator, User.password_hash.is_not(None))
            .where(
                or_(is_administrator, User.id.in_({user_id, successor or user_id})),
                User.deleted_at.is_(None),
            )
            .order_by(User.id)
            .with_for_update(key_share=True)
        )
        administrators = {row[0]: row[2] for row in rows if row[1]}
    user = await one_user(
        session, visible_users().where(User.id == user_id).with_for_update(key_share=True, of=User)
    )
    await check_may_manage(session, authority, user)
    check_version(user, expected)
    if user_id in administrators:
        could_log_in = administrators.pop(user_id)
        if not administrators or (could_log_in and not any(administrators.values())):
            raise LastAdministrator
    return user
