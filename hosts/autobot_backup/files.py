"""Files on this host: replaced as a whole, read, summed up, and the room for them."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from autobot_backup.errors import BackupError

# Beside the data itself: WAL on its way, indexes that are checked, and what the live server writes.
SPARE_BYTES = 256 * 1024 * 1024


def sha256(path: Path) -> str:
    """The checksum of a file of any size."""
    found = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(2**20):
            found.update(block)
    return found.hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """What a file holds; nothing where there is none."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found


def write_json(path: Path, value: Any, mode: int = 0o644) -> str:
    """Replace a file as a whole; returns the SHA-256 of what it holds."""
    text = json.dumps(value, indent=1) + "\n"
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text)
        os.fchmod(stream.fileno(), mode)
        stream.flush()
        os.fsync(stream.fileno())
    Path(partial).replace(path)
    return hashlib.sha256(text.encode()).hexdigest()


def megabytes(amount: float) -> str:
    return f"{amount / 1_000_000:.0f} MB"


def require_space(path: Path, amount: int, what: str) -> tuple[int, int]:
    """Bytes that something needs, and bytes that are free; refused when there are too few."""
    there = path
    while not there.exists():
        there = there.parent
    state = os.statvfs(there)
    needed, free = amount + SPARE_BYTES, state.f_bavail * state.f_frsize
    if needed > free:
        raise BackupError(
            f"{what} needs {megabytes(needed)} below {path}, and only {megabytes(free)} are "
            "free. Remove what is not needed, or give it a larger disk."
        )
    return needed, free
