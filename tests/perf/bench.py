"""Figures of this machine: logins per second, and how long others wait meanwhile.

Run it with `make bench`, on a machine that does nothing else; it takes about a minute. It fails
when a request fails, never by the clock: what is fast enough is for the reader to judge.
"""
# ruff: noqa: T201  printing is what this program is for

import asyncio
import importlib.metadata
import math
import os
import platform
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import httpx2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "service"), str(ROOT / "tests" / "support")]

from database_server import PostgresServer, ProvisionedDatabase  # noqa: E402  needs the path above

from user_management.population import Population  # noqa: E402
from user_management.security.hashing import NICENESS  # noqa: E402

COST = 12
CORES = len(os.sched_getaffinity(0))
CLIENTS = 32
PASSWORD = "violet-anchor-77-meadow"
# Seconds.
RAW = 8.0
IDLE = 3.0
WARM_UP = 3.0
MEASURED = 20.0
POLL_INTERVAL = 0.04
PATIENCE = 60.0
PACKAGES = (
    *("fastapi", "starlette", "uvicorn", "uvloop", "httptools", "pydantic", "sqlalchemy"),
    *("asyncpg", "bcrypt", "cryptography", "python-jose"),
)


@dataclass
class Answers:
    """Waiting times in seconds, from the moment when a request was due, and failures."""

    seconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    def __iadd__(self, other: "Answers") -> "Answers":
        self.seconds += other.seconds
        self.failures += other.failures
        return self

    def quantile(self, share: float) -> float:
        """Milliseconds within which `share` of the requests were answered."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[math.ceil(share * len(ordered)) - 1] if ordered else math.nan

    def __str__(self) -> str:
        return (
            f"p50 {self.quantile(0.5):.1f} ms, p99 {self.quantile(0.99):.1f} ms, "
            f"max {self.quantile(1):.1f} ms ({len(self.seconds)} requests)"
        )


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


def output_of(*command: str | Path) -> str:
    """What a command prints, on one line."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.split())


def loads() -> str:
    """Load averages of 1, 5 and 15 minutes."""
    return ", ".join(f"{load:.2f}" for load in os.getloadavg())


def print_facts(server: PostgresServer) -> None:
    """What the figures depend on."""
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    changed = " with local changes" if output_of("git", "status", "--porcelain") else ""
    facts = {
        "cores": CORES,
        "CPU": cpu[1] if cpu else platform.machine(),
        "memory": f"{memory / 2**30:.1f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "PostgreSQL": output_of(server.bin / "postgres", "--version").split()[2]
        + " (for tests: fsync off)",
        "packages": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES),
        "revision": output_of("git", "rev-parse", "--short", "HEAD") + changed,
        "load before": loads(),
    }
    for name, value in facts.items():
        print(f"{name:<24}{value}")


@dataclass(frozen=True)
class Rate:
    """How many per second, CPU seconds for each, and cores that other programs used meanwhile."""

    per_second: float
    cpu_seconds: float
    others: float

    def __str__(self) -> str:
        return (
            f"{self.per_second:.2f}/s, {1000 * self.cpu_seconds:.0f} ms of CPU each "
            f"(other programs: {self.others:.2f} cores)"
        )


def bare_bcrypt(seconds: float) -> Rate:
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

    with ThreadPoolExecutor(CORES) as executor:
        done = [thread.result() for thread in [executor.submit(work) for _ in range(CORES)]]
    used, others = CpuTime.now().since(earlier)
    return Rate(sum(rate for _, rate in done), used / sum(hashes for hashes, _ in done), others)


@contextmanager
def provisioned_databases() -> Iterator[list[ProvisionedDatabase]]:
    """Both databases at head on a server of their own; the clients are fleet administrators."""
    server = PostgresServer()
    try:
        print_facts(server)
        server.start()
        server.provision_roles()
        databases = []
        for population in Population:
            server.provision_database(population, population, None)
            databases.append(ProvisionedDatabase(server, population, population))
            databases[-1].migrate()
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST)).decode()
        databases[0].sql(
            "INSERT INTO users (username, email, password_hash) "
            f"SELECT 'user' || n, 'user' || n || '@autobot.local', '{hashed}' "
            f"FROM generate_series(1, {CLIENTS}) AS n"
        )
        yield databases
    finally:
        server.remove()


