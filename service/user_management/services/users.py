"""Managing the users of one population."""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from sqlalchemy import Row, exists, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from user_management.database import connection_released
from user_management.errors import (
    InvalidValue,
    PreconditionFailed,
)
from user_management.models import (
    AuditAction,
    AuditResourceType,
    Role,
    Team,
    TeamMembership,
    User,
    UserCredential,
    UserRole,
)
from user_management.population import Population
from user_management.schemas.users import UserCreate, UserUpdate
from user_management.security.hashing import PasswordHasher
from user_management.security.passwords import (
    ONE_TIME_PASSWORD_LIFETIME,
    as_one_time_password,
    check_new_password,
)
from user_management.services.audit import AuditService
from user_management.services.authorization import check_may_make_administrator
from user_management.services.changes import flush_unique
from user_management.services.context import (
    RequestContext,
    is_oneself,
    population_of,
)
from user_management.services.login.current_password import CurrentPassword
from user_management.services.naming import checked_email, checked_name
from user_management.services.organizations import check_quota
from user_management.services.pages import AnyRow, Page, PageRequest
from user_management.services.role_assignments import add_roles, find_grantable_roles
from user_management.services.sessions import end_sessions
from user_management.services.team_members import TeamMemberService
from user_management.services.team_owners import last_owner, lock_teams_of, orphaned, ownership_of
from user_management.services.user_orders import UserSort
from user_management.services.user_rows import lock_user, one_user, visible_users
from user_management.services.user_search import UserFilter, find_users
from user_management.services.user_updates import checked_values, record_update

# What one logs in with: of oneself it takes the current password to change it.
PROTECTED_BY_PASSWORD: Final = frozenset({"email", "username"})

_TAKEN = {
    "ix_users_username": "This username is taken.",
    "ix_users_email": "This e-mail address is taken.",
    # Names and addresses share one space (migration 0010).
    "taken_words_username": "This username is another user's e-mail address, or looks like a name "
    "that is taken.",
    "taken_words_email": "This e-mail address is another user's username, or looks like an address "
    "that is taken.",
}
# What the API calls differently from the table.
_COLUMNS = {"is_admin": "is_platform_admin"}


