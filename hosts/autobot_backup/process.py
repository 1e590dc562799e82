"""Other programs, and the user and the signals of this one."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def run(
    command: list[str], *, timeout: float | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program; its messages are in English."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        # What is damaged may be anything.
        errors="replace",
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        timeout=timeout,
        check=False,
        **options,
    )


def last_lines(done: subprocess.CompletedProcess[str]) -> str:
    """What a program said, on one line."""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return " ".join(lines[-5:]) or f"it ended with status {done.returncode}"


def become_postgres() -> None:
    """Give up root for good, where nothing that follows needs it."""
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.setgroups([user.pw_gid])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)


def as_postgres(*command: str | Path) -> list[str]:
    return ["runuser", "-u", "postgres", "--", *map(str, command)]


@contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let systemd's SIGTERM end the program the way an error does, so that it cleans up."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
