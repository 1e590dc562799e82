"""Roles, and who has them."""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import InvalidValue
from user_management.models import Role
from user_management.services.authorization import check_may_grant, permissions_of_roles
from user_management.services.context import Authority


async def find_grantable_roles(
    session: AsyncSession, authority: Authority, role_ids: Collection[UUID], org_id: UUID | None
) -> Sequence[Role]:
    """The roles, which fit a user of that organization and which the caller may give.

    Raises InvalidValue for an unknown role, PermissionDenied.
    """
    if not role_ids:
        return []
    found = await session.scalars(
        select(Role)
        .where(Role.id.in_(role_ids), or_(Role.org_id.is_(None), Role.org_id == org_id))
        .order_by(Role.priority.desc(), Role.name)
    )
    roles = found.all()
    if missing := set(role_ids) - {role.id for role in roles}:
        raise InvalidValue("role_ids", f"There is no role {min(map(str, missing))} for this user.")
    check_may_grant(authority, await session.scalars(permissions_of_roles(role_ids)))
    return roles
