"""What leads to a target, and what the drill compares: decided before anything is touched."""

import contextlib
import hashlib
import json
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autobot_backup import backup as autobot_backup
from autobot_backup import catalogue as autobot_recovery
from autobot_backup import drill as autobot_drill
from autobot_backup import dump as autobot_dump
from autobot_backup.backup import BackupError, Configuration, Repository
from autobot_backup.catalogue import (
    ENDLESS,
    SEGMENT_BYTES,
    Archive,
    Backup,
    Catalogue,
    Gap,
    Scratch,
    find_gap,
    moment,
    on_the_way,
    parse_history,
    parse_time,
    segment_name,
)
from autobot_backup.restore import cluster as autobot_restore

NEAR = Repository(1, "peer:/near", "peer", "/near", "/near", backup=True)
FAR = Repository(2, "elsewhere:/far", "elsewhere", "/far", None, backup=True)
CONFIGURATION = Configuration(
    host="redis",
    stanza="users",
    data_directory="/var/lib/postgresql/17/main",
    programs="/usr/lib/postgresql/17/bin",
    peer="slm",
    peer_login="autobot-repo-users@192.0.2.1",
    max_age_seconds=1,
    schemas=(
        {"database": "users", "revision": "0005", "tables": ["public.roles", "public.users"]},
    ),
    repositories=(NEAR,),
)
# 2026-01-31T12:00:00Z; the stories below count seconds from it.
NOON = 1769860800


def entry(
    label: str, stop: int, first: str, last: str, position: str, **more: Any
) -> dict[str, Any]:
    """A backup as pgBackRest describes it."""
    return {
        "label": label,
        "type": "full",
        "database": {"id": 1, "repo-key": 1},
        "timestamp": {"start": NOON + stop - 2, "stop": NOON + stop},
        "archive": {"start": first, "stop": last},
        "lsn": {"start": "0/0", "stop": position},
        "info": {"size": 1000},
        **more,
    }


class Repositories:
    """pgBackRest with what is in its repositories made up."""

    def __init__(self) -> None:
        self.backups: list[dict[str, Any]] = []
        self.segments: dict[str, int] = {}
        self.histories: dict[int, tuple[int, str]] = {}
        self.away: set[Repository] = set()

    def info(self, _: Configuration, repository: Repository) -> dict[str, Any]:
        if repository in self.away:
            raise BackupError(f"{repository.name} does not answer.")
        return {
            "archive": [
                {"database": {"id": 1, "repo-key": repository.number}, "id": "17-1"},
            ],
            "backup": [
                {**backup, "database": {"id": 1, "repo-key": repository.number}}
                for backup in self.backups
            ],
            "status": {"message": "no valid backups"},
        }

    def pgbackrest(
        self, _: Configuration, command: str, *options: str, repository: Repository | None = None
    ) -> str:
        assert repository not in self.away
        if command == "repo-get":
            return self.histories[int(options[-1].rpartition("/")[2][:8], 16)][1]
        assert command == "repo-ls"
        listing = {
            f"{name[:16]}/{name}-{'a' * 40}.zst": {"type": "file", "time": NOON + time}
            for name, time in self.segments.items()
        }
        listing |= {
            f"{line:08X}.history": {"type": "file", "time": NOON + birth}
            for line, (birth, _) in self.histories.items()
        }
        return json.dumps(listing)


def wal(line: int, first: int, last: int, start: int) -> dict[str, int]:
    """Segments of a timeline, one a minute."""
    return {
        segment_name(line, number): start + 60 * (number - first)
        for number in range(first, last + 1)
    }


@pytest.fixture
def repositories(monkeypatch: pytest.MonkeyPatch) -> Repositories:
    """Noon: a backup. Ten minutes of WAL on timeline 1. At 600 s back to 130 s, on timeline 2.

    A backup at 400 s, of what was then given up, and one at 660 s, of the new timeline.
    """
    made = Repositories()
    made.backups = [
        entry("B1", 0, segment_name(1, 1), segment_name(1, 1), "0/1000100"),
        entry("B2", 400, segment_name(1, 7), segment_name(1, 7), "0/7000100"),
        entry("B3", 660, segment_name(2, 4), segment_name(2, 4), "0/4000100"),
    ]
    made.segments = wal(1, 1, 10, 0) | wal(2, 3, 9, 600)
    made.histories = {2: (600, "1\t0/3000050\tbefore 2026-01-31 12:02:11+00\n\n")}
    monkeypatch.setattr(autobot_backup, "info", made.info)
    monkeypatch.setattr(autobot_backup, "pgbackrest", made.pgbackrest)
    return made


