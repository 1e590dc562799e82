"""What the users of AutoBot's tables refer to: organizations, roles and teams.

Each keeps its id. One that is here already, by id or else by name, is used as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar
from uuid import UUID

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import (
    AuditAction,
    AuditResourceType,
    Organization,
    Permission,
    Role,
    RolePermission,
    Team,
)
from user_management.names import comparable, without_invisible
from user_management.population import Population
from user_management.services import AuditService, RequestContext
from user_management.services.context import population_of
from user_management.transfer.matching import Verdict
from user_management.transfer.sources import Source, SourceRole
from user_management.transfer.target_database import RoleKey

Thing = TypeVar("Thing")

_BATCH: Final = 1000
_UNDATED: Final = "created_at: In the source it is before 1970 or in the future: it is now instead."
_ACTIONS: Final = {
    AuditResourceType.ORGANIZATION: AuditAction.ORG_CREATED,
    AuditResourceType.ROLE: AuditAction.ROLE_CREATED,
    AuditResourceType.TEAM: AuditAction.TEAM_CREATED,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one thing of the source; `place` says where it stands there.

    `rows` is how many it counts for: each line of a range that was lost.
    """

    resource: AuditResourceType
    place: str
    name: str
    verdict: Verdict
    reason: str | None = None
    rows: int = 1


@dataclass(slots=True)
class ReferenceData:
    """Ids in the source → ids here, and the limits of organizations that are new."""

    organizations: dict[UUID, UUID] = field(default_factory=dict)
    roles: dict[UUID, UUID] = field(default_factory=dict)
    teams: dict[UUID, UUID] = field(default_factory=dict)
    limits: dict[UUID, tuple[str, int]] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)


class ReferenceDataImporter:
    """Finds or makes what users refer to, within the session's transaction."""

    def __init__(
        self, session: AsyncSession, context: RequestContext, source: Source, *, apply: bool
    ) -> None:
        self._session = session
        self._audit = AuditService(session, context)
        self._source = source
        self._apply = apply
        self._made = ReferenceData()

    async def run(self) -> ReferenceData:
        """Do it, or find out what would be done. Fleet administrators have roles only."""
        if population_of(self._session) is Population.AUTOBOT:
            await self._organizations()
        await self._roles()
        await self._teams()
        return self._made

    async def _organizations(self) -> None:
        for wanted in _batches(self._source.organizations):
            found = await self._session.execute(
                select(Organization.id, Organization.slug, Organization.deleted_at).where(
                    or_(
                        Organization.id.in_([each.id for each in wanted]),
                        Organization.slug.in_([each.slug for each in wanted]),
                    )
                )
            )
            rows = found.all()
            ids = {row.id for row in rows}
            by_slug = {row.slug: row.id for row in rows if row.deleted_at is None}
            for each in wanted:
                each.name = _readable(each.name)
                # A deleted organization is not the one that has its name now.
                named = by_slug.get(each.slug) if each.deleted_at is None else None
                same = each.id if each.id in ids else named
                self._made.organizations[each.id] = same or each.id
                if same is None:
                    self._made.limits[each.id] = (each.slug, each.max_users)
                await self._settle(AuditResourceType.ORGANIZATION, each, each.slug, same)

    async def _roles(self) -> None:
        by_name: dict[RoleKey, UUID] = {}
        for wanted in _batches(self._source.roles):
            found = await self._session.execute(
                select(Role.id, Role.org_id, Role.name)
                .where(
                    or_(
                        Role.id.in_([role.id for role in wanted]),
                        Role.name.in_([role.name for role in wanted]),
                    )
                )
                .order_by(Role.created_at, Role.id)
            )
            ids: set[UUID] = set()
            for row in found:
                ids.add(row.id)
                by_name.setdefault((row.org_id, row.name), row.id)
            permissions = await self._permissions(wanted)
            for role in wanted:
                if role.org_id is not None and role.org_id not in self._made.organizations:
                    continue
                org_id = self._made.organizations[role.org_id] if role.org_id else None
                # Names are not unique in AutoBot: the next of this name is the same role.
                known = by_name.setdefault((org_id, role.name), role.id)
                same = role.id if role.id in ids else known if known != role.id else None
                self._made.roles[role.id] = same or role.id
                made, granted = _role(role, org_id, permissions)
                await self._settle(AuditResourceType.ROLE, made, role.name, same, granted)

    async def _permissions(self, roles: Sequence[SourceRole]) -> dict[str, UUID]:
        names = {name for role in roles for name in role.permissions}
        found = await self._session.execute(
            select(Permission.name, Permission.id).where(Permission.name.in_(names))
        )
        return {row.name: row.id for row in found}

    async def _teams(self) -> None:
        by_name: dict[tuple[UUID, str], UUID] = {}
        for wanted in _batches(self._source.teams):
            here = [team for team in wanted if team.org_id in self._made.organizations]
            for team in here:
                team.org_id = self._made.organizations[team.org_id]
                team.name = _readable(team.name)
            has_other_letters = func.octet_length(Team.name) != func.char_length(Team.name)
            found = await self._session.execute(
                select(Team.id, Team.org_id, Team.name, Team.deleted_at).where(
                    or_(
                        Team.id.in_([team.id for team in here]),
                        tuple_(Team.org_id, func.lower(Team.name)).in_(
                            [(team.org_id, comparable(team.name)) for team in here]
                        ),
                        Team.org_id.in_({team.org_id for team in here}) & has_other_letters,
                    )
                )
            )
            rows = found.all()
            ids = {row.id for row in rows}
            by_name |= {
                (row.org_id, comparable(row.name)): row.id for row in rows if row.deleted_at is None
            }
            for team in here:
                # Names differ here by more than case; in AutoBot they need not.
                known = by_name.setdefault((team.org_id, comparable(team.name)), team.id)
                same = team.id if team.id in ids else known if known != team.id else None
                self._made.teams[team.id] = same or team.id
                await self._settle(AuditResourceType.TEAM, team, team.name, same)

    async def _settle(
        self,
        resource: AuditResourceType,
        wanted: Organization | Role | Team,
        name: str,
        same: UUID | None,
        granted: Sequence[RolePermission] = (),
    ) -> None:
        """Note what becomes of one of them; add it when nothing here is the same."""
        if same is None:
            reason = _UNDATED if wanted.id in self._source.undated else None
        else:
            reason = None if same == wanted.id else f"It is {same} here."
        verdict = Verdict.UNCHANGED if same else Verdict.CREATED
        self._made.outcomes.append(Outcome(resource, f"id {wanted.id}", name, verdict, reason))
        if same is None and self._apply:
            self._session.add(wanted)
            await self._session.flush()
            self._session.add_all(granted)
            await self._session.flush()
            await self._audit.record(
                _ACTIONS[resource],
                resource,
                wanted.id,
                details={"name": name, "import": self._source.kind},
            )


def _readable(name: str) -> str:
    return without_invisible(name) or name


def _role(
    role: SourceRole, org_id: UUID | None, permissions: Mapping[str, UUID]
) -> tuple[Role, list[RolePermission]]:
    """A role as a row, and what it grants, as far as there is such a permission here."""
    made = Role(
        id=role.id,
        org_id=org_id,
        name=_readable(role.name),
        description=role.description,
        priority=role.priority,
    )
    granted = [
        RolePermission(role_id=role.id, permission_id=permissions[name])
        for name in role.permissions
        if name in permissions
    ]
    return made, granted


def _batches(things: Sequence[Thing]) -> Iterator[Sequence[Thing]]:
    """A statement can have so many parameters."""
    for first in range(0, len(things), _BATCH):
        yield things[first : first + _BATCH]
