"""Repositories of backups whose contents are made up, as pgBackRest describes them."""

import json
from typing import Any

from autobot_backup.configuration import Configuration, Repository
from autobot_backup.errors import BackupError
from autobot_backup.times import format_time
from autobot_backup.wal import segment_name

NEAR = Repository(1, "peer:/near", "peer", "/near", "/near", backup=True)
FAR = Repository(2, "elsewhere:/far", "elsewhere", "/far", None, backup=True)
CONFIGURATION = Configuration(
    host="redis",
    stanza="users",
    data_directory="/var/lib/postgresql/17/main",
    programs="/usr/lib/postgresql/17/bin",
    peer="slm",
    peer_login="autobot-repo-users@192.0.2.1",
    max_age_seconds=1,
    schemas=(
        {"database": "users", "revision": "0005", "tables": ["public.roles", "public.users"]},
    ),
    repositories=(NEAR,),
)
# 2026-01-31T12:00:00Z; the stories below count seconds from it.
NOON = 1769860800


def entry(
    label: str, stop: int, first: str, last: str, position: str, **more: Any
) -> dict[str, Any]:
    """A backup as pgBackRest describes it."""
    return {
        "label": label,
        "type": "full",
        "database": {"id": 1, "repo-key": 1},
        "timestamp": {"start": NOON + stop - 2, "stop": NOON + stop},
        "archive": {"start": first, "stop": last},
        "lsn": {"start": "0/0", "stop": position},
        "info": {"size": 1000},
        **more,
    }


class Repositories:
    """pgBackRest with what is in its repositories made up."""

    def __init__(self) -> None:
        self.backups: list[dict[str, Any]] = []
        self.segments: dict[str, int] = {}
        self.histories: dict[int, tuple[int, str]] = {}
        self.away: set[Repository] = set()

    def info(self, _: Configuration, repository: Repository) -> dict[str, Any]:
        if repository in self.away:
            raise BackupError(f"{repository.name} does not answer.")
        return {
            "archive": [
                {"database": {"id": 1, "repo-key": repository.number}, "id": "17-1"},
            ],
            "backup": [
                {**backup, "database": {"id": 1, "repo-key": repository.number}}
                for backup in self.backups
            ],
            "status": {"message": "no valid backups"},
        }

    def pgbackrest(
        self, _: Configuration, command: str, *options: str, repository: Repository | None = None
    ) -> str:
        assert repository not in self.away
        if command == "repo-get":
            return self.histories[int(options[-1].rpartition("/")[2][:8], 16)][1]
        assert command == "repo-ls"
        listing = {
            f"{name[:16]}/{name}-{'a' * 40}.zst": {"type": "file", "time": NOON + time}
            for name, time in self.segments.items()
        }
        listing |= {
            f"{line:08X}.history": {"type": "file", "time": NOON + birth}
            for line, (birth, _) in self.histories.items()
        }
        return json.dumps(listing)


def wal(line: int, first: int, last: int, start: int) -> dict[str, int]:
    """Segments of a timeline, one a minute."""
    return {
        segment_name(line, number): start + 60 * (number - first)
        for number in range(first, last + 1)
    }


def at(seconds: float) -> str:
    return format_time(NOON + seconds)
