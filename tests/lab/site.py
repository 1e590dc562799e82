"""The lab as the tests see it: its hosts, its secrets, its API, and runs of Ansible against it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx2
import yaml

ROOT = Path(__file__).resolve().parents[2]
# LAB_NAME is the name of another lab on this machine: scripts/other-lab.
STATE = ROOT / "-".join(filter(None, (".lab", os.environ.get("LAB_NAME"))))
# LAB_SITE is what its hosts were before the first run: bare, one machine, or lived in.
LAB_SITE = os.environ.get("LAB_SITE", "lab")
INVENTORY = ROOT / "inventory" / {"single": "lab_single"}.get(LAB_SITE, LAB_SITE)
SSH_CONFIG = STATE / "ssh_config"
HOSTS = ("autobot",) if LAB_SITE == "single" else ("slm", "redis", "backend")
# A backend that no run connects to: inventory/lab/wsl.yml.
ELSEWHERE = "wsl"
# The password that the tests gave the first SLM administrator: the one-time password works once.
TESTS_FILE = STATE / "tests.json"

# Seconds for which the tests use one session of the administrator. What matters is for who has
# logged in within ten minutes: as much is left for the test that gets it last.
FRESH = 300
CONTROL_SOCKETS = tempfile.mkdtemp(prefix="autobot-tests-")
MULTIPLEX = (
    *("-o", "ControlMaster=auto", "-o", "ControlPersist=60s"),
    *("-o", f"ControlPath={CONTROL_SOCKETS}/%n"),
)

# Answers of ports, as seen from one address: open, refused, silent or unreachable.
# argv: source address or nothing, then address:port …
PROBE = """
import concurrent.futures, json, socket, sys

def answer(target):
    address, port = target.rsplit(":", 1)
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as connection:
        connection.settimeout(2)
        if sys.argv[1]:
            connection.bind((sys.argv[1], 0))
        try:
            connection.connect((address, int(port)))
        except TimeoutError:
            return "silent"
        except ConnectionRefusedError:
            return "refused"
        except OSError as error:
            return f"unreachable: {error}"
        return "open"

with concurrent.futures.ThreadPoolExecutor(32) as pool:
    print(json.dumps(dict(zip(sys.argv[2:], pool.map(answer, sys.argv[2:])))))
"""

# What PostgreSQL says to somebody who has no client program: the first error message.
# argv: source address, address, role, database, "tls" or "plain".
POSTGRES_PROBE = """
import socket, ssl, struct, sys
source, address, role, database, mode = sys.argv[1:]
connection = socket.socket()
connection.settimeout(3)
if source:
    connection.bind((source, 0))
