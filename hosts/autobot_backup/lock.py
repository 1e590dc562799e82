"""Backups, records and dumps of a host wait for each other."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from autobot_backup import paths
from autobot_backup.errors import BackupError

# Another backup may be under way; a deployment waits for it instead of failing.
PATIENCE = 1800


@contextmanager
def exclusive(patience: float = PATIENCE) -> Iterator[None]:
    """One backup, record or drill at a time; waits for the one that is under way."""
    descriptor = os.open(paths.LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BackupError(
                        f"Another backup or drill has been under way for {patience:g} s. See: "
                        "systemctl list-units 'autobot-backup-*'"
                    ) from None
                time.sleep(0.5)
        yield
    finally:
        os.close(descriptor)
