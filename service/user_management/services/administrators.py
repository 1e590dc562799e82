"""The first administrator of a population."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import Row, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import connection_released
from user_management.models import AuditAction, AuditResourceType, User, UserCredential
from user_management.schemas.users import UserCreate
from user_management.security.hashing import PasswordHasher
from user_management.security.passwords import generate_one_time_password
from user_management.services.audit import AuditService
from user_management.services.context import RequestContext
from user_management.services.sessions import end_sessions
from user_management.services.users import UserService

# Long enough for a site that is set up on a Friday and first used on Monday.
ONE_TIME_PASSWORD_LIFETIME = timedelta(hours=72)

# Any number, as long as nobody else locks the same one.
_ADVISORY_LOCK = 0x736C6D61646D696E


@dataclass(frozen=True, slots=True)
class FirstAdministrator:
    """What became of the request; only a new one-time password is ever told."""

    outcome: Literal["created", "renewed", "exists"]
    username: str
    password: str | None = None
    expires_at: datetime | None = None


class AdministratorService:
    """Makes sure that the population of the session's database has an administrator."""

    def __init__(
        self, session: AsyncSession, context: RequestContext, hasher: PasswordHasher
    ) -> None:
        self._session = session
        self._context = context
        self._hasher = hasher
        self._audit = AuditService(session, context)

    async def ensure_first(self, new: UserCreate) -> FirstAdministrator:
        """Create an administrator with a one-time password, unless there is one.

        If the only administrator never logged in and their one-time password has expired, they
        get a new one: otherwise nobody could ever enter. Two callers at once wait for each other.
        Raises Duplicate when a user who is no administrator has the name or the address.
        """
        if standing := await self._standing():
            return standing
        password = generate_one_time_password()
        async with connection_released(self._session):
            password_hash = await self._hasher.hash(password)
        await self._session.execute(select(func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
        if standing := await self._standing():
            return standing
        expires_at = datetime.now(UTC) + ONE_TIME_PASSWORD_LIFETIME
        if locked_out := await self._administrators():
            user_id, username = locked_out[0].id, locked_out[0].username
            await end_sessions(self._session, user_id, AuditAction.PASSWORD_RESET_COMPLETED)
            await self._audit.record(
                AuditAction.PASSWORD_RESET_COMPLETED, AuditResourceType.USER, user_id
            )
        else:
            user = await UserService(self._session, self._context, self._hasher).create(
                new.model_copy(update={"is_admin": True, "password": None})
            )
            user_id, username = user.id, user.username
        await self._give(user_id, password_hash, expires_at)
        return FirstAdministrator(
            "renewed" if locked_out else "created", username, password, expires_at
        )

    async def _standing(self) -> FirstAdministrator | None:
        """The administrator that there is, unless it is a single one who cannot enter."""
        administrators = await self._administrators()
        if not administrators or (len(administrators) == 1 and administrators[0].is_locked_out):
            return None
        return FirstAdministrator("exists", administrators[0].username)

    async def _administrators(self) -> Sequence[Row[UUID, str, bool]]:
        """Oldest first."""
        found = await self._session.execute(
            select(
                User.id,
                User.username,
                and_(
                    UserCredential.must_change_password.is_(True),
                    UserCredential.one_time_expires_at.is_not(None),
                    UserCredential.one_time_expires_at <= datetime.now(UTC),
                ).label("is_locked_out"),
            )
            .outerjoin(UserCredential, UserCredential.user_id == User.id)
            .where(User.is_platform_admin, User.is_active, User.deleted_at.is_(None))
            .order_by(User.created_at, User.id)
        )
        return found.all()

    async def _give(self, user_id: UUID, password_hash: str, expires_at: datetime) -> None:
        await self._session.execute(
            update(User).where(User.id == user_id).values(password_hash=password_hash)
        )
        special = {"must_change_password": True, "one_time_expires_at": expires_at}
        await self._session.execute(
            upsert(UserCredential)
            .values(user_id=user_id, **special)
            .on_conflict_do_update(index_elements=[UserCredential.user_id], set_=special)
        )
