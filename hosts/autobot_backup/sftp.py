"""The repository on the peer, over SFTP or mounted from there."""

from __future__ import annotations

import os
import time

from autobot_backup import paths, process
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError

# The unit that mounts a repository tries every five seconds, and waits ten for an answer.
MOUNT_PATIENCE = 30


def run(configuration: Configuration, *batch: str) -> str:
    """What SFTP's commands print at the peer; BackupError when one of them fails."""
    command = ["sftp", "-F", "none", "-b", "-", "-i", str(paths.SSH_KEY)]
    for option in (
        f"UserKnownHostsFile={paths.KNOWN_HOSTS}",
        "StrictHostKeyChecking=yes",
        "LogLevel=ERROR",
        "IdentitiesOnly=yes",
        "ConnectTimeout=10",
    ):
        command += ["-o", option]
    done = process.run([*command, configuration.peer_login], input="\n".join(batch) + "\n")
    if done.returncode:
        # Of some failures, df's for one, it says nothing.
        said = " ".join(done.stderr.split()) or f"{'; '.join(batch)}: exit status {done.returncode}"
        raise BackupError(f"sftp {configuration.peer_login} ({configuration.peer}): {said}")
    # Each command is repeated before what it prints.
    return "".join(
        line for line in done.stdout.splitlines(keepends=True) if not line.startswith("sftp> ")
    )


def wait_for_mount(configuration: Configuration) -> None:
    """Wait for repositories that are mounted; BackupError with why they are not there."""
    if configuration.mount is None or os.path.ismount(configuration.mount):
        return
    # A peer that is away is named at once; one that answers is about to be mounted.
    run(configuration, "pwd")
    deadline = time.monotonic() + MOUNT_PATIENCE
    while not os.path.ismount(configuration.mount):
        if time.monotonic() > deadline:
            raise BackupError(
                f"{configuration.peer} answers and is not mounted on {configuration.mount}. "
                "See: journalctl --unit autobot-repository"
            )
        time.sleep(0.5)
