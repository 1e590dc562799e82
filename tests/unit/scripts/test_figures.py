"""The arithmetic of `make bench`, and its clients."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.perf.figures import Aim, Report, slope
from tests.perf.load import Answers, clients, fetch, request, status_of


@pytest.mark.parametrize(
    ("aim", "value", "met"),
    [
        (Aim(50), 50, True),
        (Aim(50), 50.1, False),
        (Aim(4, at_least=True), 4, True),
        (Aim(4, at_least=True), 3.9, False),
    ],
)
def test_an_aim_includes_its_bound(aim: Aim, value: float, met: bool) -> None:
    assert aim.holds(value) is met


def test_a_quantile_is_a_waiting_time_that_somebody_had() -> None:
    answers = Answers([second / 1000 for second in range(100, 0, -1)])
    assert answers.quantile(0.5) == 50
    assert answers.quantile(0.99) == 99
    assert answers.quantile(1) == 100
    assert Answers([0.001, 0.002, 0.003]).quantile(0.5) == 2
    assert math.isnan(Answers().quantile(0.5))


def test_slope_of_what_grows_by_two_in_each_step() -> None:
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)


def test_the_median_is_held_against_the_aim_and_the_report_says_both(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report({"cores": "2"})
    report.add("wait", [10, 30, 900], "ms", Aim(25))
    report.note("login", Answers(failures=Counter({"HTTP 503": 2})))
    report.write(tmp_path)
    row = "| wait | 30 (10 to 900) ms | ≤ 25 ms | **not met** |"
    assert capsys.readouterr().out == f"{row}\n"
    written = (tmp_path / "bench.md").read_text()
    assert row in written
    assert "| cores | 2 |" in written
    assert "- login: 2 times HTTP 503" in written
    [figure] = json.loads((tmp_path / "bench.json").read_text())["figures"]
    assert figure["median"] == 30
    assert figure["met"] is False


@asynccontextmanager
async def server(directory: Path, *pieces: bytes) -> AsyncIterator[Path]:
    """Answers every request with the same bytes, in the pieces given; the path of its socket."""
    served: list[asyncio.Task[Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        with suppress(ConnectionError):  # clients leave when they like
            while await reader.read(65536):
                for piece in pieces:
                    writer.write(piece)
                    await asyncio.sleep(0.01)
        writer.close()

    socket = directory / "server.sock"
    async with await asyncio.start_unix_server(serve, socket):
        yield socket
    await asyncio.gather(*served)


async def test_an_answer_may_come_in_pieces(tmp_path: Path) -> None:
    pieces = (b"HTTP/1.1 201 Created\r\ncontent-le", b"ngth: 4\r\n\r\n", b"ab", b"cd")
    async with server(tmp_path, *pieces) as socket:
        answer = await fetch(socket, request("GET", "/"))
    assert (answer.status, answer.body) == (201, b"abcd")


async def test_an_answer_may_have_no_body(tmp_path: Path) -> None:
    async with server(tmp_path, b"HTTP/1.1 204 No Content\r\n\r\n") as socket:
        answer = await fetch(socket, request("GET", "/"))
    assert (answer.status, answer.body) == (204, b"")


async def test_refusals_are_failures(tmp_path: Path) -> None:
    refusal = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
    answers = Answers()
    answered = asyncio.Event()

    def choose() -> bytes:
        if answers.failures:
            answered.set()
        return b"x"

    async with server(tmp_path, refusal) as socket, clients(socket, [choose], answers):
        await asyncio.wait_for(answered.wait(), 60)
    assert set(answers.failures) == {"HTTP 503: busy"}
    assert not answers.seconds


async def test_an_answer_of_unknown_length_ends_with_its_connection(tmp_path: Path) -> None:
    heads = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2**20)
        writer.close()

    socket = tmp_path / "server.sock"
    async with await asyncio.start_unix_server(serve, socket):
        assert await status_of(socket, request("GET", "/", address="10.0.0.1")) == 200
    [head] = heads
    assert head.endswith(b"\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n\r\n")
