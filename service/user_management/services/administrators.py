"""The first administrator of a population."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import connection_released
from user_management.models import AuditAction, AuditResourceType, User, UserCredential
from user_management.schemas.users import UserCreate
from user_management.security.hashing import PasswordHasher
from user_management.security.passwords import (
    ONE_TIME_PASSWORD_LIFETIME,
    check_new_password,
    generate_one_time_password,
)
from user_management.services.audit import AuditService
from user_management.services.context import RequestContext
from user_management.services.locks import TableLock, lock_exclusive
from user_management.services.one_time_passwords import give_one_time_password
from user_management.services.sessions import end_sessions
from user_management.services.users import UserService


class AdministratorState(StrEnum):
    """Whether somebody can administrate a population."""

    MISSING = "missing"
    UNUSED = "unused"  # a single one, who has not replaced the one-time password yet
    EXPIRED = "expired"  # the same, and the one-time password is no longer valid
    ESTABLISHED = "established"


@dataclass(frozen=True, slots=True)
class AdministratorStatus:
    """The state of a population, and its oldest administrator."""

    state: AdministratorState
    username: str | None


@dataclass(frozen=True, slots=True)
class FirstAdministrator:
    """What became of the request; a one-time password is told by whoever made it."""

    outcome: Literal["created", "renewed", "exists"]
    username: str
    password: str | None = None
    expires_at: datetime | None = None


class AdministratorService:
    """Makes sure that the population of the session's database has an administrator."""

    def __init__(
        self, session: AsyncSession, context: RequestContext, hasher: PasswordHasher
    ) -> None:
        self.session = session
        self._context = context
        self._hasher = hasher
        self._audit = AuditService(session, context)

    async def status(self) -> AdministratorStatus:
        """Whether there is an administrator who can enter."""
        administrators = await self._administrators()
        if not administrators:
            return AdministratorStatus(AdministratorState.MISSING, None)
        oldest = administrators[0]
        state = AdministratorState.ESTABLISHED
        if len(administrators) == 1 and oldest.one_time:
            expired = oldest.expires_at is not None and oldest.expires_at <= datetime.now(UTC)
            state = AdministratorState.EXPIRED if expired else AdministratorState.UNUSED
        return AdministratorStatus(state, oldest.username)

    async def ensure_first(
        self, new: UserCreate, one_time_password: str | None = None
    ) -> FirstAdministrator:
        """Create an administrator with a one-time password, unless there is one.

        If the only administrator never logged in and their one-time password has expired, they
        get a new one: otherwise nobody could ever enter. A caller who gives `one_time_password`
        has kept it already; it also replaces one that was never used, so that a caller who was
        interrupted can do it again. Two callers at once wait for each other.
        Raises Duplicate when a user who is no administrator has the name or the address,
        PasswordRefused when the given password is not fit.
        """
        given = one_time_password is not None
        if one_time_password is not None:
            check_new_password(one_time_password, context_words=(new.username, new.email))
        if standing := await self._standing(given):
            return standing
        password = one_time_password or generate_one_time_password()
        async with connection_released(self.session):
            password_hash = await self._hasher.hash(password)
        await lock_exclusive(self.session, TableLock.FIRST_ADMINISTRATOR)
        if standing := await self._standing(given):
            return standing
        expires_at = datetime.now(UTC) + ONE_TIME_PASSWORD_LIFETIME
        if shut_out := await self._administrators():
            user_id, username = shut_out[0].id, shut_out[0].username
            await self._audit.record(
                AuditAction.PASSWORD_RESET_REQUESTED, AuditResourceType.USER, user_id
            )
        else:
            user = await UserService(self.session, self._context, self._hasher).create(
                new.model_copy(update={"is_admin": True, "password": None})
            )
            user_id, username = user.id, user.username
        await give_one_time_password(self.session, user_id, password_hash, expires_at)
        # After the new password: until then the old one could still begin a session.
        await end_sessions(self.session, user_id, AuditAction.PASSWORD_RESET_REQUESTED)
        return FirstAdministrator(
            "renewed" if shut_out else "created",
            username,
            None if given else password,
            expires_at,
        )

    async def _standing(self, one_time_password_given: bool) -> FirstAdministrator | None:
        """The administrator that there is, unless nothing is lost by giving them a new password."""
        status = await self.status()
        replaceable = {AdministratorState.MISSING, AdministratorState.EXPIRED}
        if one_time_password_given:
            replaceable.add(AdministratorState.UNUSED)
        if status.state in replaceable or status.username is None:
            return None
        return FirstAdministrator("exists", status.username)

    async def _administrators(self) -> Sequence[Row[UUID, str, bool, datetime | None]]:
        """Oldest first."""
        found = await self.session.execute(
            select(
                User.id,
                User.username,
                func.coalesce(UserCredential.must_change_password, False).label("one_time"),
                UserCredential.one_time_expires_at.label("expires_at"),
            )
            .outerjoin(UserCredential, UserCredential.user_id == User.id)
            .where(User.is_platform_admin, User.is_active, User.deleted_at.is_(None))
            .order_by(User.created_at, User.id)
        )
        return found.all()
