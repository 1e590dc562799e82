"""What a change of a user comes to: in the row, and in the audit log."""

from collections.abc import Mapping
from typing import Any

from user_management.models import AuditAction, AuditResourceType, User
from user_management.names import shown_address
from user_management.services.audit import AuditService
from user_management.services.naming import checked_email, checked_name


def checked_values(user: User, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given, as it is stored. Raises InvalidValue.

    What stays as it is need not meet today's rules.
    """
    checked = dict(given)
    if "email" in given:
        if given["email"].lower() in (user.email.lower(), shown_address(user.email).lower()):
            del checked["email"]
        else:
            checked["email"] = checked_email(given["email"])
    if "username" in given:
        checked["username"] = given["username"].lower()
    if given.get("display_name") not in (None, user.display_name):
        checked["display_name"] = checked_name(given["display_name"], field="display_name")
    return checked


async def record_update(
    audit: AuditService, user: User, changed: Mapping[str, Mapping[str, Any]]
) -> None:
    """One event for the switch that turns a user on or off, one for all other fields."""
    others = {name: change for name, change in changed.items() if name != "is_active"}
    if "is_active" in changed:
        await audit.record(
            AuditAction.USER_ACTIVATED
            if changed["is_active"]["new"]
            else AuditAction.USER_DEACTIVATED,
            AuditResourceType.USER,
            user.id,
            org_id=user.org_id,
            details={"changes": {"is_active": changed["is_active"]}},
        )
    if others:
        await audit.record(
            AuditAction.USER_UPDATED,
            AuditResourceType.USER,
            user.id,
            org_id=user.org_id,
            details={"changes": others | _plain_org(others)},
        )


def _plain_org(changes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A change of organization as JSON can hold it."""
    if "org_id" not in changes:
        return {}
    return {
        "org_id": {
            key: None if value is None else str(value) for key, value in changes["org_id"].items()
        }
    }
