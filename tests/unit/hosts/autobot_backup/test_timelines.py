"""Which backups belong to the history of a timeline."""

from backup_repositories import NEAR

from autobot_backup.backups import Backup
from autobot_backup.timelines import ENDLESS, on_the_way, parse_history
from autobot_backup.wal import segment_name


def test_a_history_is_the_way_to_its_timeline() -> None:
    text = '1\t0/3000050\tbefore 2026\n\n2\t1/0\tat restore point "x"\n'
    assert parse_history(text, 3) == [(1, 0x3000050), (2, 1 << 32), (3, ENDLESS)]


def test_a_backup_that_was_complete_later_is_not_on_the_way() -> None:
    backup = Backup("B", NEAR, "17-1", 0, 0, segment_name(1, 7), "", 0x7000100, 1)
    assert not on_the_way(backup, [(1, 0x3000050), (2, ENDLESS)])
    assert on_the_way(backup, [(1, 0x8000000), (2, ENDLESS)])
