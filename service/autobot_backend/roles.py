"""The one role that AutoBot's programs read from a token and from /api/auth/me."""

from collections.abc import Collection

from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.autobot_roles import AutobotRole
from user_management.models import Role, UserRole
from user_management.services.login.caller import AuthenticatedUser
from user_management.services.login.grant import Grant

# AutoBot knows no organizations: what is above these holds for the whole site.
_WITHIN_ORGANIZATION = (AutobotRole.USER, AutobotRole.READONLY)


def role_of(user: AuthenticatedUser) -> AutobotRole:
    """What AutoBot is told that the caller is; docs/authorization.md has the rule."""
    return _told(user, user.roles)


async def role_at_login(session: AsyncSession, grant: Grant) -> AutobotRole:
    """The same of somebody who has just logged in or gone on with a session."""
    found = await session.scalars(
        select(case((Role.org_id.is_(None), Role.name)))
        .join(UserRole, UserRole.role_id == Role.id)
        .where(UserRole.user_id == grant.user_id)
    )
    return _told(grant, found.all())


def _told(user: AuthenticatedUser | Grant, names: Collection[str | None]) -> AutobotRole:
    """`names` are of roles, None for each of an organization, which names them as it likes."""
    if user.must_change_password:
        return AutobotRole.READONLY
    if user.is_admin:
        return AutobotRole.ADMIN
    # Installations of AutoBot have users and no roles.
    if not names:
        return AutobotRole.USER
    role = next((role for role in AutobotRole if role in names), AutobotRole.READONLY)
    if user.org_id is not None and role not in _WITHIN_ORGANIZATION:
        return AutobotRole.USER
    return role
