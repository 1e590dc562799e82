"""What a repository can give back, and a scratch cluster to bring it back in.

The drill and the restore share this: which backup, which timeline and which WAL lead to a target,
said before anything is touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from autobot_backup import backup as autobot_backup
from autobot_backup.backup import BackupError, Configuration

SCRATCH = autobot_backup.STATE / "scratch"
LOCK = autobot_backup.STATE / "scratch.lock"
WRITTEN_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d)(?P<second>:\d\d)?"
    r"([.,](?P<fraction>\d+))?((?P<utc>[Zz])|(?P<hours>[+-]\d\d):?(?P<minutes>\d\d)?)?",
    re.ASCII,
)
VERSION_TABLE = "user_management_version"

# What initdb makes unless it is told otherwise; the names of WAL segments follow from it.
SEGMENT_BYTES = 16 * 1024 * 1024
SEGMENTS_PER_LOG = 0x1_0000_0000 // SEGMENT_BYTES
SEGMENT_NAME = re.compile(r"(?:.*/)?([0-9A-F]{24})-[0-9a-f]{40}(?:\.\w+)?")
HISTORY_NAME = re.compile(r"(?:.*/)?([0-9A-F]{8})\.history(?:\.\w+)?")
TIME_START = re.compile(r"\d{4}-\d\d-\d\d")
# The annotation of a backup that names the restore point that was recorded after it.
POINT_ANNOTATION = "point"
# How long WAL may take to reach the repository before it counts as stuck.
ARCHIVE_PATIENCE = 60
MISSED_TARGET = "recovery ended before configured recovery target was reached"


def moment(seconds: float) -> str:
    """A time as it can be asked for again."""
    text = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds")
    return text.replace(".000000", "").replace("+00:00", "Z")


def lsn(text: str) -> int:
    """A position in the WAL as a number: 16/B374D848."""
    high, low = text.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def segment_number(name: str) -> int:
    """The position of a segment, without its timeline."""
    return int(name[8:16], 16) * SEGMENTS_PER_LOG + int(name[16:24], 16)


def segment_name(timeline: int, number: int) -> str:
    return f"{timeline:08X}{number // SEGMENTS_PER_LOG:08X}{number % SEGMENTS_PER_LOG:08X}"


# The way to a timeline: each timeline on it and the position where it was left for the next.
Way = list[tuple[int, int]]
ENDLESS = 1 << 64


@dataclass(frozen=True)
class Backup:
    """One backup of the repository."""

    label: str
    repository: autobot_backup.Repository
    archive: str
    start: float
    stop: float
    first_segment: str
    last_segment: str
    stop_position: int
    size: int
    damaged: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def timeline(self) -> int:
        return int(self.first_segment[:8], 16)

    @property
    def point(self) -> str:
        """The name of the restore point that was recorded after it last."""
        return self.annotations.get(POINT_ANNOTATION, "")

    @property
    def points(self) -> list[str]:
        """All restore points that were made after it, the one that was recorded last at the end."""
        all_points = [
            value
            for key, value in self.annotations.items()
            if key.startswith(f"{POINT_ANNOTATION}-") and value != self.point
        ]
        return [*all_points, *filter(None, [self.point])]


@dataclass
class Archive:
    """The WAL of one repository: segment or timeline, and when it came in."""

    segments: dict[str, float] = field(default_factory=dict)
    births: dict[int, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, listing: Mapping[str, Any]) -> Archive:
        archive = cls()
        for path, entry in listing.items():
            if match := SEGMENT_NAME.fullmatch(path):
                archive.segments[match[1]] = entry["time"]
            elif match := HISTORY_NAME.fullmatch(path):
                archive.births[int(match[1], 16)] = entry["time"]
        return archive

    @property
    def end(self) -> float:
        """When the newest WAL came in."""
        return max(self.segments.values(), default=0.0)

    def last_segment(self, timeline: int) -> str:
        """The newest segment of a timeline."""
        return max((name for name in self.segments if int(name[:8], 16) == timeline), default="")

    def timeline_at(self, wanted: float, ways: Callable[[int], Way]) -> int | None:
        """The timeline that the server was on then: that of the last that came in until then.

        Each restore begins one, and the highest is not always the one in use: an operator may have
        put an older data directory back. WAL of the way to a younger timeline comes in late, too,
        and says nothing.
        """
        events = [(birth, line, ENDLESS) for line, birth in self.births.items()]
        events += [
            (came, int(name[:8], 16), segment_number(name)) for name, came in self.segments.items()
        ]
        for came, line, number in sorted(events, reverse=True):
            late = any(
                birth <= came and (number + 1) * SEGMENT_BYTES <= dict(ways(child)).get(line, 0)
                for child, birth in self.births.items()
                if line < child
            )
            if came <= wanted and not late:
                return line
        return None


def parse_history(text: str, timeline: int) -> Way:
    """The way to a timeline, from its history file."""
    lines = [line.split() for line in text.splitlines()]
    left = [(int(line[0]), lsn(line[1])) for line in lines if line and line[0].isdigit()]
    return [*left, (timeline, ENDLESS)]


def on_the_way(backup: Backup, way: Way) -> bool:
    """Whether a backup leads to the timeline: it was complete before its own was left."""
    return any(backup.timeline == line and backup.stop_position <= left for line, left in way)


@dataclass(frozen=True)
class Gap:
    """A segment that is not there while later ones are."""

    segment: str
    # When the one before it came in.
    before: float


def find_gap(archive: Archive, backup: Backup, way: Way) -> Gap | None:
    """The first segment after the beginning of a backup that is missing on the way."""
    lines = dict(way)
    # What a timeline went on with after it was left for the next is not on the way.
    numbers = [
        number
        for name in archive.segments
        if (number := segment_number(name)) * SEGMENT_BYTES < lines.get(int(name[:8], 16), 0)
    ]
    previous = backup.start
    for number in range(segment_number(backup.first_segment), max(numbers, default=0) + 1):
        # A segment in which a timeline was left belongs to both; the later one has all of it.
        possible = [
            segment_name(line, number)
            for position, (line, left) in enumerate(way)
            if number * SEGMENT_BYTES < left
            and (position == 0 or (number + 1) * SEGMENT_BYTES > way[position - 1][1])
        ]
        there = [name for name in possible if name in archive.segments]
        if not there:
            return Gap(possible[-1] if possible else segment_name(way[-1][0], number), previous)
        previous = archive.segments[there[-1]]
    return None


@dataclass(frozen=True)
class Target:
    """Where to, and what leads there."""

    # latest, time or name
    kind: str
    value: str
    backup: Backup
    timeline: int
    # No WAL is missing up to the end of what was archived. When that comes before the time that was
    # asked for, nothing was committed in between, and all of it is what was asked for.
    complete: bool = False

    @property
    def text(self) -> str:
        return {"latest": "now", "time": self.value, "name": f"restore point {self.value}"}[
            self.kind
        ]

    @property
    def options(self) -> list[str]:
        """What pgBackRest has to be told."""
        chosen = f"--set={self.backup.label}"
        # The backup's own may have no history file: those of a new repository begin later.
        own = self.timeline == self.backup.timeline
        line = f"--target-timeline={'current' if own else self.timeline}"
        if self.kind == "latest":
            # PostgreSQL's own choice would be the highest timeline, which may have been given up.
            return [chosen, "--type=default", line]
        value = self.value
        if self.kind == "time":
            value = value.replace("T", " ").replace("Z", "+00")
        return [
            chosen,
            f"--type={self.kind}",
            f"--target={value}",
            "--target-action=promote",
            line,
        ]


def parse_time(text: str) -> float:
    """Seconds since 1970 of a time with its zone."""
    parts = WRITTEN_TIME.fullmatch(text)
    try:
        if parts is None:
            raise ValueError(text)
        # Python 3.10 reads no Z, no offset of hours alone and no fraction but one of six digits.
        hours, minutes = parts["hours"], parts["minutes"]
        fraction = (parts["fraction"] or "").ljust(6, "0")[:6]
        zone = f"{hours}:{minutes or '00'}" if hours else "+00:00" if parts["utc"] else ""
        parsed = datetime.fromisoformat(
            f"{parts['date']}T{parts['time']}{parts['second'] or ':00'}.{fraction}{zone}"
        )
    except ValueError:
        raise BackupError(
            f"{text} is no time. Write it like 2026-01-31T17:45:00Z or 2026-01-31T18:45:00+01:00."
        ) from None
    if parsed.tzinfo is None:
        raise BackupError(
            f"{text} says no time zone. Write {text}Z for UTC, or its offset, such as {text}+01:00."
        )
    return parsed.timestamp()


def parse_backups(state: Mapping[str, Any], repository: autobot_backup.Repository) -> list[Backup]:
    """The backups in what pgBackRest says of one repository."""
    return [
        Backup(
            label=entry["label"],
            repository=repository,
            archive=archive["id"],
            start=entry["timestamp"]["start"],
            stop=entry["timestamp"]["stop"],
            first_segment=entry["archive"]["start"],
            last_segment=entry["archive"]["stop"],
            stop_position=lsn(entry["lsn"]["stop"]),
            size=entry["info"]["size"],
            damaged=bool(entry.get("error")),
            annotations=entry.get("annotation") or {},
        )
        for archive in state.get("archive", [])
        for entry in state["backup"]
        if entry["database"] == archive["database"]
        and entry["database"]["repo-key"] == repository.number
    ]


class Catalogue:
    """The backups and the WAL of this host's stanza, in all repositories that it has."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        # The clusters that the repositories have seen, by what PostgreSQL tells them apart.
        self.clusters: set[int] = set()
        self.backups = self._read()
        self._archives: dict[tuple[autobot_backup.Repository, str], Archive] = {}
        self._ways: dict[tuple[autobot_backup.Repository, str, int], Way] = {}

    def _read(self) -> list[Backup]:
        """All backups, the oldest first; a repository that is away does not hide the others."""
        found: list[Backup] = []
        reasons: list[str] = []
        for repository in self.configuration.repositories:
            try:
                state = autobot_backup.info(self.configuration, repository)
            except BackupError as error:
                reasons.append(f"{repository.name}: {error}")
                continue
            self.clusters |= {each["system-id"] for each in state.get("db", [])}
            here = parse_backups(state, repository)
            if not here:
                said = state.get("status", {}).get("message", "no backup")
                reasons.append(f"{repository.name}: {said}")
            found += here
        if not found:
            raise BackupError(
                f"No repository has a backup of {self.configuration.stanza} that can be read "
                f"({'; '.join(reasons)}). See that its host is up and reachable over SSH, and that "
                "the vault has the backup key that it was made with."
            )
        return sorted(found, key=lambda backup: (backup.stop, -backup.repository.number))

    def archive(self, backup: Backup) -> Archive:
        """The WAL that is beside a backup, listed once."""
        key = (backup.repository, backup.archive)
        if key not in self._archives:
            output = autobot_backup.pgbackrest(
                self.configuration,
                "repo-ls",
                "--recurse",
                "--output=json",
                f"archive/{self.configuration.stanza}/{backup.archive}",
                repository=backup.repository,
            )
            self._archives[key] = Archive.parse(json.loads(output or "{}"))
        return self._archives[key]

    def way(self, backup: Backup, timeline: int) -> Way:
        """The way to a timeline; one without a history file has no other before it."""
        key = (backup.repository, backup.archive, timeline)
        if key not in self._ways:
            self._ways[key] = [(timeline, ENDLESS)]
            if timeline in self.archive(backup).births:
                history = autobot_backup.pgbackrest(
                    self.configuration,
                    "repo-get",
                    f"archive/{self.configuration.stanza}/{backup.archive}/{timeline:08X}.history",
                    repository=backup.repository,
                )
                self._ways[key] = parse_history(history, timeline)
        return self._ways[key]

    @property
    def points(self) -> dict[str, Backup]:
        """Restore points by their name, each with the backup that leads to it."""
        return {name: backup for backup in self.backups for name in backup.points}

    def target(self, text: str, now: float) -> Target:
        """What leads to `latest`, a time or a restore point; or why nothing does."""
        if text == "latest":
            return self._target("latest", text, now)
        if TIME_START.match(text):
            wanted = parse_time(text)
            if wanted > now:
                raise BackupError(
                    f"{text} is in the future: here it is {moment(now)}. "
                    "Ask for a time that has been, or for latest."
                )
            oldest = min(backup.stop for backup in self.backups)
            if wanted < oldest:
                raise BackupError(
                    f"{text} is before the oldest backup, which was complete at {moment(oldest)}. "
                    "Ask for that time or a later one."
                )
            return self._target("time", moment(wanted), wanted)
        points = self.points
        if text not in points:
            known = ", ".join(reversed(points)) or "none"
            raise BackupError(
                f"There is no restore point {text}. Known are, newest first: {known}. "
                "Ask for one of them, for latest, or for a time such as 2026-01-31T17:45:00Z."
            )
        backup = points[text]
        gap = find_gap(self.archive(backup), backup, [(backup.timeline, ENDLESS)])
        # Where the point is in the WAL is not known here; recovery says if it was beyond the gap.
        if gap and segment_number(gap.segment) <= segment_number(backup.last_segment):
            raise missing(gap)
        return Target("name", text, backup, backup.timeline)

    def _target(self, kind: str, value: str, wanted: float) -> Target:
        """The newest backup that leads to a time, in whichever repository."""
        reasons: list[BackupError] = []
        for backup in reversed([each for each in self.backups if each.stop <= wanted]):
            archive = self.archive(backup)
            ways = functools.partial(self.way, backup)
            timeline = archive.timeline_at(wanted, ways) or backup.timeline
            way = self.way(backup, timeline)
            if not on_the_way(backup, way):
                continue
            gap = find_gap(archive, backup, way)
            if gap is None or (kind == "time" and gap.before > wanted):
                return Target(kind, value, backup, timeline, complete=gap is None)
            reasons.append(missing(gap))
        if reasons:
            raise reasons[0]
        raise BackupError(
            f"No backup leads to {value}: those before it belong to a history that an earlier "
            "restore has left. Ask for a time before that restore, or after the backup that "
            f"followed it; the newest backup was complete at {moment(self.backups[-1].stop)}."
        )


