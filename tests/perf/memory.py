"""The memory of a worker under mixed load."""

import asyncio
import itertools
import random
import time
from collections.abc import Callable
from urllib.parse import urlencode

from tests.perf.figures import Aim, Report, slope
from tests.perf.load import Answers, clients, request
from tests.perf.machine import memory_of
from tests.perf.servers import PEOPLE, Contender

CLIENTS = 8
SAMPLES = 60
WARM_UP = 1 / 3  # of the time; what comes after it shall be flat
_WORDS = ("anna", "zoltan xan", "holmford", "an", "zq", "qqqwxyz", "example")
_KINDS = ("me", "list", "search", "create", "login")
_WEIGHTS = (60, 15, 10, 10, 5)


async def measure(report: Report, contender: Contender, *, minutes: float) -> None:
    """MiB after all that time, and how fast they grow once everything is warm."""
    answers = Answers()
    token = await contender.token()
    mixes = [_mix(contender, token, number) for number in range(CLIENTS)]
    points = []
    start = time.perf_counter()
    async with clients(contender.socket, mixes, answers):
        for _ in range(SAMPLES):
            await asyncio.sleep(60 * minutes / SAMPLES)
            points.append(((time.perf_counter() - start) / 60, memory_of(contender.pid)))
    report.note("mixed load", answers)
    after = f"after {minutes:g} minutes of mixed load"
    report.add("requests of the mixed load", len(answers.seconds) / (60 * minutes), "/s")
    report.add(f"memory of the worker {after}", points[-1][1], "MiB", Aim(150))
    warm = [point for point in points if point[0] >= minutes * WARM_UP]
    report.add("memory of the worker, growth once warm", slope(warm), "MiB/min", Aim(0.5))


def _mix(contender: Contender, token: str, client: int) -> Callable[[], bytes]:
    """Requests of one client, the same in each run."""
    chance = random.Random(client)  # noqa: S311  nothing secret
    numbers = itertools.count()

    def choose() -> bytes:
        match chance.choices(_KINDS, _WEIGHTS)[0]:
            case "me":
                return request("GET", "/api/slm-auth/me", token=token)
            case "list":
                query = urlencode({"limit": chance.choice((10, 100))})
                return request("GET", f"/api/autobot-users?{query}", token=token)
            case "search":
                query = urlencode({"search": chance.choice(_WORDS)})
                return request("GET", f"/api/autobot-users?{query}", token=token)
            case "create":
                name = f"made{client}_{next(numbers)}"
                body = {"username": name, "email": f"{name}@example.com"}
                return request("POST", "/api/autobot-users", token=token, body=body)
            case _:
                return contender.login(1 + chance.randrange(PEOPLE))

    return choose
