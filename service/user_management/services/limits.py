"""Failures slow down whoever causes them, and nobody else.

Failures count together by what they have in common (`Scope`). Successes are never counted. What
was typed as a name is the account, whether there is such a user or not: an unknown one is treated
exactly like a known one. The counts are rows of `rate_limits`, which all workers share.
"""

import hashlib
import ipaddress
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, case, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.errors import TooManyAttempts
from user_management.models import AuthSession, RateLimit, User
from user_management.names import login_words
from user_management.policy import Policy

# The first block of a scope that doubles, and the longest one.
FIRST_BLOCK: Final = timedelta(seconds=30)
LONGEST_BLOCK: Final = timedelta(hours=1)
# An address or a browser is a user's own for so long after they logged in from it.
MEMORY: Final = timedelta(days=30)
# Whoever has one IPv6 address has all of its network.
_IPV6_PREFIX: Final = 64


class Scope(StrEnum):
    """What failures have in common."""

    # Rows are locked in this order, always: nobody waits for somebody who waits for them.
    ACCOUNT = "account"
    ADDRESS = "address"
    GLOBAL = "global"
    PAIR = "pair"  # account and address
    PASSWORD = "password"  # noqa: S105  the current one, asked for in a session
    DEVICE = "device"  # user and a browser that they have logged in with


_LOCK_ORDER: Final = {scope: number for number, scope in enumerate(Scope)}
# Each further failure doubles the block. The others block until their window ends.
_DOUBLING: Final = (Scope.PAIR, Scope.PASSWORD, Scope.DEVICE)
# Strangers can fill these, so they keep strangers out only.
_FOR_STRANGERS: Final = frozenset({Scope.ACCOUNT, Scope.ADDRESS, Scope.GLOBAL})


@dataclass(frozen=True, slots=True)
class Counter:
    """One row: what counts together."""

    scope: Scope
    key: bytes


@dataclass(frozen=True, slots=True)
class Rule:
    """`limit` failures within `window` are one too many; the window of a scope that doubles
    begins anew with each failure.
    """

    limit: int
    window: timedelta


@dataclass(frozen=True, slots=True)
class LoginLock:
    """What keeps the logins of a user out: `until` when, None if nothing does, and how many
    `failures` count at most in one place.
    """

    until: datetime | None
    failures: int


@dataclass(frozen=True, slots=True)
class Block:
    """A block that has just begun."""

    scope: Scope
    failures: int
    until: datetime


def login_counters(identifier: str, address: str | None) -> list[Counter]:
    """What a failed login with this name, as it is stored, from this address counts for."""
    account, network = _digest(identifier), _digest(network_of(address))
    return [
        Counter(Scope.ACCOUNT, account),
        Counter(Scope.ADDRESS, network),
        Counter(Scope.GLOBAL, b""),
        # In two parts, so that all pairs of an account can be found.
        Counter(Scope.PAIR, account + network),
    ]


def device_counters(user_id: UUID, device: bytes) -> list[Counter]:
    """What a failed login counts for with a browser that the user has logged in with: for them
    there, and nobody else. What others do, from the same address too, is no business of theirs.
    """
    return [Counter(Scope.DEVICE, _digest(str(user_id)) + device)]


def password_counters(user_id: UUID, session_id: UUID) -> list[Counter]:
    """What a wrong current password counts for: whoever has stolen a session blocks that one, and
    the user can begin another.
    """
    return [Counter(Scope.PASSWORD, _digest(str(user_id)) + session_id.bytes)]


def refresh_counters(address: str | None) -> list[Counter]:
    """What an unknown refresh token counts for; logins from there are not concerned."""
    return [Counter(Scope.ADDRESS, _digest(f"refresh {network_of(address)}"))]


