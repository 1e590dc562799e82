"""Nobody gives what they do not hold, and nobody rules over those who hold more.

What somebody holds are permissions, and the rank that AutoBot gives the names of some roles.
"""

from collections.abc import Collection, Iterable
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.autobot_roles import RANKED, rank_of
from user_management.errors import PermissionDenied
from user_management.models import Permission, Role, RolePermission, User, UserRole
from user_management.services.context import Authority


def permissions_of_user(user_id: UUID) -> Select[str]:
    """The names of all permissions that a user's roles have, each once."""
    return (
        select(Permission.name)
        .distinct()
        .join(RolePermission, RolePermission.permission_id == Permission.id)
        .join(UserRole, UserRole.role_id == RolePermission.role_id)
        .where(UserRole.user_id == user_id)
    )


def permissions_of_roles(role_ids: Collection[UUID] | Select[UUID]) -> Select[str]:
    """The names of all permissions of some roles, each once."""
    return (
        select(Permission.name)
        .distinct()
        .join(RolePermission, RolePermission.permission_id == Permission.id)
        .where(RolePermission.role_id.in_(role_ids))
    )


def check_may_grant(authority: Authority, permissions: Iterable[str]) -> None:
    """Raise PermissionDenied unless the caller holds all that they want to give."""
    if not authority.holds(frozenset(permissions)):
        raise PermissionDenied("You cannot give a permission that you do not have yourself.")


def check_may_name(authority: Authority, *names: str) -> None:
    """Raise PermissionDenied unless the caller has as high a role as AutoBot takes these for."""
    if not authority.outranks(rank_of(names)):
        raise PermissionDenied(
            f"AutoBot gives the roles {', '.join(reversed(RANKED))} a meaning. Only who has such a "
            "role, or a higher one of them, can create, change or give it."
        )


def check_may_make_administrator(authority: Authority) -> None:
    """Raise PermissionDenied unless the caller is a platform administrator."""
    if not authority.is_platform_admin:
        raise PermissionDenied("Only a platform administrator can make others one.")


async def check_may_manage(session: AsyncSession, authority: Authority, user: User) -> None:
    """Raise PermissionDenied when the user holds more than the caller does.

    Otherwise whoever may change users could change the password or address of an administrator,
    and become one.
    """
    if authority.is_platform_admin:
        return
    permissions = frozenset(await session.scalars(permissions_of_user(user.id)))
    if user.is_platform_admin or not authority.holds(permissions):
        raise PermissionDenied("This user holds more permissions than you do.")
    names = _names_of_roles(select(UserRole.role_id).where(UserRole.user_id == user.id))
    if not authority.outranks(rank_of(await session.scalars(names))):
        raise PermissionDenied("This user has a role that AutoBot takes for more than yours.")


async def check_may_manage_holders(
    session: AsyncSession, authority: Authority, role_id: UUID
) -> None:
    """Raise PermissionDenied when somebody who has the role holds more than the caller does.

    Whoever changes a role changes them all.
    """
    if authority.is_platform_admin:
        return
    holders = (
        select(User.id)
        .join(UserRole, UserRole.user_id == User.id)
        .where(UserRole.role_id == role_id, User.deleted_at.is_(None))
    )
    role_ids = select(UserRole.role_id).where(UserRole.user_id.in_(holders))
    permissions = frozenset(await session.scalars(permissions_of_roles(role_ids)))
    administrator = await session.scalar(holders.where(User.is_platform_admin).limit(1))
    if administrator is not None or not authority.holds(permissions):
        raise PermissionDenied("Somebody who has this role holds more permissions than you do.")
    if not authority.outranks(rank_of(await session.scalars(_names_of_roles(role_ids)))):
        raise PermissionDenied(
            "Somebody who has this role has another that AutoBot takes for more than yours."
        )


def _names_of_roles(role_ids: Select[UUID]) -> Select[str]:
    """The names of those of some roles that AutoBot looks at: an organization's own are not."""
    return select(Role.name).where(Role.id.in_(role_ids), Role.org_id.is_(None))
