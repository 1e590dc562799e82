"""What is measured: PostgreSQL, the SLM server and its rival, as they run in production."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import bcrypt
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.perf.load import fetch, request
from tests.perf.machine import OTHER_CORES, ROOT, pinned
from tests.support.database_server import SERVICE, PostgresServer, ProvisionedDatabase
from user_management.population import Population

COST = 12
PEOPLE = 64
PASSWORD = "violet-anchor-77-meadow"
RIVAL_PYTHON = ROOT / "build" / "rival" / "bin" / "python"
RIVAL = "rival"
BARE = "bare"
SIGNING_KEY = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


@dataclass(frozen=True)
class Databases:
    """Both databases at head, and the rival's, on one server that nothing else uses."""

    server: PostgresServer
    slm: ProvisionedDatabase
    autobot: ProvisionedDatabase

    def environment(self) -> dict[str, str]:
        """The environment of the SLM server and its command."""
        return {
            "SLM_SIGNING_KEY": SIGNING_KEY,
            "BCRYPT_COST": str(COST),
            **self.slm.environment(self.slm.service),
            **self.autobot.environment(self.autobot.service),
        }


@contextmanager
def databases() -> Iterator[Databases]:
    """PostgreSQL with the same people, `user1` to `userN`, for both servers."""
    with pinned(OTHER_CORES):
        server = PostgresServer()
    try:
        with pinned(OTHER_CORES):
            server.start()
        server.provision_roles()
        ours = {}
        for population in Population:
            server.provision_database(population, population, None)
            ours[population] = ProvisionedDatabase(server, population, population)
            ours[population].migrate()
        hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST)).decode()
        ours[Population.SLM].sql(
            "INSERT INTO users (username, email, password_hash, is_platform_admin) "
            f"SELECT 'user' || n, 'user' || n || '@example.com', '{hashed}', true "
            f"FROM generate_series(1, {PEOPLE}) AS n"
        )
        server.sql(f"CREATE ROLE {RIVAL} LOGIN")
        server.sql(f"CREATE DATABASE {RIVAL} OWNER {RIVAL}")
        yield Databases(server, ours[Population.SLM], ours[Population.AUTOBOT])
    finally:
        server.remove()


@dataclass(frozen=True)
class Contender:
    """A running server, and how to say the same to it as to the other one."""

    name: str
    pid: int
    socket: Path

    def login(self, number: int) -> bytes:
        """The login of person `number`, from 1 to PEOPLE."""
        if self.name == RIVAL:
            form = {"username": f"user{number}@example.com", "password": PASSWORD}
            kind = "application/x-www-form-urlencoded"
            return request("POST", "/auth/jwt/login", text=urlencode(form), kind=kind)
        body = {"username": f"user{number}", "password": PASSWORD}
        return request("POST", "/api/slm-auth/login", body=body)

    async def token(self) -> str:
        """The token of a login."""
        token: str = (await fetch(self.socket, self.login(PEOPLE))).json()["access_token"]
        return token

    async def me(self) -> bytes:
        """The request of somebody who is logged in: who am I?"""
        path = "/users/me" if self.name == RIVAL else "/api/slm-auth/me"
        return request("GET", path, token=await self.token())

    async def page(self) -> bytes:
        """The request for the first 100 application users."""
        if self.name == BARE:
            return request("GET", "/users?limit=100")
        return request("GET", "/api/autobot-users?limit=100", token=await self.token())


@contextmanager
def slm_server(found: Databases, cores: set[int], **more: str) -> Iterator[Contender]:
    """The real server with one worker, run as its unit runs it; `more` are settings."""
    application = ("--factory", "slm_server.app:create_app")
    with _running(
        *("slm", sys.executable, application, found.environment() | more, found, cores),
        "/health/ready",
    ) as contender:
        yield contender


@contextmanager
def rival_server(found: Databases, cores: set[int]) -> Iterator[Contender]:
    """The rival with one worker, run the same way, with the same people."""
    directory = found.server.directory
    environment = {
        "BCRYPT_COST": str(COST),
        "RIVAL_SECRET": "x" * 64,
        "RIVAL_DATABASE_URL": f"postgresql+asyncpg://{RIVAL}@/{RIVAL}?host={directory}",
    }
    application = ("--app-dir", str(Path(__file__).parent), "rival:app")
    with _running(
        RIVAL, str(RIVAL_PYTHON), application, environment, found, cores, "/openapi.json"
    ) as contender:
        hashed = found.slm.sql("SELECT password_hash FROM users LIMIT 1")
        found.server.sql(
            'INSERT INTO "user" (id, email, hashed_password, is_active, is_superuser, is_verified)'
            f" SELECT gen_random_uuid(), 'user' || n || '@example.com', '{hashed}', true, false,"
            f" true FROM generate_series(1, {PEOPLE}) AS n",
            database=RIVAL,
            user=RIVAL,
        )
        yield contender


@contextmanager
def bare_server(found: Databases, cores: set[int]) -> Iterator[Contender]:
    """Pages of the application users and nothing else, with one worker, run the same way."""
    environment = {
        "BARE_DATABASE_URL": f"postgresql://{SERVICE}@/{found.autobot.name}"
        f"?host={found.server.directory}"
    }
    application = ("--app-dir", str(Path(__file__).parent), "bare:app")
    with _running(
        BARE, sys.executable, application, environment, found, cores, "/openapi.json"
    ) as contender:
        yield contender


@contextmanager
def _running(
    name: str,
    python: str,
    application: tuple[str, ...],
    environment: dict[str, str],
    found: Databases,
    cores: set[int],
    ready: str,
) -> Iterator[Contender]:
    socket, log = (found.server.directory / f"{name}.{suffix}" for suffix in ("sock", "log"))
    options = ("--no-server-header", "--no-access-log", f"--uds={socket}")
    proxied = ("--proxy-headers", "--forwarded-allow-ips=*")
    with log.open("wb") as output, pinned(cores):
        process = subprocess.Popen(
            [python, "-m", "uvicorn", *application, *options, *proxied],
            env=environment,
            stdout=output,
            stderr=output,
        )
    try:
        deadline = time.monotonic() + 30
        while not _is_ready(socket, ready):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{name} does not get ready:\n{log.read_text()}")
            time.sleep(0.05)
        yield Contender(name, process.pid, socket)
    finally:
        process.kill()  # clients that were cancelled are still being served
        process.wait()


def _is_ready(socket: Path, path: str) -> bool:
    try:
        return uvloop.run(fetch(socket, request("GET", path))).status == 200
    except OSError:
        return False
