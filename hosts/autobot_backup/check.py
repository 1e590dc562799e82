"""Checks that backups could be restored: reached, room, archive, age, gaps, every file's content.

The result is in check.json, for monitoring. What fails is said in one sentence that names the
repository, the host and the file, and what to do; PostgreSQL goes on in any case.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from autobot_backup import databases, files, paths, pgbackrest, process, psql, sftp
from autobot_backup.configuration import Configuration, Repository
from autobot_backup.errors import BackupError
from autobot_backup.pgbackrest import PgBackRestError

# Every file is read once a day; the rest is asked each time.
VERIFY_AFTER = 20 * 3600
DUMP_MAX_AGE = 50 * 3600
SEGMENT = re.compile(r"[0-9A-F]{24}")
# A repository that does not answer is named soon. WAL may take longer: what pushes it may still
# wait for an answer that does not come.
PATIENCE = ("--io-timeout=10", "--archive-timeout=60")


def duration(seconds: float) -> str:
    """How long something has been, for a person."""
    return f"{seconds / 60:.0f} minutes" if seconds < 2 * 3600 else f"{seconds / 3600:.0f} hours"


def shortened(found: list[str], most: int, separator: str) -> str:
    """At most so many of them, and how many more there are."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return separator.join(found[:most]) + more


def mebibytes(count: float) -> str:
    return f"{count / 2**20:,.0f} MiB"


def waiting_wal(configuration: Configuration) -> str:
    """How much WAL has not left the host."""
    status = Path(configuration.data_directory) / "pg_wal" / "archive_status"
    return f"{len(list(status.glob('*.ready')))} segments of WAL wait on {configuration.host}"


def spooled_errors(configuration: Configuration) -> str:
    """What pgBackRest noted when it could not push a segment."""
    files = sorted((paths.SPOOL / configuration.stanza / "out").glob("*.error"))
    if not files:
        return ""
    # The first line is a number, the rest what happened; retries say the same again.
    text = files[-1].read_text().partition("\n")[2].partition("[CommandError] on retry")[0]
    return f"{files[-1].stem}: {' '.join(text.split())}"


def free_space(configuration: Configuration, repository: Repository) -> str:
    """Whether the next full backup has room, where the repository is on another host."""
    if repository.directory is None:
        return ""
    said = sftp.run(configuration, f"df {repository.directory}")
    numbers = said.strip().splitlines()[-1].split()
    free = int(numbers[2]) * 1024
    full = [
        each for each in pgbackrest.backups(configuration, repository) if each["type"] == "full"
    ]
    needed = full[-1]["info"]["repository"]["size"] if full else 0
    if free > needed:
        return ""
    return (
        f"{repository.name} has no room: {mebibytes(free)} are free, and a full backup takes "
        f"{mebibytes(needed)}. PostgreSQL goes on; {waiting_wal(configuration)}. Make room on "
        f"{repository.host} below {repository.place}, or keep fewer days (backup_keep_days)."
    )


def backup_age(configuration: Configuration, repository: Repository, now: float) -> str:
    """Whether the timers do their work."""
    known = pgbackrest.backups(configuration, repository)
    if not known:
        return (
            f"{repository.name} has no backup. Take one: systemctl start autobot-backup-full; "
            "see: journalctl --unit autobot-backup-full"
        )
    seconds = now - known[-1]["timestamp"]["stop"]
    if seconds <= configuration.max_age_seconds:
        return ""
    return (
        f"The newest backup in {repository.name}, {known[-1]['label']}, is "
        f"{duration(seconds)} old. "
        "See: systemctl list-timers 'autobot-backup-*'; journalctl --unit autobot-backup-incr"
    )


def dump_age(configuration: Configuration, now: float) -> str:
    """Whether there is a logical dump that is not too old."""
    last = files.read_json(paths.DUMP_RESULT)
    known = pgbackrest.backups(configuration, configuration.backup_repositories[0])
    since = last.get("made") or (known[0]["timestamp"]["stop"] if known else now)
    if now - since <= DUMP_MAX_AGE:
        return ""
    return (
        f"The last logical dump of {configuration.stanza} is {duration(now - since)} old"
        f"{': ' + last['failure'] if last.get('failure') else ''}. "
        "See: journalctl --unit autobot-backup-dump"
    )


