"""Keys for programs."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, String, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from user_management.models.base import (
    Base,
    Counter,
    PrimaryKey,
    Str255,
    Str500,
    TimestampMixin,
    TrueFlag,
)
from user_management.models.team import Team
from user_management.models.user import User


class APIKey(TimestampMixin, Base):
    """A key that acts for a user within `scopes`. Only its SHA-256 (hex) is kept."""

    __tablename__ = "api_keys"

    id: Mapped[PrimaryKey]
    key_hash: Mapped[str] = mapped_column(String(255), unique=True, index=True)
    key_prefix: Mapped[str] = mapped_column(String(12), index=True)
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    team_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("teams.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[Str255]
    description: Mapped[Str500 | None]
    scopes: Mapped[list[str]] = mapped_column(
        JSONB, default=list, server_default=text("'[]'::jsonb")
    )
    is_active: Mapped[TrueFlag]
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    usage_count: Mapped[Counter]
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL")
    )

    # api_keys refers to users twice: also by who revoked the key.
    user: Mapped["User"] = relationship(foreign_keys=[user_id], lazy="raise")
    team: Mapped["Team | None"] = relationship(lazy="raise")
