"""Failures slow down whoever causes them: what counts together, for how long, and for whom not."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import pytest

from tests.support.applications import Databases, Door, RunDoor, RunSite, Site
from tests.support.database_server import ProvisionedDatabase
from user_management.population import Population
from user_management.security.devices import DEVICE_BYTES, new_device
from user_management.security.seals import Seals
from user_management.services.limits import network_of

PASSWORD = "violet-anchor-77-meadow"
WRONG = "not-the-password-11"
NEW_PASSWORD = "granite-otter-quilt-52"
HOME, ELSEWHERE, FAR = "203.0.113.7", "198.51.100.1", "198.51.100.2"
PER_PAIR = 5
# Limits out of the way, but for the one that a test is about.
GENEROUS = {
    "login_failures_per_pair": 1_000_000,
    "login_failures_per_account": 1_000_000,
    "login_failures_per_address": 1_000_000,
    "login_failures_global": 1_000_000,
}


def move(site: Door, address: str) -> None:
    """From now on requests come from there, and from another browser."""
    site.client.cookies.clear()
    transport = site.client._transport
    assert isinstance(transport, httpx2.ASGITransport)
    transport.client = (address, 1234)


async def fail(site: Door, times: int, name: str = "marta", password: str = WRONG) -> list[int]:
    return [(await site.try_login(name, password)).status_code for _ in range(times)]


async def status(site: Door, name: str = "marta") -> int:
    """Of a login with the right password."""
    return (await site.try_login(name)).status_code


def limits(site: Site, scope: str) -> list[str]:
    found = site.databases[Population.SLM].sql(
        f"SELECT failures FROM rate_limits WHERE scope = '{scope}' ORDER BY failures"
    )
    value: list[str] = found.split()
    return value


def pass_time(site: Site, seconds: float) -> None:
    """All that was counted was counted so much earlier."""
    site.databases[Population.SLM].sql(
        "UPDATE rate_limits SET"
        f" window_started_at = window_started_at - interval '{seconds} s',"
        f" blocked_until = blocked_until - interval '{seconds} s',"
        f" expires_at = expires_at - interval '{seconds} s'"
    )


def assert_blocked(response: httpx2.Response, seconds: float) -> None:
    assert response.status_code == 429, response.text
    problem = response.json()
    assert (problem["code"], problem["detail"]) == (
        "too_many_attempts",
        "Too many failed attempts. Try again later.",
    )
    assert int(response.headers["retry-after"]) == seconds


@pytest.fixture(autouse=True)
def clock(held_clock: datetime) -> datetime:
    """Time passes by `pass_time` only, however slow the machine is."""
    return held_clock


@pytest.fixture
async def marta(site: Site) -> UUID:
    return await site.add_user(Population.SLM, "marta")


@pytest.mark.usefixtures("marta")
async def test_after_five_failures_from_one_address_even_the_right_password_waits(
    site: Site,
) -> None:
    assert await fail(site, PER_PAIR) == [401] * PER_PAIR
    assert_blocked(await site.try_login("marta"), 30)
    assert await status(site, "MARTA") == 429, "another way to write the same name"
    pass_time(site, 31)
    assert await status(site) == 200


@pytest.mark.usefixtures("marta")
async def test_nobody_is_locked_out_by_somebody_elsewhere(site: Site) -> None:
    move(site, ELSEWHERE)
    assert await fail(site, 20) == [401] * PER_PAIR + [429] * 15
    move(site, HOME)
    assert await status(site) == 200
    move(site, ELSEWHERE)
    assert await status(site) == 429


@pytest.mark.usefixtures("marta")
async def test_each_further_failure_doubles_the_block_up_to_an_hour(site: Site) -> None:
    await fail(site, PER_PAIR - 1)
    for seconds in (30, 60, 120, 240, 480, 960, 1920, 3600, 3600):
        assert await fail(site, 1) == [401]
        assert_blocked(await site.try_login("marta"), seconds)
        pass_time(site, seconds - 10)
        assert await status(site) == 429
        pass_time(site, 10)
    assert await status(site) == 200


@pytest.mark.usefixtures("marta")
async def test_a_success_forgives(site: Site) -> None:
    for _ in range(3):
        assert await fail(site, PER_PAIR - 1) == [401] * (PER_PAIR - 1)
        assert await status(site) == 200
    assert limits(site, "pair") == []
    # It forgives nobody else's failures.
    assert limits(site, "address") == [str(3 * (PER_PAIR - 1))]


@pytest.mark.usefixtures("marta")
async def test_failures_of_yesterday_do_not_count(site: Site) -> None:
    await fail(site, PER_PAIR - 1)
    pass_time(site, 24 * 3600)
    assert await fail(site, PER_PAIR) == [401] * PER_PAIR
    assert_blocked(await site.try_login("marta"), 30)


@pytest.mark.usefixtures("marta")
async def test_what_is_refused_is_not_counted(site: Site) -> None:
    await fail(site, PER_PAIR)
    before = limits(site, "pair") + limits(site, "address")
    await fail(site, 10)
    assert limits(site, "pair") + limits(site, "address") == before
    pass_time(site, 31)
    assert await status(site) == 200


@pytest.mark.usefixtures("marta")
async def test_nothing_is_hashed_for_what_is_refused(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fail(site, PER_PAIR)

    async def hash_anew(*_: object) -> None:
        raise AssertionError("hashed")

    monkeypatch.setattr(site.resources.hasher, "hash_anew", hash_anew)
    assert await status(site) == 429


@pytest.mark.parametrize("name", ["marta", "nobody", "nobody@example.org", "'; DROP TABLE users"])
async def test_unknown_users_are_treated_exactly_alike(site: Site, marta: UUID, name: str) -> None:
    del marta
    assert await fail(site, PER_PAIR, name) == [401] * PER_PAIR
    assert_blocked(await site.try_login(name, WRONG), 30)
    pass_time(site, 30)
    assert await fail(site, 1, name) == [401]
    assert_blocked(await site.try_login(name, WRONG), 60)


@pytest.mark.usefixtures("marta")
async def test_no_name_is_stored_in_plain_text(site: Site) -> None:
    await fail(site, 1)
    await fail(site, 1, "a password typed into the wrong field")
    keys = site.databases[Population.SLM].sql(
        "SELECT string_agg(encode(key, 'escape') || scope, ' ') FROM rate_limits"
    )
    assert "marta" not in keys
    assert "password typed" not in keys
    assert HOME not in keys


@pytest.mark.parametrize(
    ("setting", "scope", "seconds"),
    [
        ("login_failures_per_account", "account", 3600),
        ("login_failures_per_address", "address", 900),
        ("login_failures_global", "global", 900),
    ],
)
async def test_windows(
    databases: Databases, run_site: RunSite, setting: str, scope: str, seconds: int
) -> None:
    async with run_site(databases, **GENEROUS | {setting: 3}) as site:
        await site.add_user(Population.SLM, "marta")
        assert await fail(site, 2) == [401, 401]
        pass_time(site, seconds - 60)
        # The window began with the first failure, and the block ends with it.
        assert await fail(site, 1) == [401]
        assert_blocked(await site.try_login("marta"), 60)
        pass_time(site, 61)
        assert await fail(site, 3) == [401] * 3
        assert_blocked(await site.try_login("marta"), seconds)
        assert limits(site, scope) == ["3"]


async def test_the_limit_per_pair_is_a_setting(databases: Databases, run_site: RunSite) -> None:
    async with run_site(databases, login_failures_per_pair=1) as site:
        await site.add_user(Population.SLM, "marta")
        assert await fail(site, 2) == [401, 429]


async def test_an_account_that_is_guessed_from_everywhere(
    site: Site, databases: Databases, run_door: RunDoor
) -> None:
    """Strangers are kept out; addresses that the user comes from are not."""
    limits = GENEROUS | {"login_failures_per_account": 10}
    async with run_door(databases, **limits) as door:
        population = door.resources.callers
        await site.add_user(population, "marta")
        await site.add_user(population, "other")
        assert await status(door) == 200
        for number in range(10):
            move(door, f"198.51.100.{number}")
            assert await fail(door, 1) == [401]
        move(door, FAR)
        assert_blocked(await door.try_login("marta"), 3600)
        assert await status(door, "other") == 200, "another account"
        move(door, HOME)
        assert await status(door) == 200
        assert await fail(door, 1) == [401], "its failures are counted for the pair all the same"
        databases[population].sql(
            "UPDATE auth_sessions SET created_at = now() - interval '31 days'"
        )
        move(door, HOME)
        assert await status(door) == 429, "the address was the user's own a month ago"


async def test_an_attack_on_everybody(databases: Databases, run_site: RunSite) -> None:
    async with run_site(databases, **GENEROUS | {"login_failures_global": 10}) as site:
        await site.add_user(Population.SLM, "marta")
        assert await status(site) == 200
        move(site, ELSEWHERE)
        for number in range(10):
            assert await fail(site, 1, f"nobody{number}") == [401]
        assert await status(site) == 429
        move(site, HOME)
        assert await status(site) == 200


async def test_an_address_that_tries_many_accounts(databases: Databases, run_site: RunSite) -> None:
    async with run_site(databases, **GENEROUS | {"login_failures_per_address": 10}) as site:
        await site.add_user(Population.SLM, "marta")
        for number in range(10):
            assert await fail(site, 1, f"nobody{number}") == [401]
        assert_blocked(await site.try_login("marta"), 900)
        move(site, ELSEWHERE)
        assert await status(site) == 200


async def test_one_network_of_ipv6_is_one_address(databases: Databases, run_site: RunSite) -> None:
    async with run_site(databases, **GENEROUS | {"login_failures_per_address": 3}) as site:
        await site.add_user(Population.SLM, "marta")
        for number in range(3):
            move(site, f"2001:db8:0:1::{number}")
            assert await fail(site, 1) == [401]
        move(site, "2001:db8:0:1:ffff::1")
        assert await status(site) == 429
        move(site, "2001:db8:0:2::1")
        assert await status(site) == 200


# Who shares an address. A browser is what its cookie says, wherever it is.
ALL_AT_ONCE = {
    "login_failures_per_pair": PER_PAIR,
    "login_failures_per_account": 20,
    "login_failures_per_address": 20,
    "login_failures_global": 20,
}


class Browser:
    """One browser of many at an address, at the door of one application."""

    def __init__(self, door: Door) -> None:
        self.door = door
        is_slm = door.resources.callers is Population.SLM
        self.path = "/api/slm-auth/browser/login" if is_slm else "/api/auth/login"
        self.cookie = f"__Host-{door.resources.callers}-device"
        self.value: str | None = None

    async def try_login(self, name: str, password: str = PASSWORD) -> httpx2.Response:
        self.door.client.cookies.clear()
        kept = {} if self.value is None else {"Cookie": f"{self.cookie}={self.value}"}
        response = await self.door.client.post(
            self.path,
            json={"username": name, "password": password},
            headers={"X-CSRF": "1", **kept},
        )
        self.value = response.cookies.get(self.cookie) or self.value
        self.door.client.cookies.clear()
        return response

    async def login(self, name: str = "marta") -> int:
        return (await self.try_login(name)).status_code

    async def fail(self, times: int, name: str = "marta") -> list[int]:
        return [(await self.try_login(name, WRONG)).status_code for _ in range(times)]


@pytest.fixture
async def office(databases: Databases, run_door: RunDoor, site: Site) -> AsyncIterator[Door]:
    """An application whose people share one address, with small limits; marta is one of them."""
    async with run_door(databases, **ALL_AT_ONCE) as door:
        for name in ("marta", "other", "newcomer"):
            await site.add_user(door.resources.callers, name)
        yield door


async def block_address(door: Door) -> None:
    """A neighbour fails under names that nobody has, and everybody new is kept out."""
    neighbour = Browser(door)
    for number in range(20):
        assert await neighbour.fail(1, f"nobody{number}") == [401]
    assert_blocked(await neighbour.try_login("newcomer"), 900)


async def test_a_neighbour_who_fails_under_other_names_locks_out_nobody_known_there(
    office: Door,
) -> None:
    """Neither by their browser, nor by having logged in from the address without a cookie."""
    browser = Browser(office)
    assert await browser.login() == 200
    office.client.cookies.clear()
    assert (await office.try_login("other")).status_code == 200
    await block_address(office)
    assert await browser.login() == 200
    office.client.cookies.clear()
    assert (await office.try_login("other")).status_code == 200


async def test_a_neighbour_who_fails_under_ones_own_name_does_not_lock_ones_browser_out(
    office: Door,
) -> None:
    browser, neighbour = Browser(office), Browser(office)
    assert await browser.login() == 200
    assert await neighbour.fail(PER_PAIR + 3) == [401] * PER_PAIR + [429] * 3
    assert await browser.login() == 200
    # What the owner does there is no help for the neighbour either.
    assert await neighbour.fail(1) == [429]


async def test_a_browser_is_known_from_every_address_and_past_all_blocks(office: Door) -> None:
    browser = Browser(office)
    assert await browser.login() == 200
    for number in range(20):
        move(office, f"198.51.100.{number}")
        assert await Browser(office).fail(1) == [401]
    move(office, FAR)
    assert await Browser(office).login() == 429, "account and global"
    assert await browser.login() == 200


async def test_a_known_browser_has_a_limit_of_its_own(office: Door, databases: Databases) -> None:
    """Who has taken the cookie guesses no more than anybody else."""
    browser = Browser(office)
    assert await browser.login() == 200
    assert await browser.fail(PER_PAIR + 2) == [401] * PER_PAIR + [429] * 2
    assert_blocked(await browser.try_login("marta"), 30)
    database = databases[office.resources.callers]
    scopes = database.sql("SELECT scope, failures FROM rate_limits").splitlines()
    assert scopes == [f"device|{PER_PAIR}"], "it is nobody else's business"
    move(office, ELSEWHERE)
    assert await browser.login() == 429, "wherever it is"
    assert await Browser(office).login() == 200


async def test_a_success_forgives_the_failures_of_the_browser(office: Door) -> None:
    browser = Browser(office)
    for _ in range(3):
        assert await browser.login() == 200
        assert await browser.fail(PER_PAIR - 1) == [401] * (PER_PAIR - 1)


async def test_a_browser_is_known_for_those_who_have_logged_in_with_it(office: Door) -> None:
    """An attacker with an account gets no more guesses at others than without one."""
    browser = Browser(office)
    assert await browser.login("other") == 200
    assert await browser.fail(PER_PAIR + 1) == [401] * PER_PAIR + [429]
    assert await Browser(office).fail(1) == [429], "the pair's guesses are used up"
    assert await browser.login("other") == 200


async def test_several_people_may_share_a_browser(office: Door) -> None:
    browser = Browser(office)
    assert [await browser.login(name) for name in ("marta", "other")] == [200, 200]
    await block_address(office)
    assert [await browser.login(name) for name in ("marta", "other")] == [200, 200]
    assert await browser.login("newcomer") == 429


@pytest.mark.parametrize("change", ["forged", "cut", "of the other", "too long", "no base64", ""])
async def test_a_cookie_that_was_not_made_here_is_none(office: Door, change: str) -> None:
    browser = Browser(office)
    assert await browser.login() == 200
    good = browser.value
    assert good is not None
    browser.value = {
        "forged": good[:-2] + ("AA" if good[-2:] != "AA" else "BB"),
        "cut": good[:32],
        "of the other": Seals([b"x" * 32], DEVICE_BYTES).sealed(new_device()),
        "too long": good + "A",
        "no base64": "!" * len(good),
        "": "",
    }[change]
    # Without the address's memory of marta, which would let her in.
    move(office, ELSEWHERE)
    await block_address(office)
    assert await browser.login() == 429


async def test_a_browser_is_forgotten_after_a_month(office: Door, databases: Databases) -> None:
    browser = Browser(office)
    assert await browser.login() == 200
    move(office, ELSEWHERE)
    await block_address(office)
    sql = databases[office.resources.callers].sql
    sql("UPDATE known_devices SET last_login_at = now() - interval '29 days'")
    assert await browser.login() == 200
    assert sql("SELECT last_login_at > now() - interval '1 minute' FROM known_devices") == "t"
    sql(
        "UPDATE known_devices SET last_login_at = now() - interval '31 days';"
        "UPDATE auth_sessions SET ip_address = '192.0.2.1'"
    )
    assert await browser.login() == 429


async def test_a_refused_login_sets_no_cookie_and_is_the_same_for_everybody(
    office: Door, statements: list[str]
) -> None:
    """A known browser's refusal tells no more of a name than a strange one's."""
    browser, seen = Browser(office), []
    assert await browser.login("other") == 200
    kept = browser.value
    for name in ("marta", "nobody"):
        statements.clear()
        response = await browser.try_login(name, WRONG)
        assert (response.status_code, browser.value) == (401, kept)
        assert "set-cookie" not in response.headers
        seen.append((response.content, list(statements)))
    assert seen[0] == seen[1]


async def test_programs_get_no_cookie(site: Site, marta: UUID) -> None:
    del marta
    for path in ("/api/slm-auth/login", "/api/auth/login"):
        response = await site.try_login("marta", path=path)
        assert response.status_code == 200
        assert "set-cookie" not in response.headers
    assert site.databases[Population.SLM].sql("SELECT count(*) FROM known_devices") == "0"


async def test_unlocking_clears_the_browsers_too(site: Site, marta: UUID) -> None:
    headers = await site.administrate()
    browser = Browser(site)
    assert await browser.login() == 200
    assert await browser.fail(PER_PAIR + 1) == [401] * PER_PAIR + [429]
    assert (await lock(site.client, marta, headers=headers))["locked_until"]
    where = f"/api/slm-users/{marta}/unlock"
    assert (await site.client.post(where, headers=headers)).status_code == 204
    assert await browser.login() == 200


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"),
        (None, ""),
        ("nowhere", ""),
    ],
)
def test_networks(address: str | None, network: str) -> None:
    assert network_of(address) == network


def begin_block(database: ProvisionedDatabase, scope: str, now: datetime) -> None:
    """As if others had failed just now."""
    database.sql(
        f"UPDATE rate_limits SET blocked_until = timestamptz '{now}' + interval '30 s' "
        f"WHERE scope = '{scope}'"
    )


async def test_guesses_at_once_get_no_more_tries_than_one_after_the_other(
    site: Site, marta: UUID, held_hashing: threading.Event
) -> None:
    del marta
    guesses = [asyncio.create_task(site.try_login("marta", WRONG)) for _ in range(20)]
    await site.queued(20)
    held_hashing.set()
    statuses = [(await guess).status_code for guess in guesses]
    assert statuses.count(401) == PER_PAIR
    assert statuses.count(429) == 20 - PER_PAIR
    assert limits(site, "pair") == [str(PER_PAIR)]
    assert len(site.audit(Population.SLM, "login_failed")) == PER_PAIR


@pytest.mark.parametrize("right", [False, True])
async def test_of_what_is_hashed_when_a_block_begins_nobody_learns_whether_it_was_right(
    site: Site, marta: UUID, clock: datetime, held_hashing: threading.Event, right: bool
) -> None:
    del marta
    held_hashing.set()
    await fail(site, 1)
    held_hashing.clear()
    guess = asyncio.create_task(site.try_login("marta", site.password if right else WRONG))
    await site.queued(1)
    begin_block(site.databases[Population.SLM], "pair", clock)
    held_hashing.set()
    assert_blocked(await guess, 30)
    assert limits(site, "pair") == ["1"]
    assert site.databases[Population.SLM].sql("SELECT count(*) FROM auth_sessions") == "0"
    assert len(site.audit(Population.SLM, "login_failed")) == 1


@pytest.mark.usefixtures("marta")
async def test_a_hundred_guesses_at_once(site: Site) -> None:
    """Without holding anything back: whatever the order, no more than the limit is evaluated."""
    guesses = (site.try_login("marta", WRONG) for _ in range(100))
    statuses = [response.status_code for response in await asyncio.gather(*guesses)]
    assert statuses.count(401) == PER_PAIR
    assert set(statuses) <= {401, 429, 503}


async def test_failures_of_many_at_once_do_not_stand_in_each_others_way(
    databases: Databases, run_site: RunSite
) -> None:
    """Rows are locked in one order: no deadlock, and nothing is lost."""
    async with run_site(databases, **GENEROUS) as site:
        names = [f"user{number % 5}" for number in range(15)]
        answers = await asyncio.gather(*(site.try_login(name, WRONG) for name in names))
        assert {answer.status_code for answer in answers} == {401}
        assert limits(site, "global") == ["15"]
        assert limits(site, "account") == ["3"] * 5


async def test_all_workers_count_together(
    databases: Databases, run_site: RunSite, site: Site, marta: UUID
) -> None:
    del marta
    async with run_site(databases) as second:
        assert await fail(site, 3) + await fail(second, 2) == [401] * PER_PAIR
        assert (await status(site), await status(second)) == (429, 429)


@pytest.mark.usefixtures("marta")
async def test_logins_that_succeed_are_never_limited(site: Site) -> None:
    answers = await asyncio.gather(*(site.try_login("marta") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    assert site.databases[Population.SLM].sql("SELECT count(*) FROM rate_limits") == "0"


async def test_one_row_tells_that_a_block_began(site: Site, marta: UUID, clock: datetime) -> None:
    await fail(site, 30)
    [row] = site.audit(Population.SLM, "account_locked")
    until = datetime.fromisoformat(row["details"].pop("until"))
    assert until == (clock + timedelta(seconds=30)).replace(microsecond=0)
    assert row["details"] == {"reason": "too_many_attempts", "scope": "pair", "failures": 5}
    assert (row["resource_id"], row["ip_address"]) == (str(marta), HOME)
    assert len(site.audit(Population.SLM)) == 1 + PER_PAIR + 1, "created, failures, the block"


async def test_one_row_tells_that_an_address_is_blocked(
    databases: Databases, run_site: RunSite
) -> None:
    async with run_site(databases, **GENEROUS | {"login_failures_per_address": 3}) as site:
        await fail(site, 10, "nobody")
        [row] = site.audit(Population.SLM, "suspicious_activity")
        assert (row["details"]["scope"], row["resource_id"]) == ("address", None)
        assert len(site.audit(Population.SLM)) == 3 + 1


@pytest.mark.parametrize("population", Population)
async def test_an_administrator_unlocks(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    user_id = await site.add_user(population, "marta")
    response = await admin.post(f"/api/{population}-users/{user_id}/unlock")
    assert (response.status_code, response.content) == (204, b"")
    [row] = site.audit(population, "account_unlocked")
    assert (row["resource_id"], row["outcome"]) == (str(user_id), "success")


async def lock(
    client: httpx2.AsyncClient,
    user_id: object,
    population: Population = Population.SLM,
    headers: dict[str, str] | None = None,
) -> Any:
    response = await client.get(f"/api/{population}-users/{user_id}/lock", headers=headers)
    assert response.status_code == 200, response.text
    return response.json()


@pytest.mark.parametrize("name", ["marta", "marta@autobot.local"])
async def test_a_lock_is_shown_until_it_ends_or_is_lifted(
    site: Site, marta: UUID, clock: datetime, name: str
) -> None:
    headers = await site.administrate()
    free = {"locked_until": None, "failures": 0}
    assert await lock(site.client, marta, headers=headers) == free
    move(site, ELSEWHERE)
    await fail(site, PER_PAIR - 1, name)
    counted = {"locked_until": None, "failures": PER_PAIR - 1}
    assert await lock(site.client, marta, headers=headers) == counted
    await fail(site, 1, name)
    locked = await lock(site.client, marta, headers=headers)
    until = datetime.fromisoformat(locked["locked_until"])
    assert until == clock + timedelta(seconds=30)
    assert locked["failures"] == PER_PAIR
    pass_time(site, 31)
    over = {"locked_until": None, "failures": PER_PAIR}
    assert await lock(site.client, marta, headers=headers) == over
    await fail(site, 1, name)
    assert (await lock(site.client, marta, headers=headers))["locked_until"]
    await site.client.post(f"/api/slm-users/{marta}/unlock", headers=headers)
    assert await lock(site.client, marta, headers=headers) == free


async def test_a_lock_of_all_strangers_is_shown(
    databases: Databases, run_site: RunSite, clock: datetime
) -> None:
    async with run_site(databases, **GENEROUS | {"login_failures_per_account": 3}) as site:
        marta = await site.add_user(Population.SLM, "marta")
        headers = await site.administrate()
        await fail(site, 3)
        locked = await lock(site.client, marta, headers=headers)
        until = datetime.fromisoformat(locked["locked_until"])
        assert until == clock + timedelta(hours=1)
        assert locked["failures"] == 3
        pass_time(site, 3601)
        free = {"locked_until": None, "failures": 3}
        assert await lock(site.client, marta, headers=headers) == free


async def test_what_others_did_is_no_lock_of_a_user(site: Site, marta: UUID) -> None:
    headers = await site.administrate()
    await site.add_user(Population.SLM, "other")
    await fail(site, PER_PAIR, "other")
    free = {"locked_until": None, "failures": 0}
    assert await lock(site.client, marta, headers=headers) == free


async def test_the_locks_of_the_populations_are_apart(
    admin: httpx2.AsyncClient, site: Site, marta: UUID
) -> None:
    namesake = await site.add_user(Population.AUTOBOT, "marta")
    await fail(site, PER_PAIR)
    assert (await lock(admin, marta))["locked_until"]
    assert (await lock(admin, namesake, Population.AUTOBOT))["locked_until"] is None


async def test_unlocking_clears_both_names_from_all_addresses_and_nobody_elses(
    site: Site, marta: UUID
) -> None:
    headers = await site.administrate()
    await site.add_user(Population.SLM, "other")
    addresses = (HOME, ELSEWHERE, "2001:db8::1")
    for address in addresses:
        move(site, address)
        for name in ("marta", "marta@autobot.local", "other"):
            await fail(site, PER_PAIR, name)
    where = f"/api/slm-users/{marta}/unlock"
    assert (await site.client.post(where, headers=headers)).status_code == 204
    for address in addresses:
        move(site, address)
        assert [await status(site, "marta"), await status(site, "marta@autobot.local")] == [200] * 2
        assert await status(site, "other") == 429
    assert limits(site, "account") == [str(3 * PER_PAIR)]


async def change(
    site: Site, headers: dict[str, str], current: str, new: str = NEW_PASSWORD
) -> httpx2.Response:
    return await site.client.post(
        "/api/slm-auth/change-password",
        headers=headers,
        json={"current_password": current, "new_password": new},
    )


async def test_the_current_password_cannot_be_guessed_with_a_stolen_token(
    site: Site, marta: UUID
) -> None:
    headers = await site.login("marta")
    statuses = [(await change(site, headers, WRONG)).status_code for _ in range(PER_PAIR)]
    assert statuses == [403] * PER_PAIR
    move(site, ELSEWHERE)
    assert_blocked(await change(site, headers, site.password), 30)
    assert await status(site) == 200, "a login is another matter"
    [row] = site.audit(Population.SLM, "account_locked")
    assert (row["details"]["scope"], row["resource_id"]) == ("password", str(marta))
    pass_time(site, 31)
    assert (await change(site, headers, site.password)).status_code == 204
    assert limits(site, "password") == []


async def test_whoever_guesses_with_a_stolen_token_locks_out_nobody_but_that_session(
    site: Site, marta: UUID
) -> None:
    del marta
    stolen, own = await site.login("marta"), await site.login("marta")
    for _ in range(PER_PAIR):
        assert (await change(site, stolen, WRONG)).status_code == 403
    assert_blocked(await change(site, stolen, site.password), 30)
    assert (await change(site, own, site.password)).status_code == 204


async def test_guesses_of_the_current_password_at_once(
    site: Site, marta: UUID, held_hashing: threading.Event
) -> None:
    del marta
    held_hashing.set()
    headers = await site.login("marta")
    held_hashing.clear()
    guesses = [asyncio.create_task(change(site, headers, WRONG)) for _ in range(12)]
    await site.queued(12)
    held_hashing.set()
    statuses = [(await guess).status_code for guess in guesses]
    assert (statuses.count(403), statuses.count(429)) == (PER_PAIR, 12 - PER_PAIR)


@pytest.mark.parametrize("current", [PASSWORD, WRONG])
async def test_a_block_that_begins_during_a_change_says_nothing_about_the_current_password(
    site: Site, marta: UUID, clock: datetime, held_hashing: threading.Event, current: str
) -> None:
    del marta
    held_hashing.set()
    headers = await site.login("marta")
    await change(site, headers, WRONG)
    held_hashing.clear()
    # What is wrong with the new password would tell, too.
    guess = asyncio.create_task(change(site, headers, current, "short"))
    await site.queued(1)
    begin_block(site.databases[Population.SLM], "password", clock)
    held_hashing.set()
    assert_blocked(await guess, 30)


async def test_unlocking_lets_change_the_password_again(site: Site, marta: UUID) -> None:
    administrator = await site.administrate()
    headers = await site.login("marta")
    for _ in range(PER_PAIR):
        await change(site, headers, WRONG)
    await site.client.post(f"/api/slm-users/{marta}/unlock", headers=administrator)
    assert (await change(site, headers, site.password)).status_code == 204


async def test_unknown_refresh_tokens(databases: Databases, run_site: RunSite) -> None:
    async with run_site(databases, **GENEROUS | {"login_failures_per_address": 3}) as site:
        await site.add_user(Population.SLM, "marta")
        good = (await site.try_login("marta")).json()["refresh_token"]

        async def refresh(token: str) -> httpx2.Response:
            path = "/api/slm-auth/refresh"
            return await site.client.post(path, json={"refresh_token": token})

        assert [(await refresh("unknown")).status_code for _ in range(3)] == [401] * 3
        assert_blocked(await refresh("unknown"), 900)
        # Neither sessions nor logins of others at that address suffer.
        assert (await refresh(good)).status_code == 200
        assert await status(site) == 200
        assert len(site.audit(Population.SLM, "suspicious_activity")) == 1


@pytest.mark.usefixtures("marta")
async def test_what_a_client_says_about_its_address_counts_for_nothing(site: Site) -> None:
    claims = {"X-Forwarded-For": FAR, "X-Real-IP": FAR, "Forwarded": f"for={FAR}"}
    site.client.headers.update(claims)
    assert await fail(site, PER_PAIR) == [401] * PER_PAIR
    for header in claims:
        site.client.headers[header] = "198.51.100.77"
    assert await status(site) == 429
    assert {row["ip_address"] for row in site.audit(Population.SLM, "login_failed")} == {HOME}
    move(site, FAR)
    assert await status(site) == 200


async def test_a_blocked_login_is_the_same_for_known_and_unknown(
    site: Site, door: Door, clock: datetime, statements: list[str]
) -> None:
    await site.add_user(door.resources.callers, "marta")
    seen = {}
    for name, password in {"marta": site.password, "MARTA": WRONG, "nobody": WRONG}.items():
        if name != "MARTA":
            await fail(door, PER_PAIR, name)
        begin_block(site.databases[door.resources.callers], "pair", clock)
        statements.clear()
        response = await door.try_login(name, password)
        headers = sorted(item for item in response.headers.items() if item[0] != "x-request-id")
        seen[name] = (response.status_code, response.content, headers, list(statements))
    assert seen["marta"][0] == 429
    assert [statement.split()[0] for statement in seen["marta"][3]] == [
        *("SELECT", "SELECT", "COMMIT")
    ]
    assert {name for name, value in seen.items() if value != seen["marta"]} == set()
