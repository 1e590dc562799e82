"""Roles and what they allow."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Row,
    ScalarSelect,
    Select,
    String,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import (
    Duplicate,
    InvalidValue,
    NotFound,
    PermissionDenied,
    SystemRole,
)
from user_management.models import (
    AuditAction,
    AuditResourceType,
    Organization,
    Permission,
    Role,
    RolePermission,
    User,
    UserRole,
)
from user_management.population import Population
from user_management.schemas.roles import ROLE_NAME_LENGTH, RoleCreate, RoleUpdate
from user_management.services.audit import AuditService
from user_management.services.authorization import (
    check_may_grant,
    check_may_manage_holders,
    check_may_name,
)
from user_management.services.changes import apply_changes
from user_management.services.context import RequestContext, population_of
from user_management.services.locks import TableLock, lock_exclusive
from user_management.services.naming import checked_name, is_name_taken
from user_management.services.organizations import check_organization
from user_management.services.pages import Page, PageRequest, read_page
from user_management.services.sessions import end_sessions_of_all
from user_management.services.versions import check_version

_ROLE_NOT_FOUND: Final = "Role not found."


async def _lock_roles(session: AsyncSession) -> None:
    """Until the transaction ends, nobody else creates, changes, deletes or gives a role."""
    await lock_exclusive(session, TableLock.ROLES)


async def list_permissions(session: AsyncSession) -> Sequence[Permission]:
    """All permissions there are, by name."""
    return (await session.scalars(select(Permission).order_by(Permission.name))).all()


@dataclass(frozen=True, slots=True)
class DescribedRole:
    """A role, the names of its permissions, and how many users have it."""

    role: Role
    permissions: Sequence[str]
    user_count: int

    @property
    def id(self) -> UUID:
        """The role's id."""
        return self.role.id


