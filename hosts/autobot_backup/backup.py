"""Backups of this host's PostgreSQL with pgBackRest: take them, record what is in them, check them.

Runs as the user postgres and needs nothing but Python's standard library. What it says is for a
person who reads it in a journal or in the output of a deployment: which repository, which file,
what to do.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CONFIGURATION = Path("/etc/autobot-users/backup/backup.json")
STATE = Path("/var/lib/autobot-backup")
RECORDS = STATE / "records"
KEYS = CONFIGURATION.parent
LOCK = STATE / "lock"

# Another backup may be under way; a deployment waits for it instead of failing.
LOCK_PATIENCE = 1800
QUIET_PATIENCE = 10
# Beside the data itself: WAL on its way, indexes that are checked, and what the live server writes.
SPARE_BYTES = 256 * 1024 * 1024
# The unit that mounts a repository tries every five seconds, and waits ten for an answer.
MOUNT_PATIENCE = 30
# The archiver in the background has its lock for a second or two, again and again while a
# repository has no stanza yet.
ARCHIVER_PATIENCE = 120
ARCHIVER_PAUSE = 0.1
# pgBackRest's codes for a lock that another has, and for a repository that it could not read.
LOCKED = 50
STATUS_OTHER = 99

# Owners make what they like in their databases, and a superuser's session must not call it: names
# mean PostgreSQL's own things, and a view in the place of a table is refused by the server.
GUARDED = "-c search_path=pg_catalog -c restrict_nonsystem_relation_kind=view,foreign-table"

# How values look in a digest must not depend on a server's settings.
DIGEST_SETTINGS = """
SET timezone = 'UTC'; SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; SET extra_float_digits = 1;
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0;
"""


class BackupError(Exception):
    """What went wrong, where, and what to do, in one or two sentences."""


@dataclass(frozen=True)
class Repository:
    """A place that keeps backups."""

    number: int
    # Where it is, as a person would look for it: host:/directory (address).
    name: str
    host: str
    place: str
    # Its directory as SFTP shows it; none for another kind of repository.
    directory: str | None
    # Whether backups are taken into it; all others get WAL only, as long as a key is exchanged.
    backup: bool


@dataclass(frozen=True)
class Configuration:
    """What the role has written about this host's database and its repositories."""

    host: str
    stanza: str
    data_directory: str
    programs: str
    peer: str
    # Who lets this host in at the peer: user@address.
    peer_login: str
    max_age_seconds: int
    # What the last run of site.yml has made, each: the `database`, its `revision` and its `tables`.
    schemas: tuple[dict[str, Any], ...]
    repositories: tuple[Repository, ...]
    # Where the peer's repositories are mounted, for a pgBackRest that cannot write over SFTP.
    mount: str | None = None

    @classmethod
    def load(cls, path: Path = CONFIGURATION) -> Configuration:
        values = json.loads(path.read_text())
        repositories = tuple(Repository(**each) for each in values.pop("repositories"))
        schemas = tuple(values.pop("schemas"))
        return cls(**values, schemas=schemas, repositories=repositories)

    @property
    def targets(self) -> list[Repository]:
        """Repositories into which backups are taken; the first is the one to restore from."""
        return [repository for repository in self.repositories if repository.backup]


# -- programs ------------------------------------------------------------------------------------


def run(
    command: list[str], *, timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program; its messages are in English."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        # What is damaged may be anything.
        errors="replace",
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        timeout=timeout,
        check=False,
        **options,
    )


