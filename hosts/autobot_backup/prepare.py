"""Repositories get what they lack: a stanza, and the first full backup."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from autobot_backup import backup, databases, pgbackrest
from autobot_backup.configuration import Configuration, Repository
from autobot_backup.errors import BackupError

# The archiver in the background has its lock for a second or two, again and again while a
# repository has no stanza yet.
ARCHIVER_PATIENCE = 120
ARCHIVER_PAUSE = 0.1


def retry_while_locked(configuration: Configuration, command: str) -> None:
    """Run a command of pgBackRest for which the archiver must not be at work."""
    deadline = time.monotonic() + ARCHIVER_PATIENCE
    while True:
        try:
            pgbackrest.run(configuration, command)
        except pgbackrest.PgBackRestError as error:
            if error.code != pgbackrest.LOCKED or time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(ARCHIVER_PAUSE)


def prepare(configuration: Configuration, *, check: bool, new_cluster: bool) -> list[str]:
    """Bring the repositories to where backups go on by themselves; returns what was done."""
    done: list[str] = []

    def act(what: str, do: Callable[[], Any]) -> None:
        done.append(what)
        if not check:
            do()

    for repository in configuration.repositories:
        state = pgbackrest.info(configuration, repository)
        # Of the cluster that a repository has seen last.
        known = state["db"][-1]["system-id"] if state["db"] else None
        if known is None:
            act(
                f"created the stanza {configuration.stanza} in {repository.name}",
                lambda: retry_while_locked(configuration, "stanza-create"),
            )
        elif known != databases.system_identifier():
            if not new_cluster:
                raise BackupError(other_cluster(configuration, repository, state))
            act(
                f"began with a new cluster in {repository.name}; older backups stay",
                lambda: retry_while_locked(configuration, "stanza-upgrade"),
            )
        if not repository.backup:
            continue
        current = {
            each["id"] for each in state["db"] if each["system-id"] == databases.system_identifier()
        }
        if not any(
            each["database"]["id"] in current and each["database"]["repo-key"] == repository.number
            for each in state["backup"]
        ):
            act(
                f"took the first full backup into {repository.name}",
                lambda: backup.take(configuration, "full"),
            )
    return done


def other_cluster(
    configuration: Configuration, repository: Repository, state: dict[str, Any]
) -> str:
    newest = state["backup"][-1] if state["backup"] else None
    stopped = (
        time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(newest["timestamp"]["stop"]))
        if (newest)
        else "none"
    )
    return (
        f"{repository.name} holds backups of another PostgreSQL cluster than the one that runs on "
        f"{configuration.host} now (newest backup: {stopped}). It was not changed. To bring back "
        f"the data: ansible-playbook playbooks/restore.yml -e restore_host={configuration.host} "
        "-e restore_to=latest. To go on with this cluster on purpose, and keep the old backups: "
        f"run again with -e backup_new_cluster={configuration.host}."
    )
