"""Organizations: the tenants of the application."""

import re
import unicodedata
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import ColumnElement, Select, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import (
    InvalidValue,
    NotFound,
    OrganizationInUse,
    PermissionDenied,
    QuotaExceeded,
)
from user_management.models import (
    AuditAction,
    AuditResourceType,
    Organization,
    Team,
    TeamMembership,
    TeamRole,
    User,
)
from user_management.permissions import Permission
from user_management.schemas.fields import SLUG_LENGTH
from user_management.schemas.organizations import OrganizationCreate, OrganizationUpdate
from user_management.services.audit import AuditService
from user_management.services.changes import apply_changes, flush_unique
from user_management.services.context import RequestContext
from user_management.services.naming import checked_name
from user_management.services.pages import Page, PageRequest, read_page
from user_management.services.sessions import end_sessions_of_all
from user_management.services.team_owners import last_owner, orphaned, ownership_of
from user_management.services.versions import check_version

UNLIMITED = -1
# Where a team belongs that nobody assigned; AutoBot's own convention.
DEFAULT_NAME: Final = "Default Organization"
DEFAULT_SLUG: Final = "default"

_DEACTIVATED: Final = "org_deactivated"
_ORGANIZATION_NOT_FOUND = "Organization not found."
_TAKEN = {"ix_organizations_slug": "This slug is taken. Give another `slug`."}
# What an organization is granted; its own administrators cannot change it.
_GRANTED = frozenset({"max_users", "subscription_tier", "is_active"})


@dataclass(frozen=True, slots=True)
class OrganizationFilter:
    """Which organizations are meant; what is None does not matter.

    `search` is a part of the name or slug.
    """

    search: str | None = None
    is_active: bool | None = None


@dataclass(frozen=True, slots=True)
class OrganizationFigures:
    """An organization, and how many users and teams it has."""

    organization: Organization
    users: int
    teams: int

    @property
    def max_users(self) -> int | None:
        """How many users it may have, None for any number."""
        return None if self.organization.max_users == UNLIMITED else self.organization.max_users


