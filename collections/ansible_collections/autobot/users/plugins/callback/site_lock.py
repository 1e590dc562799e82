"""One run at a time: holds a lock of the inventory while a playbook runs."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ansible import context
from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from ansible.playbook import Playbook

DOCUMENTATION = """
name: site_lock
type: aggregate
short_description: one run at a time
description:
  - Holds an exclusive lock of the inventory from the start of a playbook to its end.
  - A second run says who is first and stops before it has touched anything.
  - The kernel releases the lock with the process, however that ends.
"""

EXIT_BUSY = 75  # EX_TEMPFAIL of sysexits.h


class CallbackModule(CallbackBase):
    """Takes the lock when a playbook starts; the process keeps it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "site_lock"
    CALLBACK_NEEDS_ENABLED = True

    _descriptor: int | None = None

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        """Lock, or end the process with EX_TEMPFAIL and a sentence that says why."""
        if self._descriptor is not None:
            return  # a further playbook of the same command
        inventory = Path(context.CLIARGS["inventory"][-1]).resolve().name
        path = Path.home() / ".ansible" / f"autobot-{inventory}.lock"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 200).decode(errors="replace").strip()
            self._display.error(
                f"Another run for the inventory '{inventory}' is under way ({holder}). "
                "Nothing was done: wait until it has ended, then run this again."
            )
            sys.exit(EXIT_BUSY)
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, f"process {os.getpid()}: {playbook._file_name}".encode())
