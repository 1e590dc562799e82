"""Teams within an organization."""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from user_management.models.base import (
    Base,
    FalseFlag,
    JsonSettings,
    LongText,
    Now,
    PrimaryKey,
    Str255,
    TimestampMixin,
)

if TYPE_CHECKING:
    from user_management.models.organization import Organization
    from user_management.models.user import User


class TeamRole(StrEnum):
    """What a member may do in the team."""

    OWNER = "owner"
    ADMIN = "admin"
    MEMBER = "member"


class Team(TimestampMixin, Base):
    """A group of users of one organization."""

    __tablename__ = "teams"
    __table_args__ = (UniqueConstraint("org_id", "name", name="uq_team_org_name"),)

    id: Mapped[PrimaryKey]
    org_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[Str255]
    description: Mapped[LongText | None]
    settings: Mapped[JsonSettings]
    is_default: Mapped[FalseFlag]
    deleted_at: Mapped[datetime | None]

    organization: Mapped["Organization"] = relationship(back_populates="teams", lazy="raise")
    memberships: Mapped[list["TeamMembership"]] = relationship(
        back_populates="team", lazy="raise", passive_deletes=True
    )


class TeamMembership(TimestampMixin, Base):
    """One user in one team."""

    __tablename__ = "team_memberships"
    __table_args__ = (UniqueConstraint("team_id", "user_id", name="uq_team_user"),)

    id: Mapped[PrimaryKey]
    team_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("teams.id", ondelete="CASCADE"), index=True
    )
    user_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    role: Mapped[str] = mapped_column(
        String(50), default=TeamRole.MEMBER.value, server_default=TeamRole.MEMBER.value
    )
    joined_at: Mapped[Now]

    team: Mapped["Team"] = relationship(back_populates="memberships", lazy="raise")
    user: Mapped["User"] = relationship(back_populates="team_memberships", lazy="raise")
