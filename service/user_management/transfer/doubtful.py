"""Users from before today's rule for names: they can log in, and would not be taken today."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.schemas.fields import EMAIL_PATTERN
from user_management.transfer.candidates import MADE_UP_DOMAIN, NOT_SEEN, InvalidRow, read_row

_BATCH: Final = 20_000
# Words of one user that are another's, too. Names alone, or addresses alone, are unique.
_SHARED: Final = """
    SELECT one.id, one.username, one.email, other.username AS other
    FROM taken_words
    JOIN users AS one ON one.id = user_id
    JOIN users AS other ON (other.username = word OR other.email = word) AND other.id <> one.id
    WHERE other.deleted_at IS NULL
    UNION
    SELECT one.id, one.username, one.email, other.username
    FROM taken_words JOIN taken_words AS same USING (word)
    JOIN users AS one ON one.id = taken_words.user_id
    JOIN users AS other ON other.id = same.user_id AND other.id <> one.id
"""
_FIND_SHARED: Final = text(f"{_SHARED} ORDER BY username, other")
_COUNT_SHARED: Final = text(f"SELECT count(DISTINCT id) FROM ({_SHARED}) AS shared")  # noqa: S608
_LAST: Final = text(
    "SELECT id FROM users WHERE id > :after AND deleted_at IS NULL ORDER BY id OFFSET :batch - 1"
    " LIMIT 1"
)
# All others have names of the simplest kind.
_FIND: Final = text(
    """
    SELECT id, username, email, display_name FROM users
    WHERE id > :after AND (CAST(:last AS uuid) IS NULL OR id <= :last) AND deleted_at IS NULL
        AND (concat(username, email, display_name) ~ '[^ -~]' OR username ~ '[A-Z @]'
             OR email ~ '[A-Z]' OR email !~ :email)
    ORDER BY id
    """
)
_NOBODY: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class DoubtfulName:
    """A user, and why nobody would get these names today."""

    id: UUID
    username: str
    email: str
    reason: str


async def count_shared_names(session: AsyncSession) -> int:
    """How many users have a name or address that is another's, too."""
    return await session.scalar(_COUNT_SHARED) or 0


async def doubtful_names(session: AsyncSession) -> AsyncIterator[DoubtfulName]:
    """The users whose names would be refused, or stored otherwise, if they came today."""
    for row in await session.execute(_FIND_SHARED):
        reason = f"A name or address of this user is, or looks like, one of the user {row.other}."
        yield DoubtfulName(row.id, row.username, row.email, reason)
    after: UUID | None = _NOBODY
    while after is not None:
        # As many statements as it takes: each of them is short.
        last = await session.scalar(_LAST, {"after": after, "batch": _BATCH})
        rows = await session.execute(_FIND, {"after": after, "last": last, "email": EMAIL_PATTERN})
        for row in rows:
            if reasons := _reasons(row.username, row.email, row.display_name):
                yield DoubtfulName(row.id, row.username, row.email, " ".join(reasons))
        after = last


def _reasons(username: str, email: str, display_name: str | None) -> list[str]:
    """What an import would say."""
    values = {"username": username, "email": email, "display_name": display_name}
    read = read_row("", values)
    if isinstance(read, InvalidRow) and email.endswith(f"@{MADE_UP_DOMAIN}"):
        # Whoever had no address has one that is made of the name.
        read = read_row("", values | {"email": None})
    if isinstance(read, InvalidRow):
        return [read.reason]
    reasons = []
    if read.username != username:
        reasons.append(f"The username would be {read.username}.")
    if read.email != email:
        reasons.append(f"The e-mail address would be {read.email}.")
    if NOT_SEEN in read.notes:
        reasons.append("The display name holds characters that people cannot see.")
    return reasons
