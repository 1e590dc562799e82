"""Roles of either population, and the permissions that they are made of."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from user_management import models
from user_management.permissions import Permission
from user_management.schemas.fields import NAME_PATTERN, WHOLE, LongText
from user_management.schemas.users import RoleResponse

ROLE_NAME_LENGTH = 100
RoleName = Annotated[str, Field(min_length=1, max_length=ROLE_NAME_LENGTH, pattern=NAME_PATTERN)]


def _may_repeat(schema: dict[str, Any]) -> None:
    """A permission that is named twice is there once; that is no error."""
    del schema["uniqueItems"]


Permissions = Annotated[
    frozenset[Annotated[Permission, Field(strict=False)]],
    Field(
        strict=False,
        description="The names of all permissions that the role has.",
        json_schema_extra=_may_repeat,
    ),
]
Priority = Annotated[
    int, Field(ge=0, le=1000, description="Roles of higher priority are listed first."), WHOLE
]


class RoleCreate(BaseModel):
    """A new role."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: RoleName
    description: LongText | None = None
    priority: Priority = 0
    permissions: Permissions = frozenset()
    org_id: Annotated[
        UUID | None,
        Field(
            strict=False,
            description="The organization of application users that alone has this role; null for "
            "a role of all.",
        ),
    ] = None


class RoleUpdate(BaseModel):
    """The fields to change; those that are not given stay as they are."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: RoleName = Field(default_factory=str)
    description: LongText | None = None
    priority: Priority = Field(default_factory=int)
    permissions: Permissions = frozenset()

    def given(self) -> dict[str, Any]:
        """The fields that the caller sent, with their new values."""
        return self.model_dump(exclude_unset=True)


class RoleAssignment(BaseModel):
    """The role to give to a user."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role_id: Annotated[UUID, Field(strict=False)]


class RoleDetails(BaseModel):
    """A role, what it allows, and how many users have it."""

    id: UUID
    name: str
    description: str | None
    is_system: bool
    org_id: UUID | None
    priority: int
    permissions: list[str]
    user_count: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, role: models.Role, permissions: Sequence[str], user_count: int) -> Self:
        """Shape a role for the wire."""
        return cls(
            id=role.id,
            name=role.name,
            description=role.description,
            is_system=role.is_system,
            org_id=role.org_id,
            priority=role.priority,
            permissions=list(permissions),
            user_count=user_count,
            created_at=role.created_at,
            updated_at=role.updated_at,
        )


class RoleListResponse(BaseModel):
    """One page of roles. `total` is null unless asked for, `next_cursor` on the last page."""

    roles: list[RoleDetails]
    total: int | None
    next_cursor: str | None
    limit: int
    offset: int


class UserRolesResponse(BaseModel):
    """The roles that a user has, those of higher priority first."""

    roles: list[RoleResponse]

    @classmethod
    def of(cls, user: models.User) -> Self:
        """Shape the roles of a user, which are loaded, for the wire."""
        return cls(roles=[RoleResponse.of(role) for role in user.roles])


class PermissionResponse(BaseModel):
    """A right, named `resource:action`."""

    name: str
    description: str | None

    @classmethod
    def of(cls, permission: models.Permission) -> Self:
        """Shape a permission for the wire."""
        return cls(name=permission.name, description=permission.description)


class PermissionListResponse(BaseModel):
    """All permissions that there are, by name."""

    permissions: list[PermissionResponse]
