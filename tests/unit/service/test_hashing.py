"""Hashing: what is stored, what it costs, and that the pool stays bounded."""

import asyncio
import base64
import hashlib
import logging
import os
import threading
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, TypeVar

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from user_management.errors import HashQueueFull
from user_management.security.hashing import MAX_PASSWORD_LENGTH, PasswordHasher

COST = 8
PASSWORD = "a quiet tuesday"
PASSWORDS = st.text(max_size=128)

real_hashpw = bcrypt.hashpw
T = TypeVar("T")


class Run(Protocol):
    """Await what something does with a hasher; what comes of it."""

    def __call__(self, work: Callable[[PasswordHasher], Awaitable[T]]) -> T: ...


def stored(password: str = PASSWORD, *, cost: int = COST, ident: str = "2b") -> str:
    """What another program stores: plain bcrypt."""
    # The names of tests hold it: the same in every run.
    settings = f"$2b${cost:02}$abcdefghijklmnopqrstuu"
    return real_hashpw(password.encode(), settings.encode()).decode().replace("2b", ident, 1)


def setting_of(made: str) -> str:
    """All but the 31 characters that follow from the password."""
    return made[:-31]


async def verify(hasher: PasswordHasher, password: str, made: str | None) -> bool:
    """Whether `made` was made from the password: as a login finds out."""
    again = await hasher.hash_anew(password, None if made is None else setting_of(made))
    return again is not None and again == made


@pytest.fixture
def hasher() -> Iterator[PasswordHasher]:
    hasher = PasswordHasher(COST, threads=2)
    yield hasher
    hasher.close()


@pytest.fixture(scope="module")
def cheap() -> Iterator[Run]:
    """Run something with a hasher at bcrypt's lowest cost."""
    hasher = PasswordHasher(4, threads=1)

    def run(work: Callable[[PasswordHasher], Awaitable[T]]) -> T:
        async def main() -> T:
            return await work(hasher)

        return asyncio.run(main())

    yield run
    hasher.close()