def chosen(wanted: str, now: int = 2000) -> tuple[str, int]:
    target = Catalogue(CONFIGURATION).target(wanted, NOON + now)
    return target.backup.label, target.timeline


def at(seconds: float) -> str:
    return moment(NOON + seconds)


@pytest.mark.usefixtures("repositories")
class TestTargets:
    @pytest.mark.parametrize(
        ("seconds", "backup", "timeline"),
        [
            (100, "B1", 1),
            # What the restore at 600 s gave up is still there.
            (399, "B1", 1),
            (500, "B2", 1),
            # The new timeline has no backup yet, and B2 is not on the way to it.
            (630, "B1", 2),
            (700, "B3", 2),
        ],
    )
    def test_a_time_is_on_the_timeline_of_its_time(
        self, seconds: int, backup: str, timeline: int
    ) -> None:
        assert chosen(at(seconds)) == (backup, timeline)

    def test_latest_is_the_newest_timeline(self) -> None:
        target = Catalogue(CONFIGURATION).target("latest", NOON + 2000)
        assert (target.backup.label, target.timeline) == ("B3", 2)
        assert target.options == ["--set=B3", "--type=default", "--target-timeline=current"]

    def test_latest_is_the_timeline_that_goes_on(self, repositories: Repositories) -> None:
        """The data directory from before the restore was put back: timeline 2 was given up."""
        repositories.segments |= wal(1, 11, 15, 1300)
        target = Catalogue(CONFIGURATION).target("latest", NOON + 2000)
        assert (target.backup.label, target.timeline) == ("B2", 1)
        assert target.options[-1] == "--target-timeline=current"
        assert chosen(at(1000)) == ("B3", 2)
        archive = Catalogue(CONFIGURATION).archive(target.backup)
        assert archive.last_segment(1) == segment_name(1, 15)

    def test_wal_from_before_a_timeline_may_come_after_it(self, repositories: Repositories) -> None:
        repositories.segments[segment_name(1, 2)] = 1500
        assert chosen("latest") == ("B3", 2)
        # The one in which it was left is whole only where the older one went on.
        repositories.segments[segment_name(1, 3)] = 1600
        assert chosen("latest") == ("B2", 1)

    def test_latest_has_what_the_server_goes_on_with(self) -> None:
        catalogue = Catalogue(CONFIGURATION)
        latest = catalogue.target("latest", NOON + 2000)
        said = autobot_restore.left_out(latest, autobot_restore.Live(timeline=1), whole=True)
        assert "is on timeline 1" in said
        assert "on timeline 2" in said
        for live in (0, 2):
            assert not autobot_restore.left_out(
                latest, autobot_restore.Live(timeline=live), whole=True
            )
        # Back to before a restore.
        before = catalogue.target(at(500), NOON + 2000)
        assert not autobot_restore.left_out(before, autobot_restore.Live(timeline=2), whole=True)

    def test_a_time_in_another_zone_is_the_same_time(self) -> None:
        assert chosen("2026-01-31T14:01:40+02:00") == chosen(at(100)) == ("B1", 1)

    def test_pgbackrest_is_told_all_that_was_decided(self) -> None:
        target = Catalogue(CONFIGURATION).target(at(500.25), NOON + 2000)
        assert target.options == [
            "--set=B2",
            "--type=time",
            "--target=2026-01-31 12:08:20.250000+00",
            "--target-action=promote",
            "--target-timeline=current",
        ]
        target = Catalogue(CONFIGURATION).target(at(630), NOON + 2000)
        assert target.options[0] == "--set=B1"
        assert target.options[-1] == "--target-timeline=2"

    def test_a_restore_point_is_after_the_backup_that_names_it(
        self, repositories: Repositories
    ) -> None:
        repositories.backups[0]["annotation"] = {"point": "before_import"}
        assert chosen("before_import") == ("B1", 1)

    def test_a_backup_has_all_points_that_were_made_after_it(
        self, repositories: Repositories
    ) -> None:
        repositories.backups[0]["annotation"] = {
            "point": "third",
            "point-first": "first",
            "point-second": "second",
            "point-third": "third",
        }
        assert list(Catalogue(CONFIGURATION).points) == ["first", "second", "third"]
        assert chosen("first") == ("B1", 1)

    def test_the_newest_of_all_repositories_wins(self, repositories: Repositories) -> None:
        both = replace(CONFIGURATION, repositories=(NEAR, FAR))
        assert Catalogue(both).target("latest", NOON + 2000).backup.repository == NEAR
        repositories.away = {NEAR}
        assert Catalogue(both).target("latest", NOON + 2000).backup.repository == FAR

    def test_wal_without_a_gap_is_known_as_such(self, repositories: Repositories) -> None:
        assert Catalogue(CONFIGURATION).target(at(1900), NOON + 2000).complete
        del repositories.segments[segment_name(2, 6)]
        assert not Catalogue(CONFIGURATION).target(at(700), NOON + 2000).complete


