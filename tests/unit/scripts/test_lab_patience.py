"""A service of a copied lab waits longer, in everything that has a deadline for the database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import user_management.database

ROOT = Path(__file__).parents[3]
PROGRAM = """
import importlib, sys
database = importlib.import_module("user_management.database")
print(*(getattr(database, name) for name in sys.argv[1:]))
"""


@pytest.fixture
def longer(tmp_path: Path) -> list[float]:
    """The deadlines of a process that has the file on its path, by their names in the module."""
    (tmp_path / "sitecustomize.py").symlink_to(ROOT / "scripts/lab_patience.py")
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *deadlines()],
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}/service"},
        capture_output=True,
        text=True,
        check=True,
    )
    return list(map(float, result.stdout.split()))


def deadlines() -> list[str]:
    """All of them but for closing, which nobody waits for."""
    return [
        name
        for name in vars(user_management.database)
        if name.endswith("_TIMEOUT") and name != "CLOSE_TIMEOUT"
    ]


def test_every_deadline_is_five_times_as_long(longer: list[float]) -> None:
    assert longer == [5 * getattr(user_management.database, name) for name in deadlines()]
    assert len(longer) == 5
