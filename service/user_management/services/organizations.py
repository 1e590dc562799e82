"""Organizations: the tenants of the application."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import InvalidValue, QuotaExceeded
from user_management.models import Organization, User

UNLIMITED = -1


async def check_organization(session: AsyncSession, org_id: UUID) -> None:
    """Raise InvalidValue unless there is such an organization."""
    found = await session.scalar(
        select(Organization.id).where(Organization.id == org_id, Organization.deleted_at.is_(None))
    )
    if found is None:
        raise InvalidValue("org_id", "There is no such organization.")


async def take_place(session: AsyncSession, org_id: UUID) -> None:
    """Make sure that one more user fits; those who come at once wait for each other.

    Raises InvalidValue when there is no such organization, QuotaExceeded.
    """
    organization = await session.scalar(
        select(Organization)
        .where(Organization.id == org_id, Organization.deleted_at.is_(None))
        .with_for_update(key_share=True)
    )
    if organization is None:
        raise InvalidValue("org_id", "There is no such organization.")
    if organization.max_users == UNLIMITED:
        return
    users = await session.scalar(
        select(func.count())
        .select_from(User)
        .where(User.org_id == org_id, User.deleted_at.is_(None))
    )
    if (users or 0) >= organization.max_users:
        raise QuotaExceeded(
            f"{organization.name} may have {organization.max_users} users and has them. "
            "Raise max_users of the organization, or delete a user first."
        )