connection.connect((address, 5432))
if mode == "tls":
    connection.sendall(struct.pack("!ii", 8, 80877103))
    answer = connection.recv(1)
    assert answer == b"S", answer
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = context.wrap_socket(connection)
start = struct.pack("!i", 196608) + b"".join(
    part.encode() + b"\\0" for part in ("user", role, "database", database)
) + b"\\0"
connection.sendall(struct.pack("!i", len(start) + 4) + start)
kind = connection.recv(1)
length = struct.unpack("!i", connection.recv(4))[0]
body = connection.recv(length - 4)
print(kind.decode(), *(part.decode() for part in body.split(b"\\0")), sep=" | ")
"""


# Notes a figure for the summary at the end of the run: what it is, and what was seen.
Figure = Callable[[str, str], None]


# What runs on the hosts writes below /var by itself.
FILES = ("find", "/boot", "/etc", "/home", "/opt", "/root", "/srv", "/usr", "-type", "f")
STATED = ("-printf", r"%p %s %T@ %i %m %U\n")
# Seconds until something counts as hung. What is slow is judged where nothing else runs.
HANGS = 900


class LabError(Exception):
    """The lab did not do what a test needs before it can judge anything."""


@dataclass(frozen=True)
class Result:
    """What a command left: its exit status and its two outputs."""

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        return self.stdout + self.stderr


def execute(command: list[str], stdin: str = "", timeout: float = HANGS) -> Result:
    """Run a command on the controller; what it must not show to others goes to its stdin."""
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Result(done.returncode, done.stdout, done.stderr)


def on(
    name: str, *command: str, stdin: str = "", user: str = "root", timeout: float = HANGS
) -> Result:
    """Run a command on a host of the site, over the SSH that Ansible uses."""
    remote = shlex.join(["sudo", "-n", "-u", user, "--", *command])
    return execute(["ssh", "-F", str(SSH_CONFIG), *MULTIPLEX, name, remote], stdin, timeout)


def must(name: str, *command: str, stdin: str = "", user: str = "root") -> str:
    """Like on(), for a command that has to work; its output without the final line break."""
    result = on(name, *command, stdin=stdin, user=user)
    if result.status:
        raise LabError(f"{name}: {shlex.join(command)} ended with {result.status}: {result.text}")
    return result.stdout.rstrip("\n")


def files(name: str) -> set[str]:
    """Each file of a host with size, time, inode, mode and owner: who writes one is seen."""
    return set(must(name, *FILES, *STATED).splitlines())


def inside(name: str, *command: str, timeout: float = HANGS) -> Result:
    """Run a command in a container that is no host of the site (the outsider)."""
    return execute(["podman", "exec", name, *command], timeout=timeout)


def superuser(name: str, database: str, sql: str, /, **variables: str) -> list[list[str]]:
    """Rows of a query as PostgreSQL's superuser, over the host's own socket.

    A variable `x` stands in the query as :'x'.
    """
    settings = {"ON_ERROR_STOP": "1", **variables}
    output = must(
        name,
        *("psql", "-XAtq", "-F", "\x1f", "-d", database),
        *(part for key, value in settings.items() for part in ("-v", f"{key}={value}")),
        stdin=sql,
        user="postgres",
    )
    return [line.split("\x1f") for line in output.splitlines()]


# psql takes the password from a file: neither its arguments nor its environment hold it.
PSQL = """
umask 077
passfile=$(mktemp)
trap 'rm -f "$passfile"' EXIT
IFS= read -r line
printf '%s\\n' "$line" > "$passfile"
PGPASSFILE=$passfile psql -XAtq -v ON_ERROR_STOP=1 "$1"
"""


def connect(name: str, password: str, sql: str = "SELECT 'answered'", **parameters: str) -> Result:
    """Run SQL with psql on a host of the site, as any role, with libpq's own parameters."""
    escaped = password.replace("\\", "\\\\").replace(":", "\\:")
    parameters = {"connect_timeout": "5", **parameters}
    return on(
        name,
        *("sh", "-c", PSQL, "sh"),
        " ".join(f"{key}={value}" for key, value in parameters.items()),
        stdin=f"*:*:*:*:{escaped}\n{sql}\n",
    )


def probe(name: str, *targets: str, source: str = "") -> dict[str, str]:
    """What each address:port answers to a host: open, refused, silent or unreachable."""
    command = ("python3", "-c", PROBE, source, *targets)
    result = on(name, *command) if name in HOSTS else inside(name, *command)
    if result.status:
        raise LabError(f"{name}: the probe failed: {result.stderr}")
    answers: dict[str, str] = json.loads(result.stdout)
    return answers


def unique(prefix: str = "user") -> str:
    """A name that no other test has."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


def wait_until(condition: Callable[[], Any], what: str, seconds: float = HANGS) -> float:
    """Wait for a condition, and say how long it took in seconds."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.2)
    return time.monotonic() - start


Request = Callable[[httpx2.Client], httpx2.Response]


@dataclass
class Load:
    """Requests under way: how each of them was answered, and the longest time that one took."""

    answers: Counter[int | str] = field(default_factory=Counter)
    slowest: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, answer: int | str, seconds: float) -> None:
        with self._lock:
            self.answers[answer] += 1
            self.slowest = max(self.slowest, seconds)

    def wait_for(self, more: int) -> None:
        """Wait until so many more have been answered."""
        start = self.answers.total()
        wait_until(lambda: self.answers.total() >= start + more, f"{more} more requests")


@contextlib.contextmanager
def load(
    connect: Callable[[], httpx2.Client], *requests: Request, threads: int = 6
) -> Iterator[Load]:
    """Send requests meanwhile, from several clients at once, one request after the other."""
    seen = Load()
    ended = threading.Event()

    def stream(number: int) -> None:
        send = requests[number % len(requests)]
        with connect() as client:
            while not ended.is_set():
                start = time.monotonic()
                try:
                    answer: int | str = send(client).status_code
                except httpx2.HTTPError as error:
                    answer = repr(error)
                seen.note(answer, time.monotonic() - start)

    streams = [threading.Thread(target=stream, args=(number,)) for number in range(threads)]
    for each in streams:
        each.start()
    try:
        yield seen
    finally:
        ended.set()
        for each in streams:
            each.join()


