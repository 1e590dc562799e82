"""Login, who is calling, logout, and changing one's own password.

A refused login gives nothing away. Whatever the reason, it runs the same statements, does the
work of one hash, and raises the same error; the reason stands in the audit log only.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Row, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import Database, connection_released
from user_management.errors import (
    CurrentPasswordWrong,
    HashQueueFull,
    InvalidCredentials,
    NotAuthenticated,
    PasswordRefused,
)
from user_management.models import (
    AuditAction,
    AuditResourceType,
    AuthSession,
    User,
    UserCredential,
)
from user_management.permissions import ALL_PERMISSIONS
from user_management.population import Population
from user_management.security.hashing import PasswordHasher
from user_management.security.passwords import check_new_password
from user_management.security.tokens import AccessClaims
from user_management.services.audit import FAILURE, AuditService
from user_management.services.context import Actor, Authority, RequestContext, population_of
from user_management.services.sessions import end_session, end_sessions

_UserRow = Row[*tuple[Any, ...]]

# The row may change while its password is hashed; once is bad luck, twice is an attack.
_LOGIN_ATTEMPTS = 2

# A refused login reads as much of a user as there may be to read, and no relationship.
_CANDIDATE = (
    select(
        User.id,
        User.username,
        User.password_hash,
        User.is_active,
        User.is_platform_admin,
        User.deleted_at,
        UserCredential.must_change_password,
        UserCredential.one_time_expires_at,
    )
    .outerjoin(UserCredential, UserCredential.user_id == User.id)
    .limit(1)
)
# One statement for each request: plain SQL, for `Database.fetch_row`.
_CALLER: Final = """
    SELECT s.expires_at, s.ended_at,
        u.username, u.email, u.org_id, u.is_active, u.is_platform_admin, u.deleted_at,
        u.last_login_at, c.must_change_password, c.one_time_expires_at,
        ARRAY(
            SELECT p.name
            FROM user_roles ur
            JOIN role_permissions rp ON rp.role_id = ur.role_id
            JOIN permissions p ON p.id = rp.permission_id
            WHERE ur.user_id = u.id
        ) AS permissions
    FROM auth_sessions s
    JOIN users u ON u.id = s.user_id
    LEFT JOIN user_credentials c ON c.user_id = u.id
    WHERE s.id = $1 AND s.user_id = $2
