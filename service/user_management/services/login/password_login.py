"""Login, refresh, who is calling, logout, confirming who one is, changing one's own password.

A refused login gives nothing away. Whatever the reason, it runs the same statements, does the
work of one hash, and raises the same error; the reason stands in the audit log only. What was
tried too often is refused before the hash, for unknown users as for known ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

from sqlalchemy import Row, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.autobot_roles import rank_held
from user_management.database import Database, connection_released
from user_management.errors import (
    HashQueueFull,
    InvalidCredentials,
    NotAuthenticated,
    NotFound,
    PasswordRefused,
    RecentAuthenticationRequired,
    RefreshRefused,
)
from user_management.models import (
    AuditAction,
    AuditResourceType,
    AuthSession,
    Organization,
    RefreshToken,
    User,
    UserCredential,
)
from user_management.names import login_words
from user_management.permissions import ALL_PERMISSIONS
from user_management.policy import Policy
from user_management.population import Population
from user_management.security.hashing import PasswordHasher, normalize_password
from user_management.security.passwords import as_one_time_password, check_new_password
from user_management.security.refresh_tokens import RefreshTokenKeys, began_at, code_of
from user_management.security.tokens import AccessClaims
from user_management.services.audit import FAILURE, AuditService
from user_management.services.context import Actor, Authority, RequestContext, population_of
from user_management.services.limits import (
    Counter,
    LimitService,
    device_counters,
    login_counters,
    refresh_counters,
)
from user_management.services.login.current_password import CurrentPassword, record_blocks
from user_management.services.login.devices import is_known, note_device
from user_management.services.passwords import (
    change_password,
    confirm_session,
    earlier_password_settings,
    is_earlier_password,
    note_login,
    password_matches,
    password_setting,
)
from user_management.services.sessions import (
    SESSION_NOT_FOUND,
    begin_session,
    end_session,
    end_sessions,
    list_sessions,
    prolong_session,
    rotate,
)

_UserRow = Row[*tuple[Any, ...]]

# The row may change while its password is hashed; once is bad luck, twice is an attack.
_LOGIN_ATTEMPTS = 2

# In the audit log: a login by the route of AutoBot's own pages and playbooks.
AUTOBOTS_WAY: Final = "autobot"

# So long after they have proved who they are, people are not asked again.
RECENT: Final = timedelta(minutes=10)
PROLONGED_EVERY: Final = timedelta(minutes=1)

# What decides whether a user may be here. A fleet administrator's organization is one of the other
# database, so nothing is found for it.
_STANDING = (
    User.id.label("user_id"),
    User.username,
    User.email,
    User.org_id,
    User.is_active,
    User.is_platform_admin,
    User.deleted_at,
    UserCredential.must_change_password,
    UserCredential.one_time_expires_at,
    Organization.is_active.label("org_is_active"),
    Organization.deleted_at.label("org_deleted_at"),
)
# A refused login reads as much of a user as there may be to read, and no relationship.
_CANDIDATE = (
    select(*_STANDING)
    .select_from(User)
    .outerjoin(UserCredential, UserCredential.user_id == User.id)
    .outerjoin(Organization, Organization.id == User.org_id)
    .limit(1)
)
_REFRESHING = (
    select(
        *_STANDING,
        AuthSession.id.label("session_id"),
        AuthSession.refresh_secret,
    )
    .join(User, User.id == AuthSession.user_id)
    .outerjoin(UserCredential, UserCredential.user_id == User.id)
    .outerjoin(Organization, Organization.id == User.org_id)
)
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


@dataclass(frozen=True, slots=True)
class Grant:
    """What a login gives, and each refresh. The session ends at `expires_at` unless refreshed.

    Without `refresh_token` the session was prolonged by its access token.
    """

    session_id: UUID
    user_id: UUID
    username: str
    email: str
    org_id: UUID | None
    is_admin: bool
    must_change_password: bool
    granted_at: datetime
    expires_at: datetime
    refresh_token: str | None


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
        or not caller["is_active"]
        or caller["deleted_at"] is not None
        or _is_closed(caller["org_is_active"], caller["org_deleted_at"])
        or _has_expired(caller["must_change_password"], caller["one_time_expires_at"], now)
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


class AuthenticationService:
    """Authenticates the people of the session's database."""

    def __init__(
        self,
        session: AsyncSession,
        context: RequestContext,
        hasher: PasswordHasher,
        refresh_tokens: RefreshTokenKeys,
        policy: Policy,
    ) -> None:
        self.session = session
        self._context = context
        self._hasher = hasher
        self._refresh_tokens = refresh_tokens
        self._policy = policy
        self._audit = AuditService(session, context)
        self._limits = LimitService(session, policy)
        self._current_password = CurrentPassword(session, context, hasher, policy)

    async def login(
        self, identifier: str, password: str, device: bytes | None = None, way: str | None = None
    ) -> Grant:
        """Begin a session for a user name or e-mail address, in any case.

        `device` is the caller's browser, if it is one; `way` is for the audit log. No connection is
        held while the password is hashed. Raises InvalidCredentials, TooManyAttempts,
        HashQueueFull, DatabaseUnavailable.
        """
        words = login_words(identifier)
        address = self._context.ip_address
        for _ in range(_LOGIN_ATTEMPTS):
            user = await self._candidate(words, device)
            user_id = user.user_id if user else None
            counters = login_counters(words[0], address)
            if user is not None and device is not None and user.device_is_known:
                counters = device_counters(user.user_id, device)
            await self._limits.check(counters, user_id=user_id, address=address)
            if user is not None and user.must_change_password:
                password = as_one_time_password(password)
            setting = await password_setting(self.session, user_id)
            async with connection_released(self.session):
                password_hash = await self._hasher.hash_anew(password, setting)
            # Others may have failed meanwhile: whoever tries many at once learns nothing more.
            has_failed = await self._limits.check(counters, user_id=user_id, address=address)
            matches = await password_matches(self.session, user_id, password_hash)
            now = datetime.now(UTC)
            reason = _refusal(user, setting, matches, now)
            if user is None or setting is None or password_hash is None or reason is not None:
                raise await self._refused(user, reason, counters)
            new_hash = await self._rehash(password, setting)
            # Unless the user is no longer what the password was found good for.
            if await note_login(self.session, user.user_id, password_hash, new_hash, now):
                if has_failed:
                    await self._limits.forgive(counters)
                if device is not None:
                    await note_device(self.session, device, user.user_id)
                return await self._begin(user, now, way)
        raise await self._refused(user, "changed_meanwhile", counters)

    async def refresh(self, token: str) -> Grant:
        """Go on with a session by its refresh token, which is replaced.

        A token that was replaced before, longer ago than GRACE, was stolen or belongs to the
        thief: it ends the session. Raises RefreshRefused, TooManyAttempts.
        """
        now, keys, code = datetime.now(UTC), self._refresh_tokens, code_of(token)
        held = await self._holder(token, is_locked=True)
        if held is None:
            raise await self._refused_token()
        began = began_at(token)
        if _standing(held, now) is not None or held.refresh_secret is None:
            raise RefreshRefused
        # The database says so too, unless somebody has begun an old session anew there.
        if began <= now - self._policy.session_absolute:
            raise RefreshRefused
        expires_at = await prolong_session(self.session, self._policy, held.session_id, now)
        if expires_at is None:
            raise RefreshRefused
        following = await rotate(
            self.session,
            keys,
            held.session_id,
            secret=held.refresh_secret,
            code=code,
            now=now,
        )
        if following is None:
            await self._end_stolen(held)
            raise RefreshRefused
        replacement = keys.sealed(following, began, held.session_id, held.user_id)
        return _grant(held, held.session_id, now, expires_at, replacement)

    async def prolong(self, user: AuthenticatedUser) -> Grant:
        """Go on with the caller's session by its access token. Raises NotAuthenticated."""
        now = datetime.now(UTC)
        expires_at = await prolong_session(self.session, self._policy, user.session_id, now)
        if expires_at is None:
            raise NotAuthenticated("The session has ended. Log in again.")
        return Grant(
            session_id=user.session_id,
            user_id=user.user_id,
            username=user.username,
            email=user.email,
            org_id=user.org_id,
            is_admin=user.is_admin,
            must_change_password=user.must_change_password,
            granted_at=now,
            expires_at=expires_at,
            refresh_token=None,
        )

    async def logout(
        self,
        claims: AccessClaims | None,
        refresh_token: str | None = None,
        also: UUID | None = None,
    ) -> bool:
        """End the sessions that are named: by an access token, also one that has expired, by a
        refresh token, also one that was replaced, and `also` if it is one of the same person.

        Whether one has ended now; they are over in either case. Raises NotAuthenticated, and for
        an unknown refresh token TooManyAttempts too, when none was named.
        """
        owners: dict[UUID, UUID] = {}
        if refresh_token is not None and (held := await self._holder(refresh_token)) is not None:
            owners[held.session_id] = held.user_id
        if claims is not None:
            owners[claims.session_id] = claims.user_id
        if not owners:
            raise NotAuthenticated if refresh_token is None else await self._refused_token()
        if also is not None and also not in owners:
            owners[also] = next(reversed(owners.values()))
        has_ended = False
        # In one order, always: two that name each other do not wait for each other.
        for session_id, user_id in sorted(owners.items()):
            if await end_session(self.session, session_id, AuditAction.LOGOUT, user_id=user_id):
                await self._record_logout_of(user_id, session_id)
                has_ended = True
        return has_ended

    async def sessions(self, user: AuthenticatedUser) -> Sequence[AuthSession]:
        """The caller's sessions that go on, newest first."""
        return await list_sessions(self.session, user.user_id)

    async def end_session(self, user: AuthenticatedUser, session_id: UUID) -> None:
        """End one of the caller's sessions. Raises NotFound."""
        if not await end_session(
            self.session, session_id, AuditAction.LOGOUT, user_id=user.user_id
        ):
            raise NotFound(SESSION_NOT_FOUND)
        await self._record_logout(user.actor, session_id, user.org_id)

    async def end_other_sessions(self, user: AuthenticatedUser) -> None:
        """End all of the caller's sessions but the one that asks for it."""
        ended = await end_sessions(
            self.session, user.user_id, AuditAction.LOGOUT, keep=user.session_id
        )
        await self._audit.record(
            AuditAction.LOGOUT,
            AuditResourceType.USER,
            user.user_id,
            org_id=user.authority.org_id,
            details={"sessions_ended": ended},
        )

    async def change_password(
        self, user: AuthenticatedUser, current_password: str, new_password: str
    ) -> None:
        """Replace the caller's password and end their other sessions; the current one goes on.

        Raises CurrentPasswordWrong, PasswordRefused, TooManyAttempts, HashQueueFull.
        """
        if user.must_change_password:
            current_password = as_one_time_password(current_password)
        remembered = self._policy.password_history
        earlier = await earlier_password_settings(self.session, user.user_id, remembered)
        current = await self._current_password.check(
            user.user_id,
            user.session_id,
            current_password,
            AuditAction.PASSWORD_CHANGED,
            user.org_id,
        )
        if normalize_password(new_password) == normalize_password(current_password):
            raise PasswordRefused("The new password is the current one. Choose another.")
        check_new_password(new_password, context_words=(user.username, user.email))
        async with connection_released(self.session):
            known = [await self._hasher.hash_anew(new_password, each) for each in earlier]
            new_hash = await self._hasher.hash(new_password)
        await self._check_unused(user.user_id, [each for each in known if each is not None])
        # Whoever changed it in the meantime was first: the password given is not the current one.
        if not await change_password(self.session, user.user_id, current, new_hash, remembered):
            raise await self._current_password.refused(
                user.user_id, user.session_id, AuditAction.PASSWORD_CHANGED, user.org_id
            )
        await self._current_password.forgive(user.user_id, user.session_id)
        await confirm_session(self.session, user.session_id, user.user_id, new_hash)
        await self._finish_change(user)

    async def confirm(self, user: AuthenticatedUser, current_password: str) -> None:
        """Take note that the caller has just proved who they are.

        Raises CurrentPasswordWrong, TooManyAttempts, HashQueueFull.
        """
        action = AuditAction.AUTHENTICATION_CONFIRMED
        current = await self._current_password.check(
            user.user_id, user.session_id, current_password, action, user.org_id
        )
        # Whoever changed the password or ended the session in the meantime was first.
        if not await confirm_session(self.session, user.session_id, user.user_id, current):
            raise NotAuthenticated("The session has ended. Log in again.")
        await self._current_password.forgive(user.user_id, user.session_id)
        await self._audit.record(
            action, AuditResourceType.SESSION, user.session_id, org_id=user.org_id
        )

    async def _candidate(self, words: Sequence[str], device: bytes | None) -> _UserRow | None:
        # Names of deleted users are free for others, and not in the indexes. What was typed comes
        # first; then an e-mail address, should one of old be the user name of somebody else.
        typed = words[-1]
        found = await self.session.execute(
            _CANDIDATE.add_columns(is_known(device).label("device_is_known"))
            .where(
                User.deleted_at.is_(None),
                or_(User.username.in_(words), User.email.in_(words)),
            )
            .order_by(and_(User.username != typed, User.email != typed), User.email.not_in(words))
        )
        return found.one_or_none()

    async def _holder(self, token: str, *, is_locked: bool = False) -> _UserRow | None:
        """The session of a refresh token, and its user; None when there is none."""
        keys = self._refresh_tokens
        wanted = _REFRESHING.where(
            AuthSession.id
            == select(RefreshToken.session_id)
            .where(RefreshToken.token_hash.in_(keys.hashes(code_of(token))))
            .scalar_subquery()
        )
        if is_locked:
            wanted = wanted.with_for_update(key_share=True, of=AuthSession)
        held = (await self.session.execute(wanted)).one_or_none()
        if held is None or not keys.is_sealed(token, held.session_id, held.user_id):
            return None
        return held

    async def _rehash(self, password: str, setting: str) -> str | None:
        """A hash at today's cost if the stored one is weaker; if that must wait, next time."""
        if not self._hasher.needs_rehash(setting):
            return None
        async with connection_released(self.session):
            try:
                return await self._hasher.hash(password)
            except HashQueueFull:
                return None

    async def _refused(
        self, user: _UserRow | None, reason: str | None, counters: Sequence[Counter]
    ) -> InvalidCredentials:
        """Count and record a refusal; what to raise. Raises TooManyAttempts itself if a block
        began since the last look.
        """
        user_id = user.user_id if user else None
        blocks, counted = await self._limits.record_failure(counters)
        if not counted:
            await self._limits.check(counters, user_id=user_id, address=self._context.ip_address)
        await self._record_refusal(user, reason)
        await record_blocks(self._audit, blocks, user_id)
        return InvalidCredentials()

    async def _refused_token(self) -> RefreshRefused:
        """Nothing is written once the address is blocked; a token that is known is never refused
        for the sake of others.
        """
        counters = refresh_counters(self._context.ip_address)
        await self._limits.check(counters)
        blocks, _ = await self._limits.record_failure(counters)
        await record_blocks(self._audit, blocks, None)
        return RefreshRefused()

    async def _record_refusal(self, user: _UserRow | None, reason: str | None) -> None:
        """One row without an actor: nobody has proved who they are, and a reference to a user
        would cost the server a look-up that an unknown name does not. The name that was typed is
        not kept: people type passwords there.
        """
        await self._audit.record(
            AuditAction.LOGIN_FAILED,
            AuditResourceType.USER,
            user.user_id if user else None,
            outcome=FAILURE,
            details={"reason": reason, "username": user.username if user else None},
        )

    async def _begin(self, user: _UserRow, now: datetime, way: str | None) -> Grant:
        begun = await begin_session(
            self.session,
            self._context,
            self._policy,
            self._refresh_tokens,
            user_id=user.user_id,
            now=now,
        )
        await self._audit.record(
            AuditAction.LOGIN_SUCCESS,
            AuditResourceType.SESSION,
            begun.id,
            actor=Actor(population_of(self.session), user.user_id, user.username),
            org_id=user.org_id,
            details={} if way is None else {"way": way},
        )
        return _grant(user, begun.id, now, begun.expires_at, begun.refresh_token)

    async def _end_stolen(self, held: _UserRow) -> None:
        await end_session(self.session, held.session_id, AuditAction.SUSPICIOUS_ACTIVITY)
        await self._audit.record(
            AuditAction.SUSPICIOUS_ACTIVITY,
            AuditResourceType.SESSION,
            held.session_id,
            org_id=held.org_id,
            outcome=FAILURE,
            details={
                "reason": "refresh_token_reused",
                "user_id": str(held.user_id),
                "username": held.username,
            },
        )

    async def _record_logout_of(self, user_id: UUID, session_id: UUID) -> None:
        found = await self.session.execute(
            select(User.username, User.org_id).where(User.id == user_id)
        )
        username, org_id = found.one()
        actor = Actor(population_of(self.session), user_id, username)
        await self._record_logout(actor, session_id, org_id)

    async def _record_logout(self, actor: Actor, session_id: UUID, org_id: UUID | None) -> None:
        await self._audit.record(
            AuditAction.LOGOUT,
            AuditResourceType.SESSION,
            session_id,
            actor=actor,
            org_id=org_id,
        )

    async def _check_unused(self, user_id: UUID, known: Sequence[str]) -> None:
        remembered = self._policy.password_history
        if await is_earlier_password(self.session, user_id, remembered, known):
            raise PasswordRefused(
                f"You have used this password before; the last {remembered} cannot be used again. "
                "Choose another."
            )

    async def _finish_change(self, user: AuthenticatedUser) -> None:
        await end_sessions(
            self.session, user.user_id, AuditAction.PASSWORD_CHANGED, keep=user.session_id
        )
        done = [AuditAction.PASSWORD_CHANGED]
        if user.must_change_password:
            done.append(AuditAction.PASSWORD_RESET_COMPLETED)
        for action in done:
            await self._audit.record(
                action, AuditResourceType.USER, user.user_id, org_id=user.authority.org_id
            )


