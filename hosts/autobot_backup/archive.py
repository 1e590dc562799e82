"""The WAL archive of a repository, and what is missing in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from autobot_backup.backups import Backup
from autobot_backup.errors import BackupError
from autobot_backup.timelines import OPEN_END, TimelineHistory
from autobot_backup.times import format_time
from autobot_backup.wal import SEGMENT_BYTES, segment_name, segment_number

SEGMENT_NAME = re.compile(r"(?:.*/)?([0-9A-F]{24})-[0-9a-f]{40}(?:\.\w+)?")
HISTORY_NAME = re.compile(r"(?:.*/)?([0-9A-F]{8})\.history(?:\.\w+)?")


@dataclass
class Archive:
    """The WAL of one repository: segments and history files, and when each came in."""

    segments: dict[str, float] = field(default_factory=dict)
    history_files: dict[int, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, listing: Mapping[str, Any]) -> Archive:
        archive = cls()
        for path, entry in listing.items():
            if match := SEGMENT_NAME.fullmatch(path):
                archive.segments[match[1]] = entry["time"]
            elif match := HISTORY_NAME.fullmatch(path):
                archive.history_files[int(match[1], 16)] = entry["time"]
        return archive

    @property
    def end(self) -> float:
        """When the newest WAL came in."""
        return max(self.segments.values(), default=0.0)

    def last_segment(self, timeline: int) -> str:
        """The newest segment of a timeline."""
        return max((name for name in self.segments if int(name[:8], 16) == timeline), default="")

    def timeline_at(self, wanted: float, histories: Callable[[int], TimelineHistory]) -> int | None:
        """The timeline that the server was on then: that of the last that came in until then.

        Each restore begins one, and the highest is not always the one in use: an operator may have
        put an older data directory back. WAL from before a switch point may come in after the
        history file of the younger timeline, and says nothing.
        """
        events = [(began, timeline, OPEN_END) for timeline, began in self.history_files.items()]
        events += [
            (came, int(name[:8], 16), segment_number(name)) for name, came in self.segments.items()
        ]
        for came, timeline, number in sorted(events, reverse=True):
            late = any(
                began <= came
                and (number + 1) * SEGMENT_BYTES <= dict(histories(child)).get(timeline, 0)
                for child, began in self.history_files.items()
                if timeline < child
            )
            if came <= wanted and not late:
                return timeline
        return None


@dataclass(frozen=True)
class Gap:
    """A segment that is not there while later ones are."""

    segment: str
    # When the one before it came in.
    before: float


def find_gap(archive: Archive, backup: Backup, history: TimelineHistory) -> Gap | None:
    """The first segment of a history that is missing after the beginning of a backup."""
    switch_points = dict(history)
    # What a timeline went on with after its switch point is not part of the history.
    numbers = [
        number
        for name in archive.segments
        if (number := segment_number(name)) * SEGMENT_BYTES
        < switch_points.get(int(name[:8], 16), 0)
    ]
    previous = backup.start
    for number in range(segment_number(backup.first_segment), max(numbers, default=0) + 1):
        # The segment of a switch point belongs to both timelines; the later one has all of it.
        possible = [
            segment_name(timeline, number)
            for position, (timeline, switch_point) in enumerate(history)
            if number * SEGMENT_BYTES < switch_point
            and (position == 0 or (number + 1) * SEGMENT_BYTES > history[position - 1][1])
        ]
        there = [name for name in possible if name in archive.segments]
        if not there:
            return Gap(possible[-1] if possible else segment_name(history[-1][0], number), previous)
        previous = archive.segments[there[-1]]
    return None


def gap_error(gap: Gap) -> BackupError:
    return BackupError(
        f"The WAL segment {gap.segment} is missing in the repository, so what came after "
        f"{format_time(gap.before)} cannot be brought back from the backup before it. "
        "Ask for that time or an earlier one, or for a time after a later backup."
    )