"""


@dataclass(frozen=True, slots=True)
class Login:
    """A session that has just begun."""

    session_id: UUID
    user_id: UUID
    username: str
    is_admin: bool
    must_change_password: bool
    started_at: datetime


@dataclass(frozen=True, slots=True)
class AuthenticatedUser:
    """The caller, as the database knows them at this moment."""

    population: Population
    session_id: UUID
    user_id: UUID
    username: str
    email: str
    authority: Authority
    must_change_password: bool
    last_login_at: datetime | None

    @property
    def actor(self) -> Actor:
        """The caller, for the audit log."""
        return Actor(self.population, self.user_id, self.username)


async def authenticate(database: Database, claims: AccessClaims) -> AuthenticatedUser:
    """The caller behind a verified token, read in one statement.

    Raises NotAuthenticated when the session or the user is no more, or the one-time password
    with which the session began has expired; DatabaseUnavailable.
    """
    caller = await database.fetch_row(_CALLER, claims.session_id, claims.user_id)
    now = datetime.now(UTC)
    if (
        caller is None
        or caller["ended_at"] is not None
        or caller["expires_at"] <= now
        or not caller["is_active"]
        or caller["deleted_at"] is not None
        or _has_expired(caller["must_change_password"], caller["one_time_expires_at"], now)
    ):
        raise NotAuthenticated("The session has ended. Log in again.")
    is_platform_admin: bool = caller["is_platform_admin"]
    return AuthenticatedUser(
        population=database.population,
        session_id=claims.session_id,
        user_id=claims.user_id,
        username=caller["username"],
        email=caller["email"],
        authority=Authority(
            ALL_PERMISSIONS if is_platform_admin else frozenset(caller["permissions"]),
            is_platform_admin,
            caller["org_id"],
        ),
        must_change_password=bool(caller["must_change_password"]),
        last_login_at=caller["last_login_at"],
    )


class AuthenticationService:
    """Authenticates the people of the session's database."""

    def __init__(
        self, session: AsyncSession, context: RequestContext, hasher: PasswordHasher
    ) -> None:
        self._session = session
        self._context = context
        self._hasher = hasher
        self._audit = AuditService(session, context)

    async def login(self, identifier: str, password: str, lifetime: timedelta) -> Login:
        """Begin a session of `lifetime` for a user name or e-mail address, in any case.

        No connection is held while the password is hashed. Raises InvalidCredentials,
        HashQueueFull, DatabaseUnavailable.
        """
        for _ in range(_LOGIN_ATTEMPTS):
            user = await self._candidate(identifier.strip().lower())
            async with connection_released(self._session):
                matches = await self._hasher.verify(password, user.password_hash if user else None)
                new_hash = await self._rehash(password, user) if matches and user else None
            now = datetime.now(UTC)
            reason = _refusal(user, matches, now)
            if user is None or reason is not None:
                await self._record_refusal(user, reason)
                raise InvalidCredentials
            if await self._is_unchanged(user, new_hash, now):
                return await self._begin(user, now, lifetime)
        await self._record_refusal(user, "changed_meanwhile")
        raise InvalidCredentials

    async def logout(self, user: AuthenticatedUser) -> None:
        """End the caller's session."""
        await end_session(self._session, user.session_id, AuditAction.LOGOUT)
        await self._audit.record(AuditAction.LOGOUT, AuditResourceType.SESSION, user.session_id)

    async def change_password(
        self, user: AuthenticatedUser, current_password: str, new_password: str
    ) -> None:
        """Replace the caller's password and end their other sessions; the current one goes on.

        Raises CurrentPasswordWrong, PasswordRefused, HashQueueFull.
        """
        stored = await self._session.scalar(
            select(User.password_hash).where(User.id == user.user_id)
        )
        async with connection_released(self._session):
            matches = await self._hasher.verify(current_password, stored)
            new_hash = None
            if matches:
                if new_password == current_password:
                    raise PasswordRefused("The new password is the current one. Choose another.")
                check_new_password(new_password, context_words=(user.username, user.email))
                new_hash = await self._hasher.hash(new_password)
        # Whoever changed it in the meantime was first: the password given is not the current one.
        if new_hash is None or not await self._replace_hash(user.user_id, stored, new_hash):
            await self._audit.record(
                AuditAction.PASSWORD_CHANGED,
                AuditResourceType.USER,
                user.user_id,
                outcome=FAILURE,
                details={"reason": "invalid_password"},
            )
            raise CurrentPasswordWrong
        changed = {
            "must_change_password": False,
            "one_time_expires_at": None,
            "password_changed_at": datetime.now(UTC),
        }
        await self._session.execute(
            upsert(UserCredential)
            .values(user_id=user.user_id, **changed)
            .on_conflict_do_update(index_elements=[UserCredential.user_id], set_=changed)
        )
        await end_sessions(
            self._session, user.user_id, AuditAction.PASSWORD_CHANGED, keep=user.session_id
        )
        await self._audit.record(AuditAction.PASSWORD_CHANGED, AuditResourceType.USER, user.user_id)

    async def _candidate(self, identifier: str) -> _UserRow | None:
        # An e-mail address comes first, should one be the user name of somebody else.
        found = await self._session.execute(
            _CANDIDATE.where(or_(User.username == identifier, User.email == identifier)).order_by(
                User.username == identifier
            )
        )
        return found.one_or_none()

    async def _rehash(self, password: str, user: _UserRow) -> str | None:
        """A hash at today's cost if the stored one is weaker; if that must wait, next time."""
        if not self._hasher.needs_rehash(user.password_hash):
            return None
        try:
            return await self._hasher.hash(password)
        except HashQueueFull:
            return None

    async def _record_refusal(self, user: _UserRow | None, reason: str | None) -> None:
        """One row without an actor: nobody has proved who they are, and a reference to a user
        would cost the server a look-up that an unknown name does not. The name that was typed is
        not kept: people type passwords there.
        """
        await self._audit.record(
            AuditAction.LOGIN_FAILED,
            AuditResourceType.USER,
            user.id if user else None,
            outcome=FAILURE,
            details={"reason": reason, "username": user.username if user else None},
        )

    async def _is_unchanged(self, user: _UserRow, new_hash: str | None, now: datetime) -> bool:
        """Note the login, unless the user is no longer what the password was verified against."""
        found = await self._session.execute(
            update(User)
            .where(
                User.id == user.id,
                User.password_hash == user.password_hash,
                User.is_active,
                User.deleted_at.is_(None),
            )
            .values(
                last_login_at=now,
                password_hash=new_hash or user.password_hash,
                # A login is no change to the account.
                updated_at=User.updated_at,
            )
            .returning(User.id)
            .execution_options(synchronize_session=False)
        )
        return found.one_or_none() is not None

    async def _begin(self, user: _UserRow, now: datetime, lifetime: timedelta) -> Login:
        session_id = uuid4()
        await self._session.execute(
            insert(AuthSession).values(
                id=session_id,
                user_id=user.id,
                created_at=now,
                expires_at=now + lifetime,
                ip_address=self._context.ip_address,
                user_agent=self._context.user_agent,
            )
        )
        await self._audit.record(
            AuditAction.LOGIN_SUCCESS,
            AuditResourceType.SESSION,
            session_id,
            actor=Actor(population_of(self._session), user.id, user.username),
        )
        return Login(
            session_id=session_id,
            user_id=user.id,
            username=user.username,
            is_admin=user.is_platform_admin,
            must_change_password=bool(user.must_change_password),
            started_at=now,
        )

    async def _replace_hash(self, user_id: UUID, stored: str | None, new_hash: str) -> bool:
        found = await self._session.execute(
            update(User)
            .where(User.id == user_id, User.password_hash == stored)
            .values(password_hash=new_hash)
            .returning(User.id)
            .execution_options(synchronize_session=False)
        )
        return found.one_or_none() is not None


def _refusal(user: _UserRow | None, matches: bool, now: datetime) -> str | None:
    """Why this login is refused, for the audit log; None when it is not."""
    if user is None:
        return "user_not_found"
    if not user.is_active or user.deleted_at is not None:
        return "account_inactive"
    if user.password_hash is None:
        return "no_password_set"
    if not matches:
        return "invalid_password"
    if _has_expired(user.must_change_password, user.one_time_expires_at, now):
        return "one_time_password_expired"
    return None


def _has_expired(
    must_change_password: bool | None, one_time_expires_at: datetime | None, now: datetime
) -> bool:
    """Whether all that a user has is a one-time password that is too old."""
    return bool(
        must_change_password and one_time_expires_at is not None and one_time_expires_at <= now
    )
