"""Restores: the plan, the whole cluster in place of the live one, or one database beside it.

playbooks/restore.yml is the way to it; on a host without a controller, `autobot-backup plan` and
`autobot-backup restore` do the same as root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from autobot_backup import backup as autobot_backup
from autobot_backup import catalogue as autobot_recovery
from autobot_backup.backup import BackupError, Configuration
from autobot_backup.catalogue import Catalogue, Scratch, moment

# When WAL is stuck on the host, what was committed so shortly before its end may not be there.
DOUBT_SECONDS = 120


def become_postgres() -> None:
    """Give up root for good, where nothing that follows needs it."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.setgroups([user.pw_gid])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


def as_postgres(*command: str | Path) -> list[str]:
    return ["runuser", "-u", "postgres", "--", *map(str, command)]


# -- the plan ------------------------------------------------------------------------------------


def databases_of(configuration: Configuration, backup: autobot_recovery.Backup) -> list[str]:
    """The databases in a backup."""
    output = autobot_backup.pgbackrest(
        configuration,
        "info",
        "--output=json",
        f"--set={backup.label}",
        repository=backup.repository,
    )
    (entry,) = [
        each
        for stanza in json.loads(output)
        for each in stanza["backup"]
        if each["label"] == backup.label
    ]
    return sorted(each["name"] for each in entry["database-ref"] if each["name"] != "postgres")


@dataclass(frozen=True)
class Live:
    """The live server as a plan has to know it."""

    # Why what was committed last has not reached the repository, if it has not.
    stuck: str = ""
    # The one that it writes; 0 where there is no server, or one that nobody backs up.
    timeline: int = 0


def archive_before(configuration: Configuration) -> Live:
    """Bring what the live server has into the repository, and see which timeline it is on."""
    clusters = Catalogue(configuration).clusters
    if not autobot_recovery.lives(configuration):
        return Live()
    timeline = 0
    try:
        # A host that was set up anew has a cluster that nobody backs up.
        if autobot_backup.system_identifier() in clusters:
            ((line,),) = autobot_backup.query(
                "postgres", "SELECT timeline_id FROM pg_control_checkpoint()"
            )
            timeline = int(line)
            autobot_recovery.archive_now(configuration)
    except BackupError as error:
        return Live(str(error), timeline)
    return Live(timeline=timeline)


def left_out(target: autobot_recovery.Target, live: Live, *, whole: bool) -> str:
    """Why a target close to now would not have what the live server has committed."""
    # A younger one began after the time that is wanted: that is what going back is for.
    if not whole or live.timeline in (0, target.timeline):
        return ""
    if target.kind != "latest" and live.timeline > target.timeline:
        return ""
    return (
        f"PostgreSQL is on timeline {live.timeline}, and {target.text} in the repository is on "
        f"timeline {target.timeline}, which does not have what PostgreSQL has committed since. "
        "Take a backup (systemctl start autobot-backup-full), then ask for latest or a later time."
    )


def is_there(name: str, *, database: bool) -> bool:
    """Whether a database or a directory has that name."""
    if not database:
        return os.path.lexists(name)
    sql = f"SELECT 1 FROM pg_database WHERE datname = {literal(name)}"
    return bool(autobot_backup.query("postgres", sql))


