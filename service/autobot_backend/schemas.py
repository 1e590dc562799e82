"""What AutoBot's frontend sends and reads."""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from autobot_backend.roles import AutobotRole
from user_management.schemas.auth import RefreshToken

SESSION_ID_LENGTH: Final = 200
# Which of AutoBot's modes this is: users belong to organizations, and everybody logs in.
DeploymentMode = Literal["multi_company"]


class LoggedInUser(BaseModel):
    """Who has logged in."""

    username: str
    user_id: UUID
    role: AutobotRole
    email: str
    last_login: datetime


class LoginResponse(BaseModel):
    """An access token, and what replaces it when it expires. Times are in seconds.

    `session_id` names the session and opens nothing.
    """

    success: Literal[True] = True
    message: str = "Login successful"
    user: LoggedInUser
    token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  a scheme
    expires_in: int
    refresh_token: str
    refresh_expires_in: int
    session_id: UUID
    must_change_password: bool


class RefreshResponse(BaseModel):
    """A new access token. Times are in seconds.

    `refresh_token` is null when the session was prolonged by its access token: the refresh token
    that the client has stays good.
    """

    success: Literal[True] = True
    token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105  a scheme
    expires_in: Annotated[int, Field(serialization_alias="expiresIn")]
    refresh_token: str | None
    refresh_expires_in: int
    session_id: UUID
    must_change_password: bool


class LogoutRequest(BaseModel):
    """The session's refresh token, and the `session_id` of a login; one that is none of the
    caller's does nothing.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    session_id: Annotated[str, Field(max_length=SESSION_ID_LENGTH)] | None = None
    refresh_token: RefreshToken | None = None


class LogoutResponse(BaseModel):
    """Whether the session of a token is over now; without a token of one there was none to end."""

    success: bool
    message: str


class Done(BaseModel):
    """It is done."""

    success: Literal[True] = True
    message: str


class CurrentUserResponse(BaseModel):
    """Who is logged in, as the database has them at this moment."""

    user_id: UUID
    username: str
    email: str
    role: AutobotRole
    permissions: list[str]
    org_id: UUID | None
    last_login: datetime | None
    auth_method: Literal["jwt"] = "jwt"
    authenticated: Literal[True] = True
    deployment_mode: DeploymentMode = "multi_company"


class CheckResponse(BaseModel):
    """Whether somebody is logged in; nobody has no role."""

    authenticated: bool
    role: AutobotRole | None
    must_change_password: bool
    auth_enabled: Literal[True] = True
    deployment_mode: DeploymentMode = "multi_company"