@pytest.mark.usefixtures("repositories")
class TestRefusals:
    @pytest.mark.parametrize(
        ("wanted", "words"),
        [
            ("2026-13-01T00:00:00Z", ("is no time", "2026-01-31T17:45:00Z")),
            ("2026-01-31T12:01:40", ("no time zone", "2026-01-31T12:01:40Z")),
            (at(3000), ("in the future", at(2000))),
            (at(-1), ("before the oldest backup", at(0))),
            ("before_import", ("no restore point before_import", "Known are", "none")),
        ],
    )
    def test_each_says_what_to_ask_for_instead(self, wanted: str, words: tuple[str, ...]) -> None:
        with pytest.raises(BackupError) as caught:
            chosen(wanted)
        for word in words:
            assert word in str(caught.value)

    def test_an_unknown_restore_point_lists_the_known_ones(
        self, repositories: Repositories
    ) -> None:
        for backup, name in zip(repositories.backups, ("one", "two", "three"), strict=True):
            backup["annotation"] = {"point": name}
        with pytest.raises(BackupError, match="newest first: three, two, one"):
            chosen("four")

    def test_no_backup_says_where_was_looked(self, repositories: Repositories) -> None:
        repositories.backups = []
        with pytest.raises(BackupError, match="peer:/near: no valid backups"):
            Catalogue(CONFIGURATION)

    def test_an_unreachable_repository_is_named(self, repositories: Repositories) -> None:
        repositories.away = {NEAR}
        with pytest.raises(BackupError, match="peer:/near does not answer"):
            Catalogue(CONFIGURATION)

    def test_missing_wal_is_named_and_what_it_costs(self, repositories: Repositories) -> None:
        del repositories.segments[segment_name(2, 6)]
        with pytest.raises(BackupError) as caught:
            chosen("latest")
        assert segment_name(2, 6) in str(caught.value)
        # When the segment before it came in: all before that can be restored.
        assert at(720) in str(caught.value)
        assert chosen(at(719)) == ("B3", 2)
        with pytest.raises(BackupError, match=segment_name(2, 6)):
            chosen(at(721))

    def test_a_point_needs_the_wal_of_its_backup(self, repositories: Repositories) -> None:
        repositories.backups[1]["annotation"] = {"point": "here"}
        del repositories.segments[segment_name(1, 7)]
        with pytest.raises(BackupError, match=segment_name(1, 7)):
            chosen("here")