def make_plan(
    configuration: Configuration,
    to: str,
    *,
    database: str = "",
    beside: bool = False,
    stamp: str = "",
    live: Live = Live(),
) -> dict[str, Any]:
    """What a restore would do; BackupError where it cannot. Nothing is touched."""
    now = time.time()
    if beside and not database:
        raise BackupError("Only a database can be left beside the live one: name it.")
    catalogue = Catalogue(configuration)
    target = catalogue.target(to, now)
    backup = target.backup
    archive = catalogue.archive(backup)
    whole = target.kind == "latest" or (
        target.kind == "time" and autobot_recovery.parse_time(to) > archive.end - DOUBT_SECONDS
    )
    if problem := left_out(target, live, whole=whole):
        raise BackupError(problem)
    if live.stuck and whole:
        raise BackupError(
            f"{live.stuck} Or stop PostgreSQL: what it has not archived is then taken from its"
            " disk."
        )
    present = databases_of(configuration, backup)
    if database and database not in present:
        raise BackupError(
            f"Backup {backup.label} has no database {database}. It has: {', '.join(present)}."
        )
    stamp = stamp or datetime.fromtimestamp(now, timezone.utc).strftime("%Y%m%dt%H%M%Sz")
    data = Path(configuration.data_directory)
    where = autobot_recovery.SCRATCH if database else data.parent
    needed, free = autobot_recovery.need_room(where, backup)
    if database and beside:
        restored, kept, lost = f"{database}_restored_{stamp}", database, "nothing"
    elif database:
        restored, kept = database, f"{database}_before_{stamp}"
        lost = f"what was written to {database} after {target.text}; it stays in {kept}"
    else:
        restored, kept = str(data), f"{data}.before-{stamp}"
        lost = f"everything that was written after {target.text}; it stays in {kept}"
    fresh = restored if beside else kept
    if is_there(fresh, database=bool(database)):
        raise BackupError(kept_already(fresh))
    if target.kind == "latest" and not beside:
        lost = "what is not in the repository and not in this host's own WAL"
    return {
        "host": configuration.host,
        "to": to,
        "target": target.text,
        "databases": [database] if database else present,
        "repository": backup.repository.name,
        "repository_number": backup.repository.number,
        "backup": backup.label,
        "backup_complete": moment(backup.stop),
        "timeline": target.timeline,
        "options": target.options,
        "complete": target.complete,
        "whole": whole,
        "stamp": stamp,
        "archive_end": moment(archive.end),
        "archive_last": archive.last_segment(target.timeline),
        "database": database,
        "beside": beside,
        "restored": restored,
        "kept": kept,
        "lost": lost,
        "needed_bytes": needed,
        "free_bytes": free,
    }


# -- the live server -----------------------------------------------------------------------------