def gaps(segments: Iterable[str], segments_per_file: int) -> list[str]:
    """The WAL segments that are missing between the first and the last of each timeline."""
    timelines: dict[str, list[int]] = defaultdict(list)
    for name in segments:
        number = int(name[8:16], 16) * segments_per_file + int(name[16:], 16)
        timelines[name[:8]].append(number)
    missing = []
    for timeline, numbers in sorted(timelines.items()):
        present = set(numbers)
        missing += [
            f"{timeline}{number // segments_per_file:08X}{number % segments_per_file:08X}"
            for number in range(min(present), max(present))
            if number not in present
        ]
    return missing


def archived_segments(configuration: Configuration, repository: Repository) -> dict[str, set[str]]:
    """The segments in a repository, by the cluster (C(17-1)) to which they belong."""
    listed = json.loads(
        pgbackrest.run(
            configuration,
            "repo-ls",
            f"archive/{configuration.stanza}",
            "--recurse",
            "--output=json",
            repository=repository,
        )
    )
    found: dict[str, set[str]] = defaultdict(set)
    for path in listed:
        name = path.rsplit("/", 1)[-1]
        # A segment has its checksum behind it; parts and histories are no segments.
        if SEGMENT.fullmatch(name.partition("-")[0]) and "-" in name:
            found[path.partition("/")[0]].add(name[:24])
    return found


