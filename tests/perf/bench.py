"""Figures of this machine, beside their aims: `make bench`, while the machine does nothing else.

It fails when a request fails, never by the clock: what is fast enough is for the reader to judge.
The table is shown while it grows and is written to build/bench.md, with all samples to
build/bench.json.
"""

import argparse
import sys

import uvloop

from tests.perf import attacks, gateway, hot_path, logins, memory, pages, scale
from tests.perf.figures import Aim, Report
from tests.perf.load import ceiling
from tests.perf.machine import CORES, OTHER_CORES, ROOT, SERVER_CORES, facts, loads, pinned
from tests.perf.servers import (
    RIVAL_PYTHON,
    Databases,
    bare_server,
    databases,
    rival_server,
    slm_server,
)

RESULTS = ROOT / "build"
ALL_CORES = set(CORES)


def options() -> argparse.Namespace:
    """How long it shall take; the defaults take about half an hour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each kind")
    parser.add_argument("--seconds", type=float, default=10, help="of each of them")
    parser.add_argument("--users", type=int, default=1_000_000, help="in the long list")
    parser.add_argument("--minutes", type=float, default=10, help="of mixed load")
    parser.add_argument("--attacks", type=float, default=5, help="minutes of attacks")
    return parser.parse_args()


def measure_side_by_side(report: Report, found: Databases, wanted: argparse.Namespace) -> None:
    """The service and its rival, each with one worker on the same core."""
    with (
        slm_server(found, SERVER_CORES) as ours,
        rival_server(found, SERVER_CORES) as rival,
        pinned(OTHER_CORES),
    ):
        able = uvloop.run(ceiling(found.server.directory, wanted.seconds / 2))
        report.add("requests that the clients can send", able, "/s", Aim(10_000, at_least=True))
        uvloop.run(
            hot_path.compare(report, ours, rival, rounds=wanted.rounds, seconds=wanted.seconds)
        )


def measure_gateway(report: Report, found: Databases, wanted: argparse.Namespace) -> None:
    """What it costs to ask about each request that is passed on."""
    with (
        slm_server(found, ALL_CORES, GATEWAY_SECRET=gateway.SECRET) as ours,
        bare_server(found, ALL_CORES) as upstream,
    ):
        gateway.compare(report, found, ours, upstream, rounds=wanted.rounds, seconds=wanted.seconds)


def measure_long_list(report: Report, found: Databases, wanted: argparse.Namespace) -> None:
    """Pages and searches of very many users, then imports into their table."""
    users = wanted.users
    report.add(f"time to make {users:,} users", scale.fill(found, users), "s")
    with scale.Statements.logged(found) as statements, slm_server(found, ALL_CORES) as ours:
        uvloop.run(scale.measure(report, found, ours, statements))
    with (
        slm_server(found, SERVER_CORES) as ours,
        bare_server(found, SERVER_CORES) as bare,
        pinned(OTHER_CORES),
    ):
        uvloop.run(
            pages.compare(report, found, ours, bare, rounds=wanted.rounds, seconds=wanted.seconds)
        )
    scale.compare_import(report, found)


def main() -> int:
    """Measure everything; 1 when a request failed."""
    wanted = options()
    with databases() as found:
        report = Report(facts(found.server.bin / "postgres", RIVAL_PYTHON))
        measure_side_by_side(report, found, wanted)
        measure_gateway(report, found, wanted)
        with slm_server(found, ALL_CORES) as ours:
            logins.compare(report, ours, rounds=wanted.rounds, seconds=wanted.seconds)
        measure_long_list(report, found, wanted)
        with slm_server(found, ALL_CORES) as ours:
            uvloop.run(memory.measure(report, ours, minutes=wanted.minutes))
        with slm_server(found, ALL_CORES) as ours:
            uvloop.run(attacks.measure(report, ours, minutes=wanted.attacks))
        report.facts["load after"] = loads()
    report.write(RESULTS)
    print("\n" + report.markdown())  # noqa: T201
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