def missing(gap: Gap) -> BackupError:
    return BackupError(
        f"The WAL segment {gap.segment} is missing in the repository, so what came after "
        f"{moment(gap.before)} cannot be brought back from the backup before it. "
        "Ask for that time or an earlier one, or for a time after a later backup."
    )


def need_room(path: Path, backup: Backup) -> tuple[int, int]:
    """Bytes that a restore needs, and bytes that are free; refused when there are too few."""
    return autobot_backup.need_room(path, int(backup.size * 1.25), "The restore")


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """What a program said, on one line."""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return " ".join(lines[-5:]) or f"it ended with status {done.returncode}"


def last_words(log: str) -> str:
    """Why a server ended, from its log; what it told its clients meanwhile is no reason."""
    telling: list[str] = re.findall(
        r"^(?:.*\[\d+\] )?(?:FATAL|PANIC): +(?!the database system is)(.*)", log, re.MULTILINE
    )
    return telling[-1] if telling else " ".join(log.splitlines()[-2:])


def last_transaction(log: str) -> str:
    """When the last transaction that recovery brought back was committed, from the server's log."""
    times: list[str] = re.findall(r"last completed transaction was at log time (.*)", log)
    return times[-1].strip() if times else ""


def lives(configuration: Configuration) -> bool:
    """Whether the main process of the live server does."""
    try:
        pid = Path(configuration.data_directory, "postmaster.pid").read_text().split()[0]
    except (OSError, IndexError):
        return False
    return Path("/proc", pid).exists()