class PgBackRestError(BackupError):
    """pgBackRest ended with an error; `code` is its own number for it, or its exit status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def errors(output: str) -> str:
    """pgBackRest's error lines as one line, without its hints' indentation."""
    said = [
        line.strip()
        for line in re.sub(r"^ERROR: +", "", output, flags=re.MULTILINE).splitlines()
        if line.strip() and not line.lstrip().startswith("HINT: use option --log-level")
    ]
    return " ".join(said)


def pgbackrest(
    configuration: Configuration,
    command: str,
    *options: str,
    repository: Repository | None = None,
) -> str:
    """Run pgBackRest and return what it prints; PgBackRestError with its own words."""
    if repository is not None and repository.directory is not None:
        need_mount(configuration)
    argv = ["pgbackrest", command, f"--stanza={configuration.stanza}"]
    argv += ["--log-level-console=off", "--log-level-stderr=error", *options]
    if repository is not None:
        argv.append(f"--repo={repository.number}")
    done = run(argv)
    if done.returncode:
        where = repository.name if repository else configuration.stanza
        said = errors(done.stderr) or errors(done.stdout) or f"exit status {done.returncode}"
        raise PgBackRestError(f"pgbackrest {command}, {where}: {said}", done.returncode)
    return done.stdout


def sftp(configuration: Configuration, *batch: str) -> str:
    """What SFTP's commands print at the peer; BackupError when one of them fails."""
    command = ["sftp", "-F", "none", "-b", "-", "-i", str(KEYS / "id")]
    for option in (
        f"UserKnownHostsFile={KEYS / 'known_hosts'}",
        "StrictHostKeyChecking=yes",
        "LogLevel=ERROR",
        "IdentitiesOnly=yes",
        "ConnectTimeout=10",
    ):
        command += ["-o", option]
    done = run([*command, configuration.peer_login], input="\n".join(batch) + "\n")
    if done.returncode:
        # Of some failures, df's for one, it says nothing.
        said = " ".join(done.stderr.split()) or f"{'; '.join(batch)}: exit status {done.returncode}"
        raise BackupError(f"sftp {configuration.peer_login} ({configuration.peer}): {said}")
    # Each command is repeated before what it prints.
    return "".join(
        line for line in done.stdout.splitlines(keepends=True) if not line.startswith("sftp> ")
    )


def need_mount(configuration: Configuration) -> None:
    """Wait for repositories that are mounted; BackupError with why they are not there."""
    if configuration.mount is None or os.path.ismount(configuration.mount):
        return
    # A peer that is away is named at once; one that answers is about to be mounted.
    sftp(configuration, "pwd")
    deadline = time.monotonic() + MOUNT_PATIENCE
    while not os.path.ismount(configuration.mount):
        if time.monotonic() > deadline:
            raise BackupError(
                f"{configuration.peer} answers and is not mounted on {configuration.mount}. "
                "See: journalctl --unit autobot-repository"
            )
        time.sleep(0.5)


def info(
    configuration: Configuration, repository: Repository | None = None, *options: str
) -> dict[str, Any]:
    """What pgBackRest knows of the stanza: `backup`, `db`, `archive`, `repo`, `status`."""
    output = pgbackrest(configuration, "info", "--output=json", *options, repository=repository)
    stanzas = json.loads(output)
    found: dict[str, Any] = stanzas[0] if stanzas else {"backup": [], "db": [], "repo": []}
    # A repository that cannot be read is no error for it.
    for each in found["repo"]:
        if each["status"]["code"] == STATUS_OTHER:
            # What pgBackRest calls an input/output error has a reason.
            need_mount(configuration)
            raise BackupError(f"{' '.join(each['status']['message'].split())}.")
    return found


def backups(configuration: Configuration, repository: Repository) -> list[dict[str, Any]]:
    """The backups in a repository, the oldest first."""
    return [
        backup
        for backup in info(configuration, repository)["backup"]
        if backup["database"]["repo-key"] == repository.number and not backup.get("error")
    ]


@contextmanager
def locked(patience: float = LOCK_PATIENCE) -> Iterator[None]:
    """One backup, record or drill at a time; waits for the one that is under way."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BackupError(
                        f"Another backup or drill has been under way for {patience:g} s. See: "
                        "systemctl list-units 'autobot-backup-*'"
                    ) from None
                time.sleep(0.5)
        yield
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """The checksum of a file of any size."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            found.update(block)
    return found.hexdigest()


def megabytes(amount: float) -> str:
    return f"{amount / 1_000_000:.0f} MB"


def need_room(path: Path, amount: int, what: str) -> tuple[int, int]:
    """Bytes that something needs, and bytes that are free; refused when there are too few."""
    there = path
    while not there.exists():
        there = there.parent
    state = os.statvfs(there)
    needed, free = amount + SPARE_BYTES, state.f_bavail * state.f_frsize
    if needed > free:
        raise BackupError(
            f"{what} needs {megabytes(needed)} below {path}, and only {megabytes(free)} are "
            "free. Remove what is not needed, or give it a larger disk."
        )
    return needed, free


def read_json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


def write_json(path: Path, value: Any, mode: int = 0o644) -> str:
    """Replace a file as a whole; returns the SHA-256 of what it holds."""
    text = json.dumps(value, indent=1) + "\n"
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())
    Path(partial).replace(path)
    return hashlib.sha256(text.encode()).hexdigest()


# -- what is in the databases --------------------------------------------------------------------