class Server:
    """The live cluster, its systemd unit and its log; for root."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.data = Path(configuration.data_directory)
        version, cluster = self.data.parts[-2:]
        self.unit = f"postgresql@{version}-{cluster}.service"
        self.log = Path(f"/var/log/postgresql/postgresql-{version}-{cluster}.log")
        self._logged = 0

    def query(self, sql: str) -> str:
        done = autobot_backup.run(
            as_postgres("psql", "-XAtq", "--set=ON_ERROR_STOP=1", "--dbname=postgres"),
            input=sql,
            cwd="/",
        )
        if done.returncode:
            raise BackupError(f"PostgreSQL: {autobot_recovery.complaint(done)}")
        return done.stdout.strip()

    @property
    def alive(self) -> bool:
        return autobot_recovery.lives(self.configuration)

    def files(self, *command: str | Path, said: str | None = None) -> None:
        """Change files as postgres does: in its directories a link could lead root anywhere."""
        done = autobot_backup.run(as_postgres(*command), input=said, cwd="/")
        if done.returncode:
            raise BackupError(f"{command[0]}: {autobot_recovery.complaint(done)}")

    def move(self, source: Path, target: Path) -> None:
        """Give a directory another name, which nothing has."""
        self.files("mv", "--no-clobber", "--no-target-directory", source, target)
        # mv counts it as done when there was something.
        if os.path.lexists(source):
            raise BackupError(f"{source} could not be renamed: {target} is there already.")

    def remove(self) -> None:
        """Remove the data directory."""
        self.files("rm", "--recursive", "--force", "--one-file-system", "--", self.data)

    def holds(self, segment: Path) -> bool:
        """Whether a segment is what its name says, not one that waits to be written again."""
        first = autobot_backup.run(
            as_postgres("od", "--address-radix=n", "--format=u8", "--read-bytes=16", "--", segment),
            cwd="/",
        ).stdout.split()
        # A page begins with its kind and timeline; then comes where it is in the WAL.
        position = autobot_recovery.segment_number(segment.name) * autobot_recovery.SEGMENT_BYTES
        return first[1:] == [str(position)]

    def new_log(self) -> str:
        """What it has logged since it was last started here."""
        log = as_postgres("tail", f"--bytes=+{self._logged + 1}", "--", self.log)
        return autobot_backup.run(log, cwd="/").stdout

    def start(self) -> None:
        with contextlib.suppress(OSError):
            self._logged = self.log.stat().st_size
        autobot_backup.run(["systemctl", "reset-failed", self.unit])
        autobot_backup.run(["systemctl", "start", self.unit])

    def stop(self) -> None:
        autobot_backup.run(["systemctl", "stop", self.unit])
        if self.alive:
            raise BackupError(f"{self.unit} does not stop; see: journalctl --unit {self.unit}")

    def recover(self) -> None:
        """Start it and wait until recovery has ended, however long that takes."""
        self.start()
        while self.alive:
            with contextlib.suppress(BackupError):
                if self.query("SELECT pg_is_in_recovery()") == "f":
                    return
            time.sleep(0.2)
        raise BackupError(f"PostgreSQL: {autobot_recovery.last_words(self.new_log())}")

    def system_identifier(self, data: Path) -> str:
        done = autobot_backup.run(
            as_postgres(f"{self.configuration.programs}/pg_controldata", data), cwd="/"
        )
        found = re.search(r"Database system identifier: +(\d+)", done.stdout)
        return found[1] if found else ""


@contextlib.contextmanager
def timers_stopped() -> Iterator[None]:
    """No backup, check or drill begins or goes on meanwhile."""
    command = ["systemctl", "list-units", "--plain", "--no-legend", "--state=active"]
    listed = autobot_backup.run([*command, "autobot-backup-*.timer"])
    timers = [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]
    autobot_backup.run(["systemctl", "stop", *timers, "autobot-backup-*.service"])
    try:
        yield
    finally:
        if timers:
            autobot_backup.run(["systemctl", "start", *timers])


def own_wal(
    server: Server, directories: Sequence[Path], timeline: int, last: str
) -> dict[str, Path]:
    """Segments of a timeline after the last in the repository, from this cluster's directories."""
    found: dict[str, Path] = {}
    identifier = server.system_identifier(server.data)
    for data in directories:
        own = data / "pg_wal"
        if not own.is_dir() or server.system_identifier(data) != identifier:
            continue
        for path in own.iterdir():
            if (
                re.fullmatch(r"[0-9A-F]{24}", path.name)
                and int(path.name[:8], 16) == timeline
                and path.name > last
                and path.name not in found
                and server.holds(path)
            ):
                found[path.name] = path
    return dict(sorted(found.items()))


def missing_own(found: Iterable[str], last: str) -> str:
    """The first segment that is missing between the repository's last and those of this host."""
    number = autobot_recovery.segment_number(last) if last else None
    for name in found:
        here = autobot_recovery.segment_number(name)
        if number is not None and here != number + 1:
            return autobot_recovery.segment_name(int(name[:8], 16), number + 1)
        number = here
    return ""


def copy_own_wal(server: Server, kept: Path, timeline: int, last: str) -> list[str]:
    """Give recovery the WAL that this host has and the repository has not; the segments' names."""
    # The newest first; an earlier restore may have left what was never archived.
    earlier = sorted(kept.parent.glob(f"{server.data.name}.before-*"), reverse=True)
    directories = [kept, *(each for each in earlier if each != kept)]
    found = own_wal(server, directories, timeline, last)
    if gap := missing_own(found, last):
        raise BackupError(
            f"The WAL segment {gap} is neither in the repository nor on this host, and later ones "
            "are here. What they hold cannot be brought back: ask for a time before they were "
            "written."
        )
    for name, path in found.items():
        server.files("cp", "--", path, server.data / "pg_wal" / name)
    return list(found)


