"""Who has which roles."""

from collections.abc import Collection, Iterable, Sequence
from uuid import UUID

from sqlalchemy import Select, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from user_management.errors import Duplicate, InvalidValue, NotFound
from user_management.models import AuditAction, AuditResourceType, Role, User, UserRole
from user_management.services.audit import AuditService
from user_management.services.authorization import (
    check_may_grant,
    check_may_manage,
    check_may_name,
    permissions_of_roles,
)
from user_management.services.context import Actor, Authority, RequestContext, id_in
from user_management.services.locks import TableLock, lock_shared
from user_management.services.sessions import end_sessions


async def find_grantable_roles(
    session: AsyncSession,
    authority: Authority,
    role_ids: Collection[UUID],
    org_id: UUID | None,
    *,
    field: str = "role_ids",
) -> Sequence[Role]:
    """The roles, which fit a user of that organization and which the caller may give.

    They stay as they are until the transaction ends. Raises InvalidValue, which names `field`, for
    an unknown role, PermissionDenied.
    """
    if not role_ids:
        return []
    await _keep_roles(session)
    found = await session.scalars(
        select(Role)
        .where(Role.id.in_(role_ids), or_(Role.org_id.is_(None), Role.org_id == org_id))
        .order_by(Role.priority.desc(), Role.name)
    )
    roles = found.all()
    if missing := set(role_ids) - {role.id for role in roles}:
        raise InvalidValue(field, f"There is no role {min(map(str, missing))} for this user.")
    check_may_grant(authority, await session.scalars(permissions_of_roles(role_ids)))
    check_may_name(authority, *(role.name for role in roles if role.org_id is None))
    return roles


async def _keep_roles(session: AsyncSession) -> None:
    """Until the transaction ends, nobody changes or deletes a role.

    One lock for all of them: who is limited to an organization may not lock the rows of others.
    """
    await lock_shared(session, TableLock.ROLES)


def add_roles(
    session: AsyncSession, actor: Actor | None, user: User, roles: Iterable[Role]
) -> None:
    """Give a user roles, with the next flush."""
    session.add_all(
        UserRole(user_id=user.id, role_id=role.id, assigned_by=id_in(session, actor))
        for role in roles
    )


class RoleAssignmentService:
    """Gives roles to users of the session's database, and takes them."""

    def __init__(self, session: AsyncSession, context: RequestContext) -> None:
        self.session = session
        self._authority = context.authority
        self._context = context
        self._audit = AuditService(session, context)

    async def get_user(self, user_id: UUID) -> User:
        """A user with their roles. Raises NotFound."""
        return await self._user(_users().where(User.id == user_id))

    async def assign(self, user_id: UUID, role_id: UUID) -> User:
        """Give a role to a user; the user with their roles.

        Raises NotFound, InvalidValue when there is no such role for this user, PermissionDenied,
        Duplicate when the user has it already.
        """
        # Before the user, as in `delete`: two that wait for each other wait for ever.
        await _keep_roles(self.session)
        user = await self._lock_user(user_id)
        [role] = await find_grantable_roles(
            self.session, self._authority, [role_id], user.org_id, field="role_id"
        )
        if role in user.roles:
            raise Duplicate("The user has this role already.")
        add_roles(self.session, self._context.actor, user, [role])
        await self._record_assignment(AuditAction.ROLE_ASSIGNED, user, role)
        return await self._touch(user)

    async def revoke(self, user_id: UUID, role_id: UUID) -> None:
        """Take a role from a user, and with it their sessions if it allows anything.

        Raises NotFound, PermissionDenied.
        """
        user = await self._lock_user(user_id)
        role = next((role for role in user.roles if role.id == role_id), None)
        if role is None:
            raise NotFound("The user does not have this role.")
        await self.session.execute(
            delete(UserRole).where(UserRole.user_id == user.id, UserRole.role_id == role.id)
        )
        await self._touch(user)
        if (await self.session.scalars(permissions_of_roles([role.id]))).all():
            await end_sessions(self.session, user.id, AuditAction.ROLE_REVOKED)
        await self._record_assignment(AuditAction.ROLE_REVOKED, user, role)

    async def _lock_user(self, user_id: UUID) -> User:
        """Read a user for a change of their roles. Raises NotFound, PermissionDenied."""
        user = await self._user(
            _users().where(User.id == user_id).with_for_update(key_share=True, of=User)
        )
        await check_may_manage(self.session, self._authority, user)
        return user

    async def _user(self, statement: Select[User]) -> User:
        user = await self.session.scalar(statement.execution_options(populate_existing=True))
        if user is None:
            raise NotFound("User not found.")
        return user

    async def _touch(self, user: User) -> User:
        """Roles are part of a user's version; the user as they are now."""
        user.updated_at = func.now()
        await self.session.flush()
        return await self.get_user(user.id)

    async def _record_assignment(self, action: AuditAction, user: User, role: Role) -> None:
        await self._audit.record(
            action,
            AuditResourceType.USER,
            user.id,
            org_id=user.org_id,
            details={"username": user.username, "role_id": str(role.id), "role": role.name},
        )


def _users() -> Select[User]:
    return select(User).where(User.deleted_at.is_(None)).options(selectinload(User.roles))
