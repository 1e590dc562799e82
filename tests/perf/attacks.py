"""The memory of a worker under attacks, imports and exports, and when they are over."""

import asyncio
import base64
import itertools
import json
import random
import string
import time
from collections.abc import Callable, Sequence
from urllib.parse import urlencode
from uuid import UUID

from tests.perf.figures import Aim, Report
from tests.perf.load import Answers, fetch, request, status_of
from tests.perf.machine import memory_of
from tests.perf.servers import Contender

ATTACKERS = 8
GUESSERS = 2  # of passwords, for which they wait much longer than the others
INTERVAL = 0.25  # seconds between two looks at the memory
QUIET = 30  # seconds, with one request in each
BODY = 2**16  # bytes, the most that the service reads
QUERY = 6000  # characters, about the most that the proxy lets pass
IMPORTED = 50_000  # rows

# A request by chance, with somebody's token.
Hostile = Callable[[random.Random, str], bytes]

_LISTS = ("/api/slm-users", "/api/autobot-users")
_EVENTS = "/api/audit-logs"
_FILTERS = {
    "is_active": "true",
    "role": "user",
    "org_id": str(UUID(int=1)),
    "team_id": str(UUID(int=2)),
    "last_login_before": "2026-01-01T00:00:00Z",
    "last_login_after": "2025-01-01T00:00:00Z",
    "include_total": "true",
}
_SORTS = ("created_at", "username", "email", "last_login_at")
_EVENT_FILTERS = {
    "outcome": "failure",
    "actor": str(UUID(int=3)),
    "resource_type": "user",
    "resource_id": str(UUID(int=4)),
    "ip_address": "10.0.0.1",
    "since": "2025-01-01T00:00:00Z",
    "until": "2030-01-01T00:00:00Z",
}
_EXPORTS = tuple(
    f"{path}/export?format={form}" for path in (_EVENTS, *_LISTS) for form in ("csv", "ndjson")
)


async def measure(report: Report, contender: Contender, *, minutes: float) -> None:
    """MiB at the peak of all that, and when it has been over for a while."""
    answers = Answers()
    sizes = []
    loads = [_attack(contender, number, _HOSTILE, answers) for number in range(ATTACKERS)]
    loads += [_attack(contender, number, (_guess,), answers) for number in range(GUESSERS)]
    loads += [_export(contender, answers), _import(contender, answers)]
    tasks = [asyncio.create_task(load) for load in loads]
    end = time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        await asyncio.sleep(INTERVAL)
        sizes.append(memory_of(contender.pid))
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            answers.failures[repr(ended)] += 1
    me = await contender.me()
    for _ in range(QUIET):
        await asyncio.sleep(1)
        await fetch(contender.socket, me)
    report.note("attacks, imports and exports", answers)
    report.add("attacks, imports and exports", len(answers.seconds) / (60 * minutes), "/s")
    report.add("memory of the worker at their peak", max(sizes), "MiB")
    report.add(
        f"memory of the worker {QUIET} s after them", memory_of(contender.pid), "MiB", Aim(110)
    )


async def _attack(
    contender: Contender, number: int, kinds: Sequence[Hostile], answers: Answers
) -> None:
    chance = random.Random(number)  # noqa: S311  the same requests in each run
    token = await contender.token()
    while True:
        await _ask(contender, chance.choice(kinds)(chance, token), answers)


async def _export(contender: Contender, answers: Answers) -> None:
    for path in itertools.cycle(_EXPORTS):
        # Whoever exports has just logged in.
        await _ask(contender, request("GET", path, token=await contender.token()), answers)


async def _import(contender: Contender, answers: Answers) -> None:
    for number in itertools.count():
        rows = (f"in{number}_{row},in{number}_{row}@example.com" for row in range(IMPORTED))
        file = "\n".join(("username,email", *rows))
        path = "/api/autobot-users/import?format=csv&apply=true"
        token = await contender.token()
        message = request("POST", path, token=token, text=file, kind="text/csv")
        await _ask(contender, message, answers)


