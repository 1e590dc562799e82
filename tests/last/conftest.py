"""Judges what all tests before left of the lab. `make up` first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.fixtures import close_connections, figure, refuse_to_judge_less

__all__ = ["close_connections", "figure"]

HERE = Path(__file__).parent
FEWEST_TESTS = 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to judge without a lab."""
    refuse_to_judge_less(config, items, HERE, FEWEST_TESTS)
