"""The rule of an import: what becomes of a candidate, given the users that there are.

A candidate is the user that its row was when it was imported before; else the existing user with
its id; else the one with its username; else the one with its e-mail address. An existing user keeps
what they have: only what is empty there is filled. When username and address belong to two users,
nothing is done. Nobody comes back who was deleted here. Nor is anybody made whose name is another's
address, or cannot be told from another's name.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from uuid import UUID

from user_management.names import login_words
from user_management.transfer.candidates import Candidate

# Of an existing user; never names, rights or whether they are active.
FILLED: Final = (
    "password_hash",
    "display_name",
    "avatar_url",
    "bio",
    "preferences",
    "last_login_at",
    "email_verified_at",
)


class Verdict(StrEnum):
    """What became, or would become, of a row."""

    CREATED = "created"
    MERGED = "merged"
    UNCHANGED = "unchanged"
    SKIPPED = "skipped"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Existing:
    """A user in the database; `empty` are the columns out of FILLED that hold nothing."""

    id: UUID
    username: str
    email: str
    is_deleted: bool
    empty: frozenset[str]


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a candidate, with which existing user, and which columns to fill there.

    `deleted` is the user that it was, who does not come back.
    """

    verdict: Verdict
    reason: str | None = None
    existing: Existing | None = None
    fill: tuple[str, ...] = ()
    deleted: UUID | None = None


@dataclass(slots=True)
class Known:
    """The users that some candidates may be. Deleted ones have given their names back.

    They are found by their names as they would be stored today, too. `by_key` has the rows that
    were imported before; None is a user of whom nothing is left.
    """

    by_key: dict[str, Existing | None] = field(default_factory=dict)

    by_id: dict[UUID, Existing] = field(default_factory=dict)
    by_username: dict[str, Existing] = field(default_factory=dict)
    by_email: dict[str, Existing] = field(default_factory=dict)
    deleted_names: dict[str, UUID] = field(default_factory=dict)

    @classmethod
    def of(cls, users: Iterable[Existing]) -> "Known":
        """Index users by all that they are recognized by."""
        known = cls()
        for user in users:
            known.by_id[user.id] = user
            if user.is_deleted:
                known.deleted_names |= {user.username: user.id, user.email: user.id}
            else:
                known.by_username[user.username] = user
                known.by_email[user.email] = user
        for user in known.by_id.values():
            if not user.is_deleted:
                known.by_username.setdefault(login_words(user.username)[0], user)
                known.by_email.setdefault(login_words(user.email)[0], user)
        return known


class Seen:
    """What the rows so far were, so that no two of them are the same user.

    Kept as hashes of 64 bits, about 60 bytes each: two or three for a row, whatever its length.
    """

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def add(self, kind: str, value: object) -> bool:
        """Remember a value; whether it is new."""
        before = len(self._hashes)
        self._hashes.add(hash((kind, value)))
        return len(self._hashes) > before


def decide(candidate: Candidate, known: Known, seen: Seen) -> Decision:
    """Apply the rule to the next candidate."""
    if repeated := _repeated(candidate, seen):
        return Decision(Verdict.SKIPPED, f"An earlier row has the same {' and '.join(repeated)}.")
    existing = _match(candidate, known)
    if isinstance(existing, Decision):
        return existing
    if existing is None:
        return Decision(Verdict.CREATED)
    if not seen.add("user", existing.id):
        return Decision(
            Verdict.SKIPPED, f"An earlier row is the same existing user, {existing.username}."
        )
    fill = tuple(
        column
        for column in FILLED
        if column in existing.empty and getattr(candidate, column) not in (None, "{}")
    )
    return Decision(Verdict.MERGED if fill else Verdict.UNCHANGED, None, existing, fill)


def _is_named(user: Existing, candidate: Candidate) -> bool:
    """As the candidate is, today or before names that look alike were one."""
    return user.username in (candidate.username, candidate.earlier_username)


def _crossing(candidate: Candidate, known: Known) -> str | None:
    """Whether a new name is somebody's address, or a new address somebody's name."""
    if other := known.by_email.get(candidate.username):
        return f"Its username is the e-mail address of an existing user, {other.username}."
    if other := known.by_username.get(candidate.email):
        return f"Its e-mail address is the username of an existing user, {other.email}."
    return None


def _repeated(candidate: Candidate, seen: Seen) -> list[str]:
    """All values are remembered, so no generator that stops at the first."""
    values = {"username": candidate.username, "e-mail address": candidate.email}
    if candidate.id is not None:
        values["id"] = str(candidate.id)
    return [kind for kind, value in values.items() if not seen.add(kind, value)]


def _match(candidate: Candidate, known: Known) -> Existing | Decision | None:
    """The user that a candidate is, or the decision where it cannot be told or is nobody's now."""
    if candidate.key is not None and candidate.key in known.by_key:
        same = known.by_key[candidate.key]
        return _living(same) if same else _skipped("It was imported, and erased here.")
    if candidate.id is not None and (same := known.by_id.get(candidate.id)):
        return _living(same)
    named = known.by_username.get(candidate.username)
    addressed = known.by_email.get(candidate.email)
    if candidate.has_made_up_email and addressed is not named:
        if named is None and addressed is not None:
            return _skipped(f"The address made up for it, {candidate.email}, is another user's.")
        addressed = None
    if named is not None and addressed is not None and named is not addressed:
        return _skipped(
            f"Its username is that of one existing user, its e-mail address that of another, "
            f"{addressed.username}."
        )
    if named is not None and named is not addressed and not _is_named(named, candidate):
        return _skipped(f"Its username looks like that of an existing user, {named.email}.")
    return named or addressed or _obstacle(candidate, known)


def _obstacle(candidate: Candidate, known: Known) -> Decision | None:
    """What keeps somebody whom nobody is from being created."""
    if taken := _crossing(candidate, known):
        return _skipped(taken)
    for name in (candidate.username, candidate.email):
        if deleted := known.deleted_names.get(name):
            return _skipped("A user of this name or e-mail address was deleted here.", deleted)
    return None


def _living(user: Existing) -> Existing | Decision:
    return _skipped("This user was deleted here.", user.id) if user.is_deleted else user


def _skipped(reason: str, deleted: UUID | None = None) -> Decision:
    return Decision(Verdict.SKIPPED, reason, deleted=deleted)
