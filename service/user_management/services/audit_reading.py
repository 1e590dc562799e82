"""Reading the audit log: newest first, page by page."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ARRAY, ColumnElement, Row, Select, String, any_, literal, null, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import NotFound
from user_management.models import AuditLog, AuditSeal, User
from user_management.schemas.audit import AuditActor
from user_management.security.cursors import Position
from user_management.services.context import population_of
from user_management.services.pages import AnyRow, Page, PageRequest, read_page
from user_management.tenancy import SCOPE

CHUNK: Final = 1_000  # rows

_NO_SEAL: Final = null().label("seq")

SessionFactory = Callable[[], AbstractAsyncContextManager[AsyncSession]]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which events are meant: those that meet all that is given. `until` is not included."""

    actions: list[str] | None = None
    outcome: str | None = None
    actor: UUID | None = None
    resource_type: str | None = None
    resource_id: UUID | None = None
    ip_address: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    # Parts, in any case.
    action_part: str | None = None
    username_part: str | None = None

    def given(self) -> dict[str, Any]:
        """What is asked for, as JSON can hold it."""
        return {
            name: value if isinstance(value, list) else str(value)
            for name, value in asdict(self).items()
            if value is not None
        }


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An event with its actor, and the number of its seal: None until it is sealed, and for who
    is limited to an organization.
    """

    row: AuditLog
    actor: AuditActor | None
    seq: int | None


class AuditReader:
    """Reads the audit log of the session's database."""

    def __init__(self, session: AsyncSession) -> None:
        self.session = session
        self._population = population_of(session)
        # Who is limited to an organization does not see the chain: it is everybody's.
        self._entries = _with_actor() if session.info.get(SCOPE) else _with_seal()

    async def get(self, audit_id: UUID) -> AuditEntry:
        """One event. Raises NotFound."""
        found = await self.session.execute(self._entries.where(AuditLog.id == audit_id))
        row = found.one_or_none()
        if row is None:
            raise NotFound("There is no such event.")
        return self._entry(row)

    async def list(self, wanted: AuditFilter, page: PageRequest) -> Page[AuditEntry]:
        """A page of events, newest first."""
        matching = self._entries.where(*_conditions(wanted))
        found = await read_page(self.session, matching, AuditLog, page)
        return Page([self._entry(row) for row in found.items], found.following, found.total)

    def _entry(self, row: Row[*AnyRow]) -> AuditEntry:
        event: AuditLog = row.AuditLog
        if event.user_id is not None:
            actor = AuditActor(
                population=self._population, user_id=str(event.user_id), username=row.username
            )
            return AuditEntry(event, actor, row.seq)
        return AuditEntry(event, _foreign_actor(event.details), row.seq)


async def read_in_chunks(
    open_session: SessionFactory, wanted: AuditFilter
) -> AsyncIterator[Sequence[AuditEntry]]:
    """All events that are meant, CHUNK at a time; in between no connection is held."""
    after: Position | None = None
    while True:
        async with open_session() as session:
            page = await AuditReader(session).list(wanted, PageRequest(CHUNK, after=after))
        yield page.items
        if page.following is None:
            return
        after = page.following


def _with_actor(seq: Any = _NO_SEAL) -> Select[*AnyRow]:
    return select(AuditLog, User.username, seq).outerjoin(User, User.id == AuditLog.user_id)


def _with_seal() -> Select[*AnyRow]:
    return _with_actor(AuditSeal.seq).outerjoin(AuditSeal, AuditSeal.audit_id == AuditLog.id)


def _foreign_actor(details: Any) -> AuditActor | None:
    """The actor of the other population, as AuditService names them."""
    actor = details.get("actor") if isinstance(details, dict) else None
    if not isinstance(actor, dict):
        return None
    return AuditActor(
        **{
            name: value if isinstance(value := actor.get(name), str) else None
            for name in AuditActor.model_fields
        }
    )


def _conditions(wanted: AuditFilter) -> Iterator[ColumnElement[bool]]:
    foreign = AuditLog.details["actor"]
    if wanted.actions is not None:
        # One statement, however many there are.
        yield AuditLog.action == any_(literal(wanted.actions, ARRAY(String)))
    if wanted.outcome is not None:
        yield AuditLog.outcome == wanted.outcome
    if wanted.actor is not None:
        yield or_(AuditLog.user_id == wanted.actor, foreign["user_id"].astext == str(wanted.actor))
    if wanted.resource_type is not None:
        yield AuditLog.resource_type == wanted.resource_type
    if wanted.resource_id is not None:
        yield AuditLog.resource_id == wanted.resource_id
    if wanted.ip_address is not None:
        yield AuditLog.ip_address == wanted.ip_address
    if wanted.since is not None:
        yield AuditLog.created_at >= wanted.since
    if wanted.until is not None:
        yield AuditLog.created_at < wanted.until
    if wanted.action_part is not None:
        yield AuditLog.action.icontains(wanted.action_part, autoescape=True)
    if wanted.username_part is not None:
        yield or_(
            User.username.icontains(wanted.username_part, autoescape=True),
            foreign["username"].astext.icontains(wanted.username_part, autoescape=True),
        )
