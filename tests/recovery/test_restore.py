"""Restores and drills that must not succeed: each says why, and leaves everything as it was."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.lab.site import LabError, Result, ansible, must, on, superuser, wait_until

STATE = "/var/lib/autobot-backup"
SCRATCH = f"{STATE}/scratch"
DATABASE = "autobot_users"

# pgBackRest's names of a damaged file: by its checksum, or before by its encryption or compression.
DAMAGED = re.compile(r"checksum|CryptoError|FormatError", re.IGNORECASE)
FLIP = """
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(4096)
    byte = file.read(1)
    file.seek(4096)
    file.write(bytes([byte[0] ^ 1]))
"""


def program(*arguments: str, user: str = "postgres") -> Result:
    """The backup's program on redis."""
    return on("redis", "autobot-backup", *arguments, user=user)


@dataclass
class Newest:
    """The newest backup of redis, a full one, as its peer has it."""

    label: str
    place: str
    archive: str

    def bundle(self) -> str:
        """The largest file of the backup."""
        return must(
            "slm",
            "sh",
            "-c",
            f"find {self.place}/backup/{DATABASE}/{self.label} -type f -printf '%s %p\\n'"
            " | sort -n | tail -1 | cut -d' ' -f2",
        )


def stanza() -> dict[str, Any]:
    """What pgBackRest knows of the backups of redis."""
    (known,) = json.loads(must("redis", "pgbackrest", "info", "--output=json", user="postgres"))
    return dict(known)


@pytest.fixture
def newest() -> Newest:
    """A full backup, the newest; taken unless one is."""
    if stanza()["backup"][-1]["type"] != "full":
        done = program("backup", "full")
        if done.status:
            raise LabError(f"no backup: {done.text}")
    known = json.loads(must("redis", "cat", "/etc/autobot-users/backup/backup.json"))
    backup, archive = stanza()["backup"][-1], stanza()["archive"][-1]["id"]
    return Newest(backup["label"], known["repositories"][0]["place"], archive)


def drill() -> dict[str, object]:
    """What the drill says, as its unit runs it; and that the unit shows how it ended."""
    started = on("redis", "systemctl", "start", "autobot-backup-drill")
    result: dict[str, object] = json.loads(must("redis", "cat", f"{STATE}/drill.json"))
    assert (started.status == 0) is result["ok"]
    if not result["ok"]:
        said = must(
            "redis", "journalctl", "--unit=autobot-backup-drill", "--lines=20", "--output=cat"
        )
        assert str(result["failure"]) in said
        must("redis", "systemctl", "reset-failed", "autobot-backup-drill")
    assert must("redis", "find", STATE, "-path", f"{SCRATCH}/*") == ""
    return result


@pytest.fixture
def left_whole() -> Iterator[None]:
    """Each test leaves a repository that can be restored."""
    yield
    checked = program("check")
    assert checked.status == 0, checked.text


def serving() -> list[list[str]]:
    """Since when which data is served."""
    return superuser(
        "redis",
        "postgres",
        "SELECT pg_postmaster_start_time(), timeline_id, system_identifier"
        " FROM pg_control_checkpoint(), pg_control_system()",
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"restore_host": "backend"}, "allowed is a host of the group postgresql"),
        ({"restore_host": "redis", "confirm": "slm"}, "They must be the same host"),
        ({"restore_host": "redis", "restore_beside": True}, "needs restore_database"),
        ({"restore_host": "redis", "restore_to": "2026-01-31T25:00:00Z"}, "is no time"),
        ({"restore_host": "redis"}, "-e confirm=redis"),
    ],
    ids=["host", "confirmation", "beside what", "time", "not confirmed"],
)
def test_what_makes_no_sense_changes_nothing(arguments: dict[str, object], message: str) -> None:
    before = serving()
    done = ansible("playbooks/restore.yml", "--extra-vars", json.dumps(arguments))
    assert done.status != 0
    assert message in " ".join(done.output.split())
    assert set(done.changed.values()) == {0}, done.tail()
    assert serving() == before


@pytest.mark.usefixtures("left_whole")
def test_what_cannot_be_reached_is_refused_before_anything_is_touched() -> None:
    before = serving()
    for wanted, message in [
        (("--to=2020-01-01T00:00:00Z",), "is before the oldest backup"),
        (("--to=2199-01-01T00:00:00Z",), "is in the future"),
        (("--to=2026-01-31T17:45:00",), "says no time zone"),
        (("--to=never_made",), "There is no restore point never_made. Known are"),
        (("--to=latest", "--database=nobodys"), "has no database nobodys"),
    ]:
        refused = program("restore", *wanted, user="root")
        assert refused.status == 1
        assert message in refused.stderr
    with unreachable_peer():
        refused = program("restore", "--to=latest", user="root")
        assert refused.status == 1
        assert "slm:" in refused.stderr
        failed = drill()
        assert "slm:" in str(failed["failure"])
    with little_room():
        refused = program("restore", "--to=latest", f"--database={DATABASE}", user="root")
        assert refused.status == 1
        assert "MB are free" in refused.stderr
        failed = drill()
        assert "MB are free" in str(failed["failure"])
    assert serving() == before


@contextmanager
def unreachable_peer() -> Iterator[None]:
    """The peer does not let redis in."""
    keys = f"/etc/autobot-users/repo/autobot-repo-{DATABASE}.keys"
    must("slm", "mv", keys, f"{keys}.away")
    try:
        yield
    finally:
        must("slm", "mv", f"{keys}.away", keys)