@contextlib.contextmanager
def host_down(name: str) -> Iterator[None]:
    """A host that is switched off."""
    execute(["podman", "stop", "--time", "5", name])
    try:
        yield
    finally:
        execute(["podman", "start", name])
        wait_for_start(name)


def wait_for_start(name: str) -> None:
    """Wait until all units of a host have started."""
    wait_until(
        lambda: on(name, "systemctl", "is-system-running").stdout.strip() == "running",
        f"{name} has started",
    )


@dataclass
class Run:
    """One run of Ansible, as the operator sees it."""

    status: int
    output: str
    seconds: float

    @cached_property
    def recap(self) -> dict[str, dict[str, int]]:
        """Counters per host: ok, changed, unreachable, failed, …"""
        _, _, recap = self.output.rpartition("PLAY RECAP")
        return {
            host: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", counters)}
            for host, counters in re.findall(r"^(\S+)\s+: (ok=.*)$", recap, re.MULTILINE)
        }

    @property
    def changed(self) -> dict[str, int]:
        return {host: counters["changed"] for host, counters in self.recap.items()}

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.output.splitlines()[-lines:])


def ansible_environment(**more: str) -> dict[str, str]:
    """The operator's environment: the project's configuration and nobody else's."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ANSIBLE_", "MOLECULE_"))
    }
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_INVENTORY": str(INVENTORY),
        "ANSIBLE_NOCOLOR": "1",
        **published_ports(),
        **more,
    }


def published_ports() -> dict[str, str]:
    """The ports that lead into a lab that is deployed, as its playbooks are told them."""
    if not (STATE / "site.json").is_file():
        return {}
    written = json.loads((STATE / "site.json").read_text())
    return {
        "LAB_SLM_PORT": written["slm_url"].rpartition(":")[2],
        "LAB_BACKEND_PORT": written["backend_url"].rpartition(":")[2],
    }


@contextlib.contextmanager
def ansible_process(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """ansible-playbook under way; what is left of it at the end is killed."""
    process = subprocess.Popen(
        ["ansible-playbook", *arguments],
        cwd=ROOT,
        env=ansible_environment(**environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            kill(process.pid)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def ansible(*arguments: str, **environment: str) -> Run:
    """Run ansible-playbook to its end."""
    start = time.monotonic()
    with ansible_process(*arguments, **environment) as process:
        output, _ = process.communicate(timeout=2 * HANGS)
    return Run(process.returncode, output, time.monotonic() - start)


def assert_failed_untouched(run: Run, *message: str) -> None:
    """The run failed, said why, and changed nothing."""
    assert run.status not in {0, 75}, run.tail()
    for part in message:
        assert part in run.output, run.tail()
    assert set(run.changed.values()) == {0}, run.tail()


@contextlib.contextmanager
def watched_processes(secrets: set[str]) -> Iterator[set[str]]:
    """Collect what shows a secret in its arguments or environment meanwhile, ten times a second.

    The hosts are containers: the controller sees their processes among its own.
    """
    patterns = [secret.encode() for secret in secrets]
    seen: set[str] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    for file in ("cmdline", "environ"):
                        text = (process / file).read_bytes()
                        if any(pattern in text for pattern in patterns):
                            seen.add(f"{file} of {(process / 'comm').read_text().strip()}")

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        ended.set()
        watcher.join()


def kill(pid: int) -> None:
    """SIGKILL a process and all that it started, so that none of them can clean up."""
    family = [pid]
    for member in family:
        for children in Path(f"/proc/{member}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                family.extend(map(int, children.read_text().split()))
    for member in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member, signal.SIGKILL)


def check_containers() -> None:
    """LabError when the hosts of the lab do not run, or are of another kind than LAB_SITE says."""
    answer = execute(["podman", "ps", "--format", '{{.Names}} {{index .Labels "site"}}'])
    sites = dict(line.split(" ", 1) for line in answer.stdout.splitlines())
    if missing := sorted({*HOSTS, "outsider"} - set(sites)):
        raise LabError(f"these containers do not run: {', '.join(missing)}")
    if others := {sites[name] or "lab" for name in HOSTS} - {LAB_SITE}:
        raise LabError(f"the lab is {', '.join(sorted(others))}, LAB_SITE says {LAB_SITE}")


@dataclass
class Site:
    """What the deploy left for the operator, and the secrets that it keeps."""

    addresses: dict[str, str]
    slm_url: str
    backend_url: str
    ca: Path
    one_time: dict[str, dict[str, str]] = field(repr=False)
    vault: dict[str, str] = field(repr=False)

    @staticmethod
    def check() -> None:
        """LabError when there is no deployed lab."""
        if shutil.which("podman") is None or not (STATE / "site.json").is_file():
            raise LabError("there is no lab, or nothing is deployed into it yet")
        check_containers()

    @classmethod
    def load(cls) -> Site:
        """Read the lab as it stands."""
        written = json.loads((STATE / "site.json").read_text())
        programs = Path(sys.executable).parent
        inventory = subprocess.run(
            [programs / "ansible-inventory", "--list"],
            cwd=ROOT,
            env=ansible_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        hosts = json.loads(inventory.stdout)["_meta"]["hostvars"]
        vault = subprocess.run(
            [programs / "ansible-vault", "view", str(STATE / "vault.yml")],
            cwd=ROOT,
            env=ansible_environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return cls(
            addresses={name: hosts[name]["address"] for name in HOSTS},
            slm_url=written["slm_url"],
            backend_url=written["backend_url"],
            ca=Path(written["ca"]),
            one_time={population: written[population] for population in ("slm", "autobot")},
            vault=yaml.safe_load(vault.stdout),
        )

    def client(self) -> httpx2.Client:
        """A client of the SLM server that trusts the lab's CA and nobody else."""
        return self._client(self.slm_url)

    def backend_client(self) -> httpx2.Client:
        """Likewise a client of the AutoBot backend."""
        return self._client(self.backend_url)

    def _client(self, url: str) -> httpx2.Client:
        return httpx2.Client(
            base_url=url,
            verify=ssl.create_default_context(cafile=str(self.ca)),
            trust_env=False,
            timeout=30,
        )

    @property
    def secrets(self) -> set[str]:
        """All that nobody may read: generated secrets, one-time and changed passwords.

        A key is told by its lines: they survive any quoting of the whole.
        """
        known = {account["password"] for account in self.one_time.values()}
        if TESTS_FILE.exists():
            known.add(json.loads(TESTS_FILE.read_text())["password"])
        known.add((STATE / "vault-password").read_text().strip())
        for value in self.vault.values():
            known.update(line for line in str(value).splitlines() if "-----" not in line)
        return {secret for secret in known if len(secret) >= 16}


