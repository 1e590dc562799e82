"""Users of either population."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from user_management.models import Role, User
from user_management.names import shown_address
from user_management.schemas.fields import (
    AvatarUrl,
    Email,
    LongText,
    NewPassword,
    Password,
    Preferences,
    Text,
    Username,
)

# More roles than there can be sense in.
ROLES_LENGTH = 100


def _either_admin(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    properties["is_platform_admin"] = dict(properties["is_admin"])
    schema["not"] = {"required": ["is_admin", "is_platform_admin"]}


IsAdmin = Annotated[bool, Field(validation_alias=AliasChoices("is_admin", "is_platform_admin"))]


OrganizationOfUser = Annotated[
    UUID | None,
    Field(
        strict=False,
        description="The user's organization; of a fleet administrator the one organization of "
        "application users that they are limited to.",
    ),
]


class UserCreate(BaseModel):
    """A new user. Without a password nobody can log in as this user."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_either_admin)

    username: Username
    email: Email
    password: NewPassword | None = None
    display_name: Text | None = None
    is_admin: IsAdmin = False
    must_change_password: Annotated[
        bool, Field(description="Whether the password serves only to choose another one.")
    ] = False
    org_id: OrganizationOfUser = None
    role_ids: Annotated[
        list[Annotated[UUID, Field(strict=False)]],
        Field(max_length=ROLES_LENGTH),
    ] = []


class UserUpdate(BaseModel):
    """The fields to change; those that are not given stay as they are."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_either_admin)

    email: Email = Field(default_factory=str)
    username: Username = Field(default_factory=str)
    display_name: Text | None = None
    bio: LongText | None = None
    avatar_url: AvatarUrl | None = None
    preferences: Preferences = Field(default_factory=dict)
    is_active: bool = Field(default_factory=bool)
    is_admin: IsAdmin = Field(default_factory=bool)
    org_id: OrganizationOfUser = None
    current_password: Annotated[
        Password | None,
        Field(description="The caller's own, to change their own user name or e-mail address."),
    ] = None

    def given(self) -> dict[str, Any]:
        """The fields that the caller sent, with their new values."""
        return self.model_dump(exclude_unset=True, exclude={"current_password"})


# Plain dataclasses: a page is made of hundreds of them, from rows that need no validation.
@dataclass(slots=True)
class RoleResponse:
    """A role that a user has."""

    id: UUID
    name: str
    description: str | None
    is_system: bool

    @classmethod
    def of(cls, role: Role) -> Self:
        """Shape a role for the wire."""
        return cls(*_role_values(role))


@dataclass(slots=True)
class UserResponse:
    """A user. The e-mail address is plain text: stored ones may predate today's rule."""

    id: UUID
    email: str
    username: str
    display_name: str | None
    bio: str | None
    avatar_url: str | None
    org_id: UUID | None
    is_active: bool
    is_verified: bool
    mfa_enabled: bool
    is_platform_admin: bool
    preferences: dict[str, Any]
    roles: list[RoleResponse]
    last_login_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> Self:
        """Shape the values of the fields in their order, of each role too, for the wire."""
        shown = cls(*row)
        shown.email = shown_address(shown.email)
        shown.roles = [RoleResponse(*role) for role in row[_ROLES]]
        return shown

    @classmethod
    def of(cls, user: User) -> Self:
        """Shape a user whose roles are loaded for the wire."""
        row = list(_user_values(user))
        row[_ROLES] = map(_role_values, user.roles)
        return cls.of_row(row)


USER_FIELDS: Final = tuple(each.name for each in fields(UserResponse))
ROLE_FIELDS: Final = tuple(each.name for each in fields(RoleResponse))
_ROLES: Final = USER_FIELDS.index("roles")
_user_values: Final = attrgetter(*USER_FIELDS)
_role_values: Final = attrgetter(*ROLE_FIELDS)


class UserListResponse(BaseModel):
    """One page of users.

    `total` is null unless asked for, exact up to 10 000 and estimated above. `next_cursor` is null
    on the last page.
    """

    users: list[UserResponse]
    total: int | None
    next_cursor: str | None
    limit: int
    offset: int
