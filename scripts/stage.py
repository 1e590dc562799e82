#!/usr/bin/env python3
"""Runs one stage of `make test`, and says what it took: see the Makefile.

usage: stage.py [--give-way] NAME BUDGET COMMAND...
                                       BUDGET in CPU seconds of a core like REFERENCE
       stage.py --begin                forgets the stages of the run before
       stage.py --table                what each stage took, at the end of the run

What the command prints goes to build/stages/NAME.log, and to the terminal when it has ended. Its
CPU seconds are those of all that it started, also of what it left behind, and of its lab's hosts;
one that gives way has no lab. They are counted as if the core were as fast as REFERENCE. A core
slower than BUSY allows has neighbours that take its caches: what exceeds a budget there is said,
and fails nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

STAGES = Path(__file__).resolve().parents[1] / "build" / "stages"
# CPU seconds of probe() on the core for which the budgets were written.
REFERENCE = 0.019
BUSY = 1.15  # times as slow
PROBED_EVERY = 5.0
GIVES_WAY = 5  # niceness
ENDING = (signal.SIGINT, signal.SIGTERM)
PR_SET_CHILD_SUBREAPER = 36
# Where the kernel counts what a container uses: in the first line, in so many parts of a second.
COUNTERS = (
    ("/sys/fs/cgroup/cpuacct/libpod_parent/libpod-{}/cpuacct.usage", 1e9),
    ("/sys/fs/cgroup/machine.slice/libpod-{}.scope/cpu.stat", 1e6),
)
# Where the kernel weighs all containers against each session here, and six times the usual.
WEIGHTS = (
    ("/sys/fs/cgroup/cpu/libpod_parent/cpu.shares", 6 * 1024),
    ("/sys/fs/cgroup/machine.slice/cpu.weight", 6 * 100),
)


def probe() -> float:
    """CPU seconds for work that is always the same."""
    start = time.thread_time()
    hashlib.pbkdf2_hmac("sha256", b"stage", b"stage", 100_000)
    return time.thread_time() - start


class Slowness(threading.Thread):
    """How much slower than REFERENCE the core is meanwhile: 1.0 is as fast."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._seen = [probe()]
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(PROBED_EVERY):
            self._seen.append(probe())

    def end(self) -> float:
        self._ended.set()
        self.join()
        return statistics.median(self._seen) / REFERENCE


def used_by_hosts() -> float:
    """CPU seconds that the running hosts of this lab have used; none without podman."""
    if shutil.which("podman") is None or os.geteuid():
        return 0.0
    shown = subprocess.run(
        ["podman", "ps", "--quiet", "--no-trunc"], capture_output=True, text=True, check=False
    )
    seconds = 0.0
    for identity in shown.stdout.split():
        for path, parts in COUNTERS:
            with contextlib.suppress(OSError):
                first = Path(path.format(identity)).read_text().partition("\n")[0]
                seconds += int(first.split()[-1]) / parts
    return seconds


def let_hosts_come_first() -> None:
    """The hosts of labs are machines of their own: who judges them here takes nothing from them."""
    for path, weight in WEIGHTS:
        with contextlib.suppress(OSError):
            Path(path).write_text(str(weight))


def used_by_children() -> float:
    """CPU seconds of all processes that were started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def collect_orphans() -> None:
    """Take over the seconds of what was left behind and has ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def give_way() -> None:
    """Take a third of what others get: with nothing at all, answers come minutes late."""
    os.nice(GIVES_WAY)
    # Linux weighs sessions against each other, and niceness only within one.
    os.setsid()
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(GIVES_WAY))


def note_who_ends_it() -> list[int]:
    """The signals that end a stage from now on: until there is a command, they are kept here."""
    asked: list[int] = []
    for number in ENDING:
        signal.signal(number, lambda number, _: asked.append(number))
    return asked


def wait_for(process: subprocess.Popen[bytes], asked: list[int]) -> int:
    """The exit status of a command; who interrupts or ends this ends that, whatever its session."""
    try:
        for number in ENDING:
            signal.signal(number, signal.default_int_handler)
        if asked:
            raise KeyboardInterrupt
        return process.wait()
    except KeyboardInterrupt:
        group = os.getpgid(process.pid)
        if group == process.pid:
            os.killpg(group, signal.SIGTERM)
        else:
            process.terminate()
        process.wait()
        raise


def run(name: str, budget: float, command: list[str], *, gives_way: bool = False) -> int:
    """Run the stage; its exit status, or 1 where it used more than it may."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)
    STAGES.mkdir(parents=True, exist_ok=True)
    log = STAGES / f"{name}.log"
    print(f"stage {name}: begins ({time.strftime('%H:%M:%S')})", flush=True)
    slowness = Slowness()
    slowness.start()
    let_hosts_come_first()
    hosts, start = 0.0 if gives_way else used_by_hosts(), time.monotonic()
    asked = note_who_ends_it()
    with log.open("wb") as output:
        status = wait_for(
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=give_way if gives_way else None,  # noqa: PLW1509
            ),
            asked,
        )
    wall = time.monotonic() - start
    collect_orphans()
    # A host that was made anew counts from then on.
    seconds = used_by_children()
    if not gives_way:
        seconds += max(used_by_hosts() - hosts, 0.0)
    slower = slowness.end()
    counted = seconds / slower
    exceeded = counted > budget
    # A full run tries more than a budget allows.
    judged = slower <= BUSY and os.environ.get("FULL") != "1"
    if exceeded and judged:
        status = status or 1
    took = {
        "stage": name,
        "wall": round(wall),
        "cpu": round(seconds),
        "counted": round(counted),
        "budget": budget,
        "status": status,
    }
    (STAGES / f"{name}.json").write_text(json.dumps(took))
    verdict = "passed" if status == 0 else f"FAILED ({status})"
    if exceeded and judged:
        verdict += ": more CPU seconds than its budget; find what came, or raise it in the Makefile"
    elif exceeded:
        verdict += f": more CPU seconds than its budget, on a core {slower:.2f} times as slow"
    with (STAGES / "terminal").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        sys.stdout.buffer.write(log.read_bytes())
        print(
            f"stage {name}: {verdict}, {wall:.0f} s, {seconds:.0f} CPU s,"
            f" {counted:.0f} as counted, budget {budget:.0f} ({log})",
            flush=True,
        )
    return status


def table() -> None:
    """Print what the stages took, the first to end first."""
    files = sorted(STAGES.glob("*.json"), key=lambda file: file.stat().st_mtime)
    rows = [json.loads(file.read_text()) for file in files]
    print(f"{'stage':<12}{'wall s':>8}{'CPU s':>8}{'counted':>9}{'budget':>8}")
    for row in rows:
        failed = "" if row["status"] == 0 else "  FAILED"
        print(
            f"{row['stage']:<12}{row['wall']:>8}{row['cpu']:>8}{row['counted']:>9}"
            f"{row['budget']:>8.0f}{failed}"
        )
    print(f"{'all':<12}{'':>8}{sum(row['cpu'] for row in rows):>8}")


def main(arguments: list[str]) -> int:
    match arguments:
        case ["--begin"]:
            shutil.rmtree(STAGES, ignore_errors=True)
        case ["--table"]:
            table()
        case ["--give-way", name, budget, *command] if command:
            return run(name, float(budget), command, gives_way=True)
        case [name, budget, *command] if command:
            return run(name, float(budget), command)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
