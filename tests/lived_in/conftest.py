"""Judges a first run on hosts on which AutoBot lives: `molecule test -s lived_in`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.fixtures import close_connections, figure, refuse_to_judge_less
from tests.lab.site import check_containers
from tests.lived_in.deploying import Deployment, deploy
from tests.lived_in.living import forget_answers, make_anew

__all__ = ["close_connections", "figure"]

HERE = Path(__file__).parent
# A run of the whole directory that collects fewer tests than this proves less than it says.
FEWEST_TESTS = 38


# Before any is left out by its marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to judge without the lived-in lab, or with fewer tests than there are."""
    refuse_to_judge_less(config, items, HERE, FEWEST_TESTS, check_containers)


@pytest.fixture
def lived_in() -> Iterator[None]:
    """Hosts on which nothing was ever deployed, and an inventory that answers nothing."""
    make_anew()
    forget_answers()
    yield
    forget_answers()


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    """The site beside AutoBot, deployed by one run while others work."""
    return deploy()
