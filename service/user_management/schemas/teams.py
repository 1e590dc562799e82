"""Teams of application users, and their members."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from user_management.models import Team, TeamMembership, TeamRole
from user_management.schemas.fields import LongText, Name, Settings, ShownEmail

# A request has the time of a few statements; more members need several requests.
MEMBERS_LENGTH = 100

Identifier = Annotated[UUID, Field(strict=False)]
MemberRole = Annotated[TeamRole, Field(strict=False)]


def _either_organization(schema: dict[str, Any]) -> None:
    properties = schema["properties"]
    properties["org_id"] = dict(properties["organization_id"])
    schema["not"] = {"required": ["organization_id", "org_id"]}


class TeamCreate(BaseModel):
    """A new team."""

    model_config = ConfigDict(extra="forbid", strict=True, json_schema_extra=_either_organization)

    name: Name
    description: LongText | None = None
    settings: Settings = {}
    is_default: bool = False
    organization_id: Annotated[
        UUID | None,
        Field(
            strict=False,
            validation_alias=AliasChoices("organization_id", "org_id"),
            description="Without it: the caller's organization, or the default one.",
        ),
    ] = None
    owner_id: Annotated[
        UUID | None, Field(strict=False, description="A user of the organization.")
    ] = None


class TeamUpdate(BaseModel):
    """The fields to change; those that are not given stay as they are."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(default_factory=str)
    description: LongText | None = None
    settings: Settings = Field(default_factory=dict)
    is_default: bool = Field(default_factory=bool)

    def given(self) -> dict[str, Any]:
        """The fields that the caller sent, with their new values."""
        return self.model_dump(exclude_unset=True)


class TeamResponse(BaseModel):
    """A team. `org_id` and `organization_id` are the same, for clients of either origin."""

    id: UUID
    org_id: UUID
    organization_id: UUID
    name: str
    description: str | None
    settings: dict[str, Any]
    is_default: bool
    member_count: int
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, team: Team, member_count: int) -> Self:
        """Shape a team for the wire."""
        return cls(**_fields(team, member_count))


class TeamListResponse(BaseModel):
    """One page of teams.

    `total` is null unless asked for, exact up to 10 000 and estimated above. `next_cursor` is null
    on the last page.
    """

    teams: list[TeamResponse]
    total: int | None
    next_cursor: str | None
    limit: int
    offset: int


class TeamOfUserResponse(TeamResponse):
    """A team that a user is in, and as what."""

    role: str
    joined_at: datetime

    @classmethod
    def with_membership(cls, team: Team, member_count: int, membership: TeamMembership) -> Self:
        """Shape a team and the user's part in it for the wire."""
        return cls(
            **_fields(team, member_count), role=membership.role, joined_at=membership.joined_at
        )


class TeamsOfUserResponse(BaseModel):
    """One page of the teams that a user is in; the same as a page of teams otherwise."""

    teams: list[TeamOfUserResponse]
    total: int | None
    next_cursor: str | None
    limit: int
    offset: int


class MemberAdd(BaseModel):
    """A user who joins."""

    model_config = ConfigDict(extra="forbid", strict=True)

    user_id: Identifier
    role: MemberRole = TeamRole.MEMBER


class MemberRoleUpdate(BaseModel):
    """What a member becomes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: MemberRole


class MemberChange(MemberRoleUpdate):
    """A member, and what they become."""

    user_id: Identifier


class MembersUpdate(BaseModel):
    """Who joins, who becomes something else, who leaves. No user can stand here twice."""

    model_config = ConfigDict(extra="forbid", strict=True)

    add: Annotated[list[MemberAdd], Field(max_length=MEMBERS_LENGTH)] = []
    change: Annotated[list[MemberChange], Field(max_length=MEMBERS_LENGTH)] = []
    remove: Annotated[list[Identifier], Field(max_length=MEMBERS_LENGTH)] = []

    def named(self) -> Iterator[tuple[str, UUID]]:
        """Each user, and where in the request they stand."""
        for position, each in enumerate(self.add):
            yield f"add/{position}/user_id", each.user_id
        for position, change in enumerate(self.change):
            yield f"change/{position}/user_id", change.user_id
        for position, user_id in enumerate(self.remove):
            yield f"remove/{position}", user_id


class MemberResponse(BaseModel):
    """A user in a team."""

    user_id: UUID
    username: str
    email: ShownEmail
    display_name: str | None
    role: str
    joined_at: datetime

    @classmethod
    def of(cls, member: TeamMembership) -> Self:
        """Shape a membership whose user is loaded for the wire."""
        return cls(
            user_id=member.user_id,
            username=member.user.username,
            email=member.user.email,
            display_name=member.user.display_name,
            role=member.role,
            joined_at=member.joined_at,
        )


class MemberAddedResponse(BaseModel):
    """The new member; the message is what AutoBot's clients show."""

    message: Literal["Member added successfully"] = "Member added successfully"
    member: MemberResponse


class MemberListResponse(BaseModel):
    """One page of a team's members; the last to join come first.

    `total` is null unless asked for, exact up to 10 000 and estimated above. `next_cursor` is null
    on the last page.
    """

    members: list[MemberResponse]
    total: int | None
    next_cursor: str | None
    limit: int
    offset: int


def _fields(team: Team, member_count: int) -> dict[str, Any]:
    return {
        "id": team.id,
        "org_id": team.org_id,
        "organization_id": team.org_id,
        "name": team.name,
        "description": team.description,
        "settings": team.settings,
        "is_default": team.is_default,
        "member_count": member_count,
        "created_at": team.created_at,
        "updated_at": team.updated_at,
    }
