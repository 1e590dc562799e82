"""Who is calling, as the database knows them at this moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from user_management.autobot_roles import rank_held
from user_management.database import Database
from user_management.errors import NotAuthenticated, RecentAuthenticationRequired
from user_management.permissions import ALL_PERMISSIONS
from user_management.policy import Policy
from user_management.population import Population
from user_management.services.context import Actor, Authority
from user_management.services.login.account_status import refusal_reason
from user_management.services.sessions import prolong_session

# So long after they have proved who they are, people are not asked again.
RECENT: Final = timedelta(minutes=10)
PROLONGED_EVERY: Final = timedelta(minutes=1)

# One statement for each request: plain SQL, for `Database.fetch_row`.
_CALLER: Final = """
    SELECT s.created_at, s.expires_at, s.ended_at, s.authenticated_at,
        u.username, u.email, u.org_id, u.is_active, u.is_platform_admin, u.deleted_at,
        u.last_login_at, c.must_change_password, c.one_time_expires_at,
        o.is_active AS org_is_active, o.deleted_at AS org_deleted_at,
        ARRAY(
            SELECT p.name
            FROM user_roles ur
            JOIN role_permissions rp ON rp.role_id = ur.role_id
            JOIN permissions p ON p.id = rp.permission_id
            WHERE ur.user_id = u.id
        ) AS permissions,
        ARRAY(
            SELECT CASE WHEN r.org_id IS NULL THEN r.name END
            FROM user_roles ur
            JOIN roles r ON r.id = ur.role_id
            WHERE ur.user_id = u.id
        ) AS roles
    FROM auth_sessions s
    JOIN users u ON u.id = s.user_id
    LEFT JOIN user_credentials c ON c.user_id = u.id
    LEFT JOIN organizations o ON o.id = u.org_id
    WHERE s.id = $1 AND s.user_id = $2
"""


class NamedSession(Protocol):
    """What names a session, and proves nothing: a token that was verified, for instance."""

    @property
    def session_id(self) -> UUID:
        """The session."""

    @property
    def user_id(self) -> UUID:
        """Whose it is."""


@dataclass(frozen=True, slots=True)
class SessionOf:
    """A session by its ids alone, as a sealed cookie or nginx names it."""

    session_id: UUID
    user_id: UUID


@dataclass(frozen=True, slots=True)
class AuthenticatedUser:
    """The caller, as the database knows them at this moment."""

    population: Population
    session_id: UUID
    user_id: UUID
    # The session ends at `expires_at` unless it is refreshed.
    began_at: datetime
    expires_at: datetime
    username: str
    email: str
    authority: Authority
    # The names of the roles that they have, None for each that belongs to an organization.
    roles: Sequence[str | None]
    must_change_password: bool
    last_login_at: datetime | None
    # When they last proved, in this session, who they are; None if it was not in these days.
    authenticated_at: datetime | None

    @property
    def is_admin(self) -> bool:
        """Whether the caller is a platform administrator."""
        return self.authority.is_platform_admin

    @property
    def org_id(self) -> UUID | None:
        """The organization that the caller belongs to."""
        return self.authority.org_id

    @property
    def actor(self) -> Actor:
        """The caller, for the audit log."""
        return Actor(self.population, self.user_id, self.username)

    def check_recently_authenticated(self) -> None:
        """Raise RecentAuthenticationRequired unless the caller has just proved who they are."""
        # A moment that is yet to come proves nothing either, but for clocks that differ.
        if self.authenticated_at is None or abs(datetime.now(UTC) - self.authenticated_at) > RECENT:
            raise RecentAuthenticationRequired


async def authenticate(database: Database, named: NamedSession) -> AuthenticatedUser:
    """The caller behind a session that a verified token names, read in one statement.

    Raises NotAuthenticated when the session, the user or their organization is no more, or the
    one-time password with which the session began has expired; DatabaseUnavailable.
    """
    caller = await database.fetch_row(_CALLER, named.session_id, named.user_id)
    now = datetime.now(UTC)
    if (
        caller is None
        or caller["ended_at"] is not None
        or caller["expires_at"] <= now
        or refusal_reason(caller, now) is not None
    ):
        raise NotAuthenticated("The session has ended. Log in again.")
    is_platform_admin: bool = caller["is_platform_admin"]
    return AuthenticatedUser(
        population=database.population,
        session_id=named.session_id,
        user_id=named.user_id,
        began_at=caller["created_at"],
        expires_at=caller["expires_at"],
        username=caller["username"],
        email=caller["email"],
        authority=Authority(
            ALL_PERMISSIONS if is_platform_admin else frozenset(caller["permissions"]),
            is_platform_admin,
            caller["org_id"],
            rank_held(caller["roles"]),
        ),
        roles=caller["roles"],
        must_change_password=bool(caller["must_change_password"]),
        last_login_at=caller["last_login_at"],
        authenticated_at=caller["authenticated_at"],
    )


async def prolong_in_use(database: Database, policy: Policy, user: AuthenticatedUser) -> None:
    """Move the idle deadline of a session that is used without being refreshed, as AutoBot's pages
    do. Once in PROLONGED_EVERY: not each of the requests of a page writes a row.

    Raises DatabaseUnavailable.
    """
    now = datetime.now(UTC)
    latest = min(now + policy.session_idle, user.began_at + policy.session_absolute)
    if latest - user.expires_at >= PROLONGED_EVERY:
        async with database.session() as session:
            await prolong_session(session, policy, user.session_id, now)
