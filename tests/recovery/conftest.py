"""Judges how the lab survives: losses, failed deployments, new secrets. `make up` first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lab import Site
from lab_fixtures import (
    administrator,
    api,
    close_connections,
    figure,
    people,
    refuse_to_judge_less,
    site,
)
from people import People
from traffic import Traffic, traffic

__all__ = ["administrator", "api", "close_connections", "figure", "people", "site"]

HERE = Path(__file__).parent
# A run of the whole directory that collects fewer tests than this proves less than it says.
FEWEST_TESTS = 88


# Before any is left out by its marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to judge without a lab, or with fewer tests than there are."""
    refuse_to_judge_less(config, items, HERE, FEWEST_TESTS)


@pytest.fixture
def at_work(site: Site, people: People) -> Callable[[], AbstractContextManager[Traffic]]:
    """50 requests a second on both services meanwhile: `with at_work() as traffic: …`"""
    accounts = people.administrator(), people.create("autobot")
    return lambda: traffic(site, *accounts)