def network_of(address: str | None) -> str:
    """What counts as one address: of IPv6 the network that one site has."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), _IPV6_PREFIX), strict=False))


class LimitService:
    """Counts failures in the session's database."""

    def __init__(self, session: AsyncSession, policy: Policy) -> None:
        self.session = session
        self._rules = {
            Scope.ACCOUNT: Rule(policy.failures_per_account, timedelta(hours=1)),
            Scope.ADDRESS: Rule(policy.failures_per_address, timedelta(minutes=15)),
            Scope.GLOBAL: Rule(policy.failures_global, timedelta(minutes=15)),
            Scope.PAIR: Rule(policy.failures_per_pair, timedelta(days=1)),
            Scope.PASSWORD: Rule(policy.failures_per_pair, timedelta(days=1)),
            Scope.DEVICE: Rule(policy.failures_per_pair, timedelta(days=1)),
        }

    async def check(
        self,
        counters: Collection[Counter],
        *,
        user_id: UUID | None = None,
        address: str | None = None,
    ) -> bool:
        """Raise TooManyAttempts if one of the counters is blocked; else whether there is something
        for `reset` to do.

        An address from which the user has logged in lately is not concerned by what strangers did.
        """
        now = datetime.now(UTC)
        found = await self.session.execute(
            select(RateLimit.scope, RateLimit.blocked_until).where(_matching(counters))
        )
        until = {Scope(row.scope): row.blocked_until or now for row in found}
        blocks = {scope: moment for scope, moment in until.items() if moment > now}
        if blocks.keys() & _FOR_STRANGERS and await self._is_recent_address(user_id, address, now):
            blocks = {scope: blocks[scope] for scope in blocks.keys() - _FOR_STRANGERS}
        if blocks:
            left = max(blocks.values()) - now
            raise TooManyAttempts(math.ceil(left.total_seconds()))
        return not until.keys().isdisjoint(_DOUBLING)

    async def record_failure(self, counters: Sequence[Counter]) -> tuple[list[Block], bool]:
        """Count a failure; the blocks that begin with it, and whether it counted everywhere.

        It does not count where a block began since `check`: those who try at once do not get
        more tries than those who try one after the other.
        """
        now = datetime.now(UTC)
        ordered = sorted(counters, key=lambda counter: _LOCK_ORDER[counter.scope])
        counted = (await self.session.execute(self._count(ordered, now))).all()
        keys = {counter.scope: counter.key for counter in counters}
        blocks = [block for row in counted if (block := self._block(row, now)) is not None]
        for block in blocks:
            await self.session.execute(
                update(RateLimit)
                .where(RateLimit.scope == block.scope, RateLimit.key == keys[block.scope])
                .values(blocked_until=block.until)
            )
        return blocks, len(counted) == len(counters)

    async def reset(self, counters: Collection[Counter]) -> None:
        """Forget the failures that a success makes good: those that double, unless blocked."""
        mine = [counter for counter in counters if counter.scope in _DOUBLING]
        await self.session.execute(
            delete(RateLimit).where(_matching(mine), _is_open(datetime.now(UTC)))
        )

    def _count(self, counters: Sequence[Counter], now: datetime) -> Any:
        rows = [
            {
                "scope": counter.scope,
                "key": counter.key,
                "failures": 1,
                "window_started_at": now,
                "expires_at": now + self._rules[counter.scope].window,
            }
            for counter in counters
        ]
        statement = upsert(RateLimit).values(rows)
        is_over = RateLimit.expires_at <= now
        return statement.on_conflict_do_update(
            index_elements=[RateLimit.scope, RateLimit.key],
            set_={
                "failures": case((is_over, 1), else_=RateLimit.failures + 1),
                "window_started_at": case((is_over, now), else_=RateLimit.window_started_at),
                "blocked_until": None,
                "expires_at": case(
                    (or_(is_over, RateLimit.scope.in_(_DOUBLING)), statement.excluded.expires_at),
                    else_=RateLimit.expires_at,
                ),
            },
            where=_is_open(now),
        ).returning(RateLimit.scope, RateLimit.failures, RateLimit.expires_at)

    def _block(self, row: Row[Any], now: datetime) -> Block | None:
        scope = Scope(row.scope)
        excess = row.failures - self._rules[scope].limit
        if excess < 0:
            return None
        if scope not in _DOUBLING:
            return Block(scope, row.failures, row.expires_at)
        doublings = min(excess, math.ceil(math.log2(LONGEST_BLOCK / FIRST_BLOCK)))
        return Block(scope, row.failures, now + min(FIRST_BLOCK * 2**doublings, LONGEST_BLOCK))

    async def _is_recent_address(
        self, user_id: UUID | None, address: str | None, now: datetime
    ) -> bool:
        found = await self.session.scalars(
            select(AuthSession.ip_address)
            .distinct()
            .where(AuthSession.user_id == user_id, AuthSession.created_at > now - MEMORY)
        )
        return network_of(address) in {network_of(known) for known in found}


async def read_lock(session: AsyncSession, user: User) -> LoginLock:
    """What failures keep a user's logins out, from anywhere, under either of their names.

    It may be one address or browser only, and a recent address is not kept out by strangers.
    Blocks of an address or of everybody are not the user's.
    """
    now = datetime.now(UTC)
    row = (
        await session.execute(
            select(
                func.max(case((RateLimit.blocked_until > now, RateLimit.blocked_until))),
                func.coalesce(func.max(RateLimit.failures), 0),
            ).where(or_(*_logins_of(user)), RateLimit.expires_at > now)
        )
    ).one()
    return LoginLock(*row)


async def unlock(session: AsyncSession, user: User) -> None:
    """Forget all failures of a user, under both of the names that they log in with."""
    account, pair, device = _logins_of(user)
    password = _begin_with(Scope.PASSWORD, _digest(str(user.id)))
    for condition in (account, pair, password, device):
        await session.execute(delete(RateLimit).where(condition))


def _logins_of(user: User) -> list[ColumnElement[bool]]:
    """Where a user's failed logins count, in the order in which rows are locked."""
    accounts = [_digest(login_words(name)[0]) for name in (user.username, user.email)]
    return [
        and_(RateLimit.scope == Scope.ACCOUNT, RateLimit.key.in_(accounts)),
        or_(*(_begin_with(Scope.PAIR, account) for account in accounts)),
        _begin_with(Scope.DEVICE, _digest(str(user.id))),
    ]


def _begin_with(scope: Scope, beginning: bytes) -> ColumnElement[bool]:
    """The counters of a scope whose key is in two parts, by the first one."""
    return and_(
        RateLimit.scope == scope, RateLimit.key.between(beginning, beginning + b"\xff" * 32)
    )


def _matching(counters: Collection[Counter]) -> ColumnElement[bool]:
    return tuple_(RateLimit.scope, RateLimit.key).in_(
        [(counter.scope, counter.key) for counter in counters]
    )


def _is_open(now: datetime) -> ColumnElement[bool]:
    return or_(RateLimit.blocked_until.is_(None), RateLimit.blocked_until <= now)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
