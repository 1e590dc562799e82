"""A real PostgreSQL server for tests and measurements: private, on a unix socket."""

import io
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from alembic.command import downgrade, upgrade
from alembic.config import Config

from tests.support.libpq import Connection
from user_management.config import DatabaseSettings
from user_management.population import Population

ROOT = Path(__file__).parents[2]
SUPERUSER = "postgres"
OWNERS = {Population.SLM: "slm_admin", Population.AUTOBOT: "autobot_user_admin"}
SERVICE = "slm_service"
BACKEND = "autobot_backend"
TENANT = "slm_tenant"
# Nothing waits for a disk: a lost test server is no loss.
FAST = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_size=64MB",
)
# The newest of the major versions that scripts/bootstrap fetches, with psql and others.
NEWEST = 17
MEMORY = Path("/dev/shm")  # noqa: S108


class ServerError(Exception):
    """PostgreSQL is not installed or does not do what it should. The message says more."""


def postgresql_binaries() -> Path:
    """The newest installed PostgreSQL's bin directory."""
    found = sorted(
        (path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")),
        key=lambda path: int(path.parent.name),
    )
    if not found:
        raise ServerError(
            "PostgreSQL is not installed. On Debian and Ubuntu: apt-get install postgresql "
            "(the server in /usr/lib/postgresql/<major>/bin)."
        )
    return found[-1]


def fetched_postgresql(name: str) -> Path:
    """What scripts/bootstrap fetches: servers, by their major versions, and programs."""
    found = ROOT / ".cache/postgresql" / name
    if not found.exists():
        raise ServerError(f"{found} is missing: scripts/bootstrap check")
    return found


def server_identity() -> dict[str, Any]:
    """Who runs the server: PostgreSQL refuses root, so root hands over to `postgres`."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def roomy_memory() -> str | None:
    """Where files are in memory, if there is room: a new database takes 20 ms, else 400."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2**30:
        return str(MEMORY)
    return None


def guarding(owner: str, service: str) -> str:
    """A query for the statements that take from PUBLIC what database.sql takes: advisory locks,
    large objects.
    """
    return f"""
        SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC;', names)
            || format('GRANT EXECUTE ON FUNCTION %s TO {owner} %s;', names,
                CASE WHEN locks THEN ', {service}' END)
        FROM (
            SELECT proname ~ 'advisory' AS locks, string_agg(oid::regprocedure::text, ', ') AS names
            FROM pg_proc
            WHERE pronamespace = 'pg_catalog'::regnamespace
                AND proname ~ '^(pg_(try_)?advisory_|lo_(?!import|export)|loread$|lowrite$)'
            GROUP BY 1
        ) AS guarded
    """


class PostgresServer:
    """One PostgreSQL server in a directory of its own: the distribution's, or another `major`."""

    def __init__(self, template: Path | None = None, *, major: int | None = None) -> None:
        self.bin = self.programs = postgresql_binaries()
        self.directory = Path(tempfile.mkdtemp(prefix="pg-", dir=roomy_memory()))
        if major:
            # The account that runs it may have no way into the checkout.
            copy = shutil.copytree(
                fetched_postgresql(str(major)), self.directory / str(major), symlinks=True
            )
            self.bin = copy / "bin"
            if major == NEWEST:
                self.programs = fetched_postgresql("programs") / "bin"
        self._data = self.directory / "data"
        self._identity = server_identity()
        self._process: subprocess.Popen[bytes] | None = None
        self._idle: defaultdict[tuple[str, str], list[Connection]] = defaultdict(list)
        self._made: dict[str, str] = {}
        if self._identity:
            os.chown(self.directory, self._identity["user"], self._identity["group"])
        if template is None:
            self._run(
                self.bin / "initdb",
                f"--pgdata={self._data}",
                f"--username={SUPERUSER}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",
            )
        else:
            self._run("cp", "-a", str(template), str(self._data))

    def _run(self, *command: str | Path) -> None:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.directory,
            **self._identity,
        )
        if done.returncode:
            raise ServerError(f"{command[0]} failed: {done.stderr}{done.stdout}")

    @property
    def data(self) -> Path:
        return self._data

    def start(self, *options: str, port: int = 5432) -> None:
        """Start with `options` ("name=value"), and wait until it answers."""
        settings = [f"--{setting}" for setting in (*FAST, *options)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self.bin / "postgres",
                    f"-D{self._data}",
                    f"-k{self.directory}",
                    f"-p{port}",
                    "--listen_addresses=",
                    "--max_wal_senders=0",
                    *settings,
                ],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                **self._identity,
            )
        deadline = time.monotonic() + 300
        while subprocess.run(
            [self.programs / "pg_isready", "-q", f"-h{self.directory}", f"-p{port}"], check=False
        ).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(
                    "PostgreSQL does not start:\n" + (self.directory / "log").read_text()
                )
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop at once, as a crash would."""
        self.hang_up()
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=300)
            self._process = None

    @contextmanager
    def frozen(self, *, new_connections: bool = True) -> Iterator[None]:
        """Connections stay open and say nothing (SIGSTOP); also new ones, unless told otherwise."""
        assert self._process is not None
        postmaster = self._process.pid
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        pids = [postmaster] if new_connections else []
        pids += [
            int(pid)
            for pid in children
            if new_connections or b"[local]" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.directory)

    def settings(self, database: str, user: str) -> DatabaseSettings:
        return DatabaseSettings.model_validate(
            {
                "hosts": (str(self.directory),),
                "database": database,
                "user": user,
                "password": "the-socket-trusts-everybody",
            }
        )

    def sql(self, statements: str, *, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Run statements in one transaction; the rows, unaligned, columns separated by `|`.

        On a connection that is kept for a later call, which finds nothing of this one; callers in
        several threads have one each.
        Raises AssertionError with the server's message when one fails.
        """
        idle = self._idle[database, user]
        try:
            connection = idle.pop()
        except IndexError:
            connection = Connection(str(self.directory), user, database)
        try:
            rows = connection.run(statements)
        except AssertionError:
            # Perhaps lost, or in the middle of a transaction.
            connection.close()
            raise
        idle.append(connection)
        return rows

    def hang_up(self, database: str | None = None) -> None:
        """Close the connections that `sql` keeps: to one database, or all."""
        for (to, _), idle in self._idle.items():
            while idle and database in (None, to):
                idle.pop().close()

    def is_untouched(self, name: str) -> bool:
        """Whether nothing was ever written in a database, not even rolled back; it ends whoever is
        connected, so that all they did has been counted.

        The server counts rows, those of the database's catalogs too. Who may connect and the like
        is in a catalog of all databases.
        """
        self.hang_up(name)
        self.sql(
            "SELECT count(pg_terminate_backend(pid, 30000)) FROM pg_stat_activity "
            f"WHERE datname = '{name}'"
        )
        written = self.sql(
            "SELECT tup_inserted + tup_updated + tup_deleted FROM pg_stat_database "
            f"WHERE datname = '{name}'"
        )
        return written == "0" and self._version_of(name) == self._made[name]

    def _version_of(self, name: str) -> str:
        """The transaction that last changed what is said of a database as a whole."""
        return self.sql(f"SELECT xmin FROM pg_database WHERE datname = '{name}'")

    def drop_database(self, name: str) -> None:
        """Drop it, whoever is connected."""
        self.hang_up(name)
        self.sql(f"DROP DATABASE {name} WITH (FORCE)")

    def psql(self, script: str, *, database: str = "postgres", user: str = SUPERUSER) -> str:
        """Run a script with psql, its own commands included, and each statement by itself.

        Otherwise as `sql`.
        """
        done = subprocess.run(
            [
                self.programs / "psql",
                "--no-psqlrc",
                "--quiet",
                "--tuples-only",
                "--no-align",
                "--set=ON_ERROR_STOP=1",
                f"--host={self.directory}",
                f"--username={user}",
                f"--dbname={database}",
            ],
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise AssertionError(done.stderr.strip())
        return done.stdout.strip()

    def provision_roles(self) -> None:
        """The roles, as the deployment makes them."""
        self.sql(
            "".join(f"CREATE ROLE {role} LOGIN;" for role in (*OWNERS.values(), SERVICE, BACKEND))
            + f"ALTER ROLE {SERVICE} BYPASSRLS;"
            f"CREATE ROLE {TENANT} NOLOGIN; GRANT {TENANT}, {BACKEND} TO {SERVICE};"
        )

    def provision_database(self, name: str, population: Population, template: str | None) -> None:
        """A database with owner and privileges as the deployment makes it."""
        owner = OWNERS[population]
        service = SERVICE if population is Population.SLM else f"{SERVICE}, {TENANT}"
        others = SERVICE if population is Population.SLM else f"{service}, {BACKEND}"
        source = f"TEMPLATE {template}" if template else ""
        if int(self.bin.parent.name) >= 15:
            source += " STRATEGY file_copy"
        self.sql(f"CREATE DATABASE {name} OWNER {owner} {source}")
        self.sql(
            f"""
            REVOKE ALL ON DATABASE {name} FROM PUBLIC;
            GRANT CONNECT ON DATABASE {name} TO {others};
            """
        )
        # Of its schema a template has the privileges already.
        if template is None:
            self.sql(
                f"""
                ALTER SCHEMA public OWNER TO {owner};
                REVOKE ALL ON SCHEMA public FROM PUBLIC;
                GRANT USAGE ON SCHEMA public TO {others};
                """
                + self.sql(guarding(owner, service), database=name),
                database=name,
            )
            # A template has to be free of connections.
            self.hang_up(name)
        self._made[name] = self._version_of(name)


@dataclass(frozen=True)
class ProvisionedDatabase:
    """A database of one population on the test server."""

    server: PostgresServer
    population: Population
    name: str

    @property
    def owner(self) -> DatabaseSettings:
        """Connect as the owner: migrations."""
        return self.server.settings(self.name, OWNERS[self.population])

    @property
    def service(self) -> DatabaseSettings:
        """Connect as the SLM server does."""
        return self.server.settings(self.name, SERVICE)

    @property
    def backend(self) -> DatabaseSettings:
        """Connect as the AutoBot backend does."""
        return self.server.settings(self.name, BACKEND)

    def sql(self, statements: str, user: str | None = None) -> str:
        """Run statements as `user`, by default as the owner. See PostgresServer.sql."""
        return self.server.sql(statements, database=self.name, user=user or OWNERS[self.population])

    def psql(self, script: str) -> str:
        """Run a script as the owner. See PostgresServer.psql."""
        return self.server.psql(script, database=self.name, user=OWNERS[self.population])

    def environment(self, settings: DatabaseSettings | None = None) -> dict[str, str]:
        """The environment of a process of ours that uses this database, by default as owner."""
        settings = settings or self.owner
        prefix = f"{self.population.value.upper()}_POSTGRES_"
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "service"),
            f"{prefix}HOST": settings.hosts[0],
            f"{prefix}DB": settings.database,
            f"{prefix}USER": settings.user,
            f"{prefix}PASSWORD": settings.password.get_secret_value(),
        }

    def alembic(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the alembic command as the owner, in the repository's directory."""
        return subprocess.run(
            [sys.executable, "-m", "alembic", *arguments],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def run_alembic(self, command: Callable[..., object], *arguments: str, **options: str) -> None:
        """Run one of alembic.command in this process, which is quicker; options as in the .ini."""
        config = Config(ROOT / "alembic.ini", ini_section=self.population, stdout=io.StringIO())
        for name, value in options.items():
            config.set_main_option(name, value)
        with patch.dict(os.environ, self.environment()), ThreadPoolExecutor(1) as executor:
            # In a thread of its own: the caller may have a running event loop.
            executor.submit(command, config, *arguments).result()

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to `revision`; `base` undoes everything."""
        run = downgrade if revision == "base" else upgrade
        self.run_alembic(run, revision)
