"""Importing users: the rule applied to a source, chunk by chunk.

A chunk is read, judged and written in one transaction, so an import that was interrupted goes on
when it is repeated: what is there already is found unchanged.
"""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import Database
from user_management.models import AuditAction, AuditResourceType
from user_management.population import Population
from user_management.services import AuditService, RequestContext
from user_management.transfer.candidates import Candidate, DeletedRow, InvalidRow, Membership, Row
from user_management.transfer.lines import LineCount
from user_management.transfer.matching import Decision, Known, Seen, Verdict, decide
from user_management.transfer.reference_data import Outcome, ReferenceData, ReferenceDataImporter
from user_management.transfer.sources import Source
from user_management.transfer.target_database import Event, NewUser, Quota, RoleKey, TargetDatabase

CHUNK: Final = 10_000  # rows
TURN: Final = 100  # rows that are read in one go
# Whoever has a role that does not exist here gets this one.
DEFAULT_ROLE: Final = "user"

_DELETED_THERE: Final = "It is deleted in the source."
_TAKEN: Final = "Somebody took the name meanwhile. Import again."
_NO_ORGANIZATION: Final = "org_id: There is no such organization here."


@dataclass(slots=True)
class Summary:
    """How many of what became what, the lines of the file that they add up to, and the
    organizations with more users than they may have.
    """

    lines: LineCount | None = None
    counts: Counter[tuple[AuditResourceType, Verdict]] = field(default_factory=Counter)
    over_quota: list[Quota] = field(default_factory=list)

    def of(self, resource: AuditResourceType) -> dict[str, int]:
        """The counts of one kind of thing, by verdict."""
        return {verdict: self.counts[resource, verdict] for verdict in Verdict}

    @property
    def is_complete(self) -> bool:
        """Whether no row was left out."""
        return not any(
            count and verdict in (Verdict.SKIPPED, Verdict.INVALID)
            for (_, verdict), count in self.counts.items()
        )