class UserService:
    """Creates, reads, changes and softly deletes users of the session's database.

    Without `current_password` nobody changes what they log in with themselves.
    """

    def __init__(
        self,
        session: AsyncSession,
        context: RequestContext,
        hasher: PasswordHasher,
        current_password: CurrentPassword | None = None,
    ) -> None:
        self.session = session
        self._current_password = current_password
        self._authority = context.authority
        self._context = context
        self._hasher = hasher
        self._audit = AuditService(session, context)

    async def create(self, new: UserCreate) -> User:
        """Create a user, in the caller's organization if they are limited to one.

        Raises Duplicate, InvalidValue, PasswordRefused, PermissionDenied, QuotaExceeded,
        HashQueueFull.
        """
        email = checked_email(new.email)
        display_name = checked_name(new.display_name or new.username, field="display_name")
        org_id = self._organization_of(new)
        if new.is_admin:
            check_may_make_administrator(self._authority)
        roles = await find_grantable_roles(self.session, self._authority, new.role_ids, org_id)
        password_hash = None
        if new.password is not None:
            check_new_password(new.password, context_words=(new.username, email))
            # As it is read when somebody types it.
            is_one_time = new.must_change_password
            password = as_one_time_password(new.password) if is_one_time else new.password
            async with connection_released(self.session):
                password_hash = await self._hasher.hash(password)
            # Once more: the connection was given back meanwhile, and a role may be gone.
            roles = await find_grantable_roles(self.session, self._authority, new.role_ids, org_id)
        # Roles are locked before organizations, here and elsewhere.
        if org_id is not None and self._has_organizations:
            await check_quota(self.session, org_id)
        user = User(
            id=uuid4(),
            username=new.username.lower(),
            email=email,
            password_hash=password_hash,
            display_name=display_name,
            is_platform_admin=new.is_admin,
            org_id=org_id,
        )
        if new.must_change_password and password_hash is not None:
            user.credentials = UserCredential(
                must_change_password=True,
                one_time_expires_at=datetime.now(UTC) + ONE_TIME_PASSWORD_LIFETIME,
            )
        self.session.add(user)
        await self._flush()
        add_roles(self.session, self._context.actor, user, roles)
        set_committed_value(user, "roles", list(roles))
        await self._flush()
        await self._audit.record(
            AuditAction.USER_CREATED,
            AuditResourceType.USER,
            user.id,
            org_id=org_id,
            details={
                "username": user.username,
                "email": user.email,
                "is_platform_admin": user.is_platform_admin,
                "org_id": str(org_id) if org_id else None,
                "roles": [role.name for role in roles],
            },
        )
        return user

    async def get(self, user_id: UUID) -> User:
        """A user with their roles. Raises NotFound, also for a deleted one."""
        return await one_user(self.session, visible_users().where(User.id == user_id))

    async def list(
        self, wanted: UserFilter, page: PageRequest, sort: UserSort = UserSort.NEWEST
    ) -> Page[Row[*AnyRow]]:
        """A page of users: rows for UserResponse."""
        return await find_users(self.session, wanted, page, sort)

    async def update(
        self,
        user_id: UUID,
        changes: UserUpdate,
        expected: Collection[datetime] | None = None,
        new_owner: UUID | None = None,
    ) -> User:
        """Change the fields that are given, if the user is still in one of the `expected` versions.

        Disabling or demoting a user ends their sessions. Of the teams that would lose their last
        owner with a user who is disabled, `new_owner` becomes one. Raises NotFound, Duplicate,
        InvalidValue, LastAdministrator, LastOwner, PermissionDenied, PreconditionFailed,
        QuotaExceeded, and of what one logs in with oneself CurrentPasswordWrong, TooManyAttempts,
        HashQueueFull.
        """
        given = {_COLUMNS.get(name, name): value for name, value in changes.given().items()}
        is_proved = await self._prove(user_id, given, changes.current_password)
        disables = given.get("is_active") is False
        teams = await lock_teams_of(self.session, user_id) if disables else frozenset()
        user = await lock_user(
            self.session,
            self._authority,
            user_id,
            expected,
            takes_administrator=disables or given.get("is_platform_admin") is False,
            successor=new_owner if disables else None,
        )
        if disables:
            async with self._owners_kept(user_id, teams, new_owner):
                return await self._change(user, given, is_proved=is_proved)
        return await self._change(user, given, is_proved=is_proved)

    async def _change(self, user: User, given: Mapping[str, Any], *, is_proved: bool) -> User:
        changed = {
            name: {"old": getattr(user, name), "new": value}
            for name, value in checked_values(user, given).items()
            if getattr(user, name) != value
        }
        if changed.keys() & PROTECTED_BY_PASSWORD and not is_proved:
            # Somebody else has given the caller another one, just now.
            raise PreconditionFailed
        if "is_platform_admin" in changed:
            check_may_make_administrator(self._authority)
        if "org_id" in changed:
            await self._check_move(user, given["org_id"])
        for name, change in changed.items():
            setattr(user, name, change["new"])
        await self._flush()
        await record_update(self._audit, user, changed)
        if "is_active" in changed and not user.is_active:
            await end_sessions(self.session, user.id, AuditAction.USER_DEACTIVATED)
        if "is_platform_admin" in changed and not user.is_platform_admin:
            await end_sessions(self.session, user.id, AuditAction.ROLE_REVOKED)
        return user

    async def delete(
        self,
        user_id: UUID,
        expected: Collection[datetime] | None = None,
        new_owner: UUID | None = None,
    ) -> None:
        """Delete softly: the row stays for what refers to it, its names are free again.

        Raises NotFound, InvalidValue, LastAdministrator, LastOwner, PermissionDenied,
        PreconditionFailed. Ends the user's sessions. Of the teams that would lose their last owner,
        `new_owner` becomes one.
        """
        teams = await lock_teams_of(self.session, user_id)
        user = await lock_user(
            self.session,
            self._authority,
            user_id,
            expected,
            takes_administrator=True,
            successor=new_owner,
        )
        async with self._owners_kept(user_id, teams, new_owner):
            user.deleted_at = datetime.now(UTC)
            user.is_active = False
            await self.session.flush()
        await end_sessions(self.session, user.id, AuditAction.USER_DELETED)
        await self._audit.record(
            AuditAction.USER_DELETED,
            AuditResourceType.USER,
            user.id,
            org_id=user.org_id,
            details={"username": user.username, "email": user.email},
        )

    async def _prove(
        self, user_id: UUID, given: Mapping[str, Any], current_password: str | None
    ) -> bool:
        """Whether the user may be given another name and address: of somebody else, and of oneself
        by the current password.

        False when it is oneself, and they stay as they are. Raises InvalidValue,
        CurrentPasswordWrong, TooManyAttempts, HashQueueFull.
        """
        if not is_oneself(self._context.actor, population_of(self.session), user_id):
            return True
        user = await self.get(user_id)
        if all(
            given[name].lower() == getattr(user, name).lower()
            for name in PROTECTED_BY_PASSWORD & given.keys()
        ):
            return False
        session_id = self._context.session_id
        if current_password is None or self._current_password is None or session_id is None:
            raise InvalidValue(
                "current_password",
                "Give your current password to change your own user name or e-mail address.",
            )
        await self._current_password.check(
            user_id, session_id, current_password, AuditAction.USER_UPDATED, user.org_id
        )
        await self._current_password.reset_failures(user_id, session_id)
        return True

    @property
    def _has_organizations(self) -> bool:
        """Fleet administrators are limited to organizations of the other database."""
        return population_of(self.session) is Population.AUTOBOT

    def _organization_of(self, new: UserCreate) -> UUID | None:
        scope = self._authority.scope
        if scope is not None and new.org_id not in (None, scope):
            raise InvalidValue("org_id", "There is no such organization.")
        if new.is_admin and new.org_id is not None and not self._has_organizations:
            raise InvalidValue("org_id", "A platform administrator is not limited to anything.")
        return scope or new.org_id

    async def _check_move(self, user: User, org_id: UUID | None) -> None:
        """Raise InvalidValue unless nothing holds the user in their organization."""
        if self._authority.scope is not None:
            raise InvalidValue("org_id", "You cannot move users to another organization.")
        if not self._has_organizations:
            return
        is_bound = await self.session.scalar(
            select(
                exists().where(
                    TeamMembership.user_id == user.id,
                    TeamMembership.team_id == Team.id,
                    Team.deleted_at.is_(None),
                )
                | exists().where(
                    UserRole.user_id == user.id,
                    UserRole.role_id == Role.id,
                    Role.org_id.is_not(None),
                )
            )
        )
        if is_bound:
            raise InvalidValue(
                "org_id",
                "The user is in teams or has roles of their organization. Take them out first.",
            )
        if org_id is not None:
            await check_quota(self.session, org_id)

    @asynccontextmanager
    async def _owners_kept(
        self, user_id: UUID, teams: frozenset[UUID], new_owner: UUID | None
    ) -> AsyncIterator[None]:
        """What is done meanwhile takes the last owner of no team away, or `new_owner` becomes one.

        The user is locked, and so are the teams that they were in before. Raises LastOwner,
        InvalidValue, PermissionDenied.
        """
        # Those that they have joined since, before they were locked.
        teams |= await lock_teams_of(self.session, user_id)
        before = await ownership_of(self.session, teams)
        yield
        lost = orphaned(before, await ownership_of(self.session, teams))
        if lost and new_owner is not None:
            await TeamMemberService(self.session, self._context).hand_over(lost, new_owner)
        elif lost:
            raise await last_owner(self.session, lost, or_else=", or name the new owner")

    async def _flush(self) -> None:
        await flush_unique(self.session, _TAKEN)
