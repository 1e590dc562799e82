"""What people may do. The names are those of AutoBot; migration 0003 seeds them."""

from enum import StrEnum


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