def restore_cluster(configuration: Configuration, plan: dict[str, Any]) -> dict[str, Any]:
    """Put the cluster as it was at the target in the place of the live one."""
    server = Server(configuration)
    kept = Path(plan["kept"])
    if os.path.lexists(kept):
        raise BackupError(kept_already(kept))
    # Else it was lost, and nothing is kept.
    there = os.path.lexists(server.data)
    with timers_stopped():
        begin = time.monotonic()
        try:
            server.stop()
            if there:
                server.move(server.data, kept)
            server.files("mkdir", "--parents", "--mode=0700", "--", server.data)
            done = autobot_backup.run(
                as_postgres(
                    "pgbackrest",
                    f"--stanza={configuration.stanza}",
                    f"--repo={plan['repository_number']}",
                    "--log-level-console=off",
                    "--log-level-stderr=error",
                    *plan["options"],
                    "restore",
                ),
                cwd="/",
            )
            if done.returncode:
                said = autobot_backup.errors(done.stderr) or f"exit status {done.returncode}"
                raise BackupError(f"pgbackrest restore: {said}")
            own = (
                copy_own_wal(server, kept, plan["timeline"], plan["archive_last"])
                if plan["whole"]
                else []
            )
            try:
                server.recover()
            except BackupError as error:
                if not (plan["complete"] and autobot_recovery.MISSED_TARGET in str(error)):
                    raise
                server.files(
                    *("tee", "--append", "--", server.data / "postgresql.auto.conf"),
                    said="recovery_target_time = ''\n",
                )
                server.recover()
        except BaseException as error:
            came = put_back(server, kept, there=there)
            if not isinstance(error, BackupError | OSError):
                raise
            raise BackupError(f"{error} {came}") from error
        seconds = time.monotonic() - begin
        log = server.new_log()
    # What follows only asks.
    become_postgres()
    ((timeline,),) = autobot_backup.query(
        "postgres", "SELECT timeline_id FROM pg_control_checkpoint()"
    )
    return {
        "seconds": round(seconds, 1),
        "timeline": int(timeline),
        "own_wal": own,
        "last_transaction": autobot_recovery.last_transaction(log),
    }


def kept_already(kept: Path | str) -> str:
    return (
        f"{kept} is there already. Choose another restore_stamp, or remove it. "
        "Nothing was restored."
    )


def put_back(server: Server, kept: Path, *, there: bool) -> str:
    """The old data directory in its place, and its server running; what came of that.

    `there`: there was one. What is in its place is removed only when it was set aside before.
    """
    try:
        server.stop()
        if os.path.lexists(kept):
            server.remove()
            server.move(kept, server.data)
        elif not there:
            server.remove()
            return f"{server.data} is missing, as it was before."
        server.start()
        server.query("SELECT 1")
    except BackupError as error:
        where = kept if os.path.lexists(kept) else server.data
        return f"The old data are in {where}, and PostgreSQL does not serve them: {error}"
    return (
        "The old data directory is back in its place, and PostgreSQL serves it: "
        "nothing has changed."
    )


