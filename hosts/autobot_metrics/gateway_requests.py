"""What nginx's log has of the requests that a gateway to AutoBot passed on or refused.

Each run reads what was added since the run before. The counters begin anew with the host: what was
read is remembered in a directory that does not outlive it.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

# The end of a line, as roles/service/templates/etc/nginx/gateway_maps.j2 has it.
LINE = re.compile(
    rb'" (?P<status>\d{3}) \d+ "[^"]*" gateway="(?P<gateway>[^"]*)" passed_to="(?P<to>[^"]*)" '
    rb'as="(?P<user>[^"]*)" machine="(?P<machine>[^"]*)" seconds=[\d.]+$'
)
REFUSALS = {
    b"401": "unauthenticated",
    b"403": "forbidden",
    b"429": "limited",
    b"503": "unavailable",
}


class Outcome(NamedTuple):
    """Whose requests, and what became of them."""

    gateway: str
    caller: str
    result: str


def counted(log: Path, state: Path) -> Iterator[tuple[Outcome, int]]:
    """How many requests had each outcome, since the first run after the host's start.

    Raises OSError where the log cannot be read, or what was counted cannot be kept.
    """
    known = json.loads(state.read_text()) if state.exists() else None
    counts: Counter[Outcome] = Counter()
    with log.open("rb") as now:
        inode = os.fstat(now.fileno()).st_ino
        if known is None:
            now.seek(0, os.SEEK_END)
        else:
            counts.update({Outcome(*names): count for *names, count in known["counts"]})
            if known["inode"] == inode:
                now.seek(min(known["offset"], os.fstat(now.fileno()).st_size))
            else:
                _read_rotated(log, known["inode"], known["offset"], counts)
            _read(now, counts)
        remembered = {
            "inode": inode,
            "offset": now.tell(),
            "counts": [[*outcome, count] for outcome, count in counts.items()],
        }
    draft = state.with_suffix(".new")
    draft.write_text(json.dumps(remembered))
    draft.replace(state)
    yield from counts.items()


def _read_rotated(log: Path, inode: int, offset: int, counts: Counter[Outcome]) -> None:
    """The rest of the log that logrotate has renamed since, where it is still there."""
    rotated = log.with_name(f"{log.name}.1")
    if rotated.exists():
        with rotated.open("rb") as old:
            if os.fstat(old.fileno()).st_ino == inode:
                old.seek(offset)
                _read(old, counts)


def _read(lines: BinaryIO, counts: Counter[Outcome]) -> None:
    """Count whole lines, and stop before one that is being written."""
    for line in lines:
        if not line.endswith(b"\n"):
            lines.seek(-len(line), os.SEEK_CUR)
            return
        if outcome := outcome_of(line.rstrip(b"\n")):
            counts[outcome] += 1


def outcome_of(line: bytes) -> Outcome | None:
    """What became of a request; None where it was not for AutoBot, or had no answer."""
    found = LINE.search(line)
    if not found or not found["gateway"]:
        return None
    status = found["status"]
    caller = "machine" if found["machine"] else "person" if found["user"] else "nobody"
    if found["to"] == b"-":
        result = REFUSALS.get(status, "")
    else:
        result = "failed" if status in {b"502", b"504"} else "passed"
    return Outcome(found["gateway"].decode(), caller, result) if result else None
