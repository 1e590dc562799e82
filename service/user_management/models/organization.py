"""Organizations: the tenants of the application."""

from datetime import datetime

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from user_management.models.base import (
    Base,
    JsonSettings,
    LongText,
    PrimaryKey,
    Str100,
    Str255,
    TimestampMixin,
    TrueFlag,
)


class Organization(TimestampMixin, Base):
    """A tenant. Fleet administrators belong to none."""

    __tablename__ = "organizations"

    id: Mapped[PrimaryKey]
    name: Mapped[Str255]
    slug: Mapped[Str100]
    description: Mapped[LongText | None]
    settings: Mapped[JsonSettings]
    subscription_tier: Mapped[str | None] = mapped_column(
        String(50), default="free", server_default="free"
    )
    # -1: no limit.
    max_users: Mapped[int] = mapped_column(default=-1, server_default=text("-1"))
    is_active: Mapped[TrueFlag]
    deleted_at: Mapped[datetime | None]


Index(
    "ix_organizations_slug",
    Organization.slug,
    unique=True,
    postgresql_where=Organization.deleted_at.is_(None),
)
