"""Events of the audit log on the wire."""

from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from pydantic import BaseModel

from user_management.models import AuditAction, AuditLog

# What AutoBot's own log calls groups of events; all others are changes of its configuration.
CONFIGURATION: Final = "configuration"
_CATEGORIES: Final = {
    "authentication": (
        *("login_", "logout", "password_", "mfa_", "backup_code_", "sso_login"),
        "authentication_",
    ),
    "authorization": ("role_", "team_member_"),
    "security": ("account_", "api_key_", "audit_", "suspicious_"),
}


class AuditActor(BaseModel):
    """Who did it. Of what other programs have written, not everything may be known."""

    population: str | None
    user_id: str | None
    username: str | None

    def __str__(self) -> str:
        return self.username or self.user_id or "unknown"


class AuditLogResponse(BaseModel):
    """An event. `actor` is null when nobody is known to have done it; `seq`, its place in the
    chain, until it is sealed, and for who is limited to an organization.
    """

    id: UUID
    created_at: datetime
    action: str
    outcome: str
    actor: AuditActor | None
    resource_type: str
    resource_id: UUID | None
    org_id: UUID | None
    ip_address: str | None
    user_agent: str | None
    details: Any
    seq: int | None

    @classmethod
    def of(cls, row: AuditLog, actor: AuditActor | None, seq: int | None) -> Self:
        """Shape an event for the wire."""
        return cls(
            id=row.id,
            created_at=row.created_at,
            action=row.action,
            outcome=row.outcome,
            actor=actor,
            resource_type=row.resource_type,
            resource_id=row.resource_id,
            org_id=row.org_id,
            ip_address=row.ip_address,
            user_agent=row.user_agent,
            details=row.details,
            seq=seq,
        )


class AuditLogListResponse(BaseModel):
    """One page of events. `next_cursor` is null on the last page."""

    logs: list[AuditLogResponse]
    next_cursor: str | None
    limit: int


class SecurityAuditLog(BaseModel):
    """An event as the SLM server of AutoBot has shown its own log; `log_id` is the event's id."""

    log_id: UUID
    timestamp: datetime
    user_id: str | None
    username: str | None
    ip_address: str | None
    user_agent: str | None
    category: str
    action: str
    resource_type: str
    resource_id: UUID | None
    success: bool
    error_message: str | None
    extra_data: Any

    @classmethod
    def of(cls, row: AuditLog, actor: AuditActor | None) -> Self:
        """Shape an event for the wire."""
        reason = row.details.get("reason") if isinstance(row.details, dict) else None
        return cls(
            log_id=row.id,
            timestamp=row.created_at,
            user_id=actor and actor.user_id,
            username=actor and actor.username,
            ip_address=row.ip_address,
            user_agent=row.user_agent,
            category=category_of(row.action),
            action=row.action,
            resource_type=row.resource_type,
            resource_id=row.resource_id,
            success=row.outcome == "success",
            error_message=reason if isinstance(reason, str) else None,
            extra_data=row.details,
        )


class SecurityAuditLogListResponse(BaseModel):
    """One page of events. `total` is exact up to 10 000 and estimated above."""

    logs: list[SecurityAuditLog]
    total: int
    page: int
    per_page: int


def category_of(action: str) -> str:
    """The category that AutoBot's own log would give an action."""
    for category, beginnings in _CATEGORIES.items():
        if action.startswith(beginnings):
            return category
    return CONFIGURATION


def actions_of(category: str) -> list[str]:
    """The actions of a category; none of one that is AutoBot's alone, such as `deployment`."""
    return [action.value for action in AuditAction if category_of(action) == category]