class Importer:
    """Imports a source into a database, or finds out what that would do."""

    def __init__(
        self, database: Database, context: RequestContext, source: Source, *, apply: bool
    ) -> None:
        self.summary = Summary(source.lines)
        self._database = database
        self._context = context
        self._source = source
        self._apply = apply
        self._reference_data = ReferenceData()
        self._seen = Seen()
        # New users of each organization.
        self._new: Counter[UUID] = Counter()

    async def run(self) -> AsyncIterator[Outcome]:
        """Import; what became of each thing. `summary` is complete afterwards.

        Raises SourceError, DatabaseUnavailable; what was written until then stays.
        """
        async for outcome in self._outcomes():
            self.summary.counts[outcome.resource, outcome.verdict] += outcome.rows
            yield outcome
        async with self._database.session() as session:
            self.summary.over_quota = await self._over_quota(TargetDatabase(session, self._context))
            if self._apply:
                await AuditService(session, self._context).record(
                    AuditAction.USER_CREATED,
                    AuditResourceType.USER,
                    None,
                    details={
                        "import": self._source.kind,
                        "counts": self.summary.of(AuditResourceType.USER),
                    },
                )

    async def _outcomes(self) -> AsyncIterator[Outcome]:
        async with self._database.session() as session:
            self._reference_data = await ReferenceDataImporter(
                session, self._context, self._source, apply=self._apply
            ).run()
        for outcome in self._reference_data.outcomes:
            yield outcome
        chunks = _Ahead(self._source.rows)
        try:
            while rows := await chunks.next():
                async with self._database.session() as session:
                    outcomes = await self._import(session, rows)
                for outcome in outcomes:
                    yield outcome
        finally:
            await chunks.close()

    async def _import(self, session: AsyncSession, rows: list[Row]) -> list[Outcome]:
        """One chunk, in one transaction."""
        target = TargetDatabase(session, self._context)
        candidates = [row for row in rows if isinstance(row, Candidate)]
        known = await target.find(candidates, self._source.kind)
        items = [_Item(row, self._judge(row, known)) for row in rows]
        await self._prepare(target, items)
        await self._choose_memberships(target, items)
        if self._apply:
            await self._write(target, items)
        self._new.update(
            item.user.org_id for item in items if item.user is not None and item.user.org_id
        )
        return [item.outcome() for item in items]

    def _judge(self, row: Row, known: Known) -> Decision:
        match row:
            case InvalidRow():
                return Decision(Verdict.INVALID, row.reason)
            case DeletedRow():
                return Decision(Verdict.SKIPPED, _DELETED_THERE)
            case Candidate():
                return decide(row, known, self._seen)

    async def _prepare(self, target: TargetDatabase, items: list["_Item"]) -> None:
        """Find the organizations and roles of those who are new."""
        new = [
            (item, item.row)
            for item in items
            if item.decision.verdict is Verdict.CREATED and isinstance(item.row, Candidate)
        ]
        organizations = await self._organizations(
            target, {candidate.org_id for _, candidate in new if candidate.org_id}
        )
        names = {role for _, candidate in new for role in candidate.roles if isinstance(role, str)}
        roles = await target.roles(names | {DEFAULT_ROLE}, organizations.values())
        for item, candidate in new:
            org_id = organizations.get(candidate.org_id) if candidate.org_id else None
            if candidate.org_id and org_id is None:
                item.decision = Decision(Verdict.INVALID, _NO_ORGANIZATION)
                continue
            role_ids, missing = self._roles(candidate, org_id, roles)
            notes = [*candidate.notes, *map(_no_role, missing)]
            item.decision = Decision(Verdict.CREATED, " ".join(notes) or None)
            item.user = NewUser(candidate.id or uuid.uuid4(), org_id, role_ids, candidate)

    async def _organizations(self, target: TargetDatabase, wanted: set[UUID]) -> dict[UUID, UUID]:
        """Ids in the source → ids here."""
        if self._database.population is Population.SLM:
            # It is in the other database. The limit to it holds, whether it is there or not.
            return {org_id: org_id for org_id in wanted}
        others = await target.organizations(wanted - self._reference_data.organizations.keys())
        return self._reference_data.organizations | {org_id: org_id for org_id in others}

    def _roles(
        self, candidate: Candidate, org_id: UUID | None, roles: Mapping[RoleKey, UUID]
    ) -> tuple[tuple[UUID, ...], list[str]]:
        """The ids here of a new user's roles, and the names of those that do not exist."""
        found, missing = [], []
        for role in candidate.roles:
            if isinstance(role, UUID):
                role_id = self._reference_data.roles.get(role)
            else:
                # An organization's own role comes before the one of that name for all.
                role_id = roles.get((org_id, role)) or roles.get((None, role))
            if role_id is None:
                missing.append(str(role))
                role_id = roles[None, DEFAULT_ROLE]
            found.append(role_id)
        return tuple(dict.fromkeys(found)), missing

    async def _choose_memberships(self, target: TargetDatabase, items: list["_Item"]) -> None:
        """Of teams, as far as the users are no members yet."""
        with_teams = [
            (item, user_id, item.row.memberships)
            for item in items
            if isinstance(item.row, Candidate)
            and item.row.memberships
            and (user_id := item.user_id) is not None
        ]
        if not with_teams:
            return
        existing = await target.memberships(user_id for _, user_id, _ in with_teams)
        for item, user_id, memberships in with_teams:
            for membership in memberships:
                team_id = self._reference_data.teams.get(membership.team_id)
                if team_id is not None and (team_id, user_id) not in existing:
                    item.joining.append(replace(membership, team_id=team_id))
            if item.joining and item.decision.verdict is Verdict.UNCHANGED:
                item.decision = replace(item.decision, verdict=Verdict.MERGED)

    async def _write(self, target: TargetDatabase, items: list["_Item"]) -> None:
        await self._fill(target, [item for item in items if item.decision.fill])
        # After the rows of others: from here on, who writes an unusual name waits for this chunk.
        await self._create(target, [item for item in items if item.user is not None])
        joining = [
            (user_id, membership)
            for item in items
            for membership in item.joining
            if (user_id := item.user_id) is not None
        ]
        if imported := [each for item in items if (each := item.imported) is not None]:
            await target.note(imported, self._source.kind)
        if joining:
            await target.join_teams(joining)
            await target.record(
                AuditAction.TEAM_MEMBER_ADDED,
                AuditResourceType.TEAM,
                [
                    Event(
                        membership.team_id,
                        {
                            "user_id": str(user_id),
                            "role": membership.role,
                            "import": self._source.kind,
                        },
                    )
                    for user_id, membership in joining
                ],
            )

    async def _create(self, target: TargetDatabase, items: list["_Item"]) -> None:
        new = [item.user for item in items if item.user is not None]
        if not new:
            return
        created = await target.create(new)
        for item in items:
            if item.user is not None and item.user.id not in created:
                item.decision, item.user = Decision(Verdict.SKIPPED, _TAKEN), None
                item.joining.clear()
        await target.record(
            AuditAction.USER_CREATED,
            AuditResourceType.USER,
            [self._creation(user) for user in new if user.id in created],
        )

    def _creation(self, user: NewUser) -> Event:
        return Event(
            user.id,
            {
                "username": user.candidate.username,
                "email": user.candidate.email,
                "is_platform_admin": user.candidate.is_platform_admin,
                "role_ids": [str(role_id) for role_id in user.role_ids],
                "import": self._source.kind,
            },
            user.org_id,
        )

    async def _fill(self, target: TargetDatabase, items: list["_Item"]) -> None:
        filled = [
            (item.decision.existing.id, item.row, item.decision.fill)
            for item in items
            if item.decision.existing is not None and isinstance(item.row, Candidate)
        ]
        if not filled:
            return
        await target.fill(filled)
        await target.record(
            AuditAction.USER_UPDATED,
            AuditResourceType.USER,
            [
                Event(user_id, {"filled": fill, "import": self._source.kind})
                for user_id, _, fill in filled
            ],
        )

    async def _over_quota(self, target: TargetDatabase) -> list[Quota]:
        """Those of the organizations with new users that are, or would be, too full."""
        quotas = await target.quotas(self._new)
        if not self._apply:
            new = {
                org_id: Quota(slug, limit, 0)
                for org_id, (slug, limit) in self._reference_data.limits.items()
                if limit >= 0
            }
            quotas = {
                org_id: replace(quota, users=quota.users + self._new[org_id])
                for org_id, quota in (new | quotas).items()
            }
        return [quota for quota in quotas.values() if quota.users > quota.limit]


