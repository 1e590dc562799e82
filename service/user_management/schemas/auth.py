"""Login, the current user, changing the password."""

from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from user_management.models import User
from user_management.schemas.fields import (
    EMAIL_LENGTH,
    TEXT_PATTERN,
    NewPassword,
    Password,
    Username,
)

REFRESH_TOKEN_LENGTH: Final = 200
LEGACY_USERNAME_LENGTH: Final = 64

RefreshToken = Annotated[
    str, Field(min_length=1, max_length=REFRESH_TOKEN_LENGTH, pattern=TEXT_PATTERN)
]


def _either_name(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    properties["username_or_email"] = dict(properties["username"])
    schema["required"] = ["password"]
    schema["oneOf"] = [{"required": ["username"]}, {"required": ["username_or_email"]}]


class LoginRequest(BaseModel):
    """A user name or e-mail address (as `username` or `username_or_email`) and the password."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_either_name)

    username: Annotated[
        str,
        Field(
            validation_alias=AliasChoices("username", "username_or_email"),
            min_length=1,
            max_length=EMAIL_LENGTH,
            pattern=TEXT_PATTERN,
            description="User name or e-mail address, in any case of letters.",
        ),
    ]
    password: Password


class RefreshRequest(BaseModel):
    """The refresh token that the last answer gave."""

    model_config = ConfigDict(extra="forbid", strict=True)

    refresh_token: RefreshToken


class LogoutRequest(BaseModel):
    """The refresh token of the session, or of another one that is to end too."""

    model_config = ConfigDict(extra="forbid", strict=True)

    refresh_token: RefreshToken | None = None


class TokenResponse(BaseModel):
    """An access token, and what replaces it when it expires. Times are in seconds.

    `refresh_token` is null when the session was prolonged by its access token: the refresh token
    that the client has stays good.
    """

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  a scheme
    expires_in: int
    refresh_token: str | None
    refresh_expires_in: int
    session_id: UUID
    must_change_password: bool


class BrowserSessionResponse(BaseModel):
    """A session whose tokens are in cookies. Times are in seconds."""

    session_id: UUID
    must_change_password: bool
    expires_in: int
    refresh_expires_in: int


class LegacyCurrentUserResponse(BaseModel):
    """The fleet administrator who is logged in, as AutoBot's clients know them."""

    username: str
    is_admin: bool


class LegacyUserCreate(BaseModel):
    """A new fleet administrator, as AutoBot's clients send them: without an e-mail address."""

    model_config = ConfigDict(extra="forbid", strict=True)

    username: Annotated[Username, Field(max_length=LEGACY_USERNAME_LENGTH)]
    password: NewPassword
    is_admin: bool = False


class LegacyUserResponse(BaseModel):
    """A fleet administrator, as AutoBot's clients know them."""

    id: str
    username: str
    is_active: bool
    is_admin: bool
    created_at: datetime
    last_login: datetime | None

    @classmethod
    def of(cls, user: User) -> Self:
        """Shape a user for the wire."""
        return cls(
            id=str(user.id),
            username=user.username,
            is_active=user.is_active,
            is_admin=user.is_platform_admin,
            created_at=user.created_at,
            last_login=user.last_login_at,
        )


class CurrentUserResponse(BaseModel):
    """The fleet administrator who is logged in."""

    id: UUID
    username: str
    email: str
    is_admin: bool
    permissions: list[str]
    # The organization of application users that they are limited to.
    org_id: UUID | None
    user_type: Literal["slm_admin"] = "slm_admin"
    must_change_password: bool
    last_login_at: datetime | None


class PasswordConfirmation(BaseModel):
    """The current password, once more."""

    model_config = ConfigDict(extra="forbid", strict=True)

    current_password: Password


class PasswordChange(BaseModel):
    """The current password, once more, and the one that replaces it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    current_password: Password
    new_password: NewPassword
