"""What became of requests to AutoBot is counted from nginx's log, each once."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from autobot_metrics.gateway_requests import Outcome, counted, outcome_of

PASSED = (200, "127.0.0.1:8000", "ada", "")
PERSON = Outcome("slm", "person", "passed")
Write = Callable[..., None]
Count = Callable[[], dict[Outcome, int]]


def line(status: int, to: str, user: str, machine: str, gateway: str = "slm") -> str:
    return (
        f'192.0.2.1 [2026-11-30T12:00:00+00:00] "GET /api/x" {status} 12 "curl/8 \\x22odd\\x22" '
        f'gateway="{gateway}" passed_to="{to}" as="{user}" machine="{machine}" seconds=0.004'
    )


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "access.log"
    path.touch()
    return path


@pytest.fixture
def count(log: Path, tmp_path: Path) -> Count:
    return lambda: dict(counted(log, tmp_path / "state.json"))


def add(path: Path, *requests: tuple[int, str, str, str], end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("\n".join(line(*request) for request in requests) + end)


@pytest.mark.parametrize(
    ("request_", "caller", "result"),
    [
        (PASSED, "person", "passed"),
        ((204, "127.0.0.1:8000", "", "1"), "machine", "passed"),
        ((200, "127.0.0.1:8000", "", ""), "nobody", "passed"),
        ((101, "unix:/run/relay.sock", "ada", ""), "person", "passed"),
        ((401, "127.0.0.1:8000", "ada", ""), "person", "passed"),
        ((502, "127.0.0.1:8000", "ada", ""), "person", "failed"),
        ((502, "unix:/run/relay.sock", "ada", ""), "person", "failed"),
        ((504, "127.0.0.1:8000, 127.0.0.1:8000", "ada", ""), "person", "failed"),
        ((401, "-", "", ""), "nobody", "unauthenticated"),
        ((403, "-", "", ""), "nobody", "forbidden"),
        ((429, "-", "", "1"), "machine", "limited"),
        ((503, "-", "", ""), "nobody", "unavailable"),
    ],
)
def test_a_request_has_an_outcome(
    request_: tuple[int, str, str, str], caller: str, result: str
) -> None:
    assert outcome_of(line(*request_).encode()) == Outcome("slm", caller, result)


@pytest.mark.parametrize(
    "text",
    [
        # Ours, one of ours that is refused, and a site of somebody else.
        line(401, "unix:/run/autobot/service.sock", "", "", gateway=""),
        line(429, "-", "", "", gateway=""),
        # Who asked has gone before there was an answer.
        line(499, "-", "", ""),
        '192.0.2.1 - - [30/Nov/2026:12:00:00 +0000] "GET / HTTP/1.1" 200 12 "-" "curl/8"',
        "",
    ],
)
def test_what_was_not_for_autobot_is_not_counted(text: str) -> None:
    assert outcome_of(text.encode()) is None


def test_each_request_is_counted_once(log: Path, count: Count) -> None:
    add(log, PASSED)
    assert count() == {}
    add(log, PASSED, PASSED)
    assert count() == {PERSON: 2}
    assert count() == {PERSON: 2}
    add(log, PASSED)
    assert count() == {PERSON: 3}


def test_a_line_that_is_being_written_waits(log: Path, count: Count) -> None:
    count()
    add(log, PASSED, end="")
    assert count() == {}
    add(log, PASSED)
    # The end of the first line is the begin of the next: they are one.
    assert count() == {PERSON: 1}


def test_nothing_is_lost_where_the_log_is_rotated(log: Path, count: Count) -> None:
    count()
    add(log, PASSED)
    log.rename(log.with_name("access.log.1"))
    add(log, PASSED, PASSED)
    assert count() == {PERSON: 3}
    assert count() == {PERSON: 3}


def test_a_log_that_was_rotated_twice_is_counted_from_its_begin(log: Path, count: Count) -> None:
    count()
    log.rename(log.with_name("access.log.2"))
    add(log.with_name("access.log.1"), PASSED)
    add(log, PASSED)
    assert count() == {PERSON: 1}


def test_a_log_that_was_emptied_goes_on(log: Path, count: Count) -> None:
    add(log, PASSED, PASSED)
    count()
    log.write_text("")
    count()
    add(log, PASSED)
    assert count() == {PERSON: 1}


def test_a_run_that_fails_counts_nothing_twice(log: Path, count: Count, tmp_path: Path) -> None:
    count()
    add(log, PASSED)
    (tmp_path / "state.new").mkdir()
    with pytest.raises(OSError, match=r"state\.new"):
        count()
    (tmp_path / "state.new").rmdir()
    assert count() == {PERSON: 1}
    assert json.loads((tmp_path / "state.json").read_text())["counts"]