def _grant(
    user: _UserRow, session_id: UUID, now: datetime, expires_at: datetime, refresh_token: str
) -> Grant:
    return Grant(
        session_id=session_id,
        user_id=user.user_id,
        username=user.username,
        email=user.email,
        org_id=user.org_id,
        is_admin=user.is_platform_admin,
        must_change_password=bool(user.must_change_password),
        granted_at=now,
        expires_at=expires_at,
        refresh_token=refresh_token,
    )


def _refusal(
    user: _UserRow | None, setting: str | None, matches: bool, now: datetime
) -> str | None:
    """Why this login is refused, for the audit log; None when it is not."""
    if user is None:
        return "user_not_found"
    if setting is None:
        return "no_password_set"
    if not matches:
        return "invalid_password"
    return _standing(user, now)


def _standing(user: _UserRow, now: datetime) -> str | None:
    """Why a user may not be here, whatever they know; None when they may."""
    if not user.is_active or user.deleted_at is not None:
        return "account_inactive"
    if _is_closed(user.org_is_active, user.org_deleted_at):
        return "organization_inactive"
    if _has_expired(user.must_change_password, user.one_time_expires_at, now):
        return "one_time_password_expired"
    return None


def _is_closed(is_active: bool | None, deleted_at: datetime | None) -> bool:
    """Whether an organization, as far as one was found, keeps its users out."""
    return is_active is False or deleted_at is not None


def _has_expired(
    must_change_password: bool | None, one_time_expires_at: datetime | None, now: datetime
) -> bool:
    """Whether all that a user has is a one-time password that is too old."""
    return bool(
        must_change_password and one_time_expires_at is not None and one_time_expires_at <= now
    )
