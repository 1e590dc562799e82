"""Which backup, timeline and WAL lead to a target: decided before anything is touched."""

from dataclasses import replace

import pytest

from autobot_backup.catalogue import Catalogue
from autobot_backup.errors import BackupError
from autobot_backup.wal import segment_name
from tests.support.backup_repositories import CONFIGURATION, FAR, NEAR, NOON, Repositories, at, wal


def chosen(wanted: str, now: int = 2000) -> tuple[str, int]:
    target = Catalogue(CONFIGURATION).target(wanted, NOON + now)
    return target.backup.label, target.timeline


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