async def _ask(contender: Contender, message: bytes, answers: Answers) -> None:
    """Note how long any answer took; it is a failure only where the server says that it failed."""
    start = time.perf_counter()
    try:
        status = await status_of(contender.socket, message)
    except TimeoutError:
        answers.failures["TimeoutError"] += 1
        return
    except ConnectionError:
        status = 413  # a body that the server does not wait for
    if status == 500:
        answers.failures[f"HTTP 500 for {message[:100]!r}"] += 1
    answers.seconds.append(time.perf_counter() - start)


def _text(chance: random.Random, most: int) -> str:
    return "".join(chance.choices(string.ascii_lowercase + " äß中😀", k=chance.randint(1, most)))


def _address(chance: random.Random) -> str:
    return f"10.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(256)}"


def _name(chance: random.Random) -> str:
    return f"{chance.getrandbits(64):x}"


def _guess(chance: random.Random, _token: str) -> bytes:
    body = {"username": _name(chance), "password": _text(chance, 100)}
    return request("POST", "/api/slm-auth/login", body=body, address=_address(chance))


def _large_login(chance: random.Random, _token: str) -> bytes:
    body = {"username": "x" * chance.randint(BODY // 2, BODY - 100), "password": "x"}
    return request("POST", "/api/slm-auth/login", body=body, address=_address(chance))


def _too_large(chance: random.Random, token: str) -> bytes:
    text = json.dumps({"username": "x" * chance.randint(BODY, 32 * BODY)})
    return request("POST", chance.choice(_LISTS), token=token, text=text)


def _deep(chance: random.Random, token: str) -> bytes:
    opened, closed = chance.choice((("[", "]"), ('{"a":', "}")))
    depth = chance.randint(1, BODY // 8)
    text = f'{{"username": "x", "preferences": {opened * depth}1{closed * depth}}}'
    return request("POST", chance.choice(_LISTS), token=token, text=text)


def _many_members(chance: random.Random, token: str) -> bytes:
    body = {_name(chance): number for number in range(chance.randint(1, 2500))}
    return request("POST", chance.choice(_LISTS), token=token, body=body)


def _many_items(chance: random.Random, token: str) -> bytes:
    body = {"username": "x", "role_ids": [0] * chance.randint(1, BODY // 4)}
    return request("POST", chance.choice(_LISTS), token=token, body=body)


def _bad_token(chance: random.Random, token: str) -> bytes:
    head, claims, signature = token.split(".")
    other = base64.urlsafe_b64encode(chance.randbytes(chance.randint(1, 4000))).decode()
    forged = chance.choice((other, f"{head}.{other}.{signature}", f"{head}.{claims}.{other}"))
    return request("GET", "/api/slm-auth/me", token=forged)


def _search(chance: random.Random, token: str) -> bytes:
    query = {"search": _text(chance, 255), "limit": chance.randint(1, 100)}
    return _get(chance.choice(_LISTS), query, token)


def _filter(chance: random.Random, token: str) -> bytes:
    chosen = chance.sample(sorted(_FILTERS.items()), chance.randint(1, len(_FILTERS)))
    sort = chance.choice(("", "-")) + chance.choice(_SORTS)
    query: dict[str, object] = {**dict(chosen), "sort": sort}
    if chance.random() < 0.5:
        query["search"] = _text(chance, 10)
    return _get(chance.choice(_LISTS), query, token)


def _events(chance: random.Random, token: str) -> bytes:
    chosen = chance.sample(sorted(_EVENT_FILTERS.items()), chance.randint(0, 7))
    actions = [_text(chance, 20) for _ in range(chance.randint(0, 100))]
    return _get(_EVENTS, {**dict(chosen), "action": actions}, token)


def _long_query(chance: random.Random, token: str) -> bytes:
    return _get(_LISTS[0], {_name(chance): "x" * chance.randint(1, QUERY)}, token)


def _get(path: str, query: dict[str, object], token: str) -> bytes:
    return request("GET", f"{path}?{urlencode(query, doseq=True)[:QUERY]}", token=token)


_HOSTILE: tuple[Hostile, ...] = (
    *(_large_login, _too_large, _deep, _many_members, _many_items),
    *(_bad_token, _search, _filter, _events, _long_query),
)