class Administrator:
    """The first SLM administrator, past the forced change of the one-time password."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.username = site.one_time["slm"]["username"]
        self.password = self._settle()
        self._authorization: dict[str, str] = {}
        self._fresh_until = 0.0

    def _settle(self) -> str:
        """Change the one-time password, or find that an earlier run has."""
        stored = json.loads(TESTS_FILE.read_text()) if TESTS_FILE.exists() else {}
        password = stored.get("password") or f"tests-{uuid.uuid4().hex}"
        with self.site.client() as client:
            if stored and _login(client, self.username, password).status_code == 200:
                return password
            one_time = self.site.one_time["slm"]["password"]
            first = _login(client, self.username, one_time)
            if first.status_code != 200:
                raise LabError(
                    f"neither {TESTS_FILE} nor {STATE / 'site.json'} has the password of the "
                    f"administrator {self.username}; `make down && make up` starts afresh "
                    f"(login answered {first.status_code})"
                )
            # Written before it is valid: a run that ends here finds both passwords again.
            descriptor = os.open(TESTS_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({"username": self.username, "password": password}, file)
            changed = client.post(
                "/api/slm-auth/change-password",
                json={"current_password": one_time, "new_password": password},
                headers=bearer(first),
            )
            changed.raise_for_status()
        return password

    def login(self, client: httpx2.Client) -> httpx2.Response:
        return _login(client, self.username, self.password)

    def authorization(self, client: httpx2.Client) -> dict[str, str]:
        """The header of a session that goes on for a while: a login for each test takes long."""
        if time.monotonic() > self._fresh_until or self._has_ended(client):
            login = self.login(client)
            assert login.status_code == 200, login.text
            self._authorization = bearer(login)
            self._fresh_until = time.monotonic() + FRESH
        return self._authorization

    def _has_ended(self, client: httpx2.Client) -> bool:
        me = client.get("/api/slm-auth/me", headers=self._authorization)
        return me.status_code != 200


def _login(client: httpx2.Client, username: str, password: str) -> httpx2.Response:
    return client.post("/api/slm-auth/login", json={"username": username, "password": password})


def bearer(login: httpx2.Response) -> dict[str, str]:
    """The header that carries the token of a login."""
    return {"Authorization": f"Bearer {login.json()['access_token']}"}