def missing_segments(configuration: Configuration, repository: Repository) -> list[str]:
    """The WAL segments that a repository lacks: between others, and those of its backups."""
    ((size,),) = psql.query(
        "postgres", "SELECT setting FROM pg_settings WHERE name = 'wal_segment_size'"
    )
    found = archived_segments(configuration, repository)
    missing = {name for each in found.values() for name in gaps(each, 2**32 // int(size))}
    # Where there are none at all, there is no gap.
    needed = {
        backup["archive"][end]
        for backup in pgbackrest.backups(configuration, repository)
        for end in ("start", "stop")
    }
    return sorted(missing | needed.difference(*found.values()))


def missing_wal(configuration: Configuration, repository: Repository) -> str:
    """Whether every point in time can be reached. pgBackRest's own verify does not ask that."""
    accepted = set(files.read_json(paths.ACCEPTED_GAPS).get("segments", []))
    missing = [name for name in missing_segments(configuration, repository) if name not in accepted]
    if not missing:
        return ""
    return (
        f"{repository.name} lacks the WAL segment{'s' if len(missing) > 1 else ''} "
        f"{shortened(missing, 3, ', ')}: "
        "no point in time from there to the end of the next backup can be restored. "
        "Take a backup now (systemctl start autobot-backup-full), find out who removed it, then: "
        "runuser -u postgres -- autobot-backup accept-gaps"
    )


def invalid_files(configuration: Configuration, repository: Repository) -> list[str]:
    """What pgBackRest's verify finds; its exit status does not say that it found something."""
    done = process.run(
        [
            "pgbackrest",
            f"--stanza={configuration.stanza}",
            f"--repo={repository.number}",
            "--log-level-console=off",
            "--log-level-stderr=info",
            "--output=text",
            "--verbose",
            "verify",
        ]
    )
    found = re.findall(r"^INFO: ((?:invalid|missing|unable) .*)$", done.stderr, re.MULTILINE)
    found += re.findall(r"^(?:WARN|ERROR): *(.*)$", done.stderr, re.MULTILINE)
    whole = done.returncode == 0 and re.search(r"^status: ok$", done.stdout, re.MULTILINE)
    return found or ([] if whole else [f"verify says: {' '.join(done.stdout.split())}"])


def unequal_copies(configuration: Configuration, repository: Repository) -> list[str]:
    """Lists of contents that differ from their copies, which verify reads in their place."""
    stanza = configuration.stanza
    names = [f"archive/{stanza}/archive.info", f"backup/{stanza}/backup.info"]
    names += [
        f"backup/{stanza}/{each['label']}/backup.manifest"
        for each in pgbackrest.backups(configuration, repository)
    ]

    def read(name: str) -> str:
        try:
            return pgbackrest.run(configuration, "repo-get", name, repository=repository)
        except PgBackRestError as error:
            return f"{name}: {error}"

    # Asked again before it is said: a backup may have written one of them just now.
    return [
        f"{name} and its copy differ"
        for name in names
        if read(name) != read(f"{name}.copy") and read(name) != read(f"{name}.copy")
    ]


def altered_dumps(configuration: Configuration) -> list[str]:
    """Logical dumps that are not what was written."""
    known: dict[str, str] = files.read_json(paths.DUMP_RESULT).get("files", {})
    place = f"{configuration.backup_repositories[0].directory}/dump"
    found = []
    # One at a time is read back, on the disk that PostgreSQL's own files are on.
    if known:
        files.require_space(paths.STATE, databases.total_bytes(), "The check of the logical dumps")
    with tempfile.TemporaryDirectory(dir=paths.STATE) as directory:
        copy = Path(directory) / "dump"
        for name, checksum in known.items():
            try:
                sftp.run(configuration, f"get {place}/{name} {copy}")
            except BackupError as error:
                found.append(f"dump/{name}: {error}")
                continue
            if files.sha256(copy) != checksum:
                found.append(f"dump/{name} has another checksum")
    return found


def damaged_files(configuration: Configuration, repository: Repository) -> str:
    """Whether every file of a repository is what was written."""
    found = invalid_files(configuration, repository) + unequal_copies(configuration, repository)
    if repository.directory is not None:
        found += altered_dumps(configuration)
    if not found:
        return ""
    return (
        f"{repository.name} is damaged: {shortened(found, 5, '; ')}. PostgreSQL is not touched. "
        "Take a full backup now (systemctl start autobot-backup-full), and look at the disk of "
        f"{repository.host}: what was damaged cannot be restored."
    )


def verified_files(configuration: Configuration, now: float, *, force: bool) -> str:
    """Read every file when that was long ago; what was wrong stays wrong until it is read again."""
    last = files.read_json(paths.VERIFY_RESULT)
    if not force and not last.get("failure") and now - last.get("finished", 0) < VERIFY_AFTER:
        return ""
    failure = next(
        filter(
            None, (damaged_files(configuration, each) for each in configuration.backup_repositories)
        ),
        "",
    )
    verified = time.time() if not failure else last.get("verified")
    files.write_json(
        paths.VERIFY_RESULT, {"finished": time.time(), "failure": failure, "verified": verified}
    )
    return failure


def unreachable_repository(
    configuration: Configuration, repository: Repository, error: BackupError
) -> str:
    return (
        f"{repository.name} cannot be used: {str(error).removesuffix('.')}. PostgreSQL goes on; "
        f"{waiting_wal(configuration)}. "
        f"Start {repository.host} and its SSH server, or look at its firewall and its host key "
        "(site.yml brings both in order)."
    )


def first_failure(configuration: Configuration, *, force: bool) -> str:
    """The first thing that is wrong, or nothing."""
    now = time.time()
    if not configuration.backup_repositories:
        return f"No repository keeps backups of {configuration.stanza}. Run site.yml."
    for repository in configuration.repositories:
        try:
            pgbackrest.info(configuration, repository, *PATIENCE[:1])
            failure = free_space(configuration, repository)
        except BackupError as error:
            return unreachable_repository(configuration, repository, error)
        if failure:
            return failure
    try:
        pgbackrest.run(configuration, "check", *PATIENCE)
    except PgBackRestError as error:
        reason = spooled_errors(configuration)
        return (
            f"The WAL of {configuration.host} does not reach its repositories "
            f"({', '.join(each.name for each in configuration.repositories)}): {error} "
            f"{reason} PostgreSQL goes on; {waiting_wal(configuration)}. "
            f"See: /var/log/pgbackrest/{configuration.stanza}-archive-push-async.log"
        )
    for repository in configuration.backup_repositories:
        failure = backup_age(configuration, repository, now) or missing_wal(
            configuration, repository
        )
        if failure:
            return failure
    return verified_files(configuration, now, force=force) or dump_age(configuration, now)


def check(configuration: Configuration, *, force: bool) -> str:
    """Run all checks and write the result; returns what is wrong."""
    try:
        failure = first_failure(configuration, force=force)
    except (BackupError, OSError, ValueError) as error:
        failure = (
            f"The check of {configuration.stanza} on {configuration.host} ended early: {error}"
        )
    files.write_json(
        paths.CHECK_RESULT,
        {
            "ok": not failure,
            "finished": time.time(),
            "failure": failure,
            "verified": files.read_json(paths.VERIFY_RESULT).get("verified"),
        },
    )
    return failure


def accept_gaps(configuration: Configuration) -> list[str]:
    """No longer ask for the segments that are missing now; their names."""
    missing = sorted(
        {
            name
            for each in configuration.backup_repositories
            for name in missing_segments(configuration, each)
        }
    )
    files.write_json(paths.ACCEPTED_GAPS, {"segments": missing})
    return missing