class TestWal:
    def test_names_and_numbers_of_segments(self) -> None:
        assert segment_name(1, 255) == "0000000100000000000000FF"
        assert segment_name(2, 256) == "000000020000000100000000"
        assert autobot_recovery.segment_number("000000020000000100000000") == 256

    def test_a_history_is_the_way_to_its_timeline(self) -> None:
        text = '1\t0/3000050\tbefore 2026\n\n2\t1/0\tat restore point "x"\n'
        assert parse_history(text, 3) == [(1, 0x3000050), (2, 1 << 32), (3, ENDLESS)]

    def test_a_segment_in_which_a_timeline_was_left_may_be_of_either(self) -> None:
        way = [(1, 3 * SEGMENT_BYTES + 0x50), (2, ENDLESS)]
        backup = Backup("B", NEAR, "17-1", 0, 0, segment_name(1, 1), segment_name(1, 1), 1, 1)
        names = [segment_name(1, 1), segment_name(1, 2), segment_name(2, 4)]
        archive = Archive(dict.fromkeys(names, 5.0))
        assert find_gap(archive, backup, way) == Gap(segment_name(2, 3), 5.0)
        for line in (1, 2):
            archive = Archive(dict.fromkeys([*names, segment_name(line, 3)], 5.0))
            assert find_gap(archive, backup, way) is None

    def test_a_timeline_that_was_left_between_two_segments_has_none_of_the_next(self) -> None:
        way = [(1, 3 * SEGMENT_BYTES), (2, ENDLESS)]
        backup = Backup("B", NEAR, "17-1", 0, 0, segment_name(1, 1), segment_name(1, 1), 1, 1)
        left = [segment_name(1, number) for number in (1, 2, 3)]
        archive = Archive(dict.fromkeys(left, 5.0))
        assert find_gap(archive, backup, way) is None
        archive = Archive(dict.fromkeys([*left, segment_name(2, 4)], 5.0))
        assert find_gap(archive, backup, way) == Gap(segment_name(2, 3), 5.0)
        archive = Archive(dict.fromkeys([segment_name(1, 1), segment_name(2, 2)], 5.0))
        archive.segments[segment_name(2, 3)] = 5.0
        assert find_gap(archive, backup, way) == Gap(segment_name(1, 2), 5.0)

    def test_wal_of_a_timeline_that_is_not_on_the_way_fills_no_gap(self) -> None:
        backup = Backup("B", NEAR, "17-1", 0, 0, segment_name(1, 1), segment_name(1, 1), 1, 1)
        archive = Archive(
            dict.fromkeys([segment_name(1, 1), segment_name(2, 2), segment_name(1, 3)], 5.0)
        )
        assert find_gap(archive, backup, [(1, ENDLESS)]) == Gap(segment_name(1, 2), 5.0)

    def test_a_backup_that_was_complete_later_is_not_on_the_way(self) -> None:
        backup = Backup("B", NEAR, "17-1", 0, 0, segment_name(1, 7), "", 0x7000100, 1)
        assert not on_the_way(backup, [(1, 0x3000050), (2, ENDLESS)])
        assert on_the_way(backup, [(1, 0x8000000), (2, ENDLESS)])

    def test_partial_and_other_files_are_no_segments(self) -> None:
        name = segment_name(1, 1)
        listing = {
            f"0000000100000000/{name}.partial-{'a' * 40}.zst": {"time": 1},
            f"0000000100000000/{name}.00000028.backup": {"time": 1},
            "archive.info": {"time": 1},
        }
        assert Archive.parse(listing) == Archive()


