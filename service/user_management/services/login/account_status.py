"""Whether an account may be used, whatever its user knows: for logins, refreshes, callers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row

from user_management.models import Organization, User, UserCredential

# What `refusal_reason` needs, and who it is. A fleet administrator's organization is one of the
# other database, so nothing is found for it.
ACCOUNT_STATUS_COLUMNS: Final = (
    User.id.label("user_id"),
    User.username,
    User.email,
    User.org_id,
    User.is_active,
    User.is_platform_admin,
    User.deleted_at,
    UserCredential.must_change_password,
    UserCredential.one_time_expires_at,
    Organization.is_active.label("org_is_active"),
    Organization.deleted_at.label("org_deleted_at"),
)
# A row with these columns.
UserRow = Row[*tuple[Any, ...]]


def refusal_reason(user: Mapping[Any, Any], now: datetime) -> str | None:
    """Why the user of a row with these columns is refused, for the audit log; None if not."""
    if not user["is_active"] or user["deleted_at"] is not None:
        return "account_inactive"
    # No organization has been found: nobody's is closed.
    if user["org_is_active"] is False or user["org_deleted_at"] is not None:
        return "organization_inactive"
    if user["must_change_password"]:
        expires_at = user["one_time_expires_at"]
        if expires_at is not None and expires_at <= now:
            return "one_time_password_expired"
    return None