class Session:
    """A session of PostgreSQL's superuser that stays open, over psql and the server's socket."""

    END = "-- the answer ends here --"

    def __init__(self, database: str, socket_directory: str | None = None) -> None:
        command = ["psql", "-XAtq", "--set=ON_ERROR_STOP=1", "--field-separator=\x1f"]
        command += ["--dbname", database] + (
            ["--host", socket_directory] if socket_directory else []
        )
        self._database = database
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **os.environ,
                "LC_ALL": "C.UTF-8",
                "PGAPPNAME": "autobot-backup",
                "PGOPTIONS": GUARDED,
            },
        )

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        # psql says goodbye at the end of its input; one whose query still runs is ended.
        try:
            self._process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    def query(self, sql: str) -> list[list[str]]:
        """The rows of the statements, or BackupError with the server's words."""
        requests, answers = self._process.stdin, self._process.stdout
        if requests is None or answers is None:
            raise ValueError("psql runs without pipes")
        # One that has ended has said why.
        with suppress(BrokenPipeError):
            requests.write(f"{sql.rstrip().rstrip(';')};\n\\echo {self.END!r}\n")
            requests.flush()
        lines: list[str] = []
        for line in answers:
            if line.rstrip("\n") == self.END:
                return [each.split("\x1f") for each in lines]
            lines.append(line.rstrip("\n"))
        raise BackupError(f"PostgreSQL, database {self._database}: {' '.join(lines).strip()}")


def query(database: str, sql: str, socket_directory: str | None = None) -> list[list[str]]:
    """The rows of one query."""
    with Session(database, socket_directory) as session:
        return session.query(sql)


def databases(socket_directory: str | None = None) -> list[str]:
    """The databases that hold somebody's data."""
    rows = query(
        "postgres",
        "SELECT datname FROM pg_database"
        " WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' ORDER BY datname",
        socket_directory,
    )
    return [name for (name,) in rows]


def database_bytes() -> int:
    """The size of all databases; their dumps are compressed and smaller."""
    ((size,),) = query("postgres", "SELECT sum(pg_database_size(oid)) FROM pg_database")
    return int(size)


def tables(session: Session, persistence: str = "'p'") -> list[str]:
    """The permanent tables of a database, or others too, quoted and with their schema."""
    return [
        name
        for (name,) in session.query(
            "SELECT format('%I.%I', nspname, relname)"
            " FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            f" WHERE relkind = 'r' AND relpersistence IN ({persistence})"
            " AND nspname NOT LIKE 'pg\\_%'"
            " AND nspname <> 'information_schema' ORDER BY 1"
        )
    ]


def digest(session: Session) -> dict[str, list[str]]:
    """Of each table: how many rows, and two sums over hashes of them, which no order changes."""
    # A row as text, without a cast: owners can make one from their row types, and it is called.
    # With .* it is the whole row also where a column has that name.
    text = "textin(record_out(digested.*))"
    found = {}
    for table in tables(session):
        (row,) = session.query(
            f"SELECT count(*), coalesce(sum(hashtextextended({text}, 0)::numeric), 0),"
            f" coalesce(sum(hashtextextended({text}, 1)::numeric), 0) FROM {table} digested"
        )
        found[table] = row
    return found


def quiet_point(sessions: list[Session], name: str) -> tuple[str, str]:
    """Make a restore point at which the sessions' snapshots are exactly what is restored.

    Nothing is locked. When no transaction was writing as the snapshots were taken, and none has
    begun to write until the point was made, the two show the same rows; else it is tried again.
    Returns the name of the point, and where it is in the WAL.
    """
    deadline = time.monotonic() + QUIET_PATIENCE
    attempt = 0
    with Session("postgres") as witness:
        while time.monotonic() < deadline:
            attempt += 1
            point = name if attempt == 1 else f"{name}_{attempt}"
            seen = set()
            for session in sessions:
                session.query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                (row,) = session.query(
                    "SELECT pg_snapshot_xmin(s), pg_snapshot_xmax(s) FROM pg_current_snapshot() s"
                )
                seen.update(row)
            if len(seen) == 1:
                ((place, latest),) = witness.query(
                    f"SELECT pg_create_restore_point('{point}'),"
                    " pg_snapshot_xmax(pg_current_snapshot())"
                )
                if seen == {latest}:
                    return point, place
            for session in sessions:
                session.query("ROLLBACK")
            time.sleep(0.02)
    raise BackupError(
        f"For {QUIET_PATIENCE} s there was no moment without a transaction that writes. "
        "A long one may be under way; see pg_stat_activity."
    )


