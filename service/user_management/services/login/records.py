"""What the audit log keeps of logins, of their refusal, and of sessions that end."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from user_management.models import AuditAction, AuditResourceType
from user_management.services.audit import FAILURE, AuditService
from user_management.services.context import Actor
from user_management.services.limits import Block, Scope
from user_management.services.login.account_status import UserRow

# A login by the route of AutoBot's own pages and playbooks.
LEGACY_LOGIN_ROUTE: Final = "autobot"


async def record_login(
    audit: AuditService, actor: Actor, session_id: UUID, org_id: UUID | None, route: str | None
) -> None:
    """A session has begun; by which `route`, if it is not the usual one."""
    await audit.record(
        AuditAction.LOGIN_SUCCESS,
        AuditResourceType.SESSION,
        session_id,
        actor=actor,
        org_id=org_id,
        details={} if route is None else {"way": route},
    )


async def record_refused_login(
    audit: AuditService, user: UserRow | None, reason: str | None
) -> None:
    """One row without an actor: nobody has proved who they are, and a reference to a user would
    cost the server a look-up that an unknown name does not. The name that was typed is not kept:
    people type passwords there.
    """
    await audit.record(
        AuditAction.LOGIN_FAILED,
        AuditResourceType.USER,
        user.user_id if user else None,
        outcome=FAILURE,
        details={"reason": reason, "username": user.username if user else None},
    )


async def record_blocks(audit: AuditService, blocks: Sequence[Block], user_id: UUID | None) -> None:
    """One row when a block begins, none for what it then refuses: nobody fills the log."""
    for block in blocks:
        is_users = block.scope not in (Scope.ADDRESS, Scope.GLOBAL)
        await audit.record(
            AuditAction.ACCOUNT_LOCKED if is_users else AuditAction.SUSPICIOUS_ACTIVITY,
            AuditResourceType.USER,
            user_id if is_users else None,
            outcome=FAILURE,
            details={
                "reason": "too_many_attempts",
                "scope": block.scope,
                "failures": block.failures,
                "until": block.until.isoformat(timespec="seconds"),
            },
        )


async def record_wrong_password(
    audit: AuditService, action: AuditAction, user_id: UUID, org_id: UUID | None
) -> None:
    """What was to be done takes the current password, and another one was given."""
    await audit.record(
        action,
        AuditResourceType.USER,
        user_id,
        org_id=org_id,
        outcome=FAILURE,
        details={"reason": "invalid_password"},
    )


async def record_stolen_token(audit: AuditService, user: UserRow, session_id: UUID) -> None:
    """A refresh token was used again, which ends the session."""
    await audit.record(
        AuditAction.SUSPICIOUS_ACTIVITY,
        AuditResourceType.SESSION,
        session_id,
        org_id=user.org_id,
        outcome=FAILURE,
        details={
            "reason": "refresh_token_reused",
            "user_id": str(user.user_id),
            "username": user.username,
        },
    )


async def record_logout(
    audit: AuditService, actor: Actor, session_id: UUID, org_id: UUID | None
) -> None:
    """Somebody has ended a session of their own."""
    await audit.record(
        AuditAction.LOGOUT, AuditResourceType.SESSION, session_id, actor=actor, org_id=org_id
    )
