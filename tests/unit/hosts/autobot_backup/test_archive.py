"""What is missing in the archive."""

from autobot_backup.archive import Archive, Gap, find_gap
from autobot_backup.backups import Backup
from autobot_backup.timelines import OPEN_END
from autobot_backup.wal import SEGMENT_BYTES, segment_name
from tests.support.backup_repositories import NEAR


def test_a_segment_in_which_a_timeline_was_left_may_be_of_either() -> None:
    history = [(1, 3 * SEGMENT_BYTES + 0x50), (2, OPEN_END)]
    backup = Backup("B", NEAR, "17-1", 0, 0, segment_name(1, 1), segment_name(1, 1), 1, 1)
    names = [segment_name(1, 1), segment_name(1, 2), segment_name(2, 4)]
    archive = Archive(dict.fromkeys(names, 5.0))
    assert find_gap(archive, backup, history) == Gap(segment_name(2, 3), 5.0)
    for line in (1, 2):
        archive = Archive(dict.fromkeys([*names, segment_name(line, 3)], 5.0))
        assert find_gap(archive, backup, history) is None


def test_a_timeline_that_was_left_between_two_segments_has_none_of_the_next() -> None:
    history = [(1, 3 * SEGMENT_BYTES), (2, OPEN_END)]
    backup = Backup("B", NEAR, "17-1", 0, 0, segment_name(1, 1), segment_name(1, 1), 1, 1)
    left = [segment_name(1, number) for number in (1, 2, 3)]
    archive = Archive(dict.fromkeys(left, 5.0))
    assert find_gap(archive, backup, history) is None
    archive = Archive(dict.fromkeys([*left, segment_name(2, 4)], 5.0))
    assert find_gap(archive, backup, history) == Gap(segment_name(2, 3), 5.0)
    archive = Archive(dict.fromkeys([segment_name(1, 1), segment_name(2, 2)], 5.0))
    archive.segments[segment_name(2, 3)] = 5.0
    assert find_gap(archive, backup, history) == Gap(segment_name(1, 2), 5.0)


def test_wal_of_a_timeline_outside_the_history_fills_no_gap() -> None:
    backup = Backup("B", NEAR, "17-1", 0, 0, segment_name(1, 1), segment_name(1, 1), 1, 1)
    archive = Archive(
        dict.fromkeys([segment_name(1, 1), segment_name(2, 2), segment_name(1, 3)], 5.0)
    )
    assert find_gap(archive, backup, [(1, OPEN_END)]) == Gap(segment_name(1, 2), 5.0)


def test_partial_and_other_files_are_no_segments() -> None:
    name = segment_name(1, 1)
    listing = {
        f"0000000100000000/{name}.partial-{'a' * 40}.zst": {"time": 1},
        f"0000000100000000/{name}.00000028.backup": {"time": 1},
        "archive.info": {"time": 1},
    }
    assert Archive.parse(listing) == Archive()
