"""The backups in a repository, as pgBackRest describes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from autobot_backup.configuration import Repository
from autobot_backup.wal import parse_lsn

# The annotation of a backup that names the restore point that was recorded after it.
POINT_ANNOTATION = "point"


@dataclass(frozen=True)
class Backup:
    """One backup of the repository."""

    label: str
    repository: Repository
    archive: str
    start: float
    stop: float
    first_segment: str
    last_segment: str
    stop_lsn: int
    size: int
    damaged: bool = False
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def timeline(self) -> int:
        return int(self.first_segment[:8], 16)

    @property
    def point(self) -> str:
        """The name of the restore point that was recorded after it last."""
        return self.annotations.get(POINT_ANNOTATION, "")

    @property
    def points(self) -> list[str]:
        """All restore points that were made after it, the one that was recorded last at the end."""
        all_points = [
            value
            for key, value in self.annotations.items()
            if key.startswith(f"{POINT_ANNOTATION}-") and value != self.point
        ]
        return [*all_points, *filter(None, [self.point])]


def parse_backups(state: Mapping[str, Any], repository: Repository) -> list[Backup]:
    """The backups in what pgBackRest says of one repository."""
    return [
        Backup(
            label=entry["label"],
            repository=repository,
            archive=archive["id"],
            start=entry["timestamp"]["start"],
            stop=entry["timestamp"]["stop"],
            first_segment=entry["archive"]["start"],
            last_segment=entry["archive"]["stop"],
            stop_lsn=parse_lsn(entry["lsn"]["stop"]),
            size=entry["info"]["size"],
            damaged=bool(entry.get("error")),
            annotations=entry.get("annotation") or {},
        )
        for archive in state.get("archive", [])
        for entry in state["backup"]
        if entry["database"] == archive["database"]
        and entry["database"]["repo-key"] == repository.number
    ]
