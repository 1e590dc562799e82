"""Teams."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import Duplicate, InvalidValue, NotFound
from user_management.models import (
    AuditAction,
    Team,
    TeamMembership,
    TeamRole,
    User,
)
from user_management.schemas.teams import MemberAdd, TeamCreate, TeamUpdate
from user_management.services.audit import AuditService
from user_management.services.changes import apply_changes, flush_unique
from user_management.services.context import RequestContext
from user_management.services.naming import checked_name, is_name_taken
from user_management.services.organizations import (
    OrganizationService,
    check_organization,
    keep_names_of_teams,
)
from user_management.services.pages import Page, PageRequest, read_page
from user_management.services.team_members import TeamMemberService
from user_management.services.team_rows import (
    MEMBER_COUNT,
    TAKEN,
    CountedTeam,
    lock_team,
    read_team,
    record_team,
    visible_teams,
)

_USER_NOT_FOUND = "User not found."


@dataclass(frozen=True, slots=True)
class TeamFilter:
    """Which teams are meant; what is None does not matter. `search` is a part of the name."""

    search: str | None = None
    org_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class JoinedTeam(CountedTeam):
    """A team that a user is in."""

    membership: TeamMembership


class TeamService:
    """Creates, reads, changes and softly deletes teams."""

    def __init__(self, session: AsyncSession, context: RequestContext) -> None:
        self.session = session
        self._authority = context.authority
        self._organizations = OrganizationService(session, context)
        self._members = TeamMemberService(session, context)
        self._audit = AuditService(session, context)

    async def create(self, new: TeamCreate) -> CountedTeam:
        """Create a team, in the caller's organization if they are limited to one, and without
        any in the default organization. Raises Duplicate, InvalidValue,
        PermissionDenied, QuotaExceeded.
        """
        name = checked_name(new.name)
        org_id = await self._organization_of(new)
        owners = (
            [] if new.owner_id is None else [MemberAdd(user_id=new.owner_id, role=TeamRole.OWNER)]
        )
        # Users are locked before organizations, here and elsewhere.
        users = await self._members.colleagues(org_id, owners, "owner_id")
        await keep_names_of_teams(self.session, org_id)
        await check_organization(self.session, org_id, field="organization_id")
        await self._check_name(name, org_id)
        team = Team(
            id=uuid4(),
            org_id=org_id,
            name=name,
            description=new.description,
            settings=new.settings,
            is_default=new.is_default,
        )
        self.session.add(team)
        await flush_unique(self.session, TAKEN)
        await record_team(
            self._audit, AuditAction.TEAM_CREATED, team, {"name": team.name, "org_id": str(org_id)}
        )
        await self._members.join(team, owners, users)
        await self.session.flush()
        return CountedTeam(team, len(owners))

    async def get(self, team_id: UUID) -> CountedTeam:
        """A team. Raises NotFound, also for a deleted one."""
        return await read_team(self.session, team_id)

    async def list(self, wanted: TeamFilter, page: PageRequest) -> Page[CountedTeam]:
        """A page of teams, newest first."""
        matching = visible_teams().add_columns(MEMBER_COUNT).where(*_conditions(wanted))
        found = await read_page(self.session, matching, Team, page)
        return Page([CountedTeam(*row) for row in found.items], found.following, found.total)

    async def list_of_user(self, user_id: UUID, page: PageRequest) -> Page[JoinedTeam]:
        """A page of the teams that a user is in, newest first. Raises NotFound."""
        if not await self.session.scalar(
            select(User.id).where(User.id == user_id, User.deleted_at.is_(None))
        ):
            raise NotFound(_USER_NOT_FOUND)
        matching = (
            visible_teams()
            .add_columns(MEMBER_COUNT, TeamMembership)
            .join(TeamMembership, TeamMembership.team_id == Team.id)
            .where(TeamMembership.user_id == user_id)
        )
        found = await read_page(self.session, matching, Team, page)
        return Page([JoinedTeam(*row) for row in found.items], found.following, found.total)

    async def update(
        self, team_id: UUID, changes: TeamUpdate, expected: Collection[datetime] | None = None
    ) -> CountedTeam:
        """Change the fields that are given, if the team is still in one of the `expected` versions.

        Raises NotFound, Duplicate, PreconditionFailed.
        """
        team = await lock_team(self.session, team_id, expected)
        given = changes.given()
        if given.get("name", team.name) != team.name:
            given["name"] = checked_name(given["name"])
            await keep_names_of_teams(self.session, team.org_id)
            await self._check_name(given["name"], team.org_id, except_for=team.id)
        changed = apply_changes(team, given)
        await flush_unique(self.session, TAKEN)
        if changed:
            await record_team(self._audit, AuditAction.TEAM_UPDATED, team, {"changes": changed})
        return await self.get(team_id)

    async def delete(self, team_id: UUID, expected: Collection[datetime] | None = None) -> None:
        """Delete a team softly; its name is free again. Raises NotFound, PreconditionFailed."""
        team = await lock_team(self.session, team_id, expected)
        team.deleted_at = datetime.now(UTC)
        await self.session.flush()
        await record_team(self._audit, AuditAction.TEAM_DELETED, team, {"name": team.name})

    async def _organization_of(self, new: TeamCreate) -> UUID:
        scope = self._authority.scope
        if scope is not None and new.organization_id not in (None, scope):
            raise InvalidValue("organization_id", "There is no such organization.")
        return scope or new.organization_id or await self._organizations.default_id()

    async def _check_name(self, name: str, org_id: UUID, *, except_for: UUID | None = None) -> None:
        """Raise Duplicate if people could not tell the team from another of the organization."""
        is_another = Team.id.is_distinct_from(except_for)
        others = (Team.org_id == org_id, Team.deleted_at.is_(None), is_another)
        if await is_name_taken(self.session, name, Team.name, *others):
            raise Duplicate(TAKEN["uq_team_org_name"])


def _conditions(wanted: TeamFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.search:
        yield func.lower(Team.name).contains(wanted.search.lower(), autoescape=True)
    if wanted.org_id is not None:
        yield Team.org_id == wanted.org_id
