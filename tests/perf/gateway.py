"""Requests that nginx passes on to a service like AutoBot's: with the question, and without it."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from tests.perf.figures import Aim, Report
from tests.perf.load import Answers, clients, fetch, poll, request
from tests.perf.machine import ROOT
from tests.perf.servers import Contender, Databases
from tests.support.gateway_site import certificate_in, configuration

CLIENTS = 16
PACE = 100  # requests a second
WARM_UP = 2.0  # seconds
SECRET = "x" * 48
UPSTREAM = "127.0.0.1:9"
ASKED, UNASKED = "asked", "not asked"


@contextmanager
def web_server(found: Databases, upstream: Contender, name: str) -> Iterator[Path]:
    """nginx by the role's template, before the service and a service like AutoBot's; its socket."""
    directory = found.server.directory / name.replace(" ", "-")
    directory.mkdir()
    socket = directory / "nginx.sock"
    certificate_in(directory)
    routes = [{"path": "/users", "to": f"http://{UPSTREAM}", "token": True}]
    text = configuration(directory, 1, routes=routes)
    for old, new in {
        "listen 1 ssl default_server;": f"listen unix:{socket};",
        UPSTREAM: f"unix:{upstream.socket}",
        str(directory / "slm.sock"): str(found.server.directory / "slm.sock"),
        **({} if name == ASKED else {"        auth_request /.gateway/caller;\n": ""}),
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    (directory / "nginx.conf").write_text(text)
    process = subprocess.Popen(
        [ROOT / ".cache/nginx", "-p", directory, "-c", directory / "nginx.conf"]
    )
    try:
        deadline = time.monotonic() + 30
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit("nginx does not get ready.")
            time.sleep(0.05)
        yield socket
    finally:
        process.terminate()
        process.wait()


def compare(
    report: Report,
    found: Databases,
    ours: Contender,
    upstream: Contender,
    *,
    rounds: int,
    seconds: float,
) -> None:
    """Both in turn, `rounds` times: requests of somebody who is logged in."""
    with (
        web_server(found, upstream, ASKED) as asked,
        web_server(found, upstream, UNASKED) as not_asked,
    ):
        uvloop.run(
            _compare(
                report, ours, {ASKED: asked, UNASKED: not_asked}, rounds=rounds, seconds=seconds
            )
        )


async def _compare(
    report: Report, ours: Contender, sockets: dict[str, Path], *, rounds: int, seconds: float
) -> None:
    message = request("GET", "/users?limit=1", token=await ours.token())
    rates: dict[str, list[float]] = {name: [] for name in sockets}
    waits: dict[str, list[float]] = {name: [] for name in sockets}
    for socket in sockets.values():
        first = await fetch(socket, message)
        if first.status != 200:
            sys.exit(f"The gateway answers {first.status}: {first.body.decode()}")
    for _ in range(rounds):
        for name, socket in sockets.items():
            busy = await _as_many_as_can_be(socket, message, seconds)
            rates[name].append(len(busy.seconds) / seconds)
            steady = await _at_a_pace(socket, message, seconds)
            waits[name].append(steady.quantile(0.99))
            for answers in (busy, steady):
                report.note(f"passed on, {name}", answers)
    for name in sockets:
        report.add(f"passed on, {name}", rates[name], "/s")
        report.add(f"passed on at {PACE}/s, {name}, p99", waits[name], "ms")
    pairs = zip(rates[ASKED], rates[UNASKED], strict=True)
    report.add(
        "passed on, asked over not asked",
        [a / b for a, b in pairs],
        "times",
        Aim(0.8, at_least=True),
    )
    differences = [a - b for a, b in zip(waits[ASKED], waits[UNASKED], strict=True)]
    report.add(f"passed on at {PACE}/s, what the question adds to p99", differences, "ms", Aim(2))


async def _as_many_as_can_be(socket: Path, message: bytes, seconds: float) -> Answers:
    """What CLIENTS who ask all the time get in `seconds`."""
    answers = Answers()
    async with clients(socket, [lambda: message] * CLIENTS, answers):
        await asyncio.sleep(WARM_UP)
        answers.seconds.clear()
        await asyncio.sleep(seconds)
        return Answers(list(answers.seconds), answers.failures)


async def _at_a_pace(socket: Path, message: bytes, seconds: float) -> Answers:
    """What is answered of PACE requests a second, each asked when it is due."""
    answers, each = Answers(), CLIENTS / PACE
    asking = []
    for _ in range(CLIENTS):
        asking.append(asyncio.create_task(poll(socket, message, each, answers)))
        await asyncio.sleep(each / CLIENTS)
    await asyncio.sleep(seconds)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return answers
