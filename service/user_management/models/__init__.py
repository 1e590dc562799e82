"""The tables of a user database, as AutoBot names them, and the two that sessions need."""

from user_management.models.api_key import APIKey
from user_management.models.audit import AuditAction, AuditLog, AuditResourceType
from user_management.models.base import Base, UtcDateTime
from user_management.models.mfa import MFAMethod, UserMFA
from user_management.models.organization import Organization
from user_management.models.role import Permission, Role, RolePermission, UserRole
from user_management.models.sso import SSOProvider, UserSSOLink
from user_management.models.team import Team, TeamMembership, TeamRole
from user_management.models.user import AuthSession, User, UserCredential

__all__ = [
    "APIKey",
    "AuditAction",
    "AuditLog",
    "AuditResourceType",
    "AuthSession",
    "Base",
    "MFAMethod",
    "Organization",
    "Permission",
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
