#!/usr/bin/env python3
"""Judge the types of all Python here with mypy, in several runs.

Programs of roles and of hosts are modules of their own. What is tracked and in no run is a fault,
too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Where the modules of each run are found, and its files, as git and fnmatch understand them.
RUNS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("service",), ("service/*", "migrations/*", "scripts/*", "docs/*")),
    (("service", "collections"), ("collections/*",)),
    (("hosts",), ("hosts/*",)),
    (("service",), ("roles/*",)),
    ((".", "collections", "hosts", "service"), ("tests/*",)),
    (("molecule/lived_in/files",), ("molecule/*",)),
)


def tracked() -> list[str]:
    """Every Python file, those that are to be added included."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


def main() -> int:
    unjudged = set(tracked())
    failed = False
    for path, patterns in RUNS:
        files = sorted(
            name for name in unjudged if any(fnmatch(name, pattern) for pattern in patterns)
        )
        unjudged -= set(files)
        done = subprocess.run(  # noqa: S603
            ["mypy", *files],  # noqa: S607
            cwd=ROOT,
            env=os.environ | {"MYPYPATH": ":".join(path)},
            check=False,
        )
        failed |= done.returncode != 0
    for name in sorted(unjudged):
        sys.stderr.write(f"{name}: in no run of scripts/check_types.py\n")
    return int(failed or bool(unjudged))


if __name__ == "__main__":
    sys.exit(main())
