"""Judges the deployed lab. `make up` first, then `pytest tests/infra`; or `molecule verify`."""

from __future__ import annotations

from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from tests.lab.fixtures import (
    administrator,
    api,
    close_connections,
    figure,
    people,
    refuse_to_judge_less,
    site,
)
from tests.lab.site import CONTROL_SOCKETS, HOSTS, SSH_CONFIG

__all__ = ["administrator", "api", "close_connections", "figure", "people", "site"]

HERE = Path(__file__).parent
# A run of the whole directory that collects fewer tests than this proves less than it says.
FEWEST_TESTS = 312


# Before any is left out by its marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to judge without a lab, or with fewer tests than there are."""
    refuse_to_judge_less(config, items, HERE, FEWEST_TESTS)


@pytest.fixture(scope="session")
def hosts() -> dict[str, Host]:
    """testinfra's view of each host of the site, as root."""
    return {
        name: testinfra.get_host(
            f"ssh://{name}?controlpath={CONTROL_SOCKETS}/%n",
            ssh_config=str(SSH_CONFIG),
            sudo=True,
        )
        for name in HOSTS
    }
