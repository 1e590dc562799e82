"""The browsers that people have logged in with."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ColumnElement, LargeBinary, exists, func, literal
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import KnownDevice, User
from user_management.services.limits import MEMORY

# A login notes it anew when it was noted so long ago, or more: not each one writes.
_NOTED_FOR: Final = MEMORY / 30


def is_known(device: bytes | None) -> ColumnElement[bool]:
    """Whether a user of the statement has logged in lately with the browser.

    It is looked up by the browser first: how many others a user has does not show in the time.
    """
    return exists().where(
        KnownDevice.device == literal(device, LargeBinary),
        KnownDevice.user_id == User.id,
        KnownDevice.last_login_at > datetime.now(UTC) - MEMORY,
    )


async def note_device(session: AsyncSession, device: bytes, user_id: UUID) -> None:
    """The user has logged in with the browser."""
    await session.execute(
        upsert(KnownDevice)
        .values(device=device, user_id=user_id)
        .on_conflict_do_update(
            index_elements=[KnownDevice.device, KnownDevice.user_id],
            set_={"last_login_at": func.now()},
            where=KnownDevice.last_login_at < func.now() - _NOTED_FOR,
        )
    )
