"""A user as a source has them, checked: what comes from outside becomes a Candidate here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from unicodedata import normalize
from uuid import UUID

from user_management.models import TeamRole
from user_management.names import login_words, without_invisible
from user_management.schemas.fields import AVATAR_URL_PATTERN, TEXT_LENGTH, check_email
from user_management.security.hashing import is_hash
from user_management.transfer.column_readers import READERS, NeverError

# AutoBot makes up this address for whoever has none.
MADE_UP_DOMAIN: Final = "autobot.local"

NO_BCRYPT: Final = (
    "The password cannot be carried over, because its hash is not bcrypt: "
    "an administrator must reset it."
)
NOT_SEEN: Final = "The display name is without the characters that people cannot see."
NO_ADDRESS: Final = "The avatar is left out: it is no http(s) address and no path."

_AVATAR_URL: Final = re.compile(AVATAR_URL_PATTERN)


@dataclass(frozen=True, slots=True)
class Membership:
    """Of a team, by its id in the source."""

    team_id: UUID
    role: TeamRole
    joined_at: datetime | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A user to import. Names are as they are stored, times in UTC; None: the source has no value.

    `earlier_username` is how the name was stored before names that people cannot tell apart were
    one, where that is another form. `place` says where it stands in the source. `roles` are names,
    or ids of the source's roles. `notes` and `remarks` are sentences for the report: about what a
    new user lacks, and about how the row was read, whoever it is.
    """

    place: str
    username: str
    email: str
    earlier_username: str | None = None
    # By which the row is known in a source that is imported again and again.
    key: str | None = None
    # Nobody chose a made-up address: it says nothing about who this is.
    has_made_up_email: bool = False
    id: UUID | None = None
    org_id: UUID | None = None
    password_hash: str | None = None
    display_name: str | None = None
    avatar_url: str | None = None
    bio: str | None = None
    is_active: bool = True
    is_verified: bool = False
    is_platform_admin: bool = False
    preferences: str = "{}"  # JSON
    last_login_at: datetime | None = None
    email_verified_at: datetime | None = None
    created_at: datetime | None = None
    roles: tuple[str | UUID, ...] = ()
    memberships: tuple[Membership, ...] = ()
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InvalidRow:
    """A row that cannot be imported, and why. `username` may hold anything.

    `rows` is how many it stands for: where a quote was not closed nobody knows, and each line
    counts.
    """

    place: str
    username: str
    reason: str
    rows: int = 1


@dataclass(frozen=True, slots=True)
class DeletedRow:
    """A user whom the source has deleted softly."""

    place: str
    username: str


Row = Candidate | InvalidRow | DeletedRow


class InvalidValueError(Exception):
    """A value of a row cannot be used. The message is a sentence for the report."""


def read_row(
    place: str,
    values: Mapping[str, Any],
    *,
    key: str | None = None,
    memberships: tuple[Membership, ...] = (),
    notes: tuple[str, ...] = (),
    remarks: tuple[str, ...] = (),
) -> Candidate | InvalidRow:
    """Check a user of a source.

    `values` are by column, and of whatever type the source has; an absent column has its default.
    """
    try:
        return _candidate(place, values, key, memberships, notes, remarks)
    except InvalidValueError as error:
        return InvalidRow(place, str(values.get("username") or "").strip(), str(error))


def _candidate(
    place: str,
    values: Mapping[str, Any],
    key: str | None,
    memberships: tuple[Membership, ...],
    notes: tuple[str, ...],
    remarks: tuple[str, ...],
) -> Candidate:
    fields, changes = _fields(values)
    typed = fields.get("username")
    if typed is None:
        raise InvalidValueError("username: It is missing.")
    username, *earlier = login_words(typed)
    email = fields.get("email")
    if "@" in username and email not in (None, username):
        raise InvalidValueError(
            "username: One with an @ must be the user's own e-mail address, "
            "because at a login addresses come first."
        )
    password_hash = fields.get("password_hash")
    if password_hash is not None and not is_hash(password_hash):
        password_hash = None
        notes += (NO_BCRYPT,)
    avatar_url = fields.get("avatar_url")
    if avatar_url is not None and not _AVATAR_URL.fullmatch(avatar_url):
        avatar_url = None
        notes += (NO_ADDRESS,)
    display_name = fields.get("display_name") if "display_name" in values else typed
    if display_name is not None:
        seen = without_invisible(display_name)
        if seen != normalize("NFC", display_name):
            notes += (NOT_SEEN,)
        display_name = seen[:TEXT_LENGTH] or None
    return Candidate(
        place=place,
        username=username,
        email=email or _make_up_email(username),
        earlier_username=earlier[0] if earlier else None,
        key=key,
        has_made_up_email=email is None,
        id=fields.get("id"),
        org_id=fields.get("org_id"),
        password_hash=password_hash,
        display_name=display_name,
        avatar_url=avatar_url,
        bio=fields.get("bio"),
        is_active=fields.get("is_active", True),
        is_verified=fields.get("is_verified", False),
        is_platform_admin=fields.get("is_platform_admin", False),
        preferences=fields.get("preferences", "{}"),
        last_login_at=fields.get("last_login_at"),
        email_verified_at=fields.get("email_verified_at"),
        created_at=fields.get("created_at"),
        roles=fields.get("roles", ()),
        memberships=memberships,
        notes=notes,
        remarks=(*remarks, *changes),
    )


def _fields(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What the values say, and remarks on what is taken otherwise. Raises InvalidValueError."""
    fields: dict[str, Any] = {}
    remarks: list[str] = []
    trimmed: list[str] = []
    for column, value in values.items():
        if value is None:
            continue
        text = value.strip() if isinstance(value, str) else value
        if text != value and isinstance(value, str):
            trimmed.append(column)
        try:
            fields[column] = READERS[column](text)
        except NeverError:
            remarks.append(f"{column}: It is left empty, because {text} stands for never.")
        except (ValueError, OverflowError, RecursionError) as error:
            raise InvalidValueError(f"{column}: {error}") from None
    if trimmed:
        remarks.append(f"Blanks around {', '.join(trimmed)} are left out.")
    return fields, remarks


def _make_up_email(username: str) -> str:
    if "@" not in username:
        return f"{username}@{MADE_UP_DOMAIN}"
    try:
        return check_email(username)
    except ValueError as error:
        raise InvalidValueError(
            f"username: With an @ it must be an e-mail address. {error}"
        ) from None