def record(label: str, point: str) -> dict[str, Any]:
    """What all databases hold, exactly at a restore point that is made for it."""
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(Session(name)) for name in databases()}
        for session in sessions.values():
            session.query(DIGEST_SETTINGS)
        made, place = quiet_point(list(sessions.values()), point)
        found = {
            "backup": label,
            "point": made,
            "lsn": place,
            "time": time.time(),
            "databases": {name: digest(session) for name, session in sessions.items()},
        }
    # So that the point leaves the host now, not with the next switch.
    query("postgres", "SELECT pg_switch_wal()")
    return found


def rows(found: dict[str, Any]) -> int:
    """How many rows a record counts."""
    return sum(int(row[0]) for tables in found["databases"].values() for row in tables.values())


def save_record(
    configuration: Configuration, repository: Repository, found: dict[str, Any]
) -> Path:
    """Keep a record here, and its point and SHA-256 with the backup itself."""
    path = RECORDS / f"{found['backup']}.json"
    checksum = write_json(path, found, 0o600)
    pgbackrest(
        configuration,
        "annotate",
        f"--set={found['backup']}",
        f"--annotation=point={found['point']}",
        # The next record of this backup replaces the one above; its point stays one to go back to.
        f"--annotation=point-{found['point']}={found['point']}",
        f"--annotation=record={checksum}",
        repository=repository,
    )
    return path


def forget_records(configuration: Configuration) -> None:
    """Remove the records of backups that no repository has any more."""
    known = {
        backup["label"]
        for repository in configuration.targets
        for backup in backups(configuration, repository)
    }
    for path in RECORDS.glob("*.json"):
        if path.stem not in known:
            path.unlink()


# -- backups -------------------------------------------------------------------------------------


def take_backup(
    configuration: Configuration,
    kind: str,
    labels: dict[str, str] | None = None,
    point: str | None = None,
) -> list[dict[str, Any]]:
    """Take a backup into each repository, and record what is in the databases."""
    taken = []
    annotations = [f"--annotation={key}={value}" for key, value in (labels or {}).items()]
    with locked():
        for repository in configuration.targets:
            start = time.monotonic()
            pgbackrest(
                configuration, "backup", f"--type={kind}", *annotations, repository=repository
            )
            newest = backups(configuration, repository)[-1]
            taken.append(
                {
                    "repository": repository.name,
                    "label": newest["label"],
                    "type": newest["type"],
                    "database_bytes": newest["info"]["size"],
                    "repository_bytes": newest["info"]["repository"].get("delta", 0),
                    "seconds": round(time.monotonic() - start, 1),
                }
            )
        found = record(taken[0]["label"], point or f"backup_{taken[0]['label']}")
        for repository, each in zip(configuration.targets, taken, strict=True):
            save_record(configuration, repository, {**found, "backup": each["label"]})
            each |= {"point": found["point"], "rows": rows(found)}
        forget_records(configuration)
    return taken


def unrecorded(configuration: Configuration) -> list[str]:
    """The tables that came after what is recorded of the newest backup."""
    known = backups(configuration, configuration.targets[0])
    found = read_json(RECORDS / f"{known[-1]['label']}.json") if known else {}
    recorded = found.get("databases", {})
    missing = []
    for name in databases():
        with Session(name) as session:
            missing += [
                f"{table} of {name}"
                for table in tables(session)
                if table not in recorded.get(name, {})
            ]
    return missing


# -- preparation, by the role --------------------------------------------------------------------


def system_identifier() -> int:
    """What tells this cluster from every other."""
    ((identifier,),) = query("postgres", "SELECT system_identifier FROM pg_control_system()")
    return int(identifier)


def between_archivers(configuration: Configuration, command: str) -> None:
    """Run a command of pgBackRest for which the archiver must not be at work."""
    deadline = time.monotonic() + ARCHIVER_PATIENCE
    while True:
        try:
            pgbackrest(configuration, command)
        except PgBackRestError as error:
            if error.code != LOCKED or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(ARCHIVER_PAUSE)


