"""Which backups belong to the history of a timeline."""

from autobot_backup.backups import Backup
from autobot_backup.timelines import OPEN_END, in_history, parse_history
from autobot_backup.wal import segment_name
from tests.support.backup_repositories import NEAR


def test_a_history_file_names_the_parents_and_their_switch_points() -> None:
    text = '1\t0/3000050\tbefore 2026\n\n2\t1/0\tat restore point "x"\n'
    assert parse_history(text, 3) == [(1, 0x3000050), (2, 1 << 32), (3, OPEN_END)]


def test_a_backup_that_was_complete_after_the_switch_point_leads_nowhere() -> None:
    backup = Backup("B", NEAR, "17-1", 0, 0, segment_name(1, 7), "", 0x7000100, 1)
    assert not in_history(backup, [(1, 0x3000050), (2, OPEN_END)])
    assert in_history(backup, [(1, 0x8000000), (2, OPEN_END)])
