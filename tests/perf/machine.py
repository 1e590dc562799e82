"""What the figures depend on, and what processes use of the machine."""

import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORES = sorted(os.sched_getaffinity(0))
# The servers that are compared have this core for themselves; PostgreSQL and the clients share
# another one.
SERVER_CORES = set(CORES[:1])
OTHER_CORES = set(CORES[1:2] or CORES)

_PACKAGES = (
    *("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "pydantic", "sqlalchemy"),
    *("asyncpg", "bcrypt", "cryptography", "python-jose"),
)
_RIVAL_PACKAGES = ("fastapi-users", "fastapi", "sqlalchemy", "asyncpg", "pyjwt", "pwdlib")
_PRINT_VERSIONS = """
import importlib.metadata, sys
for name in sys.argv[1:]: print(name, importlib.metadata.version(name) + ",")
"""


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """This thread, and whatever it starts, runs on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def output_of(*command: str | Path) -> str:
    """What a command prints, on one line."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


def loads() -> str:
    """Load averages of 1, 5 and 15 minutes."""
    return ", ".join(f"{load:.2f}" for load in os.getloadavg())


def facts(postgres: Path, rival_python: Path) -> dict[str, str]:
    """The machine, the versions and the revision."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    changed = " with local changes" if output_of("git", "status", "--porcelain") else ""
    rival = output_of(rival_python, "-c", _PRINT_VERSIONS, *_RIVAL_PACKAGES).removesuffix(",")
    return {
        "cores": str(len(CORES)),
        "CPU": cpu[1] if cpu else platform.machine(),
        "memory": f"{memory / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "PostgreSQL": output_of(postgres, "--version").split()[2]
        + f" on core {min(OTHER_CORES)}, in memory, fsync off",
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES),
        "rival": rival,
        "revision": output_of("git", "rev-parse", "--short", "HEAD") + changed,
        "load before": loads(),
    }


@dataclass(frozen=True)
class CpuTime:
    """CPU seconds used so far: by the whole machine, and by this program and its children.

    Seconds per login hold on a busy machine too, logins per second only on a quiet one.
    """

    at: float
    machine: float
    ours: float

    @classmethod
    def now(cls) -> "CpuTime":
        """Read /proc."""
        ticks = [int(word) for word in Path("/proc/stat").read_text().split()[1:9]]
        tick = 1 / os.sysconf("SC_CLK_TCK")
        # All but idle and iowait: user, nice, system, irq, softirq, stolen.
        machine = sum(ticks[index] for index in (0, 1, 2, 5, 6, 7)) * tick
        return cls(time.monotonic(), machine, cls._ticks_of_this_program() * tick)

    @staticmethod
    def _ticks_of_this_program() -> int:
        parents, ticks = {}, {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            pid = int(path.parent.name)
            parents[pid] = int(fields[1])
            ticks[pid] = sum(int(word) for word in fields[11:15])  # with children that ended
        ours = 0
        for pid, used in ticks.items():
            ancestor = pid
            while ancestor in parents and ancestor != os.getpid():
                ancestor = parents[ancestor]
            ours += used if ancestor == os.getpid() else 0
        return ours

    def since(self, earlier: "CpuTime") -> tuple[float, float]:
        """Seconds that we used, and the mean number of cores that other programs used."""
        ours = self.ours - earlier.ours
        others = self.machine - earlier.machine - ours
        return ours, max(0.0, others / (self.at - earlier.at))


def memory_of(pid: int) -> float:
    """MiB of a process; what it shares with others counts in part (PSS)."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Pss:\s*(\d+) kB", rollup, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
