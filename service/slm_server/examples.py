"""Examples for the API's description: one story, told by every schema.

Marta works at Acme and leads the team Harbour; captain administers the fleet.
"""

from collections.abc import Mapping
from typing import Any, Final

Example = Mapping[str, Any]

_MARTA: Final = "3f0c1f0e-6f5b-4b0e-9f0a-5d1c8f6f2a11"
_CAPTAIN: Final = "8c1b7a52-94c5-4d41-a7a4-0f4f2c6f9b02"
_ACME: Final = "5b9d2c64-1c0a-4c53-8f4b-7d0b9f3f6c21"
_HARBOUR: Final = "c7a3e9d8-2f4e-4f6b-8a55-1e6d7b9c0d43"
_AUDITOR: Final = "9a4f6c1d-7e2b-4b8c-b1f0-3c5d8e7f9a54"
_SESSION: Final = "e2d4f6a8-0b1c-4d3e-9f5a-6b7c8d9e0f65"
_EVENT: Final = "1d2e3f4a-5b6c-4d7e-8f90-a1b2c3d4e5f6"
_CREATED: Final = "2026-11-20T08:30:00Z"
_CHANGED: Final = "2026-11-23T09:15:42.118200Z"
_LATER: Final = "2026-11-23T10:15:42Z"
_PASSWORD: Final = "violet-anchor-77-meadow"  # noqa: S105  an example
_REFRESH_TOKEN: Final = "q1nF0b2cYx8Zr5tUv3wSe7dKg4hJm6lPo9iNaBzCxDE"  # noqa: S105  an example
_AGENT: Final = "Mozilla/5.0 (X11; Linux x86_64)"

_role: Final[Example] = {
    "id": _AUDITOR,
    "name": "auditor",
    "description": "Reads the audit log",
    "is_system": False,
}
_role_details: Final[Example] = {
    **_role,
    "org_id": None,
    "priority": 20,
    "permissions": ["audit:read", "users:read"],
    "user_count": 1,
    "created_at": _CREATED,
    "updated_at": _CHANGED,
}
_user: Final[Example] = {
    "id": _MARTA,
    "email": "marta@autobot.local",
    "username": "marta",
    "display_name": "Marta",
    "bio": None,
    "avatar_url": None,
    "org_id": _ACME,
    "is_active": True,
    "is_verified": False,
    "mfa_enabled": False,
    "is_platform_admin": False,
    "preferences": {"theme": "dark"},
    "roles": [_role],
    "last_login_at": _CHANGED,
    "created_at": _CREATED,
    "updated_at": _CHANGED,
}
_organization: Final[Example] = {
    "id": _ACME,
    "name": "Acme Works",
    "slug": "acme-works",
    "description": None,
    "settings": {},
    "subscription_tier": "pro",
    "max_users": 50,
    "is_active": True,
    "created_at": _CREATED,
    "updated_at": _CHANGED,
}
_team: Final[Example] = {
    "id": _HARBOUR,
    "org_id": _ACME,
    "organization_id": _ACME,
    "name": "Harbour",
    "description": "Those at the quay",
    "settings": {},
    "is_default": False,
    "member_count": 1,
    "created_at": _CREATED,
    "updated_at": _CHANGED,
}
_member: Final[Example] = {
    "user_id": _MARTA,
    "username": "marta",
    "email": "marta@autobot.local",
    "display_name": "Marta",
    "role": "owner",
    "joined_at": _CREATED,
}
_session: Final[Example] = {
    "id": _SESSION,
    "created_at": _CREATED,
    "refreshed_at": _CHANGED,
    "expires_at": _LATER,
    "ip_address": "203.0.113.7",
    "user_agent": _AGENT,
    "is_current": True,
}
_event: Final[Example] = {
    "id": _EVENT,
    "created_at": _CHANGED,
    "action": "user_updated",
    "outcome": "success",
    "actor": {"population": "slm", "user_id": _CAPTAIN, "username": "captain"},
    "resource_type": "user",
    "resource_id": _MARTA,
    "org_id": _ACME,
    "ip_address": "203.0.113.7",
    "user_agent": _AGENT,
    "details": {"changes": {"display_name": {"old": "marta", "new": "Marta"}}},
    "seq": 1042,
}
_permission: Final[Example] = {"name": "audit:read", "description": "Read the audit log"}
_one_page: Final[Example] = {"total": None, "next_cursor": None, "limit": 100, "offset": 0}

