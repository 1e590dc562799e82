"""Timelines and their history, as PostgreSQL's history files tell it."""

from __future__ import annotations

from autobot_backup.backups import Backup
from autobot_backup.wal import lsn

# The way to a timeline: each timeline on it and the position where it was left for the next.
Way = list[tuple[int, int]]
ENDLESS = 1 << 64


def parse_history(text: str, timeline: int) -> Way:
    """The way to a timeline, from its history file."""
    lines = [line.split() for line in text.splitlines()]
    left = [(int(line[0]), lsn(line[1])) for line in lines if line and line[0].isdigit()]
    return [*left, (timeline, ENDLESS)]


def on_the_way(backup: Backup, way: Way) -> bool:
    """Whether a backup leads to the timeline: it was complete before its own was left."""
    return any(backup.timeline == line and backup.stop_position <= left for line, left in way)
