"""Password hashing: bcrypt in a bounded pool of low-priority threads.

Two forms are stored:

* `$2b$12$…`: plain bcrypt, for passwords that bcrypt takes whole (at most 72 bytes of UTF-8 and
  no NUL). Other AutoBot programs verify this form.
* `bcrypt-sha384$$2b$12$…`: bcrypt of base64(SHA-384(password)), for all others. Nothing is cut.

Passwords are normalised to NFC first, so the same text typed on two systems is the same password.

A hash is its setting (form, cost and salt) and 31 characters that follow from the password. Here
nobody compares: whoever knows the setting makes the hash anew, and the database says whether it is
the one that it holds (`services/passwords.py`).

Timing. Making a hash anew does the work of one at the configured cost, whether the user exists or
not, whether the password fits the stored form or not, right or wrong. At a lower cost c it is
topped up with hashes at c, c+1, … C-1: 2^c + 2^c + 2^(c+1) + … + 2^(C-1) = 2^C rounds. A hash
stored at a *higher* cost than configured takes longer than an unknown user; raise the configured
cost to the highest one stored if that matters.
"""

import asyncio
import base64
import hashlib
import logging
import math
import os
import re
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

import bcrypt

from user_management.errors import HashQueueFull

T = TypeVar("T")

LOGGER = logging.getLogger(__name__)

BCRYPT_INPUT_BYTES = 72
MIN_COST = 4
# One more doubles the time; a hash stored beyond this would hold a thread for many seconds.
MAX_COST = 16
# NFC is quadratic in a run of combining marks, so its input is bounded (in code points).
MAX_PASSWORD_LENGTH = 1024
NICENESS = 10
PREHASHED = "bcrypt-sha384$"
DIGEST_LENGTH = 31

# The 22nd character of a salt carries two bits only; bcrypt raises on any other.
# Migration 0004 knows them too.
_SETTING = re.compile(
    r"(?P<prehashed>bcrypt-sha384\$)?"
    r"(?P<bcrypt>\$(?P<ident>2[aby])\$(?P<cost>[0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu])"
)
_DIGEST = re.compile(r"[./A-Za-z0-9]+")
_SECONDS_PER_ROUND = 1e-4  # Until something was measured: about 0.4 s at cost 12.
_SMOOTHING = 0.2


class _Setting(NamedTuple):
    prehashed: bool
    ident: str
    cost: int
    bcrypt: bytes