class OrganizationService:
    """Creates, reads, changes and softly deletes organizations."""

    def __init__(self, session: AsyncSession, context: RequestContext) -> None:
        self.session = session
        self._authority = context.authority
        self._audit = AuditService(session, context)

    async def create(self, new: OrganizationCreate) -> Organization:
        """Create an organization. Raises Duplicate, InvalidValue, PermissionDenied."""
        self._refuse_limited()
        organization = Organization(
            id=uuid4(),
            **new.model_dump()
            | {"name": checked_name(new.name), "slug": new.slug or slug_of(new.name)},
        )
        self.session.add(organization)
        await flush_unique(self.session, _TAKEN)
        await self._record_creation(organization.id, organization.name, organization.slug)
        return organization

    async def get(self, org_id: UUID) -> Organization:
        """An organization. Raises NotFound, also for a deleted one."""
        return await self._one(_visible().where(Organization.id == org_id))

    async def get_by_slug(self, slug: str) -> Organization:
        """An organization by its slug. Raises NotFound."""
        return await self._one(_visible().where(Organization.slug == slug))

    async def list(self, wanted: OrganizationFilter, page: PageRequest) -> Page[Organization]:
        """A page of organizations, newest first."""
        matching = _visible().where(*_conditions(wanted))
        found = await read_page(self.session, matching, Organization, page)
        return Page([row[0] for row in found.items], found.following, found.total)

    async def figures(self, org_id: UUID) -> OrganizationFigures:
        """How many users and teams an organization has. Raises NotFound."""
        organization = await self.get(org_id)
        teams = await self.session.scalar(
            select(func.count())
            .select_from(Team)
            .where(Team.org_id == org_id, Team.deleted_at.is_(None))
        )
        return OrganizationFigures(
            organization, await _count_users(self.session, org_id), teams or 0
        )

    async def update(
        self,
        org_id: UUID,
        changes: OrganizationUpdate,
        expected: Collection[datetime] | None = None,
        *,
        with_teams: bool = False,
    ) -> Organization:
        """Change the fields that are given, if the organization is in an `expected` version.

        Deactivating it ends its users' sessions, and leaves no team without an owner who can log
        in: unless `with_teams` says that the organization's own ones rest, too. Raises NotFound,
        LastOwner, PermissionDenied when an administrator of the organization changes what it was
        granted, PreconditionFailed.
        """
        given = changes.given()
        teams = _teams_owned_from(org_id)
        if deactivates := given.get("is_active") is False:
            # Before the organization, as where it is deleted.
            await self.session.execute(teams.order_by(Team.id).with_for_update(key_share=True))
        organization = await self._lock(org_id, expected)
        if _GRANTED & given.keys():
            self._refuse_limited()
        if given.get("name", organization.name) != organization.name:
            given["name"] = checked_name(given["name"])
        before = await ownership_of(self.session, teams) if deactivates else {}
        changed = apply_changes(organization, given)
        await self.session.flush()
        if deactivates:
            lost = orphaned(before, await ownership_of(self.session, teams))
            await self._check_orphaned(org_id, lost, with_teams=with_teams)
        if changed:
            await self._record(AuditAction.ORG_UPDATED, org_id, {"changes": changed})
        if "is_active" in changed and not organization.is_active:
            users = select(User.id).where(User.org_id == org_id)
            await end_sessions_of_all(self.session, users, _DEACTIVATED)
        return organization

    async def delete(self, org_id: UUID, expected: Collection[datetime] | None = None) -> None:
        """Delete an organization without users softly, with its teams. Its slug is free again.

        Raises NotFound, OrganizationInUse, PermissionDenied, PreconditionFailed.
        """
        teams = select(Team.id).where(Team.org_id == org_id, Team.deleted_at.is_(None))
        # Before the organization, as where somebody joins it together with a team.
        await self.session.execute(teams.order_by(Team.id).with_for_update(key_share=True))
        organization = await self._lock(org_id, expected)
        self._refuse_limited()
        if await _count_users(self.session, org_id):
            raise OrganizationInUse
        now = datetime.now(UTC)
        organization.deleted_at = now
        organization.is_active = False
        await self.session.flush()
        deleted = await self.session.scalars(
            update(Team).where(Team.id.in_(teams)).values(deleted_at=now).returning(Team.id)
        )
        await self._record(
            AuditAction.ORG_DELETED,
            org_id,
            {
                "name": organization.name,
                "slug": organization.slug,
                "teams": [str(team_id) for team_id in deleted],
            },
        )

    async def is_default(self, org_id: UUID) -> bool:
        """Whether it is the default organization."""
        found = select(Organization.id).where(
            Organization.id == org_id, Organization.slug == DEFAULT_SLUG
        )
        return await self.session.scalar(found) is not None

    async def default_id(self) -> UUID:
        """The default organization, which is made when it is missing."""
        made: UUID | None = await self.session.scalar(
            upsert(Organization)
            .values(id=uuid4(), name=DEFAULT_NAME, slug=DEFAULT_SLUG)
            .on_conflict_do_nothing(
                index_elements=[Organization.slug], index_where=Organization.deleted_at.is_(None)
            )
            .returning(Organization.id)
        )
        if made is not None:
            await self._record_creation(made, DEFAULT_NAME, DEFAULT_SLUG)
            return made
        return (await self.get_by_slug(DEFAULT_SLUG)).id

    async def _check_orphaned(
        self, org_id: UUID, teams: frozenset[UUID], *, with_teams: bool
    ) -> None:
        """Refuse to leave teams without an owner, but for the organization's own `with_teams`."""
        if not teams:
            return
        others = teams
        if with_teams:
            if not self._authority.holds(frozenset({Permission.TEAMS_MANAGE})):
                raise PermissionDenied(
                    f"To deactivate teams needs the permission {Permission.TEAMS_MANAGE}."
                )
            own = select(Team.id).where(Team.id.in_(teams), Team.org_id == org_id)
            others = teams - frozenset(await self.session.scalars(own))
        if others:
            raise await last_owner(
                self.session,
                others,
                or_else=", or deactivate the organization with its teams",
            )

    def _refuse_limited(self) -> None:
        if self._authority.scope is not None:
            raise PermissionDenied(
                "You manage one organization. Ask a fleet administrator who manages all of them."
            )

    async def _one(self, statement: Select[Organization]) -> Organization:
        organization = await self.session.scalar(statement)
        if organization is None:
            raise NotFound(_ORGANIZATION_NOT_FOUND)
        return organization

    async def _lock(self, org_id: UUID, expected: Collection[datetime] | None) -> Organization:
        organization = await self._one(
            _visible().where(Organization.id == org_id).with_for_update(key_share=True)
        )
        check_version(organization, expected)
        return organization

    async def _record_creation(self, org_id: UUID, name: str, slug: str) -> None:
        await self._record(AuditAction.ORG_CREATED, org_id, {"name": name, "slug": slug})

    async def _record(self, action: AuditAction, org_id: UUID, details: dict[str, Any]) -> None:
        await self._audit.record(
            action, AuditResourceType.ORGANIZATION, org_id, org_id=org_id, details=details
        )


