"""Judges how the lab survives: losses, failed deployments, new secrets. `make up` first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
import pytest

from lab import Administrator, Site, bearer
from lab_fixtures import administrator, close_connections, figure, refuse_to_judge_less, site
from people import People
from traffic import Traffic, traffic

__all__ = ["administrator", "close_connections", "figure", "site"]

HERE = Path(__file__).parent
# A run of the whole directory that collects fewer tests than this proves less than it says.
FEWEST_TESTS = 69


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to judge without a lab, or with fewer tests than there are."""
    refuse_to_judge_less(session, HERE, FEWEST_TESTS)


@pytest.fixture
def api(site: Site, administrator: Administrator) -> Iterator[httpx2.Client]:
    """The SLM server's API, logged in as the first administrator."""
    with site.client() as client:
        login = administrator.login(client)
        assert login.status_code == 200, login.text
        client.headers.update(bearer(login))
        yield client
        with contextlib.suppress(httpx2.HTTPError):
            client.post("/api/slm-auth/logout")


@pytest.fixture
def people(site: Site, api: httpx2.Client) -> Iterator[People]:
    """Makes people for this test, and removes them after it."""
    made = People(site, api)
    yield made
    made.remove()


@pytest.fixture
def at_work(site: Site, people: People) -> Callable[[], AbstractContextManager[Traffic]]:
    """50 requests a second on both services meanwhile: `with at_work() as traffic: …`"""
    accounts = people.administrator(), people.create("autobot")
    return lambda: traffic(site, *accounts)
