"""Teams within an organization."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, func
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

    id: Mapped[PrimaryKey]
    org_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("organizations.id", ondelete="CASCADE"), index=True
    )
    name: Mapped[Str255]
    description: Mapped[LongText | None]
    settings: Mapped[JsonSettings]
    is_default: Mapped[FalseFlag]
    deleted_at: Mapped[datetime | None]

    organization: Mapped[Organization] = relationship(lazy="raise")
    memberships: Mapped[list["TeamMembership"]] = relationship(
        back_populates="team", lazy="raise", passive_deletes=True
    )


Index(
    "uq_team_org_name",
    Team.org_id,
    func.lower(Team.name),
    unique=True,
    postgresql_where=Team.deleted_at.is_(None),
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
    user: Mapped[User] = relationship(lazy="raise")
