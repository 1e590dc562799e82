"""The audit log: who did what, from where, and whether it worked."""

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, ForeignKey, Index, String, func
from sqlalchemy.orm import Mapped, mapped_column, relationship

from user_management.models.base import (
    Base,
    JsonSettings,
    Now,
    PrimaryKey,
    Str45,
    Str500,
    UtcDateTime,
)
from user_management.models.organization import Organization
from user_management.models.user import User


class AuditAction(StrEnum):
    """What was done."""

    LOGIN_SUCCESS = "login_success"
    LOGIN_FAILED = "login_failed"
    LOGOUT = "logout"
    PASSWORD_CHANGED = "password_changed"
    PASSWORD_RESET_REQUESTED = "password_reset_requested"
    PASSWORD_RESET_COMPLETED = "password_reset_completed"
    MFA_ENABLED = "mfa_enabled"
    MFA_DISABLED = "mfa_disabled"
    MFA_VERIFIED = "mfa_verified"
    MFA_FAILED = "mfa_failed"
    BACKUP_CODE_USED = "backup_code_used"
    SSO_LOGIN = "sso_login"
    SSO_LINKED = "sso_linked"
    SSO_UNLINKED = "sso_unlinked"
    USER_CREATED = "user_created"
    USER_UPDATED = "user_updated"
    USER_DELETED = "user_deleted"
    USER_ACTIVATED = "user_activated"
    USER_DEACTIVATED = "user_deactivated"
    TEAM_CREATED = "team_created"
    TEAM_UPDATED = "team_updated"
    TEAM_DELETED = "team_deleted"
    TEAM_MEMBER_ADDED = "team_member_added"
    TEAM_MEMBER_REMOVED = "team_member_removed"
    TEAM_MEMBER_ROLE_CHANGED = "team_member_role_changed"
    ORG_CREATED = "org_created"
    ORG_UPDATED = "org_updated"
    ORG_DELETED = "org_deleted"
    ROLE_CREATED = "role_created"
    ROLE_UPDATED = "role_updated"
    ROLE_DELETED = "role_deleted"
    ROLE_ASSIGNED = "role_assigned"
    ROLE_REVOKED = "role_revoked"
    API_KEY_CREATED = "api_key_created"
    API_KEY_REVOKED = "api_key_revoked"
    API_KEY_USED = "api_key_used"
    SETTINGS_UPDATED = "settings_updated"
    ACCOUNT_LOCKED = "account_locked"
    ACCOUNT_UNLOCKED = "account_unlocked"
    SUSPICIOUS_ACTIVITY = "suspicious_activity"
    # Not AutoBot's, which has no word for reading.
    AUDIT_EXPORTED = "audit_exported"
    USERS_EXPORTED = "users_exported"
    # Nor has it one for who proves once more who they are.
    AUTHENTICATION_CONFIRMED = "authentication_confirmed"


class AuditResourceType(StrEnum):
    """What it was done to."""

    USER = "user"
    TEAM = "team"
    ORGANIZATION = "organization"
    ROLE = "role"
    PERMISSION = "permission"
    API_KEY = "api_key"
    SSO_PROVIDER = "sso_provider"
    SESSION = "session"
    SETTINGS = "settings"
    AUDIT_LOG = "audit_log"


class AuditLog(Base):
    """One event. The services can add and read rows, never change or remove them."""

    __tablename__ = "audit_logs"
    __table_args__ = (
        Index("ix_audit_logs_created_at_id", "created_at", "id"),
        Index("idx_audit_org_created", "org_id", "created_at"),
        Index("idx_audit_user_created", "user_id", "created_at"),
        Index("idx_audit_action_created", "action", "created_at"),
    )
    # A role that may only INSERT cannot read anything back.
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012

    id: Mapped[PrimaryKey]
    org_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("organizations.id", ondelete="SET NULL"), index=True
    )
    # The actor, when it lives in this database; else `details` names it.
    user_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("users.id", ondelete="SET NULL"), index=True
    )
    action: Mapped[str] = mapped_column(String(100), index=True)
    resource_type: Mapped[str] = mapped_column(String(100), index=True)
    resource_id: Mapped[uuid.UUID | None]
    outcome: Mapped[str] = mapped_column(String(50), default="success", server_default="success")
    details: Mapped[JsonSettings]
    ip_address: Mapped[Str45 | None]
    user_agent: Mapped[Str500 | None]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, server_default=func.now(), index=True)

    # Also what makes one flush write the user before the row about it.
    organization: Mapped["Organization | None"] = relationship(lazy="raise")
    user: Mapped["User | None"] = relationship(lazy="raise")


class AuditSeal(Base):
    """A link of the chain over the audit log: `hash` covers the row and the hash before it.

    A seal outlives its row, so that a missing row is noticed.
    """

    __tablename__ = "audit_seals"
    __mapper_args__ = {"eager_defaults": False}  # noqa: RUF012

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    audit_id: Mapped[uuid.UUID] = mapped_column(unique=True, index=True)
    hash: Mapped[bytes]
    sealed_at: Mapped[Now]


class AuditAnchor(Base):
    """The head of a population's chain, kept in the database of the *other* population.

    The server lets it move forward only.
    """

    __tablename__ = "audit_anchors"

    population: Mapped[str] = mapped_column(String(20), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes]
    anchored_at: Mapped[Now]
