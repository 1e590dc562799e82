"""The database that users are imported into: whole chunks at once, as arrays.

COPY would be a little faster, but one name that was taken meanwhile would fail the whole chunk.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import AuditAction, AuditResourceType
from user_management.services import RequestContext
from user_management.services.audit import foreign_actor
from user_management.services.context import id_in
from user_management.transfer.candidates import Candidate, Membership
from user_management.transfer.matching import FILLED, Existing, Known

# An organization (None: all of them) and the name of a role.
RoleKey = tuple[UUID | None, str]

# Columns that are written, with their types; those of JSON are sent as text.
_USER: Final = {
    "id": "uuid",
    "org_id": "uuid",
    "username": "text",
    "email": "text",
    "password_hash": "text",
    "display_name": "text",
    "avatar_url": "text",
    "bio": "text",
    "is_active": "boolean",
    "is_verified": "boolean",
    "is_platform_admin": "boolean",
    "preferences": "text",
    "last_login_at": "timestamptz",
    "email_verified_at": "timestamptz",
    "created_at": "timestamptz",
}


def _given(columns: Mapping[str, str]) -> str:
    """Parameters that are arrays, one for each column, as a table `given`."""
    arrays = ", ".join(f"CAST(:{name} AS {kind}[])" for name, kind in columns.items())
    return f"unnest({arrays}) AS given({', '.join(columns)})"


def _value(column: str) -> str:
    match column:
        case "preferences":
            return "CAST(given.preferences AS jsonb)"
        case "created_at":
            return "coalesce(given.created_at, now())"
        case _:
            return f"given.{column}"


def _is_empty(column: str) -> str:
    return "preferences = '{}'" if column == "preferences" else f"{column} IS NULL"


# Joins, because `= ANY(array)` may be planned as a comparison of every row with every element.
_FIND: Final = text(
    f"""
    SELECT id, username, email, deleted_at IS NOT NULL AS is_deleted, array_remove(ARRAY[
        {", ".join(f"CASE WHEN users.{_is_empty(column)} THEN '{column}' END" for column in FILLED)}
    ], NULL) AS empty
    FROM users JOIN (
        SELECT users.id FROM {_given({"id": "uuid"})} JOIN users ON users.id = given.id
        UNION
        SELECT users.id FROM {_given({"username": "text"})}
        JOIN users ON users.username = given.username AND users.deleted_at IS NULL
        UNION
        SELECT users.id FROM {_given({"email": "text"})}
        JOIN users ON users.email = given.email AND users.deleted_at IS NULL
        UNION
        SELECT user_id FROM {_given({"word": "text"})} JOIN taken_words USING (word)
    ) AS same USING (id)
    """  # noqa: S608  names of columns
)
_FIND_DELETED: Final = text(
    f"""
    SELECT given.name, users.id FROM {_given({"name": "text"})}
    JOIN users ON users.username = given.name AND users.deleted_at IS NOT NULL
    UNION
    SELECT given.name, users.id FROM {_given({"name": "text"})}
    JOIN users ON users.email = given.name AND users.deleted_at IS NOT NULL
    """  # noqa: S608
)
_FIND_IMPORTED: Final = text(
    f"""
    SELECT given.key, user_id FROM {_given({"key": "text"})}
    JOIN imported_rows
    ON source = :source AND imported_rows.key = sha256(convert_to(given.key, 'UTF8'))
    """  # noqa: S608
)
_NOTE_IMPORTED: Final = text(
    f"""
    INSERT INTO imported_rows (source, key, user_id)
    SELECT :source, sha256(convert_to(given.key, 'UTF8')), given.user_id
    FROM {_given({"key": "text", "user_id": "uuid"})}
    ON CONFLICT DO NOTHING
    """  # noqa: S608
)
# From here to the end of the transaction, `taken_words` stays as it is.
_HOLD_WORDS: Final = text("SELECT hold_words()")
_CREATE: Final = text(
    f"""
    INSERT INTO users ({", ".join(_USER)}) SELECT {", ".join(map(_value, _USER))}
    FROM {_given(_USER)}
    WHERE NOT EXISTS (
        SELECT FROM taken_words WHERE word IN (given.username, given.email)
    )
    ON CONFLICT DO NOTHING
    RETURNING id
    """  # noqa: S608
)
_FILLABLE: Final = {"id": "uuid", **{column: _USER[column] for column in FILLED}}
_FILL: Final = text(
    f"""
    UPDATE users SET updated_at = now(), {
        ", ".join(
            f"{column} = CASE WHEN users.{_is_empty(column)} AND given.{column} IS NOT NULL"
            f" THEN {_value(column)} ELSE users.{column} END"
            for column in FILLED
        )
    }
    FROM {_given(_FILLABLE)}
    WHERE users.id = given.id
    """  # noqa: S608
)
_GIVE_ROLES: Final = text(
    f"""
    INSERT INTO user_roles (user_id, role_id, assigned_by)
    SELECT *, CAST(:assigned_by AS uuid) FROM {_given({"user_id": "uuid", "role_id": "uuid"})}
    ON CONFLICT DO NOTHING
    """  # noqa: S608
)
_MEMBERSHIP: Final = {
    "team_id": "uuid",
    "user_id": "uuid",
    "role": "text",
    "joined_at": "timestamptz",
}
_JOIN_TEAMS: Final = text(
    f"""
    INSERT INTO team_memberships (team_id, user_id, role, joined_at)
    SELECT team_id, user_id, role, coalesce(joined_at, now()) FROM {_given(_MEMBERSHIP)}
    ON CONFLICT DO NOTHING
    """  # noqa: S608
)
_MEMBERSHIPS: Final = text(
    f"""
    SELECT team_id, user_id FROM {_given({"user_id": "uuid"})} JOIN team_memberships USING (user_id)
    """  # noqa: S608
)
# An organization of a fleet administrator is in the other database.
_AUDIT: Final = text(
    f"""
    INSERT INTO audit_logs (
        org_id, user_id, action, resource_type, resource_id, details, ip_address, user_agent
    )
    SELECT organizations.id, CAST(:user_id AS uuid), :action, :resource_type, given.resource_id,
           CAST(given.details AS jsonb), :ip_address, :user_agent
    FROM {_given({"resource_id": "uuid", "org_id": "uuid", "details": "text"})}
    LEFT JOIN organizations ON organizations.id = given.org_id
    """  # noqa: S608
)
_ORGANIZATIONS: Final = text("SELECT id FROM organizations WHERE id = ANY(CAST(:ids AS uuid[]))")
_ROLES: Final = text(
    """
    SELECT id, org_id, name FROM roles
    WHERE name = ANY(CAST(:names AS text[]))
      AND (org_id IS NULL OR org_id = ANY(CAST(:org_ids AS uuid[])))
    ORDER BY created_at DESC, id DESC
    """
)
_QUOTAS: Final = text(
    """
    SELECT organizations.id, slug, max_users, count(users.id) AS users
    FROM organizations
    LEFT JOIN users ON users.org_id = organizations.id AND users.deleted_at IS NULL
    WHERE organizations.id = ANY(CAST(:ids AS uuid[])) AND max_users >= 0
    GROUP BY organizations.id ORDER BY slug
    """
)


@dataclass(frozen=True, slots=True)
class NewUser:
    """A candidate that is to become a user: under this id, in this organization, in these roles."""

    id: UUID
    org_id: UUID | None
    role_ids: tuple[UUID, ...]
    candidate: Candidate


@dataclass(frozen=True, slots=True)
class Event:
    """What the audit log is told of one thing that was done."""

    resource_id: UUID
    details: Mapping[str, Any]
    org_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Quota:
    """An organization that may have `limit` users and has `users`."""

    slug: str
    limit: int
    users: int


class TargetDatabase:
    """Reads and writes within the session's transaction, on behalf of the context's actor."""

    def __init__(self, session: AsyncSession, context: RequestContext) -> None:
        self._session = session
        self._context = context
        self._actor_id = id_in(session, context.actor)
        self._foreign_actor = foreign_actor(session, context.actor)

    async def find(self, candidates: Sequence[Candidate], source: str) -> Known:
        """The users that candidates may be: by what was imported, id, username or address."""
        imported = await self._imported(candidates, source)
        usernames = [candidate.username for candidate in candidates]
        earlier = [
            candidate.earlier_username
            for candidate in candidates
            if candidate.earlier_username is not None
        ]
        emails = [candidate.email for candidate in candidates]
        ids = [
            *(candidate.id for candidate in candidates if candidate.id is not None),
            *(user_id for user_id in imported.values() if user_id is not None),
        ]
        found = await self._session.execute(
            _FIND,
            {
                "id": ids,
                "username": usernames + earlier,
                "email": emails,
                "word": usernames + emails,
            },
        )
        known = Known.of(
            Existing(row.id, row.username, row.email, row.is_deleted, frozenset(row.empty))
            for row in found
        )
        known.by_key = {
            key: known.by_id.get(user_id) if user_id is not None else None
            for key, user_id in imported.items()
        }
        if free := [
            *(name for name in usernames if name not in known.by_username),
            *(email for email in emails if email not in known.by_email),
        ]:
            deleted = await self._session.execute(_FIND_DELETED, {"name": free})
            known.deleted_names.update((row.name, row.id) for row in deleted)
        return known

    async def _imported(
        self, candidates: Sequence[Candidate], source: str
    ) -> dict[str, UUID | None]:
        """Whose rows were imported before, by their keys, and which user each is or was."""
        keys = [candidate.key for candidate in candidates if candidate.key is not None]
        if not keys:
            return {}
        found = await self._session.execute(_FIND_IMPORTED, {"key": keys, "source": source})
        return {row.key: row.user_id for row in found}

    async def note(self, imported: Sequence[tuple[str, UUID]], source: str) -> None:
        """Remember rows by their keys, and which user each is or was."""
        await self._session.execute(
            _NOTE_IMPORTED,
            {
                "source": source,
                "key": [key for key, _ in imported],
                "user_id": [user_id for _, user_id in imported],
            },
        )

    async def create(self, users: Sequence[NewUser]) -> set[UUID]:
        """Create users with their roles; the ids of those whose name nobody took meanwhile."""
        columns: dict[str, list[Any]] = {
            name: [getattr(user.candidate, name) for user in users] for name in _USER
        }
        columns["id"] = [user.id for user in users]
        columns["org_id"] = [user.org_id for user in users]
        await self._session.execute(_HOLD_WORDS)
        created = set(await self._session.scalars(_CREATE, columns))
        given = [
            (user.id, role_id) for user in users if user.id in created for role_id in user.role_ids
        ]
        if given:
            user_ids, role_ids = zip(*given, strict=True)
            await self._session.execute(
                _GIVE_ROLES,
                {
                    "user_id": list(user_ids),
                    "role_id": list(role_ids),
                    "assigned_by": self._actor_id,
                },
            )
        return created

    async def fill(self, users: Sequence[tuple[UUID, Candidate, tuple[str, ...]]]) -> None:
        """Fill columns of existing users, as far as they are still empty."""
        columns: dict[str, list[Any]] = {
            name: [
                getattr(candidate, name) if name in fill else None for _, candidate, fill in users
            ]
            for name in FILLED
        }
        await self._session.execute(_FILL, {"id": [user_id for user_id, *_ in users], **columns})

    async def memberships(self, user_ids: Iterable[UUID]) -> set[tuple[UUID, UUID]]:
        """Pairs of team and user that there are of these users."""
        found = await self._session.execute(_MEMBERSHIPS, {"user_id": list(user_ids)})
        return {(row.team_id, row.user_id) for row in found}

    async def join_teams(self, joining: Sequence[tuple[UUID, Membership]]) -> None:
        """Make users members of teams, whose ids are those of this database."""
        await self._session.execute(
            _JOIN_TEAMS,
            {
                "team_id": [membership.team_id for _, membership in joining],
                "user_id": [user_id for user_id, _ in joining],
                "role": [membership.role for _, membership in joining],
                "joined_at": [membership.joined_at for _, membership in joining],
            },
        )

    async def record(
        self, action: AuditAction, resource_type: AuditResourceType, events: Sequence[Event]
    ) -> None:
        """Add events to the audit log."""
        await self._session.execute(
            _AUDIT,
            {
                "action": action,
                "resource_type": resource_type,
                "resource_id": [event.resource_id for event in events],
                "org_id": [event.org_id for event in events],
                "details": [
                    json.dumps({**event.details, **self._foreign_actor}) for event in events
                ],
                "user_id": self._actor_id,
                "ip_address": self._context.ip_address,
                "user_agent": self._context.user_agent,
            },
        )

    async def organizations(self, ids: Iterable[UUID]) -> set[UUID]:
        """Those of the ids that are organizations."""
        return set(await self._session.scalars(_ORGANIZATIONS, {"ids": list(ids)}))

    async def roles(self, names: Iterable[str], org_ids: Iterable[UUID]) -> dict[RoleKey, UUID]:
        """Roles of these names."""
        found = await self._session.execute(
            _ROLES, {"names": list(names), "org_ids": list(org_ids)}
        )
        return {(row.org_id, row.name): row.id for row in found}

    async def quotas(self, ids: Iterable[UUID]) -> dict[UUID, Quota]:
        """How full those of the organizations are that have a limit."""
        found = await self._session.execute(_QUOTAS, {"ids": list(ids)})
        return {row.id: Quota(row.slug, row.max_users, row.users) for row in found}
