"""Roles and permissions."""

import uuid

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from user_management.models.base import (
    Base,
    Counter,
    FalseFlag,
    LongText,
    PrimaryKey,
    Str50,
    Str100,
    TimestampMixin,
)
from user_management.models.organization import Organization


class Permission(TimestampMixin, Base):
    """A right, named `resource:action`."""

    __tablename__ = "permissions"

    id: Mapped[PrimaryKey]
    name: Mapped[str] = mapped_column(String(100), unique=True, index=True)
    description: Mapped[LongText | None]
    resource: Mapped[str] = mapped_column(String(100), index=True)
    action: Mapped[Str50]


class Role(TimestampMixin, Base):
    """A named set of permissions; a system role belongs to no organization."""

    __tablename__ = "roles"

    id: Mapped[PrimaryKey]
    org_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[Str100]
    description: Mapped[LongText | None]
    is_system: Mapped[FalseFlag]
    priority: Mapped[Counter]

    organization: Mapped[Organization | None] = relationship(lazy="raise")
    role_permissions: Mapped[list["RolePermission"]] = relationship(
        back_populates="role", lazy="raise", passive_deletes=True
    )


class RolePermission(Base):
    """One permission in one role."""

    __tablename__ = "role_permissions"

    role_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("roles.id", ondelete="CASCADE"), primary_key=True
    )
    permission_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("permissions.id", ondelete="CASCADE"), primary_key=True
    )

    role: Mapped["Role"] = relationship(back_populates="role_permissions", lazy="raise")
    permission: Mapped["Permission"] = relationship(lazy="raise")
