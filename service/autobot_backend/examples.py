"""Examples for the API's description, by the schemas that they are shown with."""

from collections.abc import Mapping
from typing import Any, Final

_MARTA: Final = "3f0c1f0e-6f5b-4b0e-9f0a-5d1c8f6f2a11"
_SESSION: Final = "e2d4f6a8-0b1c-4d3e-9f5a-6b7c8d9e0f65"
_LAST_LOGIN: Final = "2026-11-23T09:15:42Z"
_PASSWORD: Final = "violet-anchor-77-meadow"  # noqa: S105  an example
_TOKEN: Final = "eyJhbGciOiJFUzI1NiIs….eyJpc3MiOiJodHRwczov….MEUCIQDkq0Hc…"  # noqa: S105  an example
_REFRESH_TOKEN: Final = "q1nF0b2cYx8Zr5tUv3wSe7dKg4hJm6lPo9iNaBzCxDE"  # noqa: S105  an example

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "LoginRequest": {"username": "marta", "password": _PASSWORD},
    "RefreshRequest": {"refresh_token": _REFRESH_TOKEN},
    "LogoutRequest": {"session_id": _SESSION, "refresh_token": _REFRESH_TOKEN},
    "PasswordChange": {"current_password": _PASSWORD, "new_password": "granite-otter-quilt-52"},
    "LoginResponse": {
        "success": True,
        "message": "Login successful",
        "user": {
            "username": "marta",
            "user_id": _MARTA,
            "role": "user",
            "email": "marta@autobot.local",
            "last_login": _LAST_LOGIN,
        },
        "token": _TOKEN,
        "token_type": "bearer",
        "expires_in": 1800,
        "refresh_token": _REFRESH_TOKEN,
        "refresh_expires_in": 3600,
        "session_id": _SESSION,
        "must_change_password": False,
    },
    "RefreshResponse": {
        "success": True,
        "token": _TOKEN,
        "token_type": "bearer",
        "expiresIn": 1800,
        "refresh_token": _REFRESH_TOKEN,
        "refresh_expires_in": 3600,
        "session_id": _SESSION,
        "must_change_password": False,
    },
    "CurrentUserResponse": {
        "user_id": _MARTA,
        "username": "marta",
        "email": "marta@autobot.local",
        "role": "user",
        "permissions": ["chat:use", "files:view"],
        "org_id": None,
        "last_login": _LAST_LOGIN,
        "auth_method": "jwt",
        "authenticated": True,
        "deployment_mode": "multi_company",
    },
    "CheckResponse": {
        "authenticated": True,
        "role": "user",
        "must_change_password": False,
        "auth_enabled": True,
        "deployment_mode": "multi_company",
    },
    "LogoutResponse": {"success": True, "message": "Logged out"},
    "Done": {"success": True, "message": "Password changed"},
}