def _teams_owned_from(org_id: UUID) -> Select[UUID]:
    """The teams that have an owner of that organization, whichever theirs is."""
    owners = (
        select(TeamMembership.team_id)
        .join(User, User.id == TeamMembership.user_id)
        .where(TeamMembership.role == TeamRole.OWNER, User.org_id == org_id)
    )
    return select(Team.id).where(Team.id.in_(owners), Team.deleted_at.is_(None))


def slug_of(name: str) -> str:
    """What stands for a name in addresses. Raises InvalidValue when nothing is left of it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_LENGTH].rstrip("-")
    if not slug:
        raise InvalidValue(
            "slug", "The name has no letter from a to z and no digit. Give a `slug`, too."
        )
    return slug


async def check_organization(session: AsyncSession, org_id: UUID, *, field: str = "org_id") -> None:
    """Raise InvalidValue about `field` unless there is such an organization.

    It cannot be deleted before the end of the transaction.
    """
    found = await session.scalar(
        select(Organization.id)
        .where(Organization.id == org_id, Organization.deleted_at.is_(None))
        .with_for_update(read=True)
    )
    if found is None:
        raise InvalidValue(field, "There is no such organization.")


async def keep_names_of_teams(session: AsyncSession, org_id: UUID) -> None:
    """Until the transaction ends, nobody else names a team of the organization."""
    await session.execute(
        select(Organization.id).where(Organization.id == org_id).with_for_update(key_share=True)
    )


async def check_quota(session: AsyncSession, org_id: UUID) -> None:
    """Make sure that one more user fits; those who come at once wait for each other.

    Raises InvalidValue when there is no such organization, QuotaExceeded.
    """
    organization = await session.scalar(
        _visible().where(Organization.id == org_id).with_for_update(key_share=True)
    )
    if organization is None:
        raise InvalidValue("org_id", "There is no such organization.")
    if organization.max_users == UNLIMITED:
        return
    if await _count_users(session, org_id) >= organization.max_users:
        raise QuotaExceeded(
            f"{organization.name} may have {organization.max_users} users and has them. "
            "Raise max_users of the organization, or delete a user first."
        )


async def _count_users(session: AsyncSession, org_id: UUID) -> int:
    counted = await session.scalar(
        select(func.count())
        .select_from(User)
        .where(User.org_id == org_id, User.deleted_at.is_(None))
    )
    return counted or 0


def _visible() -> Select[Organization]:
    return select(Organization).where(Organization.deleted_at.is_(None))


def _conditions(wanted: OrganizationFilter) -> Iterator[ColumnElement[bool]]:
    if wanted.search:
        part = wanted.search.lower()
        yield or_(
            *(
                func.lower(column).contains(part, autoescape=True)
                for column in (Organization.name, Organization.slug)
            )
        )
    if wanted.is_active is not None:
        yield Organization.is_active.is_(wanted.is_active)