# -- one database --------------------------------------------------------------------------------


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def restore_database(configuration: Configuration, plan: dict[str, Any]) -> dict[str, Any]:
    """One database as it was at the target: out of a scratch cluster, then in by two renames."""
    become_postgres()
    begin = time.monotonic()
    database = plan["database"]
    arriving = plan["restored"] if plan["beside"] else f"{database}_restored"
    # What a restore left that was killed half way: connections refused, and a copy that is not
    # whole. One beside the live database is somebody's.
    allow_connections(database)
    if not plan["beside"] and is_there(arriving, database=True):
        autobot_backup.query("postgres", f"DROP DATABASE {identifier(arriving)} WITH (FORCE)")
    catalogue = Catalogue(configuration)
    with Scratch(catalogue) as scratch:
        scratch.restore(catalogue.target(plan["to"], time.time()), database)
        last = scratch.last_transaction
        scratch.check([database])
        # Under its new name it is created with the old one's owner, locale and privileges.
        scratch.query(
            "ALTER DATABASE " + identifier(database) + " RENAME TO " + identifier(arriving)
        )
        scratch.query("DROP EXTENSION IF EXISTS amcheck", arriving)
        copy(configuration, arriving)
    autobot_backup.query(arriving, "ANALYZE")
    if not plan["beside"]:
        swap(database, arriving, plan["kept"])
    return {
        "seconds": round(time.monotonic() - begin, 1),
        "timeline": plan["timeline"],
        "own_wal": [],
        "last_transaction": last,
    }


