"""pgBackRest, and what it knows of a stanza."""

from __future__ import annotations

import json
import re
from typing import Any

from autobot_backup import process, sftp
from autobot_backup.configuration import Configuration, Repository
from autobot_backup.errors import BackupError

# pgBackRest's codes for a lock that another has, and for a repository that it could not read.
LOCKED = 50
STATUS_OTHER = 99


class PgBackRestError(BackupError):
    """pgBackRest ended with an error; `code` is its own number for it, or its exit status."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def error_lines(output: str) -> str:
    """pgBackRest's error lines as one line, without its hints' indentation."""
    said = [
        line.strip()
        for line in re.sub(r"^ERROR: +", "", output, flags=re.MULTILINE).splitlines()
        if line.strip() and not line.lstrip().startswith("HINT: use option --log-level")
    ]
    return " ".join(said)


def run(
    configuration: Configuration,
    command: str,
    *options: str,
    repository: Repository | None = None,
) -> str:
    """Run pgBackRest and return what it prints; PgBackRestError with its own words."""
    if repository is not None and repository.directory is not None:
        sftp.wait_for_mount(configuration)
    argv = ["pgbackrest", command, f"--stanza={configuration.stanza}"]
    argv += ["--log-level-console=off", "--log-level-stderr=error", *options]
    if repository is not None:
        argv.append(f"--repo={repository.number}")
    done = process.run(argv)
    if done.returncode:
        where = repository.name if repository else configuration.stanza
        said = (
            error_lines(done.stderr) or error_lines(done.stdout) or f"exit status {done.returncode}"
        )
        raise PgBackRestError(f"pgbackrest {command}, {where}: {said}", done.returncode)
    return done.stdout


def info(
    configuration: Configuration, repository: Repository | None = None, *options: str
) -> dict[str, Any]:
    """What pgBackRest knows of the stanza: `backup`, `db`, `archive`, `repo`, `status`."""
    output = run(configuration, "info", "--output=json", *options, repository=repository)
    stanzas = json.loads(output)
    found: dict[str, Any] = stanzas[0] if stanzas else {"backup": [], "db": [], "repo": []}
    # A repository that cannot be read is no error for it.
    for each in found["repo"]:
        if each["status"]["code"] == STATUS_OTHER:
            # What pgBackRest calls an input/output error has a reason.
            sftp.wait_for_mount(configuration)
            raise BackupError(f"{' '.join(each['status']['message'].split())}.")
    return found


def backups(configuration: Configuration, repository: Repository) -> list[dict[str, Any]]:
    """The backups in a repository, the oldest first."""
    return [
        backup
        for backup in info(configuration, repository)["backup"]
        if backup["database"]["repo-key"] == repository.number and not backup.get("error")
    ]
