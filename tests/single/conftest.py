"""Judges the site on one machine: `LAB_SITE=single make up` first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.fixtures import (
    administrator,
    api,
    at_work,
    close_connections,
    figure,
    people,
    refuse_to_judge_less,
    site,
)

__all__ = ["administrator", "api", "at_work", "close_connections", "figure", "people", "site"]

HERE = Path(__file__).parent
# A run of the whole directory that collects fewer tests than this proves less than it says.
FEWEST_TESTS = 9


# Before any is left out by its marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to judge without the lab of one machine, or with fewer tests than there are."""
    refuse_to_judge_less(config, items, HERE, FEWEST_TESTS)