class RoleService:
    """Creates, reads, changes and deletes roles of the session's database."""

    def __init__(self, session: AsyncSession, context: RequestContext) -> None:
        self.session = session
        self._authority = context.authority
        self._audit = AuditService(session, context)

    async def create(self, new: RoleCreate) -> DescribedRole:
        """Create a role, in the caller's organization if they are limited to one.

        Raises Duplicate, InvalidValue, PermissionDenied.
        """
        name = checked_name(new.name, length=ROLE_NAME_LENGTH)
        check_may_grant(self._authority, new.permissions)
        # Also in an organization, which would keep the name from the site.
        check_may_name(self._authority, new.name)
        # Before the organization, as where users are created.
        await _lock_roles(self.session)
        org_id = await self._organization_of(new)
        await self._check_name(name, org_id)
        role = Role(
            id=uuid4(),
            org_id=org_id,
            name=name,
            description=new.description,
            priority=new.priority,
        )
        self.session.add(role)
        await self.session.flush()
        await self._add_permissions(role, new.permissions)
        permissions = sorted(new.permissions)
        await self._record(
            AuditAction.ROLE_CREATED,
            role,
            {
                "org_id": str(org_id) if org_id else None,
                "priority": role.priority,
                "permissions": permissions,
            },
        )
        return DescribedRole(role, permissions, 0)

    async def get(self, role_id: UUID) -> DescribedRole:
        """A role. Raises NotFound."""
        found = await self.session.execute(_described().where(Role.id == role_id))
        row = found.one_or_none()
        if row is None:
            raise NotFound(_ROLE_NOT_FOUND)
        return _describe(row)

    async def list(self, search: str | None, wanted: PageRequest) -> Page[DescribedRole]:
        """A page of roles, newest first; `search` is a part of the name, in any case of letters."""
        matching = _described()
        if search:
            matching = matching.where(
                func.lower(Role.name).contains(search.lower(), autoescape=True)
            )
        found = await read_page(self.session, matching, Role, wanted)
        return Page([_describe(row) for row in found.items], found.following, found.total)

    async def update(
        self, role_id: UUID, changes: RoleUpdate, expected: Collection[datetime] | None = None
    ) -> DescribedRole:
        """Change the fields that are given, if the role is still in one of the `expected` versions.

        What users may do changes at once. Raises NotFound, Duplicate, SystemRole,
        PermissionDenied, PreconditionFailed.
        """
        given = changes.given()
        wanted: frozenset[str] | None = given.pop("permissions", None)
        before = await self._lock(role_id, expected)
        role = before.role
        if given.get("name", role.name) != role.name:
            given["name"] = checked_name(given["name"], length=ROLE_NAME_LENGTH)
        changed = apply_changes(role, given)
        if "name" in changed:
            check_may_name(self._authority, role.name)
            await self._check_name(role.name, role.org_id, except_for=role.id)
        if wanted is not None and wanted != frozenset(before.permissions):
            await self._replace_permissions(before, wanted)
            changed["permissions"] = {"old": before.permissions, "new": sorted(wanted)}
        await self.session.flush()
        if changed:
            await self._record(AuditAction.ROLE_UPDATED, role, {"changes": changed})
        return await self.get(role_id)

    async def delete(self, role_id: UUID, expected: Collection[datetime] | None = None) -> None:
        """Delete a role for good, which takes it from all who have it and ends their sessions.

        Raises NotFound, SystemRole, PermissionDenied, PreconditionFailed.
        """
        described = await self._lock(role_id, expected)
        await check_may_manage_holders(self.session, self._authority, role_id)
        holders = select(UserRole.user_id).where(UserRole.role_id == role_id)
        # In the order in which others lock users, too.
        await self.session.execute(
            select(User.id)
            .where(User.id.in_(holders))
            .order_by(User.id)
            .with_for_update(key_share=True)
        )
        # Roles are part of a user's version.
        await self.session.execute(
            update(User)
            .where(User.id.in_(holders))
            .values(updated_at=func.now())
            .execution_options(synchronize_session=False)
        )
        if described.permissions:
            await end_sessions_of_all(self.session, holders, AuditAction.ROLE_REVOKED)
        await self.session.execute(delete(Role).where(Role.id == role_id))
        await self._record(
            AuditAction.ROLE_DELETED,
            described.role,
            {"permissions": list(described.permissions), "revoked_from": described.user_count},
        )

    async def _organization_of(self, new: RoleCreate) -> UUID | None:
        """The organization that a new role is for. Raises InvalidValue."""
        scope = self._authority.scope
        if scope is not None and new.org_id not in (None, scope):
            raise InvalidValue("org_id", "There is no such organization.")
        org_id = scope or new.org_id
        if org_id is not None:
            if population_of(self.session) is Population.SLM:
                raise InvalidValue("org_id", "Fleet administrators belong to no organization.")
            await check_organization(self.session, org_id)
        return org_id

    async def _check_name(
        self, name: str, org_id: UUID | None, *, except_for: UUID | None = None
    ) -> None:
        """Raise Duplicate if a user could have two roles of this name."""
        others = [_is_live(), Role.id.is_distinct_from(except_for)]
        if org_id is not None:
            others.append(or_(Role.org_id.is_(None), Role.org_id == org_id))
        if await is_name_taken(self.session, name, Role.name, *others):
            raise Duplicate("There is a role of this name already.")

    async def _lock(self, role_id: UUID, expected: Collection[datetime] | None) -> DescribedRole:
        """Read a role for a change.

        Raises NotFound, SystemRole, PermissionDenied, PreconditionFailed.
        """
        await _lock_roles(self.session)
        described = await self.get(role_id)
        check_version(described.role, expected)
        if described.role.is_system:
            raise SystemRole
        scope = self._authority.scope
        if scope is not None and described.role.org_id != scope:
            raise PermissionDenied("This role is not of your organization alone.")
        if not self._authority.holds(frozenset(described.permissions)):
            raise PermissionDenied("This role allows more than you may do yourself.")
        if described.role.org_id is None:
            check_may_name(self._authority, described.role.name)
        return described

    async def _replace_permissions(self, before: DescribedRole, wanted: frozenset[str]) -> None:
        check_may_grant(self._authority, wanted)
        await check_may_manage_holders(self.session, self._authority, before.id)
        await self.session.execute(
            delete(RolePermission).where(RolePermission.role_id == before.id)
        )
        await self._add_permissions(before.role, wanted)
        before.role.updated_at = func.now()

    async def _add_permissions(self, role: Role, names: Iterable[str]) -> None:
        await self.session.execute(
            insert(RolePermission).from_select(
                [RolePermission.role_id, RolePermission.permission_id],
                select(literal(role.id), Permission.id).where(Permission.name.in_(list(names))),
            )
        )

    async def _record(self, action: AuditAction, role: Role, details: dict[str, Any]) -> None:
        await self._audit.record(
            action,
            AuditResourceType.ROLE,
            role.id,
            org_id=role.org_id,
            details={"name": role.name, **details},
        )


def _is_live() -> ColumnElement[bool]:
    """Roles end with their organization."""
    return or_(Role.org_id.is_(None), Role.organization.has(Organization.deleted_at.is_(None)))


def _described() -> Select[Role, list[str], int]:
    return select(Role, _permissions(), _user_count()).where(_is_live())


def _permissions() -> ColumnElement[list[str]]:
    names = (
        select(Permission.name)
        .join(RolePermission, RolePermission.permission_id == Permission.id)
        .where(RolePermission.role_id == Role.id)
        .order_by(Permission.name)
        .scalar_subquery()
    )
    return func.array(names, type_=ARRAY(String))


def _user_count() -> ScalarSelect[int]:
    return (
        select(func.count())
        .select_from(UserRole)
        .join(User, User.id == UserRole.user_id)
        .where(UserRole.role_id == Role.id, User.deleted_at.is_(None))
        .correlate(Role)
        .scalar_subquery()
    )


def _describe(row: Row[*tuple[Any, ...]]) -> DescribedRole:
    role, permissions, user_count = row
    return DescribedRole(role, permissions, user_count)
