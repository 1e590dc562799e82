"""Organizations of application users."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from user_management.models import Organization
from user_management.schemas.fields import WHOLE, LongText, Name, Settings, Slug

# PostgreSQL's integer.
_MAX_USERS = 2_147_483_647

SubscriptionTier = Literal["free", "pro", "enterprise"]

MaxUsers = Annotated[
    int,
    Field(ge=-1, le=_MAX_USERS, description="-1: as many as there are."),
    WHOLE,
]


class OrganizationCreate(BaseModel):
    """A new organization."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name
    slug: Annotated[
        Slug | None, Field(description="For addresses; made from the name unless given.")
    ] = None
    description: LongText | None = None
    settings: Settings = {}
    subscription_tier: SubscriptionTier = "free"
    max_users: MaxUsers = -1
    is_active: bool = True


class OrganizationUpdate(BaseModel):
    """The fields to change; those that are not given stay as they are. The slug stays anyway."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(default_factory=str)
    description: LongText | None = None
    settings: Settings = Field(default_factory=dict)
    subscription_tier: SubscriptionTier = Field(default_factory=lambda: "free")
    max_users: MaxUsers = Field(default_factory=int)
    is_active: bool = Field(default_factory=bool)

    def given(self) -> dict[str, Any]:
        """The fields that the caller sent, with their new values."""
        return self.model_dump(exclude_unset=True)


class OrganizationResponse(BaseModel):
    """An organization."""

    id: UUID
    name: str
    slug: str
    description: str | None
    settings: dict[str, Any]
    subscription_tier: str | None
    max_users: int
    is_active: bool
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, organization: Organization) -> Self:
        """Shape an organization for the wire."""
        return cls(
            id=organization.id,
            name=organization.name,
            slug=organization.slug,
            description=organization.description,
            settings=organization.settings,
            subscription_tier=organization.subscription_tier,
            max_users=organization.max_users,
            is_active=organization.is_active,
            created_at=organization.created_at,
            updated_at=organization.updated_at,
        )


class OrganizationListResponse(BaseModel):
    """One page of organizations.

    `total` is null unless asked for, exact up to 10 000 and estimated above. `next_cursor` is null
    on the last page.
    """

    organizations: list[OrganizationResponse]
    total: int | None
    next_cursor: str | None
    limit: int
    offset: int


class UserStatistics(BaseModel):
    """How many users an organization has, and may have."""

    current: int
    max: int | Literal["unlimited"]
    can_add: bool


class TeamStatistics(BaseModel):
    """How many teams an organization has."""

    current: int


class OrganizationStatistics(BaseModel):
    """An organization in figures."""

    organization_id: UUID
    name: str
    slug: str
    subscription_tier: str | None
    users: UserStatistics
    teams: TeamStatistics
    is_active: bool
    created_at: datetime