@contextmanager
def little_room() -> Iterator[None]:
    """The scratch cluster is on a small disk."""
    must("redis", "mkdir", "-p", SCRATCH, user="postgres")
    must("redis", "mount", "-t", "tmpfs", "-o", "size=16m,uid=postgres,mode=700", "tests", SCRATCH)
    try:
        yield
    finally:
        must("redis", "umount", SCRATCH)


@pytest.mark.usefixtures("left_whole")
def test_a_flipped_byte_is_named_and_the_old_data_serve_on(newest: Newest) -> None:
    identity = (
        "SELECT timeline_id, system_identifier FROM pg_control_checkpoint(), pg_control_system()"
    )
    before = superuser("redis", "postgres", identity)
    bundle = newest.bundle()
    must("slm", "python3", "-c", FLIP, bundle)
    try:
        failed = drill()
        assert DAMAGED.search(str(failed["failure"]))
        assert failed["backup"] == newest.label
        # This one gets as far as to stop PostgreSQL.
        refused = program("restore", "--to=latest", user="root")
        assert refused.status == 1
        assert "The old data directory is back in its place" in refused.stderr
    finally:
        must("slm", "python3", "-c", FLIP, bundle)
    assert superuser("redis", "postgres", identity) == before
    assert on("redis", "sh", "-c", "ls -d /var/lib/postgresql/*/main.before-*").status != 0
    timers = must("redis", "systemctl", "list-timers", "--no-legend", "autobot-backup-*")
    assert "autobot-backup-incr.timer" in timers


@pytest.mark.usefixtures("left_whole")
def test_missing_wal_is_named(newest: Newest) -> None:
    for _ in range(2):
        must("redis", "autobot-backup", "plan", "--archive", "--to=latest", user="postgres")
    segments = must(
        "slm",
        "sh",
        "-c",
        f"find {newest.place}/archive -name '*-*.zst' -printf '%T@ %p\\n' | sort -n",
    ).splitlines()
    lost = segments[-2].split()[1]
    must("slm", "mv", lost, "/root/tests-lost")
    try:
        name = lost.rpartition("/")[2].partition("-")[0]
        refused = program("restore", "--to=latest", user="root")
        assert refused.status == 1
        assert name in refused.stderr
        assert name in str(drill()["failure"])
    finally:
        must("slm", "mv", "/root/tests-lost", lost)


@pytest.mark.usefixtures("left_whole")
def test_a_row_that_is_not_what_it_was_is_named(newest: Newest) -> None:
    path = f"{STATE}/records/{newest.label}.json"
    text = must("redis", "cat", path) + "\n"
    record = json.loads(text)
    record["databases"][DATABASE]["public.roles"][1] = "1"
    changed = json.dumps(record)

    def keep(content: str) -> None:
        must("redis", "tee", path, stdin=content, user="postgres")

    def vouch(content: str) -> None:
        checksum = hashlib.sha256(content.encode()).hexdigest()
        must(
            "redis",
            *("pgbackrest", "annotate", f"--stanza={DATABASE}", f"--set={newest.label}"),
            f"--annotation=record={checksum}",
            user="postgres",
        )

    try:
        keep(changed)
        assert "is not what was written" in str(drill()["failure"])
        vouch(changed)
        failure = str(drill()["failure"])
        assert "public.roles" in failure
        assert "differ from what was recorded" in failure
    finally:
        keep(text)
        vouch(text)


def test_a_drill_that_was_killed_leaves_nothing_to_the_next() -> None:
    must("redis", "systemctl", "start", "--no-block", "autobot-backup-drill")
    wait_until(
        lambda: on("redis", "test", "-e", f"{SCRATCH}/data/postmaster.pid").status == 0,
        "the scratch server runs",
    )
    # So that it cannot clean up.
    pid = must(
        "redis", "systemctl", "show", "--value", "--property=MainPID", "autobot-backup-drill"
    )
    must("redis", "kill", "-KILL", pid)
    wait_until(
        lambda: on("redis", "systemctl", "is-active", "autobot-backup-drill").status != 0,
        "the unit has ended",
    )
    must("redis", "systemctl", "reset-failed", "autobot-backup-drill")
    assert must("redis", "ls", SCRATCH) != ""
    result = drill()
    assert result["ok"], result


OLDER = """
UPDATE user_management_version SET version_num = '0666';
CREATE TABLE tests_newer AS SELECT 'a row' AS content
"""
AS_FOUND = """
UPDATE user_management_version SET version_num = :'revision';
DROP TABLE IF EXISTS tests_newer
"""


def test_a_drill_that_finds_less_than_the_schema_fails_until_a_backup_has_it() -> None:
    """As after the first migration, or one that a deployment has just made."""
    revision = superuser("redis", DATABASE, "SELECT version_num FROM user_management_version")
    try:
        superuser("redis", DATABASE, OLDER)
        failure = str(drill()["failure"])
        assert "the live one of 0666: the backup is older" in failure
        assert "systemctl start autobot-backup-incr" in failure
        assert "1 tables more" in program("complete").stdout
        assert program("complete").stdout == ""
        result = drill()
        assert result["ok"] is True, result
        assert int(str(result["rows"])) > 0
    finally:
        superuser("redis", DATABASE, AS_FOUND, revision=revision[0][0])
        must("redis", "systemctl", "start", "autobot-backup-incr")
    assert drill()["ok"] is True
