#!/usr/bin/env python3
"""Judge the types of all Python here with mypy, in several runs.

Names of modules clash: there are several conftest.py, and programs of roles and helpers of tests
are modules of their own. What is tracked and in no run is a fault too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUPPORT = ("service", "tests/support")
LAB = (
    *SUPPORT,
    *(f"tests/{name}" for name in ("e2e", "infra", "lived_in", "recovery", "releases", "single")),
)
# Where the modules of each run are found, and its files, as git and fnmatch understand them.
RUNS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("service",), ("service/*", "migrations/*", "scripts/*", "docs/*")),
    (("service", "collections"), ("collections/*",)),
    (("hosts",), ("hosts/*",)),
    (("service",), ("roles/*",)),
    (
        (*SUPPORT, "hosts", "collections"),
        ("tests/conftest.py", "tests/support/*"),
    ),
    (
        (*SUPPORT, "hosts", "collections"),
        ("tests/integration/*",),
    ),
    ((*SUPPORT, "tests/perf"), ("tests/perf/*",)),
    (LAB, ("tests/infra/*",)),
    (LAB, ("tests/e2e/*",)),
    (LAB, ("tests/recovery/*",)),
    (LAB, ("tests/releases/*",)),
    (LAB, ("tests/last/*",)),
    (LAB, ("tests/lived_in/*",)),
    (LAB, ("tests/single/*",)),
    (("molecule/lived_in/files",), ("molecule/*",)),
    (
        (*SUPPORT, "hosts", "collections", "tests/perf"),
        ("tests/unit/*",),
    ),
    ((*SUPPORT, "hosts"), ("tests/api/*",)),
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
