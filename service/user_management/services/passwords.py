"""What may be done with the passwords in a database by whoever may not read them.

The statements are functions that migrations 0004 and 0009 make. They compare hashes and never give
one away, and they put a new one only in place of one that the caller knows. The AutoBot backend has
no other way, so the SLM server takes the same one.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, String, Uuid, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.expression import literal


async def password_setting(session: AsyncSession, user_id: UUID | None) -> str | None:
    """What the user's password was hashed with; None for none, empty for what is no hash.

    For nobody the same is done.
    """
    found: str | None = await session.scalar(select(func.password_setting(_id(user_id))))
    return found


async def password_matches(
    session: AsyncSession, user_id: UUID | None, password_hash: str | None
) -> bool:
    """Whether it is the user's; for nobody the same is done and answered with no."""
    return await _ask(session, func.password_matches(_id(user_id), _text(password_hash)))


async def note_login(
    session: AsyncSession,
    user_id: UUID,
    password_hash: str,
    new_hash: str | None,
    moment: datetime,
) -> bool:
    """Note the login, and put `new_hash` of the same password in place where there is one.

    False: the user is no longer active, or the password is no longer the same.
    """
    return await _ask(
        session, func.note_login(user_id, _text(password_hash), _text(new_hash), moment)
    )


async def change_password(
    session: AsyncSession, user_id: UUID, password_hash: str, new_hash: str, remembered: int
) -> bool:
    """Replace a password that the user chose or was given, and remember it with those before.

    False: it is no longer the same or the user no longer active, and nothing was done.
    """
    return await _ask(
        session, func.change_password(user_id, _text(password_hash), _text(new_hash), remembered)
    )


async def confirm_session(
    session: AsyncSession, session_id: UUID, user_id: UUID, password_hash: str
) -> bool:
    """Note that whoever is in the user's session has just proved who they are.

    False: the session is over, the password is no longer the same, or the user no longer active.
    """
    return await _ask(session, func.confirm_session(session_id, _id(user_id), _text(password_hash)))


async def earlier_password_settings(
    session: AsyncSession, user_id: UUID, newest: int
) -> Sequence[str]:
    """What the passwords before the current one were hashed with, newest first."""
    found = await session.scalars(select(func.earlier_password_settings(user_id, newest)))
    return found.all()


async def is_earlier_password(
    session: AsyncSession, user_id: UUID, newest: int, hashes: Sequence[str]
) -> bool:
    """Whether one of the hashes is that of a password before the current one."""
    wanted = literal(list(hashes), ARRAY(String))
    return await _ask(session, func.is_earlier_password(user_id, newest, wanted))


async def _ask(session: AsyncSession, answer: ColumnElement[Any]) -> bool:
    return bool(await session.scalar(select(answer)))


def _id(user_id: UUID | None) -> ColumnElement[UUID]:
    """With its type: the driver's own ids would make another statement than ours do."""
    return literal(user_id or uuid4(), Uuid)


def _text(value: str | None) -> ColumnElement[str | None]:
    return literal(value, String)
