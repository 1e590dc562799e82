"""The one role that AutoBot's programs read from a token and from /api/auth/me."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.autobot_roles import AutobotRole
from user_management.models import Role, UserRole
from user_management.services import AuthenticatedUser, Grant

# AutoBot knows no organizations: what is above these holds for the whole site.
_WITHIN_ORGANIZATION = (AutobotRole.USER, AutobotRole.READONLY)


async def role_of(session: AsyncSession, user: AuthenticatedUser | Grant) -> AutobotRole:
    """What AutoBot is told that the user is; docs/authorization.md has the rule and its reasons."""
    if user.must_change_password:
        return AutobotRole.READONLY
    if user.is_admin:
        return AutobotRole.ADMIN
    found = await session.execute(
        select(Role.name, Role.org_id)
        .join(UserRole, UserRole.role_id == Role.id)
        .where(UserRole.user_id == user.user_id)
    )
    held = found.all()
    # Installations of AutoBot have users and no roles.
    if not held:
        return AutobotRole.USER
    # An organization names its roles as it likes.
    names = {role.name for role in held if role.org_id is None}
    role = next((role for role in AutobotRole if role in names), AutobotRole.READONLY)
    if user.org_id is not None and role not in _WITHIN_ORGANIZATION:
        return AutobotRole.USER
    return role