class TestWhatIsStored:
    async def test_a_password_that_bcrypt_takes_whole_is_plain_bcrypt(
        self, hasher: PasswordHasher
    ) -> None:
        for password in (PASSWORD, "x" * 72, "é" * 36):
            made = await hasher.hash(password)

            assert made.startswith(f"$2b${COST:02}$")
            assert bcrypt.checkpw(password.encode(), made.encode())

    @pytest.mark.parametrize("password", ["x" * 73, "é" * 37, "nul\0inside", "\0"])
    async def test_any_other_is_prehashed(self, hasher: PasswordHasher, password: str) -> None:
        made = await hasher.hash(password)

        assert made.startswith(f"bcrypt-sha384$$2b${COST:02}$")
        assert len(made) <= 255
        assert await verify(hasher, password, made)

    async def test_equal_passwords_are_stored_differently(self, hasher: PasswordHasher) -> None:
        assert await hasher.hash(PASSWORD) != await hasher.hash(PASSWORD)

    @settings(max_examples=60)
    @given(password=PASSWORDS, other=PASSWORDS)
    def test_only_the_same_text_verifies(self, cheap: Run, password: str, other: str) -> None:
        made = cheap(lambda hasher: hasher.hash(password))

        assert cheap(lambda hasher: verify(hasher, unicodedata.normalize("NFD", password), made))
        same = unicodedata.normalize("NFC", password) == unicodedata.normalize("NFC", other)
        assert cheap(lambda hasher: verify(hasher, other, made)) is same

    @settings(max_examples=60)
    @given(
        start=st.sampled_from(["x" * 72, "é" * 36, "字" * 24, "😀" * 18]),
        tails=st.lists(st.text(max_size=40), min_size=2, max_size=2, unique=True),
    )
    def test_nothing_is_cut_at_72_bytes(self, cheap: Run, start: str, tails: list[str]) -> None:
        first, second = (unicodedata.normalize("NFC", start + tail) for tail in tails)
        made = cheap(lambda hasher: hasher.hash(first))

        assert cheap(lambda hasher: verify(hasher, first, made))
        assert cheap(lambda hasher: verify(hasher, second, made)) is (first == second)

    @pytest.mark.parametrize("length", [73, 100, 128])
    async def test_long_passwords_work(self, hasher: PasswordHasher, length: int) -> None:
        made = await hasher.hash("p" * length)

        assert await verify(hasher, "p" * length, made)
        assert not await verify(hasher, "p" * (length - 1), made)
        assert not await verify(hasher, "p" * 72, made)

    async def test_what_follows_a_nul_counts(self, hasher: PasswordHasher) -> None:
        made = await hasher.hash("same\0one")

        assert not await verify(hasher, "same\0two", made)
        assert not await verify(hasher, "same", made)
        assert not await verify(hasher, "same\0one", stored("same"))

    async def test_a_lone_surrogate_is_only_another_character(self, hasher: PasswordHasher) -> None:
        made = await hasher.hash("half \ud83d of one")

        assert await verify(hasher, "half \ud83d of one", made)
        assert not await verify(hasher, "half \ud83e of one", made)
        assert not await verify(hasher, "half \ud83d of one", stored("half"))

    async def test_an_endless_password_is_no_password(self, hasher: PasswordHasher) -> None:
        with pytest.raises(ValueError, match="1024"):
            await hasher.hash("x" * (MAX_PASSWORD_LENGTH + 1))
        for password, expected in (
            ("x" * MAX_PASSWORD_LENGTH, True),
            ("x" * (MAX_PASSWORD_LENGTH + 1), False),
        ):
            digest = base64.b64encode(hashlib.sha384(password.encode()).digest()).decode()
            assert await verify(hasher, password, "bcrypt-sha384$" + stored(digest)) is expected

    @pytest.mark.parametrize("ident", ["2a", "2b", "2y"])
    async def test_hashes_of_other_programs_verify(
        self, hasher: PasswordHasher, ident: str
    ) -> None:
        assert await verify(hasher, PASSWORD, stored(ident=ident))
        assert not await verify(hasher, PASSWORD + "x", stored(ident=ident))


UNUSABLE = [
    None,
    "",
    "!",
    "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",  # bare SHA-256
    stored(ident="2x"),  # made by an implementation with a known fault
    stored() + "\n",
    stored()[:-1],
    stored().replace("$08$", "$03$"),
    stored().replace("$08$", "$17$"),
    stored().replace("$08$", "$31$"),
    stored().replace("$08$", "$٠٨$"),
    "$2b$08$" + "z" * 53,  # a salt that bcrypt itself refuses
    "bcrypt-sha384$",
    "bcrypt-sha384$" + stored(ident="2x"),
]


class TestWhatItCosts:
    """Counted in bcrypt's rounds: time would depend on the machine."""

    @pytest.fixture
    def rounds(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        done = []

        def hashpw(secret: bytes, salt: bytes) -> bytes:
            done.append(2 ** int(salt[4:6]))
            return real_hashpw(secret, salt)

        monkeypatch.setattr(bcrypt, "hashpw", hashpw)
        return done

    @pytest.mark.parametrize(
        ("password", "made"),
        [
            pytest.param(PASSWORD, stored(), id="right"),
            pytest.param("wrong", stored(), id="wrong"),
            pytest.param("", stored(), id="empty"),
            pytest.param("x" * 73, stored(), id="too long for the stored form"),
            pytest.param("x" * 2000, stored(), id="endless"),
            pytest.param("nul\0", stored(), id="NUL"),
            pytest.param("\ud800", stored(), id="lone surrogate"),
            pytest.param("x" * 73, "bcrypt-sha384$" + stored(), id="prehashed"),
            pytest.param(PASSWORD, stored(cost=4), id="right, cheapest hash"),
            pytest.param("wrong", stored(cost=4), id="wrong, cheapest hash"),
            pytest.param("wrong", stored(cost=7), id="wrong, cheaper hash"),
            pytest.param("x" * 73, stored(cost=4), id="too long, cheapest hash"),
            pytest.param("wrong", stored(ident="2y"), id="wrong, hash of another program"),
            *(pytest.param(PASSWORD, made, id=f"unusable: {made!r}") for made in UNUSABLE),
        ],
    )
    async def test_every_verification_is_one_hash_at_the_configured_cost(
        self, hasher: PasswordHasher, rounds: list[int], password: str, made: str
    ) -> None:
        assert await verify(hasher, password, made) is (
            password == PASSWORD and made not in UNUSABLE
        )
        assert sum(rounds) == 2**COST

    async def test_a_dearer_hash_costs_its_own_price_whatever_the_password(
        self, hasher: PasswordHasher, rounds: list[int]
    ) -> None:
        for password in ("wrong", "x" * 73):
            rounds.clear()
            assert not await verify(hasher, password, stored(cost=9))
            assert sum(rounds) == 2**9


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (stored(), False),
        ("bcrypt-sha384$" + stored(), False),
        (stored(cost=9), False),
        (stored(cost=7), True),
        ("bcrypt-sha384$" + stored(cost=7), True),
        (stored(ident="2a"), True),
        (stored(ident="2y"), True),
        ("!", True),
    ],
)
async def test_needs_rehash(hasher: PasswordHasher, made: str, expected: bool) -> None:
    assert hasher.needs_rehash(setting_of(made)) is expected


