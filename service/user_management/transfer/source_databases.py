"""Sources that are PostgreSQL databases of existing installations. They are only read."""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg
from pydantic import SecretStr

from user_management.errors import reason
from user_management.models import Organization, Team, TeamRole
from user_management.moments import able_to_read_any_moment
from user_management.transfer.candidates import DeletedRow, Membership, Row, read_row
from user_management.transfer.lines import SourceError
from user_management.transfer.sources import (
    SLM_QUERY,
    Source,
    SourceKind,
    SourceRole,
    slm_row,
)

CONNECT_TIMEOUT: Final = 10.0  # seconds
_PREFETCH: Final = 1000  # rows
SCHEMES: Final = ("postgresql", "postgresql+asyncpg")

# What an import takes. PostgreSQL has times that Python has not: the driver would break off.
_USABLE: Final = "BETWEEN '1970-01-01 00:00+00' AND now() + interval '1 day'"
_CREATED: Final = f"""
CASE WHEN created_at {_USABLE} THEN created_at END AS created_at,
created_at NOT {_USABLE} AS is_undated
"""
_ORGANIZATIONS: Final = f"""
SELECT id, name, slug, description, settings, subscription_tier, max_users, is_active,
       CASE WHEN deleted_at {_USABLE} THEN deleted_at
            WHEN deleted_at IS NOT NULL THEN now() END AS deleted_at,
       {_CREATED}
FROM organizations ORDER BY created_at, id
"""  # noqa: S608  constants
_ROLES: Final = """
SELECT id, org_id, name, description, priority,
       ARRAY(SELECT permissions.name
             FROM role_permissions JOIN permissions ON permissions.id = permission_id
             WHERE role_id = roles.id) AS permissions
FROM roles ORDER BY created_at, id
"""
_TEAMS: Final = f"""
SELECT id, org_id, name, description, settings, is_default, {_CREATED}
FROM teams WHERE deleted_at IS NULL ORDER BY created_at, id
"""  # noqa: S608
_USERS: Final = f"""
SELECT id, username, email, password_hash, display_name, avatar_url, bio, is_active, is_verified,
       is_platform_admin, mfa_enabled, preferences, org_id,
       CAST(last_login_at AS text) AS last_login_at,
       CAST(email_verified_at AS text) AS email_verified_at,
       CAST(created_at AS text) AS created_at,
       deleted_at IS NOT NULL AS is_deleted,
       ARRAY(SELECT role_id FROM user_roles WHERE user_id = users.id) AS roles,
       ARRAY(SELECT (team_id, role, CASE WHEN joined_at {_USABLE} THEN joined_at END)
             FROM team_memberships WHERE user_id = users.id) AS memberships,
       EXISTS (SELECT FROM team_memberships
               WHERE user_id = users.id AND joined_at NOT {_USABLE}) AS joined_never
FROM users ORDER BY users.created_at, id
"""  # noqa: S608
_TEAM_ROLES: Final = frozenset(TeamRole)
_SECOND_FACTOR_LOST: Final = (
    "The second factor cannot be carried over: the user must set up a new one."
)
_JOINED_NOW: Final = (
    "joined_at: The time of a team membership is before 1970 or in the future: it is now instead."
)

_TLS_HINT: Final = (
    " Its certificate must be of a CA that is trusted here, or of the one in "
    "?sslrootcert=FILE. In a network that you trust, ?sslmode=require does not look at it."
)


@asynccontextmanager
async def source_database(
    kind: SourceKind, url: str, password: SecretStr | None
) -> AsyncIterator[Source]:
    """A source in the PostgreSQL database at `url`, as it is at this moment.

    TLS is verified unless `sslmode` in the URL says otherwise. Raises SourceError.
    """
    try:
        connection = await _connect(url, password)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise SourceError(
            f"The source does not let us in: {reason(error)}."
            + (_TLS_HINT if isinstance(error, ssl.SSLError) else "")
        ) from None
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            if kind is SourceKind.SLM_TABLE:
                yield Source(kind, _slm_rows(connection))
            else:
                yield await _uuid_tables(connection)
    except asyncpg.PostgresError as error:
        raise SourceError(f"The source is not as expected: {reason(error)}.") from None
    finally:
        await connection.close(timeout=CONNECT_TIMEOUT)


async def _connect(url: str, password: SecretStr | None) -> asyncpg.Connection:
    parts = urlsplit(url)
    options = parse_qs(parts.query)
    if parts.password is not None or "password" in options:
        raise SourceError(
            "Everybody on this machine can read a password in an argument. Leave it out of the "
            "URL; it is asked for, or taken from SOURCE_DATABASE_PASSWORD or standard input."
        )
    verified = None
    if "sslmode" not in options:
        verified = ssl.create_default_context(cafile=options.get("sslrootcert", [None])[0])
    connection = await asyncpg.connect(
        parts._replace(scheme="postgresql").geturl(),
        password=password.get_secret_value() if password else None,
        ssl=verified,
        timeout=CONNECT_TIMEOUT,
        server_settings={
            "application_name": "slm import",
            "TimeZone": "UTC",
            "DateStyle": "ISO",
        },
    )
    return await able_to_read_any_moment(connection)


async def _slm_rows(connection: asyncpg.Connection) -> AsyncIterator[Row]:
    async for record in connection.cursor(SLM_QUERY, prefetch=_PREFETCH):
        yield slm_row(record)


async def _uuid_tables(connection: asyncpg.Connection) -> Source:
    organizations = [_read(record) for record in await connection.fetch(_ORGANIZATIONS)]
    teams = [_read(record) for record in await connection.fetch(_TEAMS)]
    undated = [each["id"] for each in (*organizations, *teams) if each.pop("is_undated")]
    return Source(
        SourceKind.UUID_TABLES,
        _uuid_rows(connection),
        organizations=tuple(Organization(**each) for each in organizations),
        roles=tuple(
            SourceRole(**{**record, "permissions": tuple(record["permissions"])})
            for record in await connection.fetch(_ROLES)
        ),
        teams=tuple(Team(**each) for each in teams),
        undated=frozenset(undated),
    )


def _read(record: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose settings, which the driver gives as text, are read."""
    return {**record, "settings": json.loads(record["settings"])}


async def _uuid_rows(connection: asyncpg.Connection) -> AsyncIterator[Row]:
    async for record in connection.cursor(_USERS, prefetch=_PREFETCH):
        values = dict(record)
        place = f"id {values['id']}"
        if values.pop("is_deleted"):
            yield DeletedRow(place, values["username"])
            continue
        memberships = tuple(_membership(*each) for each in values.pop("memberships"))
        notes = (_SECOND_FACTOR_LOST,) if values.pop("mfa_enabled") else ()
        remarks = (_JOINED_NOW,) if values.pop("joined_never") else ()
        yield read_row(
            place,
            values,
            key=str(values["id"]),
            memberships=memberships,
            notes=notes,
            remarks=remarks,
        )


def _membership(team_id: UUID, role: str, joined_at: datetime | None) -> Membership:
    known = TeamRole(role) if role in _TEAM_ROLES else TeamRole.MEMBER
    return Membership(team_id, known, joined_at and joined_at.astimezone(UTC))
