"""Single sign-on: providers, and the users' identities there."""

import uuid
from datetime import datetime

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from user_management.models.base import (
    Base,
    FalseFlag,
    JsonSettings,
    PrimaryKey,
    Str255,
    TimestampMixin,
    TrueFlag,
)
from user_management.models.organization import Organization
from user_management.models.user import User


class SSOProvider(TimestampMixin, Base):
    """An identity provider; without an organization it serves all of them."""

    __tablename__ = "sso_providers"

    id: Mapped[PrimaryKey]
    org_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), index=True
    )
    provider_type: Mapped[str] = mapped_column(String(50), index=True)
    name: Mapped[Str255]
    config: Mapped[JsonSettings]
    is_active: Mapped[TrueFlag]
    is_social: Mapped[FalseFlag]
    allow_user_creation: Mapped[TrueFlag]
    default_role: Mapped[str | None] = mapped_column(
        String(100), default="user", server_default="user"
    )
    group_mapping: Mapped[JsonSettings]
    last_sync_at: Mapped[datetime | None]

    organization: Mapped["Organization | None"] = relationship(lazy="raise")


class UserSSOLink(TimestampMixin, Base):
    """One user's identity at one provider."""

    __tablename__ = "user_sso_links"
    __table_args__ = (
        UniqueConstraint("provider_id", "external_id", name="uq_provider_external_id"),
    )

    id: Mapped[PrimaryKey]
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    provider_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sso_providers.id", ondelete="CASCADE"), index=True
    )
    external_id: Mapped[Str255]
    external_email: Mapped[Str255 | None]
    # The attribute `metadata` is SQLAlchemy's own.
    sso_metadata: Mapped[JsonSettings] = mapped_column("metadata")
    last_login_at: Mapped[datetime | None]

    user: Mapped["User"] = relationship(lazy="raise")
    provider: Mapped["SSOProvider"] = relationship(lazy="raise")
