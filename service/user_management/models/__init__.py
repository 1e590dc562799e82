"""The tables of a user database: AutoBot's, by its names, and those that it lacks."""

from user_management.models.api_key import APIKey
from user_management.models.audit import (
    AuditAction,
    AuditAnchor,
    AuditLog,
    AuditResourceType,
    AuditSeal,
)
from user_management.models.base import Base, UtcDateTime
from user_management.models.imported_row import ImportedRow
from user_management.models.mfa import MFAMethod, UserMFA
from user_management.models.organization import Organization
from user_management.models.request import IdempotencyRecord, RateLimit
from user_management.models.role import Permission, Role, RolePermission
from user_management.models.sso import SSOProvider, UserSSOLink
from user_management.models.team import Team, TeamMembership, TeamRole
from user_management.models.user import (
    AuthSession,
    KnownDevice,
    PasswordHistory,
    RefreshToken,
    User,
    UserCredential,
)
from user_management.models.user_role import UserRole

__all__ = [
    "APIKey",
    "AuditAction",
    "AuditAnchor",
    "AuditLog",
    "AuditResourceType",
    "AuditSeal",
    "AuthSession",
    "Base",
    "IdempotencyRecord",
    "ImportedRow",
    "KnownDevice",
    "MFAMethod",
    "Organization",
    "PasswordHistory",
    "Permission",
    "RateLimit",
    "RefreshToken",
    "Role",
    "RolePermission",
    "SSOProvider",
    "Team",
    "TeamMembership",
    "TeamRole",
    "User",
    "UserCredential",
    "UserMFA",
    "UserRole",
    "UserSSOLink",
    "UtcDateTime",
]
