"""Reading a team, also for a change, and what is recorded of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import NotFound
from user_management.models import AuditAction, AuditResourceType, Team, TeamMembership, User
from user_management.services.audit import AuditService
from user_management.services.versions import check_version

_TEAM_NOT_FOUND: Final = "Team not found."
# By unique index.
TAKEN: Final = {
    "uq_team_org_name": "The organization has a team of this name.",
    "uq_team_user": "This user is a member of the team already.",
}
# Who was deleted stays a member on paper, and counts nowhere.
MEMBER_COUNT: Final = (
    select(func.count())
    .select_from(TeamMembership)
    .join(TeamMembership.user)
    .where(TeamMembership.team_id == Team.id, User.deleted_at.is_(None))
    .correlate(Team)
    .scalar_subquery()
)


@dataclass(frozen=True, slots=True)
class CountedTeam:
    """A team, and how many members it has."""

    team: Team
    member_count: int

    @property
    def id(self) -> UUID:
        """The team's."""
        return self.team.id


def visible_teams() -> Select[Team]:
    """Teams that are not deleted."""
    return select(Team).where(Team.deleted_at.is_(None))


async def read_team(session: AsyncSession, team_id: UUID) -> CountedTeam:
    """A team. Raises NotFound, also for a deleted one."""
    found = await session.execute(
        visible_teams().add_columns(MEMBER_COUNT).where(Team.id == team_id)
    )
    row = found.one_or_none()
    if row is None:
        raise NotFound(_TEAM_NOT_FOUND)
    return CountedTeam(*row)


async def lock_team(
    session: AsyncSession, team_id: UUID, expected: Collection[datetime] | None
) -> Team:
    """A team for a change. Raises NotFound, PreconditionFailed."""
    team = await session.scalar(
        visible_teams().where(Team.id == team_id).with_for_update(key_share=True)
    )
    if team is None:
        raise NotFound(_TEAM_NOT_FOUND)
    check_version(team, expected)
    return team


async def record_team(
    audit: AuditService, action: AuditAction, team: Team, details: Mapping[str, Any]
) -> None:
    """Record what was done to a team."""
    await audit.record(action, AuditResourceType.TEAM, team.id, org_id=team.org_id, details=details)
