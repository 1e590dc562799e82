"""Passwords that open nothing but their own change, for a while."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import PasswordHistory, User, UserCredential


async def give_one_time_password(
    session: AsyncSession, user_id: UUID, password_hash: str, expires_at: datetime
) -> None:
    """Put a one-time password in place of whatever password a user has."""
    # A one-time password is not one that the user chose: nobody will come back to it.
    own = (
        select(User.id, User.password_hash)
        .outerjoin(UserCredential, UserCredential.user_id == User.id)
        .where(
            User.id == user_id,
            User.password_hash.is_not(None),
            ~func.coalesce(UserCredential.must_change_password, False),
        )
    )
    await session.execute(insert(PasswordHistory).from_select(["user_id", "password_hash"], own))
    await session.execute(
        update(User).where(User.id == user_id).values(password_hash=password_hash)
    )
    special = {"must_change_password": True, "one_time_expires_at": expires_at}
    await session.execute(
        upsert(UserCredential)
        .values(user_id=user_id, **special)
        .on_conflict_do_update(index_elements=[UserCredential.user_id], set_=special)
    )
