"""What people may do. The names are those of AutoBot; migration 0003 seeds them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """A right, named `resource:action`."""

    USERS_READ = "users:read"
    USERS_CREATE = "users:create"
    USERS_UPDATE = "users:update"
    USERS_DELETE = "users:delete"
    TEAMS_READ = "teams:read"
    TEAMS_CREATE = "teams:create"
    TEAMS_MANAGE = "teams:manage"
    TEAMS_DELETE = "teams:delete"
    KNOWLEDGE_READ = "knowledge:read"
    KNOWLEDGE_WRITE = "knowledge:write"
    KNOWLEDGE_DELETE = "knowledge:delete"
    CHAT_USE = "chat:use"
    CHAT_HISTORY = "chat:history"
    FILES_VIEW = "files:view"
    FILES_UPLOAD = "files:upload"
    FILES_DOWNLOAD = "files:download"
    FILES_DELETE = "files:delete"
    SETTINGS_READ = "settings:read"
    SETTINGS_WRITE = "settings:write"
    ADMIN_ACCESS = "admin:access"
    ADMIN_USERS = "admin:users"
    ADMIN_ORGANIZATION = "admin:organization"
    AUDIT_READ = "audit:read"
    AUDIT_WRITE = "audit:write"


ALL_PERMISSIONS = frozenset(Permission)

_READONLY: Final = frozenset(
    {
        Permission.USERS_READ,
        Permission.TEAMS_READ,
        Permission.KNOWLEDGE_READ,
        Permission.CHAT_HISTORY,
        Permission.FILES_VIEW,
        Permission.FILES_DOWNLOAD,
        Permission.SETTINGS_READ,
    }
)
# The roles that every database has and nobody can change.
SYSTEM_ROLES: Final[Mapping[str, frozenset[Permission]]] = {
    "admin": ALL_PERMISSIONS,
    "user": _READONLY | {Permission.KNOWLEDGE_WRITE, Permission.CHAT_USE, Permission.FILES_UPLOAD},
    "readonly": _READONLY,
}