EXAMPLES: Final[Mapping[str, Example]] = {
    "LoginRequest": {"username": "captain", "password": _PASSWORD},
    "RefreshRequest": {"refresh_token": _REFRESH_TOKEN},
    "LogoutRequest": {"refresh_token": _REFRESH_TOKEN},
    "PasswordConfirmation": {"current_password": _PASSWORD},
    "PasswordChange": {"current_password": _PASSWORD, "new_password": "granite-otter-quilt-52"},
    "UserCreate": {
        "username": "marta",
        "email": "marta@autobot.local",
        "password": _PASSWORD,
        "must_change_password": True,
    },
    "UserUpdate": {"display_name": "Marta", "is_active": True},
    "LegacyUserCreate": {"username": "marta", "password": _PASSWORD, "is_admin": False},
    "RoleCreate": {"name": "auditor", "permissions": ["audit:read", "users:read"]},
    "RoleUpdate": {"description": "Reads the audit log"},
    "RoleAssignment": {"role_id": _AUDITOR},
    "OrganizationCreate": {"name": "Acme Works", "max_users": 50},
    "OrganizationUpdate": {"max_users": 80},
    "TeamCreate": {"name": "Harbour", "organization_id": _ACME},
    "TeamUpdate": {"description": "Those at the quay"},
    "MemberAdd": {"user_id": _MARTA, "role": "member"},
    "MemberRoleUpdate": {"role": "owner"},
    "MembersUpdate": {"add": [{"user_id": _MARTA, "role": "member"}], "remove": [_CAPTAIN]},
    "TokenResponse": {
        "access_token": "eyJhbGciOiJFUzI1NiIs….eyJpc3MiOiJodHRwczov….MEUCIQDkq0Hc…",
        "token_type": "bearer",
        "expires_in": 1800,
        "refresh_token": _REFRESH_TOKEN,
        "refresh_expires_in": 3600,
        "session_id": _SESSION,
        "must_change_password": False,
    },
    "BrowserSessionResponse": {
        "session_id": _SESSION,
        "must_change_password": False,
        "expires_in": 1800,
        "refresh_expires_in": 3600,
    },
    "CurrentUserResponse": {
        "id": _CAPTAIN,
        "username": "captain",
        "email": "captain@autobot.local",
        "is_admin": False,
        "permissions": ["audit:read", "users:read"],
        "org_id": None,
        "user_type": "slm_admin",
        "must_change_password": False,
        "last_login_at": _CHANGED,
    },
    "LegacyCurrentUserResponse": {
        "username": "captain",
        "is_admin": True,
        "user_type": "slm_admin",
    },
    "LegacyUserResponse": {
        "id": _MARTA,
        "username": "marta",
        "is_active": True,
        "is_admin": False,
        "created_at": _CREATED,
        "last_login": None,
    },
    "OneTimePasswordResponse": {
        "one_time_password": "znmk-8f64-p2tq-hx7c-w9ra-5vgu-kd3e",
        "expires_at": "2026-11-26T09:15:42Z",
    },
    "SessionListResponse": {"sessions": [_session]},
    "LockResponse": {"locked_until": "2026-01-31T12:00:30Z", "failures": 5},
    "UserResponse": _user,
    "UserListResponse": {"users": [_user], **_one_page},
    "RoleDetails": _role_details,
    "RoleListResponse": {"roles": [_role_details], **_one_page},
    "UserRolesResponse": {"roles": [_role]},
    "PermissionListResponse": {"permissions": [_permission]},
    "OrganizationResponse": _organization,
    "OrganizationListResponse": {"organizations": [_organization], **_one_page},
    "OrganizationStatistics": {
        "organization_id": _ACME,
        "name": "Acme Works",
        "slug": "acme-works",
        "subscription_tier": "pro",
        "users": {"current": 12, "max": 50, "can_add": True},
        "teams": {"current": 3},
        "is_active": True,
        "created_at": _CREATED,
    },
    "TeamResponse": _team,
    "TeamListResponse": {"teams": [_team], **_one_page},
    "TeamsOfUserResponse": {
        "teams": [{**_team, "role": "owner", "joined_at": _CREATED}],
        **_one_page,
    },
    "MemberResponse": _member,
    "MemberAddedResponse": {"message": "Member added successfully", "member": _member},
    "MemberListResponse": {"members": [_member], **_one_page},
    "AuditLogResponse": _event,
    "AuditLogListResponse": {"logs": [_event], "next_cursor": None, "limit": 100},
    "Problem": {
        "type": "/problems/duplicate",
        "title": "The value is taken",
        "status": 409,
        "detail": "This username is taken.",
        "code": "duplicate",
    },
}
