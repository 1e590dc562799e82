"""Second factors."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, String, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from user_management.models.base import (
    Base,
    FalseFlag,
    PrimaryKey,
    Str255,
    Str500,
    Str2000,
    TimestampMixin,
)
from user_management.models.user import User


class MFAMethod(StrEnum):
    """How the second factor is obtained."""

    TOTP = "totp"
    EMAIL = "email"
    SMS = "sms"


class UserMFA(TimestampMixin, Base):
    """The second factor of one user."""

    __tablename__ = "user_mfa"

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), unique=True, index=True
    )
    method: Mapped[str] = mapped_column(
        String(50), default=MFAMethod.TOTP.value, server_default=MFAMethod.TOTP.value
    )
    secret_encrypted: Mapped[Str500]
    backup_codes_encrypted: Mapped[Str2000 | None]
    backup_codes_remaining: Mapped[int] = mapped_column(default=10, server_default=text("10"))
    is_verified: Mapped[FalseFlag]
    last_verified_at: Mapped[datetime | None]
    recovery_email: Mapped[Str255 | None]

    user: Mapped["User"] = relationship(lazy="raise")
