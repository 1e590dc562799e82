"""`me` side by side with the rival: alone, and during a storm of logins."""

import asyncio
import sys
from collections.abc import Callable
from functools import partial

from tests.perf.figures import Aim, Report
from tests.perf.load import Answers, clients, fetch
from tests.perf.servers import Contender

CLIENTS = 16
STORM = 8
WARM_UP = 2.0  # seconds


async def compare(
    report: Report, ours: Contender, rival: Contender, *, rounds: int, seconds: float
) -> None:
    """Both in turn, `rounds` times, so that what the machine does meanwhile meets both."""
    alone: dict[str, list[float]] = {ours.name: [], rival.name: []}
    storm: dict[str, list[float]] = {ours.name: [], rival.name: []}
    waits: dict[str, list[float]] = {ours.name: [], rival.name: []}
    for _ in range(rounds):
        for contender in (ours, rival):
            quiet = await _me(report, contender, seconds, logins=0)
            alone[contender.name].append(len(quiet.seconds) / seconds)
            busy = await _me(report, contender, seconds, logins=STORM)
            storm[contender.name].append(len(busy.seconds) / seconds)
            waits[contender.name].append(busy.quantile(0.99))
    for name in (ours.name, rival.name):
        report.add(f"me, {name}", alone[name], "/s")
    ratios = [mine / its for mine, its in zip(alone[ours.name], alone[rival.name], strict=True)]
    report.add("me, slm over rival", ratios, "times", Aim(4, at_least=True))
    for name in (ours.name, rival.name):
        shares = [100 * b / a for a, b in zip(alone[name], storm[name], strict=True)]
        aim = Aim(50, at_least=True) if name == ours.name else None
        report.add(f"me during {STORM} logins, {name}", storm[name], "/s")
        report.add(f"me during {STORM} logins, {name}, p99", waits[name], "ms")
        report.add(f"me during {STORM} logins, {name}, of its rate alone", shares, "%", aim)


async def _me(report: Report, contender: Contender, seconds: float, *, logins: int) -> Answers:
    """What CLIENTS who ask all the time get in `seconds`, while others log in."""
    me, others = Answers(), Answers()
    message = await contender.me()
    first = await fetch(contender.socket, message)
    if first.status != 200:
        sys.exit(f"{contender.name} answers {first.status}: {first.body.decode()}")
    asking = [lambda: message] * CLIENTS
    logging_in: list[Callable[[], bytes]] = [
        partial(contender.login, number) for number in range(1, logins + 1)
    ]
    async with (
        clients(contender.socket, logging_in, others),
        clients(contender.socket, asking, me),
    ):
        await asyncio.sleep(WARM_UP)
        me.seconds.clear()
        await asyncio.sleep(seconds)
        measured = Answers(list(me.seconds))
    # Logins that were cancelled are still being worked on; a new one comes after them.
    await contender.token()
    for name, answers in (("me", me), ("login", others)):
        report.note(f"{name}, {contender.name}", answers)
    return measured