def prepare(configuration: Configuration, *, check: bool, new_cluster: bool) -> list[str]:
    """Bring the repositories to where backups go on by themselves; returns what was done."""
    done: list[str] = []

    def act(what: str, do: Callable[[], Any]) -> None:
        done.append(what)
        if not check:
            do()

    for repository in configuration.repositories:
        state = info(configuration, repository)
        # Of the cluster that a repository has seen last.
        known = state["db"][-1]["system-id"] if state["db"] else None
        if known is None:
            act(
                f"created the stanza {configuration.stanza} in {repository.name}",
                lambda: between_archivers(configuration, "stanza-create"),
            )
        elif known != system_identifier():
            if not new_cluster:
                raise BackupError(strange_cluster(configuration, repository, state))
            act(
                f"began with a new cluster in {repository.name}; older backups stay",
                lambda: between_archivers(configuration, "stanza-upgrade"),
            )
        if not repository.backup:
            continue
        current = {each["id"] for each in state["db"] if each["system-id"] == system_identifier()}
        if not any(
            backup["database"]["id"] in current
            and backup["database"]["repo-key"] == repository.number
            for backup in state["backup"]
        ):
            act(
                f"took the first full backup into {repository.name}",
                lambda: take_backup(configuration, "full"),
            )
    return done


def strange_cluster(
    configuration: Configuration, repository: Repository, state: dict[str, Any]
) -> str:
    newest = state["backup"][-1] if state["backup"] else None
    stopped = (
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(newest["timestamp"]["stop"]))
        if (newest)
        else "none"
    )
    return (
        f"{repository.name} holds backups of another PostgreSQL cluster than the one that runs on "
        f"{configuration.host} now (newest backup: {stopped}). It was not changed. To bring back "
        f"the data: ansible-playbook playbooks/restore.yml -e restore_host={configuration.host} "
        "-e restore_to=latest. To go on with this cluster on purpose, and keep the old backups: "
        f"run again with -e backup_new_cluster={configuration.host}."
    )


# -- command line --------------------------------------------------------------------------------


@dataclass
class Commands:
    """Subcommands by name; other modules add theirs with `add`."""

    parser: argparse.ArgumentParser
    _adders: Any = field(init=False)

    def __post_init__(self) -> None:
        self._adders = self.parser.add_subparsers(required=True, metavar="COMMAND")

    def add(
        self, name: str, do: Callable[[Configuration, argparse.Namespace], int], description: str
    ) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = self._adders.add_parser(
            name, help=description, description=description
        )
        parser.set_defaults(do=do)
        return parser


def pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not (separator and re.fullmatch(r"[a-z][a-z0-9_-]*", key) and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def point_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,58}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a restore point: letters, digits, _ . -, 59 at most"
        )
    return text


def do_backup(configuration: Configuration, arguments: argparse.Namespace) -> int:
    labels = dict(arguments.label)
    taken = take_backup(configuration, arguments.type, labels, arguments.point)
    print(json.dumps(taken))
    return 0


def do_record(configuration: Configuration, arguments: argparse.Namespace) -> int:
    with locked():
        repository = configuration.targets[0]
        known = backups(configuration, repository)
        if not known:
            raise BackupError(f"{repository.name} has no backup to record.")
        found = record(known[-1]["label"], arguments.point)
        print(save_record(configuration, repository, found))
    return 0


def do_complete(configuration: Configuration, arguments: argparse.Namespace) -> int:
    missing = unrecorded(configuration)
    if missing:
        print(f"took a backup that has {len(missing)} tables more than the last one")
        if not arguments.check:
            take_backup(configuration, "incr")
    return 0


def do_prepare(configuration: Configuration, arguments: argparse.Namespace) -> int:
    for line in prepare(configuration, check=arguments.check, new_cluster=arguments.new_cluster):
        print(line)
    return 0


def add_commands(commands: Commands) -> None:
    backup = commands.add("backup", do_backup, "take a backup and record what is in it")
    backup.add_argument("type", choices=["full", "diff", "incr"])
    backup.add_argument("--label", type=pair, action="append", default=[], metavar="KEY=VALUE")
    backup.add_argument("--point", type=point_name, help="name of the restore point")
    again = commands.add(
        "record", do_record, "record what is in the databases, for the newest backup"
    )
    again.add_argument("--point", type=point_name, required=True)
    whole = commands.add(
        "complete", do_complete, "take a backup where tables came after the newest one"
    )
    whole.add_argument("--check", action="store_true", help="say what would be done")
    ready = commands.add("prepare", do_prepare, "create what the repositories lack")
    ready.add_argument("--check", action="store_true", help="say what would be done")
    ready.add_argument("--new-cluster", action="store_true", help="accept another cluster")
