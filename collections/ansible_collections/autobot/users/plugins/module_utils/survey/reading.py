"""How every part of the survey reads, and what becomes of what cannot be read."""

from __future__ import annotations

import grp
import pwd
import subprocess
from collections.abc import Callable, Collection
from typing import TypeVar

T = TypeVar("T")

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEADLINE = 20.0


class UnreadableError(Exception):
    """Something is there and does not say what it must; the text tells why."""


def output(
    *command: str, expected: Collection[int] = (0,), deadline: float = DEADLINE
) -> str | None:
    """What a program prints, in English; None where the host has no such program.

    Raises UnreadableError where it does not end in time, or with a status that is not expected.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the commands are the survey's own
            command,
            env={"PATH": SYSTEM_PATH, "LC_ALL": "C"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            # A locale may have a name that is no UTF-8.
            encoding="utf-8",
            errors="replace",
            timeout=deadline,
            check=False,
        )
    except FileNotFoundError:
        return None
    except subprocess.TimeoutExpired as error:
        raise UnreadableError(f"no answer within {deadline:g} seconds") from error
    if done.returncode not in expected:
        raise UnreadableError(done.stderr.strip() or f"it ended with {done.returncode}")
    return done.stdout


def is_active(unit: str) -> bool:
    """Whether systemd runs a unit. Raises what output() does."""
    # 3 is a unit that does not run, 4 one that is not there.
    found = output("systemctl", "is-active", unit, expected=(0, 3, 4))
    return found is not None and found.strip() == "active"


def guarded(what: str, read: Callable[[], T], empty: T, unreadable: list[str]) -> T:
    """What `read` finds; where it cannot, `empty`, and a sentence about `what` in `unreadable`."""
    try:
        return read()
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        unreadable.append(f"{what}: {where}{error.strerror or error}")
    except (UnreadableError, LookupError, TypeError, ValueError) as error:
        said = str(error).splitlines() or [type(error).__name__]
        unreadable.append(f"{what}: {said[0]}")
    return empty


def shown_units(text: str) -> list[list[tuple[str, str]]]:
    """The properties of each unit that `systemctl show` was asked about."""
    lines = [unit.splitlines() for unit in text.split("\n\n")]
    return [
        [(key, value) for key, _, value in (ln.partition("=") for ln in unit)] for unit in lines
    ]


def user_name(uid: int) -> str:
    """The name of a user; the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """The name of a group; the number where there is none."""
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