@contextmanager
def slm_server(databases: list[ProvisionedDatabase]) -> Iterator[tuple[int, Path]]:
    """The real server, run as its unit runs it: process id and unix socket."""
    directory = databases[0].server.directory
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    environment = {"SLM_SIGNING_KEY": pem, "BCRYPT_COST": str(COST)}
    for database in databases:
        environment |= database.environment(database.service)
    command = "-m uvicorn --factory slm_server.app:create_app --no-server-header --no-access-log"
    socket, log = directory / "slm.sock", directory / "slm.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command.split(), f"--uds={socket}"],
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket))) as client:
            deadline = time.monotonic() + 15
            while not is_ready(client):
                if process.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"The SLM server does not get ready:\n{log.read_text()}")
                time.sleep(0.05)
        yield process.pid, socket
    finally:
        process.kill()  # clients that were cancelled are still being served
        process.wait()


def is_ready(client: httpx2.Client) -> bool:
    """Whether the server answers and finds both databases as they should be."""
    try:
        return client.get("http://slm/health/ready").status_code == 200
    except httpx2.TransportError:
        return False


def memory_of(pid: int) -> str:
    """A process's resident memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    now, peak = (re.search(rf"^Vm{name}:\s*(\d+)", status, re.MULTILINE) for name in ("RSS", "HWM"))
    assert now is not None
    assert peak is not None
    return f"{int(now[1]) / 1024:.0f} MiB, at most {int(peak[1]) / 1024:.0f} MiB"


async def ask(client: httpx2.AsyncClient, due: float, path: str, body: object = None) -> Answers:
    """Send one request and note how long after `due` it was answered, or why it was not."""
    try:
        response = await client.request("POST" if body else "GET", path, json=body)
    except httpx2.HTTPError as error:
        return Answers(failures=Counter([type(error).__name__]))
    if response.status_code != 200:
        return Answers(failures=Counter([f"HTTP {response.status_code}"]))
    return Answers([time.perf_counter() - due])


async def poll(client: httpx2.AsyncClient, seconds: float) -> Answers:
    """Ask for /health/live at fixed times.

    Waiting counts from the fixed time, so a slow answer also delays the requests after it.
    """
    answers = Answers()
    start = time.perf_counter()
    for number in range(int(seconds / POLL_INTERVAL)):
        due = start + number * POLL_INTERVAL
        await asyncio.sleep(max(0, due - time.perf_counter()))
        answers += await ask(client, due, "/health/live")
    return answers


async def log_in_repeatedly(client: httpx2.AsyncClient, username: str, answers: Answers) -> None:
    """One client, until cancelled."""
    body = {"username": username, "password": PASSWORD}
    while True:
        answers += await ask(client, time.perf_counter(), "/api/slm-auth/login", body)


async def measure(socket: Path) -> tuple[Answers, Answers, Answers, Rate]:
    """/health/live alone; then /health/live and logins together."""
    logins = Answers()
    async with httpx2.AsyncClient(
        transport=httpx2.AsyncHTTPTransport(uds=str(socket)),
        base_url="http://slm",
        timeout=PATIENCE,
    ) as client:
        idle = await poll(client, IDLE)
        async with asyncio.TaskGroup() as group:
            clients = [
                group.create_task(log_in_repeatedly(client, f"user{number}", logins))
                for number in range(1, CLIENTS + 1)
            ]
            await asyncio.sleep(WARM_UP)
            logins.seconds.clear()
            earlier = CpuTime.now()
            busy = await poll(client, MEASURED)
            later = CpuTime.now()
            count = len(logins.seconds)
            for task in clients:
                task.cancel()
    used, others = later.since(earlier)
    rate = Rate(count / (later.at - earlier.at), used / max(1, count), others)
    return idle, busy, logins, rate


def main() -> int:
    """Print the figures; 1 when a request failed."""
    with provisioned_databases() as databases:
        before = bare_bcrypt(RAW)
        with slm_server(databases) as (pid, socket):
            idle, busy, logins, rate = asyncio.run(measure(socket))
            memory = memory_of(pid)
        after = bare_bcrypt(RAW)
    bare = (before.per_second + after.per_second) / 2
    cpu = (before.cpu_seconds + after.cpu_seconds) / 2
    failures = idle.failures + busy.failures + logins.failures
    failed = ", ".join(f"{count} times {reason}" for reason, count in failures.items())
    figures = {
        "load after": loads(),
        "": "",
        f"bcrypt {COST}, {CORES} threads": before,
        "  once more at the end": after,
        f"logins, {CLIENTS} clients": rate,
        "  of bare bcrypt": f"{100 * rate.per_second / bare:.0f} %, by CPU time "
        f"{100 * cpu / rate.cpu_seconds:.0f} % (clients and PostgreSQL on the same cores)",
        "  waiting": logins,
        "/health/live, idle": idle,
        "  during the logins": busy,
        "memory of the server": memory,
        "failed requests": failed or "none",
    }
    for name, value in figures.items():
        print(f"{name:<24}{value}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