def copy(configuration: Configuration, database: str) -> None:
    """A database of the scratch cluster into the live one, whole or not at all."""
    dump = [f"{configuration.programs}/pg_dump", "--format=custom", "--create", "--compress=0"]
    dump += [f"--host={autobot_recovery.SCRATCH}", f"--dbname={database}"]
    restore = [f"{configuration.programs}/pg_restore", "--create", "--exit-on-error"]
    restore += ["--dbname=postgres"]
    with subprocess.Popen(dump, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/") as source:
        done = subprocess.run(
            restore, stdin=source.stdout, capture_output=True, text=True, check=False, cwd="/"
        )
        # A dump that nobody reads ends.
        if source.stdout is not None:
            source.stdout.close()
        _, said = source.communicate()
    if done.returncode or source.returncode:
        with contextlib.suppress(BackupError):
            autobot_backup.query(
                "postgres", f"DROP DATABASE IF EXISTS {identifier(database)} WITH (FORCE)"
            )
        words = " ".join(f"{said.decode(errors='replace')} {done.stderr}".split())
        words = words or f"exit status {source.returncode} and {done.returncode}"
        raise BackupError(
            f"{database} could not be copied into the live server: {words} "
            "The live database was not touched."
        )


def swap(database: str, arriving: str, kept: str) -> None:
    """Rename both, while nobody is connected; the services connect again by themselves."""
    old, new, aside = identifier(database), identifier(arriving), identifier(kept)
    present = autobot_backup.query(
        "postgres", f"SELECT 1 FROM pg_database WHERE datname = {literal(database)}"
    )
    if not present:
        autobot_backup.query("postgres", f"ALTER DATABASE {new} RENAME TO {old}")
        return
    try:
        with autobot_backup.Session("postgres") as session:
            session.query(f"ALTER DATABASE {old} ALLOW_CONNECTIONS false")
            session.query(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                f"WHERE datname = {literal(database)}"
            )
            session.query(
                f"BEGIN; ALTER DATABASE {old} RENAME TO {aside}; "
                f"ALTER DATABASE {new} RENAME TO {old}; COMMIT"
            )
    finally:
        # Also after a signal, which may have come on either side of the renames.
        allow_connections(database, kept)


def allow_connections(*names: str) -> None:
    """Let databases be connected to that refuse it."""
    for name in names:
        if autobot_backup.query(
            "postgres",
            f"SELECT 1 FROM pg_database WHERE NOT datallowconn AND datname = {literal(name)}",
        ):
            sql = f"ALTER DATABASE {identifier(name)} ALLOW_CONNECTIONS true"
            autobot_backup.query("postgres", sql)


# -- what came of it -----------------------------------------------------------------------------


def count(database: str) -> dict[str, int]:
    """Tables and rows of a database."""
    with autobot_backup.Session(database) as session:
        names = autobot_backup.tables(session)
        rows = [int(session.query(f"SELECT count(*) FROM {name}")[0][0]) for name in names]
    return {"tables": len(names), "rows": sum(rows)}


def check_live(configuration: Configuration, databases: Sequence[str]) -> str:
    """What pg_amcheck finds in the live databases; it leaves no extension behind."""
    with contextlib.ExitStack() as stack:
        for name in databases:
            there = "SELECT 1 FROM pg_extension WHERE extname = 'amcheck'"
            if not autobot_backup.query(name, there):
                autobot_backup.query(name, "CREATE EXTENSION amcheck SCHEMA pg_catalog")
                stack.callback(autobot_backup.query, name, "DROP EXTENSION amcheck")
        done = autobot_backup.run(
            [f"{configuration.programs}/pg_amcheck", "--heapallindexed"]
            + [f"--database={name}" for name in databases]
        )
    return autobot_recovery.complaint(done) if done.returncode else ""


def verify(
    configuration: Configuration, plan: dict[str, Any], revisions: Sequence[str]
) -> dict[str, Any]:
    """Read what was restored, whole: counts, revisions, and what is wrong with it."""
    names = [plan["restored"]] if plan["database"] else plan["databases"]
    problems = []
    # One database was checked before it was copied, and a copy has new indexes.
    if not plan["database"] and (damage := check_live(configuration, names)):
        problems.append(f"pg_amcheck finds damage: {damage}")
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        has = autobot_recovery.revisions(name)
        found[name] = {**count(name), "revision": ", ".join(has)}
        if revisions and not set(has) <= set(revisions):
            problems.append(
                f"{name} has the schema {', '.join(has)}, which the release in use does not know: "
                "deploy the release that belongs to it, or a later one"
            )
    return {"databases": found, "problems": problems}


# -- command line --------------------------------------------------------------------------------


def do_plan(configuration: Configuration, arguments: argparse.Namespace) -> int:
    become_postgres()
    live = archive_before(configuration) if arguments.archive else Live()
    plan = make_plan(
        configuration,
        arguments.to,
        database=arguments.database,
        beside=arguments.beside,
        stamp=arguments.stamp,
        live=live,
    )
    sys.stdout.write(json.dumps(plan) + "\n")
    return 0


def do_restore(configuration: Configuration, arguments: argparse.Namespace) -> int:
    if os.geteuid():
        raise BackupError("A restore stops and starts PostgreSQL: run it as root.")
    # In a process of its own, which is not root.
    done = autobot_backup.run(
        [sys.argv[0], "plan", "--archive", f"--to={arguments.to}", f"--stamp={arguments.stamp}"]
        + [f"--database={arguments.database}"]
        + (["--beside"] if arguments.beside else [])
    )
    if done.returncode:
        raise BackupError(
            done.stderr.strip().removeprefix("autobot-backup: ")
            or f"The plan ended with status {done.returncode}."
        )
    plan = json.loads(done.stdout)
    with autobot_recovery.ended_by_signal():
        bring = restore_database if plan["database"] else restore_cluster
        result = bring(configuration, plan)
    try:
        verified = verify(configuration, plan, arguments.revision)
    except (BackupError, OSError, subprocess.SubprocessError) as error:
        # It was restored; what has to follow must not be left out for this.
        verified = {"databases": {}, "problems": [f"What was restored could not be read: {error}"]}
    result = {**plan, **result, **verified}
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["problems"] else 0


def add_commands(commands: autobot_backup.Commands) -> None:
    plan = commands.add("plan", do_plan, "say what a restore would do, and touch nothing")
    restore = commands.add("restore", do_restore, "restore; without asking")
    for command in (plan, restore):
        command.add_argument("--to", required=True, help="latest, a time or a restore point")
        command.add_argument("--database", default="", help="this database only")
        command.add_argument(
            "--beside", action="store_true", help="leave that database beside the live one"
        )
        command.add_argument("--stamp", default="", help="what names of what is kept end with")
    plan.add_argument("--archive", action="store_true", help="archive what is committed first")
    restore.add_argument(
        "--revision", action="append", default=[], help="a schema that the release knows"
    )
