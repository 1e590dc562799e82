"""What the role has written about this host's database and its repositories."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autobot_backup import paths


@dataclass(frozen=True)
class Repository:
    """A place that keeps backups."""

    number: int
    # Where it is, as a person would look for it: host:/directory (address).
    name: str
    host: str
    place: str
    # Its directory as SFTP shows it; none for another kind of repository.
    directory: str | None
    # Whether backups are taken into it; all others get WAL only, as long as a key is exchanged.
    backup: bool


@dataclass(frozen=True)
class Configuration:
    """What the role has written about this host's database and its repositories."""

    host: str
    stanza: str
    data_directory: str
    programs: str
    peer: str
    # Who lets this host in at the peer: user@address.
    peer_login: str
    max_age_seconds: int
    # What the last run of site.yml has made, each: the `database`, its `revision` and its `tables`.
    schemas: tuple[dict[str, Any], ...]
    repositories: tuple[Repository, ...]
    # Where the peer's repositories are mounted, for a pgBackRest that cannot write over SFTP.
    mount: str | None = None

    @classmethod
    def load(cls, path: Path = paths.CONFIGURATION) -> Configuration:
        values = json.loads(path.read_text())
        repositories = tuple(Repository(**each) for each in values.pop("repositories"))
        schemas = tuple(values.pop("schemas"))
        return cls(**values, schemas=schemas, repositories=repositories)

    @property
    def backup_repositories(self) -> list[Repository]:
        """Repositories into which backups are taken; the first is the one to restore from."""
        return [repository for repository in self.repositories if repository.backup]
