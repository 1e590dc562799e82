"""What a repository can give back: which backup, timeline and WAL lead to a recovery target.

The drill and the restore share this. It is said before anything is touched.
"""

from __future__ import annotations

import functools
import json
import re

from autobot_backup import pgbackrest
from autobot_backup.archive import Archive, find_gap, gap_error
from autobot_backup.backups import Backup, parse_backups
from autobot_backup.configuration import Configuration, Repository
from autobot_backup.errors import BackupError
from autobot_backup.target import RecoveryTarget
from autobot_backup.timelines import OPEN_END, TimelineHistory, in_history, parse_history
from autobot_backup.times import format_time, parse_time
from autobot_backup.wal import segment_number

TIME_START = re.compile(r"\d{4}-\d\d-\d\d")


class Catalogue:
    """The backups and the WAL of this host's stanza, in all repositories that it has."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        # The clusters that the repositories have seen, by what PostgreSQL tells them apart.
        self.clusters: set[int] = set()
        self.backups = self._read()
        self._archives: dict[tuple[Repository, str], Archive] = {}
        self._histories: dict[tuple[Repository, str, int], TimelineHistory] = {}

    def _read(self) -> list[Backup]:
        """All backups, the oldest first; a repository that is away does not hide the others."""
        found: list[Backup] = []
        reasons: list[str] = []
        for repository in self.configuration.repositories:
            try:
                state = pgbackrest.info(self.configuration, repository)
            except BackupError as error:
                reasons.append(f"{repository.name}: {error}")
                continue
            self.clusters |= {each["system-id"] for each in state.get("db", [])}
            here = parse_backups(state, repository)
            if not here:
                said = state.get("status", {}).get("message", "no backup")
                reasons.append(f"{repository.name}: {said}")
            found += here
        if not found:
            raise BackupError(
                f"No repository has a backup of {self.configuration.stanza} that can be read "
                f"({'; '.join(reasons)}). See that its host is up and reachable over SSH, and that "
                "the vault has the backup key that it was made with."
            )
        return sorted(found, key=lambda backup: (backup.stop, -backup.repository.number))

    def archive(self, backup: Backup) -> Archive:
        """The WAL that is beside a backup, listed once."""
        key = (backup.repository, backup.archive)
        if key not in self._archives:
            output = pgbackrest.run(
                self.configuration,
                "repo-ls",
                "--recurse",
                "--output=json",
                f"archive/{self.configuration.stanza}/{backup.archive}",
                repository=backup.repository,
            )
            self._archives[key] = Archive.parse(json.loads(output or "{}"))
        return self._archives[key]

    def history(self, backup: Backup, timeline: int) -> TimelineHistory:
        """The history of a timeline; one without a history file has no parent."""
        key = (backup.repository, backup.archive, timeline)
        if key not in self._histories:
            self._histories[key] = [(timeline, OPEN_END)]
            if timeline in self.archive(backup).history_files:
                text = pgbackrest.run(
                    self.configuration,
                    "repo-get",
                    f"archive/{self.configuration.stanza}/{backup.archive}/{timeline:08X}.history",
                    repository=backup.repository,
                )
                self._histories[key] = parse_history(text, timeline)
        return self._histories[key]

    @property
    def points(self) -> dict[str, Backup]:
        """Restore points by their name, each with the backup that leads to it."""
        return {name: backup for backup in self.backups for name in backup.points}

    def target(self, text: str, now: float) -> RecoveryTarget:
        """What leads to `latest`, a time or a restore point; or why nothing does."""
        if text == "latest":
            return self._target("latest", text, now)
        if TIME_START.match(text):
            wanted = parse_time(text)
            if wanted > now:
                raise BackupError(
                    f"{text} is in the future: here it is {format_time(now)}. "
                    "Ask for a time that has been, or for latest."
                )
            oldest = min(backup.stop for backup in self.backups)
            if wanted < oldest:
                raise BackupError(
                    f"{text} is before the oldest backup, which was complete at "
                    f"{format_time(oldest)}. Ask for that time or a later one."
                )
            return self._target("time", format_time(wanted), wanted)
        points = self.points
        if text not in points:
            known = ", ".join(reversed(points)) or "none"
            raise BackupError(
                f"There is no restore point {text}. Known are, newest first: {known}. "
                "Ask for one of them, for latest, or for a time such as 2026-01-31T17:45:00Z."
            )
        backup = points[text]
        gap = find_gap(self.archive(backup), backup, [(backup.timeline, OPEN_END)])
        # Where the point is in the WAL is not known here; recovery says if it was beyond the gap.
        if gap and segment_number(gap.segment) <= segment_number(backup.last_segment):
            raise gap_error(gap)
        return RecoveryTarget("name", text, backup, backup.timeline)

    def _target(self, kind: str, value: str, wanted: float) -> RecoveryTarget:
        """The newest backup that leads to a time, in whichever repository."""
        reasons: list[BackupError] = []
        for backup in reversed([each for each in self.backups if each.stop <= wanted]):
            archive = self.archive(backup)
            histories = functools.partial(self.history, backup)
            timeline = archive.timeline_at(wanted, histories) or backup.timeline
            history = self.history(backup, timeline)
            if not in_history(backup, history):
                continue
            gap = find_gap(archive, backup, history)
            if gap is None or (kind == "time" and gap.before > wanted):
                return RecoveryTarget(kind, value, backup, timeline, complete=gap is None)
            reasons.append(gap_error(gap))
        if reasons:
            raise reasons[0]
        raise BackupError(
            f"No backup leads to {value}: those before it belong to a history that an earlier "
            "restore has left. Ask for a time before that restore, or after the backup that "
            f"followed it; the newest backup was complete at {format_time(self.backups[-1].stop)}."
        )