class PasswordHasher:
    """Hashes passwords away from the event loop.

    `cost` is bcrypt's, the logarithm of the rounds. At most `threads` hashes are computed at once
    and `queue_limit` wait for a thread; the next call raises HashQueueFull before any work.
    """

    def __init__(self, cost: int, threads: int, queue_limit: int = 64) -> None:
        """Raises ValueError when a number is out of range."""
        if not MIN_COST <= cost <= MAX_COST:
            raise ValueError(f"bcrypt's cost must be {MIN_COST} to {MAX_COST}, not {cost}")
        if threads < 1 or queue_limit < 0:
            raise ValueError("hashing needs at least one thread and no negative queue limit")
        self.cost = cost
        self._threads = threads
        self._capacity = threads + queue_limit
        self._pending = 0
        self._lock = threading.Lock()
        self._seconds: float = _SECONDS_PER_ROUND * 2**cost
        self._executor = ThreadPoolExecutor(
            threads, thread_name_prefix="password-hash", initializer=_lower_priority
        )

    async def hash(self, password: str) -> str:
        """Return the string to store for `password`.

        Raises HashQueueFull, and ValueError for more than MAX_PASSWORD_LENGTH code points
        (`check_new_password` refuses such a password first).
        """
        if len(password) > MAX_PASSWORD_LENGTH:
            raise ValueError(f"a password has at most {MAX_PASSWORD_LENGTH} code points")
        return await self._run(lambda: self._hash(password))

    async def hash_anew(self, password: str, setting: str | None) -> str | None:
        """Return what is stored for `password` with a setting.

        None when there is no setting, it is none that is usable, or no hash of this password was
        ever made with it; that takes as long as a real one. Raises HashQueueFull.
        """
        return await self._run(lambda: self._hash_anew(password, setting))

    def needs_rehash(self, setting: str) -> bool:
        """Tell whether a hash with this setting, whose password is at hand, should be replaced.

        True for a lower cost or an older bcrypt identifier; a higher cost is never weakened.
        """
        parsed = _parse(setting)
        return parsed is None or parsed.ident != "2b" or parsed.cost < self.cost

    def close(self) -> None:
        """Cancel what waits and end the threads once their current hash is done."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        with self._lock:
            if self._pending >= self._capacity:
                raise HashQueueFull(self._retry_after())
            self._pending += 1
        try:
            future = self._executor.submit(self._timed, work)
        except BaseException:
            self._release()
            raise
        # On the pool's future, not on the caller's: a cancelled request gives its place back
        # at once while it waits, and when the thread is free while it is being hashed.
        future.add_done_callback(self._release)
        return await asyncio.wrap_future(future)

    def _timed(self, work: Callable[[], T]) -> T:
        """Every piece of work is one hash long, so its time serves the estimate of the queue."""
        started = time.perf_counter()
        result = work()
        self._seconds += _SMOOTHING * (time.perf_counter() - started - self._seconds)
        return result

    def _release(self, _done: Future[Any] | None = None) -> None:
        with self._lock:
            self._pending -= 1

    def _retry_after(self) -> int:
        """Whole seconds until the queue as it is now has been worked off, at least 1."""
        return max(1, math.ceil(self._pending * self._seconds / self._threads))

    def _hash(self, password: str) -> str:
        secret = _encode(password)
        prefix = "" if _is_plain(secret) else PREHASHED
        digest = bcrypt.hashpw(_prehash(secret) if prefix else secret, bcrypt.gensalt(self.cost))
        return prefix + digest.decode()

    def _hash_anew(self, password: str, setting: str | None) -> str | None:
        parsed = None if setting is None else _parse(setting)
        secret = None if parsed is None else _secret(password, parsed)
        if parsed is None or secret is None:
            cost = self.cost if parsed is None else max(self.cost, parsed.cost)
            bcrypt.hashpw(b"", bcrypt.gensalt(cost))
            return None
        digest = bcrypt.hashpw(secret, parsed.bcrypt)
        for cost in range(parsed.cost, self.cost):
            bcrypt.hashpw(secret, bcrypt.gensalt(cost))
        return (PREHASHED if parsed.prehashed else "") + digest.decode()


def is_hash(text: str) -> bool:
    """Tell whether `text` is a stored form that some password can have."""
    setting, digest = text[:-DIGEST_LENGTH], text[-DIGEST_LENGTH:]
    return _parse(setting) is not None and _DIGEST.fullmatch(digest) is not None


def normalize_password(password: str) -> str:
    """Return the NFC form, which is what is counted, compared and hashed."""
    return unicodedata.normalize("NFC", password)


def _lower_priority() -> None:
    """Let the event loop go before hashing; on Linux niceness belongs to a thread."""
    if sys.platform != "linux":
        return
    thread = threading.get_native_id()
    try:
        current = os.getpriority(os.PRIO_PROCESS, thread)
        os.setpriority(os.PRIO_PROCESS, thread, max(current, NICENESS))
    except OSError as error:
        LOGGER.warning(
            "hashing runs at normal priority, logins will slow other requests down: "
            "setpriority was refused (%s); allow it in the service's system call filter",
            error.strerror,
        )


def _parse(setting: str) -> _Setting | None:
    found = _SETTING.fullmatch(setting)
    if found is None or not MIN_COST <= (cost := int(found["cost"])) <= MAX_COST:
        return None
    return _Setting(found["prehashed"] is not None, found["ident"], cost, found["bcrypt"].encode())


def _secret(password: str, setting: _Setting) -> bytes | None:
    """What bcrypt gets to see, or None when `password` is never hashed with this setting."""
    if len(password) > MAX_PASSWORD_LENGTH:
        return None
    secret = _encode(password)
    if setting.prehashed:
        return _prehash(secret)
    return secret if _is_plain(secret) else None


def _encode(password: str) -> bytes:
    # JSON can carry lone surrogates; they must not make an error of a wrong password.
    return normalize_password(password).encode("utf-8", "surrogatepass")


def _is_plain(secret: bytes) -> bool:
    return len(secret) <= BCRYPT_INPUT_BYTES and b"\0" not in secret


def _prehash(secret: bytes) -> bytes:
    """64 characters without NUL, so that bcrypt takes all of them."""
    return base64.b64encode(hashlib.sha384(secret).digest())