@dataclass(slots=True)
class _Item:
    """A row on its way: what is decided about it, and what is to be written."""

    row: Row
    decision: Decision
    user: NewUser | None = None
    joining: list[Membership] = field(default_factory=list)

    @property
    def user_id(self) -> UUID | None:
        """The user that the row is or becomes."""
        if self.user is not None:
            return self.user.id
        return self.decision.existing.id if self.decision.existing is not None else None

    @property
    def imported(self) -> tuple[str, UUID] | None:
        """The key of the row in its source, and the user that it is, or was."""
        user_id = self.user_id or self.decision.deleted
        if not isinstance(self.row, Candidate) or self.row.key is None or user_id is None:
            return None
        return self.row.key, user_id

    def outcome(self) -> Outcome:
        said = self.decision.reason or self._merged_what()
        remarks = self.row.remarks if isinstance(self.row, Candidate) else ()
        return Outcome(
            AuditResourceType.USER,
            self.row.place,
            self.row.username,
            self.decision.verdict,
            " ".join([*([said] if said else []), *remarks]) or None,
            self.row.rows if isinstance(self.row, InvalidRow) else 1,
        )

    def _merged_what(self) -> str | None:
        if self.decision.verdict is not Verdict.MERGED:
            return None
        what = [*self.decision.fill, *(["team memberships"] if self.joining else [])]
        return f"Filled: {', '.join(what)}."


def _no_role(name: str) -> str:
    return f"There is no role {name!a} here: it has the role {DEFAULT_ROLE} instead."


class _Ahead:
    """The rows of a source in chunks; the next one is read while the last one is written."""

    def __init__(self, rows: AsyncIterator[Row]) -> None:
        self._rows = rows
        self._coming = asyncio.create_task(self._read())

    async def next(self) -> list[Row]:
        """The next chunk, empty when there is none. Raises SourceError."""
        chunk = await self._coming
        self._coming = asyncio.create_task(self._read())
        return chunk

    async def close(self) -> None:
        """Stop reading."""
        self._coming.cancel()
        await asyncio.gather(self._coming, return_exceptions=True)

    async def _read(self) -> list[Row]:
        chunk: list[Row] = []
        while len(chunk) < CHUNK and (row := await anext(self._rows, None)) is not None:
            chunk.append(row)
            if len(chunk) % TURN == 0:
                # A file is always ready: let the database's answers be heard.
                await asyncio.sleep(0)
        return chunk
