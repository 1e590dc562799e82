"""A recovery target, and what pgBackRest has to be told to reach it."""

from __future__ import annotations

from dataclasses import dataclass

from autobot_backup.backups import Backup


@dataclass(frozen=True)
class RecoveryTarget:
    """Where to, and what leads there."""

    # latest, time or name
    kind: str
    value: str
    backup: Backup
    timeline: int
    # No WAL is missing up to the end of what was archived. When that comes before the time that was
    # asked for, nothing was committed in between, and all of it is what was asked for.
    complete: bool = False

    @property
    def text(self) -> str:
        return {"latest": "now", "time": self.value, "name": f"restore point {self.value}"}[
            self.kind
        ]

    @property
    def options(self) -> list[str]:
        """What pgBackRest has to be told."""
        chosen = f"--set={self.backup.label}"
        # The backup's own may have no history file: those of a new repository begin later.
        own = self.timeline == self.backup.timeline
        timeline = f"--target-timeline={'current' if own else self.timeline}"
        if self.kind == "latest":
            # PostgreSQL's own choice would be the highest timeline, which may have been given up.
            return [chosen, "--type=default", timeline]
        value = self.value
        if self.kind == "time":
            value = value.replace("T", " ").replace("Z", "+00")
        return [
            chosen,
            f"--type={self.kind}",
            f"--target={value}",
            "--target-action=promote",
            timeline,
        ]
