"""Login, the current user, changing the password."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from user_management.schemas.fields import EMAIL_LENGTH, TEXT_PATTERN, NewPassword, Password


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


class TokenResponse(BaseModel):
    """An access token; `expires_in` is in seconds."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  a scheme
    expires_in: int
    must_change_password: bool


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


class PasswordChange(BaseModel):
    """The current password, once more, and the one that replaces it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    current_password: Password
    new_password: NewPassword