def archive_now(configuration: Configuration) -> None:
    """Bring all that is committed into the repository, and after it one transaction more.

    So that recovery finds what is newer than any time that has been.
    """
    ((name,),) = autobot_backup.query(
        "postgres",
        "SELECT pg_current_xact_id() \\g /dev/null\nSELECT pg_walfile_name(pg_switch_wal() - 1)",
    )
    sql = f"SELECT coalesce(last_archived_wal, '') >= '{name}' FROM pg_stat_archiver"
    deadline = time.monotonic() + ARCHIVE_PATIENCE
    while autobot_backup.query("postgres", sql) != [["t"]]:
        if time.monotonic() > deadline:
            raise BackupError(
                f"The WAL segment {name} of {configuration.host} has not reached the repository "
                f"for {ARCHIVE_PATIENCE} s. Remove the cause, which autobot-backup check names."
            )
        time.sleep(0.2)


def restore_command(configuration: Configuration, data: Path) -> str:
    """How a server that is not the live one gets WAL.

    Not ahead of need: that would take the lock and the spool of the live server's archiving.
    """
    return (
        f"pgbackrest --stanza={configuration.stanza} --pg1-path={data} --no-archive-async"
        ' archive-get %f "%p"'
    )


class Scratch:
    """A cluster of its own beside the live one: another directory and socket, no port, no archive.

    One at a time; what one that was killed has left is removed by the next.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.configuration = catalogue.configuration
        self.data = SCRATCH / "data"
        self.log = SCRATCH / "log"
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Scratch:
        self._lock = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise BackupError(
                f"A drill or a restore uses {SCRATCH} already. Wait until it has ended (see "
                "systemctl status autobot-backup-drill), then try again."
            ) from None
        self._clear()
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()
        os.close(self._lock)

    def _program(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return autobot_backup.run([f"{self.configuration.programs}/{name}", *arguments], cwd="/")

    def _clear(self) -> None:
        """End its server, also that of a run that was killed, and empty the directory."""
        if (self.data / "postmaster.pid").exists():
            self._program(
                "pg_ctl", "stop", "--mode=immediate", "--wait", "--silent", f"--pgdata={self.data}"
            )
        if self._server is not None:
            self._server.wait()
            self._server = None
        SCRATCH.mkdir(mode=0o700, exist_ok=True)
        # It may be a disk of its own, so it stays.
        for path in SCRATCH.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def restore(self, target: Target, database: str = "") -> float:
        """Bring back the cluster, or one database of it, until it takes writes; the seconds."""
        self._clear()
        need_room(SCRATCH, target.backup)
        begin = time.monotonic()
        options = [f"--db-include={database}"] if database else []
        autobot_backup.pgbackrest(
            self.configuration,
            "restore",
            f"--pg1-path={self.data}",
            *target.options,
            *options,
            "--archive-mode=off",
            f"--recovery-option=restore_command={restore_command(self.configuration, self.data)}",
            repository=target.backup.repository,
        )
        if not self._start():
            log = self.log.read_text()
            again = target.kind == "time" and target.complete and MISSED_TARGET in log
            if not (again and self._start("recovery_target_time=")):
                raise BackupError(
                    f"Backup {target.backup.label} cannot be brought to {target.text}: "
                    f"{last_words(self.log.read_text())}"
                )
        return time.monotonic() - begin

    def _start(self, *settings: str) -> bool:
        """Start the server and wait until recovery has ended; whether it lived to see that."""
        (SCRATCH / "postgresql.conf").touch()
        (SCRATCH / "pg_ident.conf").touch()
        (SCRATCH / "pg_hba.conf").write_text("local all postgres peer\n")
        options = [
            f"config_file={SCRATCH}/postgresql.conf",
            f"hba_file={SCRATCH}/pg_hba.conf",
            f"ident_file={SCRATCH}/pg_ident.conf",
            f"unix_socket_directories={SCRATCH}",
            "listen_addresses=",
            "archive_mode=off",
            "ssl=off",
            "shared_preload_libraries=",
            # The unit's sandbox allows no code that is made at run time.
            "jit=off",
            # Nobody asks before recovery has ended, so the settings of the live server do not bind.
            "hot_standby=off",
            "shared_buffers=32MB",
            "max_connections=20",
            # Nothing of it has to outlive a crash.
            "fsync=off",
            "full_page_writes=off",
            "autovacuum=off",
            "logging_collector=off",
            "log_destination=stderr",
            "log_line_prefix=",
            "log_timezone=UTC",
            *settings,
        ]
        command = [f"{self.configuration.programs}/postgres", "-D", str(self.data)]
        command += [part for option in options for part in ("-c", option)]
        with self.log.open("wb") as log:
            self._server = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/"
            )
        while self._server.poll() is None:
            with contextlib.suppress(BackupError):
                self.query("SELECT 1")
                return True
            time.sleep(0.1)
        return False

    def query(self, sql: str, database: str = "postgres") -> list[list[str]]:
        """The rows of a query."""
        return autobot_backup.query(database, sql, str(SCRATCH))

    def check(self, databases: Sequence[str]) -> None:
        """Have pg_amcheck read every table and index of the databases."""
        done = self._program(
            "pg_amcheck",
            f"--host={SCRATCH}",
            "--install-missing",
            "--heapallindexed",
            "--parent-check",
            *(f"--database={name}" for name in databases),
        )
        if done.returncode:
            raise BackupError(f"pg_amcheck finds damage in what was restored: {complaint(done)}")

    @property
    def last_transaction(self) -> str:
        """When the last transaction that was brought back was committed."""
        return last_transaction(self.log.read_text())


def revisions(database: str, socket_directory: str | None = None) -> list[str]:
    """The revisions of a database's schema: one, or none where nobody has migrated it."""
    ((table,),) = autobot_backup.query(
        database,
        # A view of that name is an owner's, and would be run by a superuser.
        f"SELECT count(*) FROM pg_class WHERE oid = to_regclass('public.{VERSION_TABLE}')"
        " AND relkind = 'r'",
        socket_directory,
    )
    if table == "0":
        return []
    sql = f"SELECT version_num FROM public.{VERSION_TABLE} ORDER BY 1"
    return [row[0] for row in autobot_backup.query(database, sql, socket_directory)]


@contextlib.contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let systemd's SIGTERM end the program the way an error does, so that it cleans up."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
