"""Timelines and their history, as PostgreSQL's history files tell it."""

from __future__ import annotations

from autobot_backup.backups import Backup
from autobot_backup.wal import parse_lsn

# The timelines that led to one, and itself: each with its switch point, the LSN at which the next
# one began. The last has none.
TimelineHistory = list[tuple[int, int]]
OPEN_END = 1 << 64


def parse_history(text: str, timeline: int) -> TimelineHistory:
    """The history of a timeline, from its history file."""
    lines = [line.split() for line in text.splitlines()]
    parents = [(int(line[0]), parse_lsn(line[1])) for line in lines if line and line[0].isdigit()]
    return [*parents, (timeline, OPEN_END)]


def in_history(backup: Backup, history: TimelineHistory) -> bool:
    """Whether a backup leads to the timeline: complete before the switch point of its own."""
    return any(
        backup.timeline == timeline and backup.stop_lsn <= switch_point
        for timeline, switch_point in history
    )