@pytest.mark.parametrize("arguments", [(3, 1, 64), (17, 1, 64), (12, 0, 64), (12, 1, -1)], ids=str)
def test_numbers_out_of_range_are_refused(arguments: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must be|at least"):
        PasswordHasher(*arguments)


class Gate:
    """Stands in for bcrypt: each hash waits until it is let through."""

    def __init__(self) -> None:
        self.started = 0
        self.starts = threading.Semaphore(0)
        self.open = threading.Event()

    def hashpw(self, _secret: bytes, _salt: bytes) -> bytes:
        self.started += 1
        self.starts.release()
        assert self.open.wait(600)
        return b"$2b$04$done"

    async def wait_for_start(self) -> None:
        assert await asyncio.to_thread(self.starts.acquire, timeout=600)


class TestQueue:
    @pytest.fixture
    def gate(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
        gate = Gate()
        monkeypatch.setattr(bcrypt, "hashpw", gate.hashpw)
        yield gate
        gate.open.set()

    @pytest.fixture
    def narrow(self, gate: Gate) -> Iterator[PasswordHasher]:
        """One at work, two wait."""
        hasher = PasswordHasher(4, threads=1, queue_limit=2)
        yield hasher
        gate.open.set()
        hasher.close()

    async def fill(self, hasher: PasswordHasher, gate: Gate) -> list[asyncio.Task[str | None]]:
        tasks = [asyncio.create_task(hasher.hash_anew("x", None)) for _ in range(3)]
        await gate.wait_for_start()
        return tasks

    async def refuses(self, hasher: PasswordHasher) -> None:
        for call in (
            hasher.hash("x"),
            hasher.hash_anew("x", None),
            hasher.hash_anew("x", setting_of(stored())),
        ):
            with pytest.raises(HashQueueFull) as refusal:
                await call
            assert refusal.value.retry_after >= 1

    async def test_a_full_queue_refuses_before_any_work(
        self, narrow: PasswordHasher, gate: Gate
    ) -> None:
        tasks = await self.fill(narrow, gate)

        await self.refuses(narrow)

        gate.open.set()
        assert await asyncio.gather(*tasks) == [None] * 3
        assert gate.started == 3

    async def test_the_queue_is_free_again_when_the_work_is_done(
        self, narrow: PasswordHasher, gate: Gate
    ) -> None:
        tasks = await self.fill(narrow, gate)
        gate.open.set()
        await asyncio.gather(*tasks)

        for _ in range(5):
            await asyncio.gather(*(narrow.hash_anew("x", None) for _ in range(3)))

    async def test_a_request_that_gives_up_while_waiting_frees_its_place_at_once(
        self, narrow: PasswordHasher, gate: Gate
    ) -> None:
        running, *waiting = await self.fill(narrow, gate)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

        successors = [asyncio.create_task(narrow.hash_anew("x", None)) for _ in range(2)]
        await asyncio.sleep(0)
        await self.refuses(narrow)

        gate.open.set()
        assert await asyncio.gather(running, *successors) == [None] * 3
        assert gate.started == 3, "what was given up must not be computed"

    async def test_a_request_that_gives_up_while_hashing_frees_its_place_afterwards(
        self, narrow: PasswordHasher, gate: Gate
    ) -> None:
        running, *waiting = await self.fill(narrow, gate)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        await self.refuses(narrow)

        gate.open.set()
        await asyncio.gather(*waiting)
        await asyncio.gather(*(narrow.hash_anew("x", None) for _ in range(3)))

    async def test_failing_work_frees_its_place(
        self, narrow: PasswordHasher, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_secret: bytes, _salt: bytes) -> None:
            raise MemoryError

        monkeypatch.setattr(bcrypt, "hashpw", fail)
        for _ in range(5):
            with pytest.raises(MemoryError):
                await narrow.hash("x")

    async def test_a_closed_hasher_refuses_and_cancels_what_waits(
        self, narrow: PasswordHasher, gate: Gate
    ) -> None:
        running, *waiting = await self.fill(narrow, gate)
        narrow.close()

        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError] * 2
        gate.open.set()
        assert await running is None
        for _ in range(5):
            with pytest.raises(RuntimeError):
                await narrow.hash("x")

    async def test_retry_after_is_the_time_that_the_queue_needs(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [0.0]
        gate = Gate()

        def four_seconds(secret: bytes, salt: bytes) -> bytes:
            clock[0] += 4
            return gate.hashpw(secret, salt)

        monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
        monkeypatch.setattr(bcrypt, "hashpw", four_seconds)
        hasher = PasswordHasher(4, threads=2, queue_limit=4)
        gate.open.set()
        for _ in range(40):
            await hasher.hash_anew("x", None)
        gate.open.clear()
        tasks = [asyncio.create_task(hasher.hash_anew("x", None)) for _ in range(6)]
        for _ in range(42):
            await gate.wait_for_start()

        with pytest.raises(HashQueueFull) as refusal:
            await hasher.hash_anew("x", None)

        gate.open.set()
        await asyncio.gather(*tasks)
        hasher.close()
        assert refusal.value.retry_after == 12  # 6 hashes of 4 s on 2 threads


class TestThreads:
    async def test_hashing_runs_beside_the_event_loop_at_low_priority(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        seen = []

        def hashpw(secret: bytes, salt: bytes) -> bytes:
            thread = threading.get_native_id()
            seen.append((thread, os.getpriority(os.PRIO_PROCESS, thread)))
            return real_hashpw(secret, salt)

        monkeypatch.setattr(bcrypt, "hashpw", hashpw)
        hasher = PasswordHasher(8, threads=2)
        await asyncio.gather(*(hasher.hash("x") for _ in range(6)))
        hasher.close()

        assert len({thread for thread, _ in seen}) == 2
        assert threading.get_native_id() not in {thread for thread, _ in seen}
        assert {niceness for _, niceness in seen} == {max(10, before)}
        assert os.getpriority(os.PRIO_PROCESS, 0) == before

    async def test_a_service_that_is_nicer_already_is_left_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []
        monkeypatch.setattr(os, "getpriority", lambda _which, _who: 15)
        monkeypatch.setattr(os, "setpriority", lambda _which, _who, value: asked.append(value))
        hasher = PasswordHasher(4, threads=1)

        await hasher.hash("x")
        hasher.close()

        assert asked == [15]

    async def test_without_the_right_to_set_priority_it_hashes_and_says_so(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(_which: int, _who: int, _value: int) -> None:
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "setpriority", refuse)
        hasher = PasswordHasher(4, threads=1)
        with caplog.at_level(logging.WARNING):
            assert await verify(hasher, "x", await hasher.hash("x"))
        hasher.close()

        assert "system call filter" in caplog.text
