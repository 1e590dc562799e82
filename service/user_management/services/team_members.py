"""The members of teams."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Select, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import contains_eager
from sqlalchemy.orm.attributes import set_committed_value

from user_management.errors import InvalidValue, NotFound, PermissionDenied
from user_management.models import (
    AuditAction,
    AuditResourceType,
    Team,
    TeamMembership,
    TeamRole,
    User,
)
from user_management.permissions import Permission
from user_management.schemas.teams import MemberAdd, MembersUpdate
from user_management.services.audit import AuditService
from user_management.services.authorization import check_may_manage
from user_management.services.changes import apply_changes, flush_unique
from user_management.services.context import RequestContext
from user_management.services.organizations import OrganizationService, check_quota
from user_management.services.pages import Page, PageRequest, read_page
from user_management.services.team_owners import last_owner, orphaned, ownership_of
from user_management.services.team_rows import (
    TAKEN,
    CountedTeam,
    lock_team,
    read_team,
    record_team,
    visible_teams,
)

_MEMBER_NOT_FOUND = "This user is not a member of the team."
_NOT_A_COLLEAGUE = (
    "There is no such user in the team's organization. The `org_id` of a user says where they are."
)
_NO_SUCCESSOR: Final = (
    "There is no such user in the team's organization, or they cannot log in. Name another one."
)


class TeamMemberService:
    """Says who is in a team, and changes that.

    Every change locks the team, so that two of them wait for each other, and makes a new version
    of the team.
    """

    def __init__(self, session: AsyncSession, context: RequestContext) -> None:
        self.session = session
        self._authority = context.authority
        self._organizations = OrganizationService(session, context)
        self._audit = AuditService(session, context)

    async def list(
        self, team_id: UUID, role: TeamRole | None, page: PageRequest
    ) -> Page[TeamMembership]:
        """A page of a team's members, the last to join first. Raises NotFound."""
        await read_team(self.session, team_id)
        matching = _members().where(TeamMembership.team_id == team_id)
        if role is not None:
            matching = matching.where(TeamMembership.role == role)
        found = await read_page(self.session, matching, TeamMembership, page)
        return Page([row[0] for row in found.items], found.following, found.total)

    async def get(self, membership_id: UUID) -> TeamMembership:
        """A membership with its user. Raises NotFound."""
        member = await self.session.scalar(_members().where(TeamMembership.id == membership_id))
        if member is None:
            raise NotFound(_MEMBER_NOT_FOUND)
        return member

    async def add(
        self, team_id: UUID, new: MemberAdd, expected: Collection[datetime] | None = None
    ) -> TeamMembership:
        """Add a user of the team's organization.

        Raises NotFound, Duplicate, InvalidValue, PreconditionFailed.
        """
        async with self._changing(team_id, expected) as team:
            users = await self.colleagues(team.org_id, [new], "user_id")
            [member] = await self.join(team, [new], users)
        return member

    async def change_role(
        self,
        team_id: UUID,
        user_id: UUID,
        role: TeamRole,
        expected: Collection[datetime] | None = None,
    ) -> TeamMembership:
        """Make a member something else. Raises NotFound, LastOwner, PreconditionFailed."""
        async with self._changing(team_id, expected) as team:
            member = await self._member(team, user_id)
            await self._change(team, member, role)
        return member

    async def remove(
        self, team_id: UUID, user_id: UUID, expected: Collection[datetime] | None = None
    ) -> None:
        """Take a member out. Raises NotFound, LastOwner, PreconditionFailed."""
        async with self._changing(team_id, expected) as team:
            await self._remove(team, [await self._member(team, user_id)])

    async def change(
        self, team_id: UUID, changes: MembersUpdate, expected: Collection[datetime] | None = None
    ) -> CountedTeam:
        """Change several members at once: all of it, or nothing.

        Raises NotFound, Duplicate, InvalidValue, LastOwner, PreconditionFailed.
        """
        _refuse_contradictions(changes)
        async with self._changing(team_id, expected) as team:
            users = await self.colleagues(team.org_id, changes.add, "add/{}/user_id")
            to_change = await self._find(
                team, [each.user_id for each in changes.change], "change/{}/user_id"
            )
            to_remove = await self._find(team, changes.remove, "remove/{}")
            await self._remove(team, to_remove)
            for member, change in zip(to_change, changes.change, strict=True):
                await self._change(team, member, change.role)
            await self.join(team, changes.add, users)
        return await read_team(self.session, team_id)

    async def hand_over(self, team_ids: Collection[UUID], user_id: UUID) -> None:
        """Make a user an owner of teams, which are locked like the user.

        Raises InvalidValue unless they can log in and are of the teams' organization,
        PermissionDenied for who may not manage teams.
        """
        if not self._authority.holds(frozenset({Permission.TEAMS_MANAGE})):
            raise PermissionDenied(
                f"To hand a team over needs the permission {Permission.TEAMS_MANAGE}."
            )
        user = await self.session.scalar(
            select(User).where(User.id == user_id, User.is_active, User.deleted_at.is_(None))
        )
        teams = await self.session.scalars(
            visible_teams().where(Team.id.in_(team_ids)).order_by(Team.id)
        )
        for team in teams.all():
            if user is None or user.org_id != team.org_id:
                raise InvalidValue("new_owner", _NO_SUCCESSOR, where="query")
            member = await self.session.scalar(
                _members().where(
                    TeamMembership.team_id == team.id, TeamMembership.user_id == user_id
                )
            )
            if member is None:
                new = MemberAdd(user_id=user_id, role=TeamRole.OWNER)
                await self.join(team, [new], {user_id: user})
            else:
                await self._change(team, member, TeamRole.OWNER)
        await self.session.flush()

    @asynccontextmanager
    async def _changing(
        self, team_id: UUID, expected: Collection[datetime] | None
    ) -> AsyncIterator[Team]:
        """The team, locked, while its members change.

        Raises LastOwner afterwards when it has lost its last owner.
        """
        team = await lock_team(self.session, team_id, expected)
        before = await ownership_of(self.session, [team.id])
        yield team
        await self.session.flush()
        if orphaned(before, await ownership_of(self.session, [team.id])):
            raise await last_owner(self.session, [team.id])

    async def colleagues(
        self, org_id: UUID, new: Sequence[MemberAdd], field: str
    ) -> Mapping[UUID, User]:
        """The users of that organization who are to join, as they will be until the end of the
        transaction. Whoever is in no organization yet joins it with the team.

        Raises InvalidValue about `field`, whose `{}` is the position in `new`, PermissionDenied,
        QuotaExceeded.
        """
        if not new:
            return {}
        found = await self.session.scalars(
            select(User)
            .where(
                User.id.in_([each.user_id for each in new]),
                or_(User.org_id == org_id, User.org_id.is_(None)),
                User.deleted_at.is_(None),
            )
            .order_by(User.id)
            .with_for_update(key_share=True)
        )
        users = {user.id: user for user in found}
        for position, each in enumerate(new):
            if each.user_id not in users:
                raise InvalidValue(field.format(position), _NOT_A_COLLEAGUE)
        for user in users.values():
            if user.org_id is None:
                await self._take_in(user, org_id)
        return users

    async def _take_in(self, user: User, org_id: UUID) -> None:
        """Make a user of no organization, as AutoBot's clients create them, one of this one.

        Those clients know teams of the default organization only; every other move is a change of
        the user, and takes the right to that.
        """
        if not (
            self._authority.holds(frozenset({Permission.USERS_UPDATE}))
            or await self._organizations.is_default(org_id)
        ):
            raise PermissionDenied(
                f"{user.username} is in no organization, and would be moved into the team's. This "
                f"needs the permission {Permission.USERS_UPDATE}."
            )
        await check_may_manage(self.session, self._authority, user)
        await check_quota(self.session, org_id)
        user.org_id = org_id
        await self._audit.record(
            AuditAction.USER_UPDATED,
            AuditResourceType.USER,
            user.id,
            org_id=org_id,
            details={"changes": {"org_id": {"old": None, "new": str(org_id)}}},
        )
        await self.session.flush()

    async def _member(self, team: Team, user_id: UUID) -> TeamMembership:
        member = await self.session.scalar(
            _members().where(TeamMembership.team_id == team.id, TeamMembership.user_id == user_id)
        )
        if member is None:
            raise NotFound(_MEMBER_NOT_FOUND)
        return member

    async def _find(
        self, team: Team, user_ids: Sequence[UUID], field: str
    ) -> Sequence[TeamMembership]:
        """The members in the given order.

        Raises InvalidValue about `field`, whose `{}` is the position in `user_ids`.
        """
        if not user_ids:
            return []
        found = await self.session.scalars(
            _members().where(
                TeamMembership.team_id == team.id, TeamMembership.user_id.in_(user_ids)
            )
        )
        members = {member.user_id: member for member in found}
        for position, user_id in enumerate(user_ids):
            if user_id not in members:
                raise InvalidValue(field.format(position), _MEMBER_NOT_FOUND)
        return [members[user_id] for user_id in user_ids]

    async def join(
        self, team: Team, new: Iterable[MemberAdd], users: Mapping[UUID, User]
    ) -> Sequence[TeamMembership]:
        """Make `users` members, as `colleagues` gave them. Raises Duplicate."""
        members = [
            TeamMembership(id=uuid4(), team_id=team.id, user_id=each.user_id, role=each.role)
            for each in new
        ]
        self.session.add_all(members)
        await flush_unique(self.session, TAKEN)
        for member in members:
            set_committed_value(member, "user", users[member.user_id])
            await self._record_member(
                AuditAction.TEAM_MEMBER_ADDED, team, member, {"role": member.role}
            )
        return members

    async def _change(self, team: Team, member: TeamMembership, role: TeamRole) -> None:
        changed = apply_changes(member, {"role": role.value})
        if changed:
            await self._record_member(
                AuditAction.TEAM_MEMBER_ROLE_CHANGED, team, member, {"changes": changed}
            )

    async def _remove(self, team: Team, members: Sequence[TeamMembership]) -> None:
        for member in members:
            await self._record_member(
                AuditAction.TEAM_MEMBER_REMOVED, team, member, {"role": member.role}
            )
        await self.session.execute(
            delete(TeamMembership).where(TeamMembership.id.in_([each.id for each in members]))
        )

    async def _record_member(
        self,
        action: AuditAction,
        team: Team,
        member: TeamMembership,
        details: Mapping[str, Any],
    ) -> None:
        """Record a change of a member, which is one of the team, too."""
        team.updated_at = datetime.now(UTC)
        who = {"user_id": str(member.user_id), "username": member.user.username}
        await record_team(self._audit, action, team, {**who, **details})


def _refuse_contradictions(changes: MembersUpdate) -> None:
    seen = set()
    for field, user_id in changes.named():
        if user_id in seen:
            raise InvalidValue(field, "Name each user only once.")
        seen.add(user_id)


def _members() -> Select[TeamMembership]:
    """Memberships with their users, but for those who were deleted."""
    return (
        select(TeamMembership)
        .join(TeamMembership.user)
        .options(contains_eager(TeamMembership.user))
        .where(User.deleted_at.is_(None))
    )
