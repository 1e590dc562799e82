"""A refused login takes as long for one reason as for another.

Each reason is tried TRIES times, all reasons in random order within each round, so that whatever
else the machine does falls on all of them alike. Two reasons count as distinguishable when both
hold: the Mann-Whitney U test (two-sided, Bonferroni-corrected over all pairs) rejects that they
come from one distribution at ALPHA, and their medians differ by more than BOUND. The first alone
would report differences that no network lets through; the second alone would report noise.

The hash is cheap here, so that it does not drown the rest. That the hashes and the statements are
the same is counted, not timed, in test_login.py. A hash left out is twice BOUND and more: few tries
find that; what is subtler takes those of FULL=1.
"""

import gc
import itertools
import math
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from tests.support.applications import Databases, Door, RunDoor, RunSite, Site
from tests.support.budgets import budget

TRIES = budget(small=40, full=200)
WARM_UP = 10
ALPHA = 0.001
BOUND = 0.5e-3  # seconds
BCRYPT_COST = 6
pytestmark = pytest.mark.alone
LIMITS = (
    *("login_failures_per_pair", "login_failures_per_account"),
    *("login_failures_per_address", "login_failures_global"),
)


def mann_whitney(first: list[float], second: list[float]) -> float:
    """Two-sided p-value, by the normal approximation with correction for ties."""
    pooled = sorted(
        (value, number) for number, group in enumerate((first, second)) for value in group
    )
    ranks = {}
    position = 0
    ties = Counter(value for value, _ in pooled)
    for value in sorted(ties):
        ranks[value] = position + (ties[value] + 1) / 2
        position += ties[value]
    n, m = len(first), len(second)
    statistic = sum(ranks[value] for value in first) - n * (n + 1) / 2
    total = n + m
    tied = sum(count**3 - count for count in ties.values()) / (total * (total - 1))
    deviation = math.sqrt(n * m / 12 * (total + 1 - tied))
    if deviation == 0:
        return 1.0
    return math.erfc(abs(statistic - n * m / 2) / deviation / math.sqrt(2))


def distinguishable(times: dict[str, list[float]]) -> dict[tuple[str, str], tuple[float, float]]:
    """The pairs that can be told apart: p-value and difference of the medians."""
    pairs = list(itertools.combinations(times, 2))
    found = {}
    for pair in pairs:
        first, second = (times[name] for name in pair)
        p_value = mann_whitney(first, second)
        difference = abs(statistics.median(first) - statistics.median(second))
        if p_value < ALPHA / len(pairs) and difference > BOUND:
            found[pair] = (p_value, difference)
    return found


@pytest.fixture
async def slow_site(databases: Databases, run_site: RunSite) -> AsyncIterator[Site]:
    async with run_site(databases, bcrypt_cost=BCRYPT_COST) as site:
        yield site


@pytest.fixture
async def slow_door(databases: Databases, run_door: RunDoor) -> AsyncIterator[Door]:
    # The tries would soon be too many; what is said then has a test of its own.
    limits = dict.fromkeys(LIMITS, 1_000_000)
    async with run_door(databases, bcrypt_cost=BCRYPT_COST, **limits) as door:
        yield door


@pytest.fixture
async def ways(slow_site: Site, slow_door: Door) -> dict[str, tuple[str, str]]:
    """Name and password for each way not to get in."""
    return await slow_site.ways_not_in(slow_door.resources.callers)


async def measure(
    door: Door, ways: dict[str, tuple[str, str]], tries: int, *, status: int = 401
) -> dict[str, list[float]]:
    """Seconds per way."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    order = list(ways)
    gc.collect()
    gc.disable()
    try:
        for _ in range(WARM_UP + tries):
            random.shuffle(order)
            for name in order:
                started = time.perf_counter()
                response = await door.try_login(*ways[name])
                times[name].append(time.perf_counter() - started)
                assert response.status_code == status
    finally:
        gc.enable()
    return {name: values[WARM_UP:] for name, values in times.items()}


async def test_the_reason_of_a_refusal_does_not_show_in_its_time(
    slow_door: Door, ways: dict[str, tuple[str, str]]
) -> None:
    assert distinguishable(await measure(slow_door, ways, TRIES)) == {}


async def test_a_block_does_not_tell_who_exists_or_what_was_right(site: Site, door: Door) -> None:
    """Refused before the hash: a known user with the right password, a wrong one, and nobody."""
    await site.add_user(door.resources.callers, "known")
    for name in ("known", "nobody"):
        for _ in range(door.settings.login_failures_per_pair):
            await door.try_login(name, "not-the-password-11")
    site.databases[door.resources.callers].sql(
        "UPDATE rate_limits SET blocked_until = now() + interval '1 hour' WHERE scope = 'pair'"
    )
    blocked = {
        "right_password": ("known", site.password),
        "wrong_password": ("known", "not-the-password-11"),
        "unknown": ("nobody", site.password),
    }
    assert distinguishable(await measure(door, blocked, TRIES, status=429)) == {}


def test_the_criterion_finds_what_is_left_out() -> None:
    """Twice BOUND, in times that vary by as much; and nothing where nothing is."""
    chance = random.Random(1)  # noqa: S311
    times = {
        name: [2 * BOUND * (shift + chance.random()) for _ in range(TRIES)]
        for name, shift in (("hashed", 2), ("hashed_too", 2), ("not_hashed", 1))
    }
    assert set(distinguishable(times)) == {("hashed", "not_hashed"), ("hashed_too", "not_hashed")}