class Disk(autobot_restore.Server):
    """A server whose files are this test's, and whose systemd is made up."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self.done: list[str] = []

    def stop(self) -> None:
        self.done.append("stop")

    def start(self) -> None:
        self.done.append("start")

    def query(self, sql: str) -> str:
        return sql


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(autobot_restore, "as_postgres", lambda *command: [*map(str, command)])
    server = Disk(replace(CONFIGURATION, data_directory=f"{tmp_path}/17/main"))
    monkeypatch.setattr(autobot_restore, "Server", lambda _: server)
    monkeypatch.setattr(autobot_restore, "timers_stopped", contextlib.nullcontext)
    return server


class TestOwnWal:
    """What the repository has not, from this host's disk."""

    @pytest.fixture
    def directories(self, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        """What an earlier restore and this one have set aside; both are of the same cluster."""
        found = [Path(f"{disk.data}.before-{name}") for name in ("earlier", "now")]
        for directory in (disk.data, *found):
            (directory / "pg_wal").mkdir(parents=True)
        monkeypatch.setattr(disk, "system_identifier", lambda _: "7")
        return found

    def write(self, directory: Path, name: str, number: int | None = None) -> None:
        """A segment, and where it says that it is in the WAL."""
        if number is None:
            number = autobot_recovery.segment_number(name)
        page = struct.pack("=HHIQ", 0xD116, 2, int(name[:8], 16), number * SEGMENT_BYTES)
        (directory / "pg_wal" / name).write_bytes(page + bytes(100))

    def test_all_that_was_set_aside_is_used(self, disk: Disk, directories: list[Path]) -> None:
        earlier, now = directories
        self.write(earlier, segment_name(1, 4))
        self.write(earlier, segment_name(1, 5))
        self.write(now, segment_name(1, 6))
        self.write(now, segment_name(2, 7))
        # Only named ahead, for what will be written.
        self.write(now, segment_name(1, 8), 2)
        names = autobot_restore.copy_own_wal(disk, now, 1, segment_name(1, 4))
        assert names == [segment_name(1, 5), segment_name(1, 6)]
        assert sorted(path.name for path in (disk.data / "pg_wal").iterdir()) == names

    def test_a_gap_is_refused(self, disk: Disk, directories: list[Path]) -> None:
        for number in (5, 7):
            self.write(directories[1], segment_name(1, number))
        with pytest.raises(BackupError, match=segment_name(1, 6)):
            autobot_restore.copy_own_wal(disk, directories[1], 1, segment_name(1, 4))
        with pytest.raises(BackupError, match=segment_name(1, 4)):
            autobot_restore.copy_own_wal(disk, directories[1], 1, segment_name(1, 3))


class TestPuttingBack:
    """A restore that fails leaves the server as it found it."""

    def plan(self, disk: Disk) -> dict[str, Any]:
        return {
            "kept": f"{disk.data}.before-x",
            "repository_number": 1,
            "options": [],
            "whole": False,
        }

    @pytest.fixture(autouse=True)
    def failing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = autobot_backup.run

        def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            if command[0] == "pgbackrest":
                return subprocess.CompletedProcess(command, 1, "", "ERROR: [099]: no way")
            return real(command, **options)

        monkeypatch.setattr(autobot_backup, "run", run)

    def test_the_old_data_come_back(self, disk: Disk) -> None:
        disk.data.mkdir(parents=True)
        (disk.data / "PG_VERSION").touch()
        with pytest.raises(BackupError, match=r"no way The old data directory is back"):
            autobot_restore.restore_cluster(CONFIGURATION, self.plan(disk))
        assert (disk.data / "PG_VERSION").exists()
        assert not Path(self.plan(disk)["kept"]).exists()
        assert disk.done[-1] == "start"

    def test_what_was_kept_before_is_never_in_the_way(self, disk: Disk) -> None:
        disk.data.mkdir(parents=True)
        (disk.data / "PG_VERSION").touch()
        Path(self.plan(disk)["kept"]).mkdir()
        with pytest.raises(BackupError, match="is there already"):
            autobot_restore.restore_cluster(CONFIGURATION, self.plan(disk))
        assert (disk.data / "PG_VERSION").exists()
        assert disk.done == []
        with pytest.raises(BackupError, match="is there already"):
            disk.move(disk.data, Path(self.plan(disk)["kept"]))

    def test_data_that_were_lost_are_no_obstacle(self, disk: Disk) -> None:
        disk.data.parent.parent.mkdir(exist_ok=True)
        with pytest.raises(BackupError, match=r"no way .* is missing, as it was before"):
            autobot_restore.restore_cluster(CONFIGURATION, self.plan(disk))
        assert not disk.data.exists()

    def test_a_server_that_does_not_stop_keeps_its_data(
        self, disk: Disk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop() -> None:
            raise BackupError("does not stop")

        disk.data.mkdir(parents=True)
        (disk.data / "PG_VERSION").touch()
        monkeypatch.setattr(disk, "stop", stop)
        with pytest.raises(BackupError, match="PostgreSQL does not serve them"):
            autobot_restore.restore_cluster(CONFIGURATION, self.plan(disk))
        assert (disk.data / "PG_VERSION").exists()


class TestServerLog:
    def test_the_reason_is_the_servers_own_and_not_a_clients(self) -> None:
        log = (
            "2026-01-31 12:00:00 UTC [7] FATAL:  recovery ended before configured recovery target"
            " was reached\n"
            "2026-01-31 12:00:00 UTC [9] postgres@postgres [local] FATAL:  the database system is"
            " starting up\n"
        )
        expected = "recovery ended before configured recovery target was reached"
        assert autobot_recovery.last_words(log) == expected
        assert autobot_recovery.last_words(f"FATAL:  {expected}\n") == expected
        assert autobot_recovery.last_words("LOG:  a\nLOG:  b\n") == "LOG:  a LOG:  b"

    def test_the_last_transaction_is_the_last_one(self) -> None:
        log = (
            "LOG:  last completed transaction was at log time 2026-01-31 12:00:00+00\n"
            "LOG:  last completed transaction was at log time 2026-01-31 12:00:01+00\n"
        )
        assert autobot_recovery.last_transaction(log) == "2026-01-31 12:00:01+00"
        assert autobot_recovery.last_transaction("") == ""


RECORDED = {"users": {"public.users": ["2", "10", "20"], "public.roles": ["1", "5", "6"]}}


class TestComparison:
    def test_the_same_rows_are_no_difference(self) -> None:
        assert autobot_drill.compare(RECORDED, json.loads(json.dumps(RECORDED))) == ""

    @pytest.mark.parametrize(
        ("found", "words"),
        [
            ({}, ("database users", "restored cluster")),
            ({**RECORDED, "more": {}}, ("database more", "record")),
            ({"users": {"public.users": ["2", "10", "20"]}}, ("public.roles", "restored database")),
            (
                {"users": {**RECORDED["users"], "public.more": ["0", "0", "0"]}},
                ("public.more", "record"),
            ),
            (
                {"users": {**RECORDED["users"], "public.users": ["1", "10", "20"]}},
                ("public.users", "has 1 rows", "recorded were 2"),
            ),
            (
                {"users": {**RECORDED["users"], "public.users": ["2", "10", "21"]}},
                ("public.users", "differ"),
            ),
        ],
    )
    def test_each_difference_is_named(self, found: Any, words: tuple[str, ...]) -> None:
        difference = autobot_drill.compare(RECORDED, found)
        for word in words:
            assert word in difference

    @pytest.mark.parametrize(
        "recorded", [{}, {"users": {}}, {"users": {"public.users": ["0"] * 3}}]
    )
    def test_nothing_is_no_comparison(self, recorded: Any) -> None:
        assert "Nothing is recorded" in autobot_drill.compare(recorded, recorded)

    @pytest.mark.parametrize(
        ("restored", "live", "tables", "fault"),
        [
            (["0005"], ["0005"], {"public.users", "public.roles", "public.more"}, ""),
            ([], ["0005"], set(), "older than the first one"),
            ([], [], set(), "no schema of a release"),
            (["0005"], ["0006"], {"public.users", "public.roles"}, "revision 0005, and the live"),
            (["0005"], [], {"public.users", "public.roles"}, "of none"),
            (["0005"], ["0005"], {"public.users"}, "1 of the 2 tables"),
            (["0005"], ["0005"], {"public.users"}, "missing: public.roles"),
            # Gone back to, or deployed alone: what it has is not known here.
            (["0004"], ["0004"], {"public.users"}, ""),
        ],
    )
    def test_less_than_the_schema_of_the_release_is_a_fault(
        self, restored: list[str], live: list[str], tables: set[str], fault: str
    ) -> None:
        found = autobot_drill.incomplete(restored, live, tables, CONFIGURATION.schemas[0])
        assert fault in found
        assert bool(fault) is bool(found)

    @pytest.mark.parametrize("revisions", [[], ["0005"], ["0666"]])
    def test_a_schema_has_one_revision_or_none(self, revisions: list[str]) -> None:
        assert autobot_drill.strange(revisions) == ""
        assert "several revisions" in autobot_drill.strange([*revisions, "0007", "0008"])

    def test_a_row_from_after_the_moment_is_a_fault(self) -> None:
        newest = {"public.users.created_at": NOON + 5.0, "public.roles.created_at": NOON - 50.0}
        assert autobot_drill.too_new(newest, NOON) == ""
        assert "public.users.created_at" in autobot_drill.too_new(newest, NOON - 100)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/var/lib/autobot-backup of a host."""
    monkeypatch.setattr(autobot_backup, "RECORDS", tmp_path / "records")
    monkeypatch.setattr(autobot_drill, "RESULT", tmp_path / "drill.json")
    monkeypatch.setattr(autobot_recovery, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(autobot_recovery, "LOCK", tmp_path / "scratch.lock")
    monkeypatch.setattr(autobot_recovery, "archive_now", lambda _: None)
    return tmp_path


@pytest.mark.usefixtures("state", "repositories")
class TestDrill:
    def test_a_record_is_believed_as_long_as_the_backup_vouches_for_it(self, state: Path) -> None:
        (state / "records").mkdir()
        path = state / "records" / "B3.json"
        path.write_text('{"databases": {}}')
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        backup = Backup("B3", NEAR, "17-1", 0, 0, "", "", 1, 1)
        vouched = replace(backup, annotations={"record": checksum})
        assert autobot_drill.read_record(vouched) == {"databases": {}}
        with pytest.raises(BackupError, match="has changed it"):
            autobot_drill.read_record(backup)
        path.unlink()
        with pytest.raises(BackupError, match="is missing"):
            autobot_drill.read_record(vouched)

    def test_a_failure_is_written_and_the_last_success_stays(
        self, state: Path, repositories: Repositories
    ) -> None:
        (state / "drill.json").write_text('{"verified": 123.0}')
        repositories.away = {NEAR}
        result = autobot_drill.Drill(CONFIGURATION).run()
        assert json.loads((state / "drill.json").read_text()) == result
        assert result["ok"] is False
        assert "peer:/near does not answer" in result["failure"]
        assert result["verified"] == 123.0

    @pytest.mark.parametrize(
        ("last", "verified"),
        [
            ({"ok": True, "rows": 74, "verified": 123.0}, 123.0),
            ({"ok": False, "rows": 0, "verified": 123.0}, 123.0),
            ({"ok": True, "rows": 0, "verified": 123.0}, None),
        ],
    )
    def test_a_drill_that_compared_nothing_verified_nothing(
        self, state: Path, last: dict[str, Any], verified: float | None
    ) -> None:
        (state / "drill.json").write_text(json.dumps(last))
        assert autobot_drill.Drill(CONFIGURATION).run()["verified"] == verified

    def test_on_one_machine_both_databases_must_be_there(
        self, state: Path, repositories: Repositories, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No moment counts before both have a schema, and the tables of both must be there."""
        schemas = tuple({**CONFIGURATION.schemas[0], "database": it} for it in ("fleet", "users"))
        drill = autobot_drill.Drill(replace(CONFIGURATION, schemas=schemas))
        table = "public.user_management_version"
        (state / "records").mkdir()
        labels = [str(each["label"]) for each in repositories.backups]
        held: list[dict[str, Any]] = [
            {},
            {"fleet": {table: 1}},
            {"fleet": {table: 1}, "users": {table: 1}},
        ]
        for number, (label, databases) in enumerate(zip(labels, held, strict=True)):
            record = {"time": number, "databases": databases}
            (state / "records" / f"{label}.json").write_text(json.dumps(record))
        catalogue = autobot_recovery.Catalogue(drill.configuration)
        assert drill._known_since(catalogue) == 2
        monkeypatch.setattr(autobot_recovery, "revisions", lambda *_: ["0005"])
        tables = {"fleet": ["public.roles", "public.users"], "users": ["public.roles"]}
        assert drill._schema_fault(schemas[0], tables) == ""
        assert "missing: public.users" in drill._schema_fault(schemas[1], tables)
        assert drill._schema_fault({"database": "none"}, tables) == "The database none is missing."

    def test_a_backup_without_a_record_is_a_failure(self) -> None:
        result = autobot_drill.Drill(CONFIGURATION).run()
        assert result["backup"] == "B3"
        assert "has no record" in result["failure"]
        assert result["verified"] is None

    def test_a_backup_of_damaged_data_is_a_failure(self, repositories: Repositories) -> None:
        repositories.backups[2]["error"] = True
        assert "damaged" in autobot_drill.Drill(CONFIGURATION).run()["failure"]

    def test_a_drill_that_is_ended_says_so(
        self, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def end(_: Configuration) -> None:
            raise SystemExit(143)

        monkeypatch.setattr(autobot_recovery, "archive_now", end)
        with pytest.raises(SystemExit):
            autobot_drill.Drill(CONFIGURATION).run()
        assert "ended before it was done" in (state / "drill.json").read_text()


@pytest.mark.usefixtures("state", "repositories")
class TestScratch:
    def test_only_one_at_a_time(self) -> None:
        catalogue = Catalogue(CONFIGURATION)
        with Scratch(catalogue), pytest.raises(BackupError, match="Wait until it has ended"):
            Scratch(catalogue).__enter__()
        with Scratch(catalogue):
            pass

    def test_what_was_left_is_removed(self, state: Path) -> None:
        (state / "scratch" / "data" / "base").mkdir(parents=True)
        (state / "scratch" / "log").touch()
        with Scratch(Catalogue(CONFIGURATION)):
            assert list((state / "scratch").iterdir()) == []

    def test_too_little_room_is_told_in_numbers(self, tmp_path: Path) -> None:
        backup = Backup("B", NEAR, "17-1", 0, 0, "", "", 1, 10**18)
        with pytest.raises(BackupError, match="needs 1250000000268 MB") as caught:
            autobot_recovery.need_room(tmp_path / "not" / "yet", backup)
        assert "are free" in str(caught.value)

    def test_a_dump_that_has_no_room_is_not_begun(
        self, state: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(autobot_backup, "STATE", state)
        monkeypatch.setattr(autobot_dump, "databases", lambda: ["users"])
        monkeypatch.setattr(autobot_dump, "database_bytes", lambda: 10**18)
        with pytest.raises(BackupError, match="The dump needs 1000000000268 MB"):
            autobot_dump.dump(CONFIGURATION, {})
        assert list(state.iterdir()) == []


class TestNames:
    def test_names_and_texts_are_quoted(self) -> None:
        assert autobot_restore.identifier('a"b') == '"a""b"'
        assert autobot_restore.literal("a'b") == "'a''b'"

    def test_times_can_be_asked_for_again(self) -> None:
        assert moment(NOON) == "2026-01-31T12:00:00Z"
        assert parse_time(moment(NOON + 0.25)) == NOON + 0.25

    @pytest.mark.parametrize(
        "text",
        [
            "2026-01-31T12:00:00.250000Z",
            "2026-01-31T12:00:00.25z",
            "2026-01-31 13:00:00.25+01:00",
            "2026-01-31T13:00:00.250+01",
            "2026-01-31T07:00:00.2500001-0500",
        ],
    )
    def test_a_time_is_read_however_people_write_it(self, text: str) -> None:
        assert parse_time(text) == NOON + 0.25

    def test_a_time_may_lack_its_seconds(self) -> None:
        assert parse_time("2026-01-31T12:00Z") == NOON

    @pytest.mark.parametrize("text", ["", "noon", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z"])
    def test_what_is_no_time_is_refused(self, text: str) -> None:
        with pytest.raises(BackupError, match="is no time"):
            parse_time(text)

    @pytest.mark.parametrize("text", ["2026-01-31T12:00:00", "2026-01-31 12:00"])
    def test_a_time_without_its_zone_is_refused(self, text: str) -> None:
        with pytest.raises(BackupError, match="says no time zone"):
            parse_time(text)


class TestSuperuser:
    """What owners may have made in their databases is not called by a superuser."""

    def test_sessions_are_guarded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        psql = tmp_path / "psql"
        psql.write_text('#!/bin/sh\necho "$PGOPTIONS"; echo "$END"; exec cat >/dev/null\n')
        psql.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setenv("END", autobot_backup.Session.END)
        ((options,),) = autobot_backup.query("users", "SELECT 1")
        assert "search_path=pg_catalog" in options
        assert "restrict_nonsystem_relation_kind=view,foreign-table" in options

    def test_a_digest_has_no_cast_of_a_row(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        class Session:
            def query(self, sql: str) -> list[list[str]]:
                asked.append(sql)
                return [["1", "2", "3"]]

        monkeypatch.setattr(autobot_backup, "tables", lambda _: ["public.users"])
        session: Any = Session()
        assert autobot_backup.digest(session) == {"public.users": ["1", "2", "3"]}
        assert "::text" not in asked[0]
        assert "textin(record_out(digested.*))" in asked[0]
