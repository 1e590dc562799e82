"""Logins per second beside bare bcrypt, and how long others wait meanwhile."""

import asyncio
import itertools
import os
import statistics
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import bcrypt
import uvloop

from tests.perf.figures import Aim, Report
from tests.perf.load import Answers, clients, connections, poll, request
from tests.perf.machine import CORES, CpuTime
from tests.perf.servers import COST, PASSWORD, PEOPLE, Contender
from user_management.security.hashing import NICENESS

CLIENTS = 32
WARM_UP = 3.0  # seconds
POLL_INTERVAL = 0.04  # seconds
ALIVE = request("GET", "/health/live")


@dataclass(frozen=True)
class Rate:
    """How many per second, CPU seconds for each, and cores that other programs used meanwhile."""

    per_second: float
    cpu_seconds: float
    others: float


def compare(report: Report, contender: Contender, *, rounds: int, seconds: float) -> None:
    """Bare bcrypt and logins in turn, then bursts; on all cores, clients and PostgreSQL too."""
    bare, logins, waits, polled = [_bare_bcrypt(seconds)], [], [], []
    for _ in range(rounds):
        rate, answers, alive = uvloop.run(_log_in(report, contender, seconds))
        logins.append(rate)
        waits.append(answers.quantile(0.5))
        polled.append(alive.quantile(0.99))
        bare.append(_bare_bcrypt(seconds))
    rates = [rate.per_second for rate in bare]
    report.add(f"bcrypt {COST}, {len(CORES)} threads", rates, "/s")
    report.add(f"logins, {CLIENTS} clients", [rate.per_second for rate in logins], "/s")
    between = [statistics.mean(pair) for pair in itertools.pairwise(rates)]
    shares = [100 * rate.per_second / b for rate, b in zip(logins, between, strict=True)]
    report.add("logins, of bare bcrypt", shares, "%", Aim(90, at_least=True))
    cpu = statistics.median(rate.cpu_seconds for rate in bare)
    by_cpu = [100 * cpu / rate.cpu_seconds for rate in logins]
    report.add("logins, of bare bcrypt by CPU time, with clients and PostgreSQL", by_cpu, "%")
    report.add("cores used by other programs", [rate.others for rate in (*bare, *logins)], "")
    report.add("login, p50", waits, "ms")
    report.add(f"/health/live during {CLIENTS} logins all the time, p99", polled, "ms")
    bursts = [uvloop.run(_burst(report, contender)).quantile(0.99) for _ in range(rounds)]
    report.add(f"/health/live during a burst of {PEOPLE} logins, p99", bursts, "ms", Aim(50))


def _bare_bcrypt(seconds: float) -> Rate:
    """Hash with one thread per core at the service's priority and nothing else to do."""
    salt = bcrypt.gensalt(COST)
    earlier = CpuTime.now()
    start = time.perf_counter()

    def work() -> tuple[int, float]:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        hashes = 0
        while (now := time.perf_counter()) < start + seconds:
            bcrypt.hashpw(PASSWORD.encode(), salt)
            hashes += 1
        return hashes, hashes / (now - start)

    with ThreadPoolExecutor(len(CORES)) as executor:
        done = [thread.result() for thread in [executor.submit(work) for _ in CORES]]
    used, others = CpuTime.now().since(earlier)
    return Rate(sum(rate for _, rate in done), used / sum(hashes for hashes, _ in done), others)


async def _log_in(
    report: Report, contender: Contender, seconds: float
) -> tuple[Rate, Answers, Answers]:
    logins = Answers()
    people = [partial(contender.login, number) for number in range(1, CLIENTS + 1)]
    async with clients(contender.socket, people, logins):
        await asyncio.sleep(WARM_UP)
        logins.seconds.clear()
        earlier = CpuTime.now()
        async with _polled(report, contender) as alive:
            await asyncio.sleep(seconds)
        later = CpuTime.now()
        measured = Answers(list(logins.seconds))
    # Logins that were cancelled are still being worked on; a new one comes after them.
    await contender.token()
    report.note("login", logins)
    used, others = later.since(earlier)
    count = len(measured.seconds)
    rate = Rate(count / (later.at - earlier.at), used / max(1, count), others)
    return rate, measured, alive


async def _burst(report: Report, contender: Contender) -> Answers:
    """PEOPLE log in at the same moment; /health/live until the last of them is in."""
    logins = Answers()
    async with (
        _polled(report, contender) as alive,
        connections(contender.socket, PEOPLE) as opened,
        asyncio.TaskGroup() as group,
    ):
        for number, connection in enumerate(opened, start=1):
            group.create_task(connection.ask(contender.login(number), logins))
    report.note("login in a burst", logins)
    return alive


@asynccontextmanager
async def _polled(report: Report, contender: Contender) -> AsyncIterator[Answers]:
    """/health/live at fixed times while the block runs."""
    alive = Answers()
    polling = asyncio.create_task(poll(contender.socket, ALIVE, POLL_INTERVAL, alive))
    try:
        yield alive
    finally:
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        report.note("/health/live", alive)
