"""Files of the operator on the controller."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.autobot.users.plugins.module_utils.files import replace_file


def write_private(path: Path, content: bytes) -> None:
    """Replace a file as a whole, for its owner only; its directory is made, for them too."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(path, content)
