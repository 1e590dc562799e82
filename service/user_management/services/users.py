"""Managing the users of one population."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ClauseElement, ColumnElement, Executable, Select, func, or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.sql.compiler import SQLCompiler

from user_management.database import connection_released
from user_management.errors import Duplicate, InvalidValue, LastAdministrator, NotFound
from user_management.models import AuditAction, AuditResourceType, User
from user_management.schemas.fields import check_email
from user_management.schemas.users import UserCreate, UserUpdate
from user_management.security.hashing import PasswordHasher
from user_management.security.passwords import check_new_password
from user_management.services.audit import AuditService
from user_management.services.context import RequestContext
from user_management.services.sessions import end_sessions

# Counting further than this is slower than anybody needs the figure to be exact.
EXACT_TOTAL = 10_000

_USER_NOT_FOUND = "User not found."
_UNIQUE = {
    "ix_users_username": "username",
    "ix_users_email": "e-mail address",
}
# What the API calls differently from the table.
_COLUMNS = {"is_admin": "is_platform_admin"}


@dataclass(frozen=True, slots=True)
class UserPage:
    """Some users, newest first, and how many there are in all (estimated above EXACT_TOTAL)."""

    users: list[User]
    total: int


class UserService:
    """Creates, reads, changes and softly deletes users of the session's database."""

    def __init__(
        self, session: AsyncSession, context: RequestContext, hasher: PasswordHasher
    ) -> None:
        self._session = session
        self._hasher = hasher
        self._audit = AuditService(session, context)

    async def create(self, new: UserCreate) -> User:
        """Create a user.

        Raises Duplicate, PasswordRefused, HashQueueFull.
        """
        password_hash = None
        if new.password is not None:
            check_new_password(new.password, context_words=(new.username, new.email))
            async with connection_released(self._session):
                password_hash = await self._hasher.hash(new.password)
        user = User(
            username=new.username.lower(),
            email=new.email.lower(),
            password_hash=password_hash,
            display_name=new.display_name or new.username,
            is_platform_admin=new.is_admin,
        )
        set_committed_value(user, "roles", [])
        self._session.add(user)
        await self._flush()
        await self._audit.record(
            AuditAction.USER_CREATED,
            AuditResourceType.USER,
            user.id,
            details={
                "username": user.username,
                "email": user.email,
                "is_platform_admin": user.is_platform_admin,
            },
        )
        return user

    async def get(self, user_id: UUID) -> User:
        """A user with their roles. Raises NotFound, also for a deleted one."""
        return await self._one(_visible().where(User.id == user_id))

    async def list(self, *, limit: int, offset: int, search: str | None) -> UserPage:
        """A page of users whose name, address or display name contains `search`."""
        matching = _visible()
        if search:
            matching = matching.where(_contains(search))
        page = (
            matching.options(selectinload(User.roles))
            .order_by(User.created_at.desc(), User.id)
            .limit(limit)
            .offset(offset)
        )
        users = list(await self._session.scalars(page))
        return UserPage(users, await self._total(matching))

    async def update(self, user_id: UUID, changes: UserUpdate) -> User:
        """Change the fields that are given.

        Raises NotFound, Duplicate, InvalidValue, LastAdministrator. Disabling a user ends their
        sessions.
        """
        given = {_COLUMNS.get(name, name): value for name, value in changes.given().items()}
        user = await self._lock(
            user_id,
            takes_administrator=given.get("is_active") is False
            or given.get("is_platform_admin") is False,
        )
        if "email" in given and given["email"].lower() == user.email.lower():
            del given["email"]
        if "username" in given:
            given["username"] = given["username"].lower()
        if "email" in given:
            try:
                given["email"] = check_email(given["email"])
            except ValueError as error:
                raise InvalidValue("email", str(error)) from None
        changed = {
            name: {"old": getattr(user, name), "new": value}
            for name, value in given.items()
            if getattr(user, name) != value
        }
        for name, change in changed.items():
            setattr(user, name, change["new"])
        await self._flush()
        await self._record_update(user.id, changed)
        if "is_active" in changed and not user.is_active:
            await end_sessions(self._session, user.id, AuditAction.USER_DEACTIVATED)
        return user

    async def delete(self, user_id: UUID) -> None:
        """Delete softly: the row stays for what refers to it, and its names stay taken.

        Raises NotFound, LastAdministrator. Ends the user's sessions.
        """
        user = await self._lock(user_id, takes_administrator=True)
        user.deleted_at = datetime.now(UTC)
        user.is_active = False
        await self._session.flush()
        await end_sessions(self._session, user.id, AuditAction.USER_DELETED)
        await self._audit.record(
            AuditAction.USER_DELETED,
            AuditResourceType.USER,
            user.id,
            details={"username": user.username, "email": user.email},
        )

    async def _one(self, statement: Select[User]) -> User:
        user = await self._session.scalar(statement.options(selectinload(User.roles)))
        if user is None:
            raise NotFound(_USER_NOT_FOUND)
        return user

    async def _lock(self, user_id: UUID, *, takes_administrator: bool) -> User:
        """Read a user for a change. Raises NotFound, and LastAdministrator if the change takes
        the last administrator who can log in away.

        The administrators are locked first and in one order, so that two such changes wait for
        each other and the second sees what the first left.
        """
        administrators: dict[UUID, bool] = {}
        if takes_administrator:
            rows = await self._session.execute(
                select(User.id, User.password_hash.is_not(None))
                .where(User.is_platform_admin, User.is_active, User.deleted_at.is_(None))
                .order_by(User.id)
                .with_for_update(key_share=True)
            )
            administrators = {row[0]: row[1] for row in rows}
        user = await self._one(
            _visible().where(User.id == user_id).with_for_update(key_share=True, of=User)
        )
        if user_id in administrators:
            could_log_in = administrators.pop(user_id)
            if not administrators or (could_log_in and not any(administrators.values())):
                raise LastAdministrator
        return user

    async def _flush(self) -> None:
        try:
            await self._session.flush()
        except IntegrityError as error:
            constraint = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
            if constraint not in _UNIQUE:
                raise
            raise Duplicate(f"This {_UNIQUE[constraint]} is taken.") from None

    async def _record_update(self, user_id: UUID, changed: Mapping[str, Mapping[str, Any]]) -> None:
        """One event for the switch that turns a user on or off, one for all other fields."""
        others = {name: change for name, change in changed.items() if name != "is_active"}
        if "is_active" in changed:
            await self._audit.record(
                AuditAction.USER_ACTIVATED
                if changed["is_active"]["new"]
                else AuditAction.USER_DEACTIVATED,
                AuditResourceType.USER,
                user_id,
                details={"changes": {"is_active": changed["is_active"]}},
            )
        if others:
            await self._audit.record(
                AuditAction.USER_UPDATED,
                AuditResourceType.USER,
                user_id,
                details={"changes": others},
            )

    async def _total(self, matching: Select[User]) -> int:
        counted = await self._session.scalar(
            select(func.count()).select_from(
                matching.with_only_columns(User.id).limit(EXACT_TOTAL + 1).subquery()
            )
        )
        if counted is None or counted <= EXACT_TOTAL:
            return counted or 0
        # The planner's guess may lie below what was counted.
        return max(await self._estimate(matching), counted)

    async def _estimate(self, matching: Select[User]) -> int:
        plan = await self._session.scalar(_Explain(matching.with_only_columns(User.id)))
        return int((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["Plan Rows"])


class _Explain(Executable, ClauseElement):
    """What the planner makes of a statement, as JSON."""

    inherit_cache = False

    def __init__(self, statement: ClauseElement) -> None:
        self.statement = statement


@compiles(_Explain)
def _compile_explain(element: _Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN (FORMAT JSON) {compiler.process(element.statement, **options)}"


def _visible() -> Select[User]:
    return select(User).where(User.deleted_at.is_(None))


def _contains(search: str) -> ColumnElement[bool]:
    """In the form that the trigram index has."""
    part = search.lower()
    return or_(
        func.lower(User.email).contains(part, autoescape=True),
        func.lower(User.username).contains(part, autoescape=True),
        func.lower(User.display_name).contains(part, autoescape=True),
    )
