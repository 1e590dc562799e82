"""A team that has an owner keeps one, whatever happens to people."""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from sqlalchemy import Select, case, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import LastOwner
from user_management.models import Organization, Team, TeamMembership, TeamRole, User

# How well a team is owned: by somebody who is there, or even by somebody who can log in.
Ownership = Mapping[UUID, int]

# More of them than these are counted only.
_NAMED: Final = 10


async def lock_teams_of(session: AsyncSession, user_id: UUID) -> frozenset[UUID]:
    """Lock the teams that a user is in. Teams are locked before users, here and elsewhere."""
    found = await session.scalars(
        select(Team.id)
        .join(TeamMembership, TeamMembership.team_id == Team.id)
        .where(TeamMembership.user_id == user_id, Team.deleted_at.is_(None))
        .order_by(Team.id)
        .with_for_update(key_share=True, of=Team)
    )
    return frozenset(found)


async def ownership_of(
    session: AsyncSession, team_ids: Collection[UUID] | Select[UUID]
) -> Ownership:
    """How well the teams are owned now; those without an owner are left out."""
    can_log_in = User.is_active & or_(Organization.id.is_(None), Organization.is_active)
    found = await session.execute(
        select(TeamMembership.team_id, func.max(case((can_log_in, 2), else_=1)))
        .join(User, User.id == TeamMembership.user_id)
        .outerjoin(Organization, Organization.id == User.org_id)
        .where(
            TeamMembership.team_id.in_(team_ids),
            TeamMembership.role == TeamRole.OWNER,
            User.deleted_at.is_(None),
        )
        .group_by(TeamMembership.team_id)
    )
    return {row[0]: row[1] for row in found}


def orphaned(before: Ownership, now: Ownership) -> frozenset[UUID]:
    """The teams that have lost their last owner, or the last one who could log in."""
    return frozenset(team_id for team_id, owned in before.items() if now.get(team_id, 0) < owned)


async def last_owner(
    session: AsyncSession, team_ids: Collection[UUID], *, or_else: str = ""
) -> LastOwner:
    """The refusal that names teams; `or_else` is one more way to go on."""
    names = await session.scalars(
        select(Team.name).where(Team.id.in_(team_ids)).order_by(func.lower(Team.name)).limit(_NAMED)
    )
    named = ", ".join(names)
    more = f" and {len(team_ids) - _NAMED} more" if len(team_ids) > _NAMED else ""
    of_them = "the team" if len(team_ids) == 1 else "the teams"
    return LastOwner(
        f"This would take the last owner who can log in from {of_them} {named}{more}. Make another "
        f"member an owner or delete {of_them} first{or_else}."
    )
