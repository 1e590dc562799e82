"""Files that are replaced as a whole."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace_file(
    path: Path,
    content: bytes,
    *,
    mode: int = 0o600,
    owner: tuple[int, int] | None = None,
    check: Callable[[str], None] | None = None,
) -> None:
    """Replace a file as a whole, so that it outlasts a loss of power. Its directory must be there.

    `owner` are the ids of a user and a group. `check` gets the path of the new file before that
    takes its place; what it raises leaves the old one as it was.
    """
    # mkstemp makes the file with mode 0600.
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            if owner:
                os.fchown(stream.fileno(), *owner)
            os.fchmod(stream.fileno(), mode)
            stream.flush()
            os.fsync(stream.fileno())
        if check:
            check(partial)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
