"""What the users of AutoBot's tables refer to: organizations, roles and teams.

Each keeps its id. One that is here already, by id or else by name, is used as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
from user_management.population import Population
from user_management.services import AuditService, RequestContext
from user_management.services.context import population_of
from user_management.transfer.rule import Verdict
from user_management.transfer.sources import Source, SourceRole

_ACTIONS = {
    AuditResourceType.ORGANIZATION: AuditAction.ORG_CREATED,
    AuditResourceType.ROLE: AuditAction.ROLE_CREATED,
    AuditResourceType.TEAM: AuditAction.TEAM_CREATED,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one thing of the source; `place` says where it stands there."""

    resource: AuditResourceType
    place: str
    name: str
    verdict: Verdict
    reason: str | None = None


@dataclass(slots=True)
class Structure:
    """Ids in the source → ids here, and the limits of organizations that are new."""

    organizations: dict[UUID, UUID] = field(default_factory=dict)
    roles: dict[UUID, UUID] = field(default_factory=dict)
    teams: dict[UUID, UUID] = field(default_factory=dict)
    limits: dict[UUID, tuple[str, int]] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)


class StructureImporter:
    """Finds or makes what users refer to, within the session's transaction."""

    def __init__(
        self, session: AsyncSession, context: RequestContext, source: Source, *, apply: bool
    ) -> None:
        self._session = session
        self._audit = AuditService(session, context)
        self._source = source
        self._apply = apply
        self._made = Structure()

    async def run(self) -> Structure:
        """Do it, or find out what would be done. Fleet administrators have roles only."""
        if population_of(self._session) is Population.AUTOBOT:
            await self._organizations()
        await self._roles()
        await self._teams()
        return self._made

    async def _organizations(self) -> None:
        wanted = self._source.organizations
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
        for organization in wanted:
            same = organization.id if organization.id in ids else by_slug.get(organization.slug)
            self._made.organizations[organization.id] = same or organization.id
            if same is None:
                self._made.limits[organization.id] = (organization.slug, organization.max_users)
            await self._settle(
                AuditResourceType.ORGANIZATION,
                organization,
                organization.slug,
                same,
                [organization],
            )

    async def _roles(self) -> None:
        wanted = [
            role
            for role in self._source.roles
            if role.org_id is None or role.org_id in self._made.organizations
        ]
        found = await self._session.execute(
            select(Role.id, Role.org_id, Role.name)
            .where(
                or_(Role.id.in_([r.id for r in wanted]), Role.name.in_([r.name for r in wanted]))
            )
            .order_by(Role.created_at, Role.id)
        )
        ids: set[UUID] = set()
        by_name: dict[tuple[UUID | None, str], UUID] = {}
        for row in found:
            ids.add(row.id)
            by_name.setdefault((row.org_id, row.name), row.id)
        permissions = await self._permissions(wanted)
        for role in wanted:
            org_id = self._made.organizations.get(role.org_id) if role.org_id else None
            same = role.id if role.id in ids else by_name.get((org_id, role.name))
            self._made.roles[role.id] = same or role.id
            # The next one of this name is the same role: names are not unique in AutoBot.
            by_name.setdefault((org_id, role.name), role.id)
            made = Role(
                id=role.id,
                org_id=org_id,
                name=role.name,
                description=role.description,
                priority=role.priority,
            )
            granted = [
                RolePermission(role_id=role.id, permission_id=permissions[name])
                for name in role.permissions
                if name in permissions
            ]
            await self._settle(AuditResourceType.ROLE, made, role.name, same, [made, *granted])

    async def _permissions(self, roles: Sequence[SourceRole]) -> dict[str, UUID]:
        names = {name for role in roles for name in role.permissions}
        found = await self._session.execute(
            select(Permission.name, Permission.id).where(Permission.name.in_(names))
        )
        return {row.name: row.id for row in found}

    async def _teams(self) -> None:
        wanted = [
            (team, self._made.organizations[team.org_id])
            for team in self._source.teams
            if team.org_id in self._made.organizations
        ]
        found = await self._session.execute(
            select(
                Team.id, Team.org_id, func.lower(Team.name).label("name"), Team.deleted_at
            ).where(
                or_(
                    Team.id.in_([team.id for team, _ in wanted]),
                    tuple_(Team.org_id, func.lower(Team.name)).in_(
                        [(org_id, team.name.lower()) for team, org_id in wanted]
                    ),
                )
            )
        )
        rows = found.all()
        ids = {row.id for row in rows}
        by_name = {(row.org_id, row.name): row.id for row in rows if row.deleted_at is None}
        for team, org_id in wanted:
            same = team.id if team.id in ids else by_name.get((org_id, team.name.lower()))
            self._made.teams[team.id] = same or team.id
            # Uniqueness here ignores case; in AutoBot it does not.
            by_name.setdefault((org_id, team.name.lower()), team.id)
            team.org_id = org_id
            await self._settle(AuditResourceType.TEAM, team, team.name, same, [team])

    async def _settle(
        self,
        resource: AuditResourceType,
        wanted: Organization | Role | Team,
        name: str,
        same: UUID | None,
        rows: Sequence[Organization | Role | RolePermission | Team],
    ) -> None:
        """Note what becomes of one of them; add the rows when it is new."""
        reason = f"It is {same} here." if same not in (None, wanted.id) else None
        verdict = Verdict.UNCHANGED if same else Verdict.CREATED
        self._made.outcomes.append(Outcome(resource, f"id {wanted.id}", name, verdict, reason))
        if same is None and self._apply:
            for row in rows:
                self._session.add(row)
                await self._session.flush()
            await self._audit.record(
                _ACTIONS[resource],
                resource,
                wanted.id,
                details={"name": name, "import": self._source.kind},
            )
