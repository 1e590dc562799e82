"""What the tests of the deployed lab share: the site, its administrator, figures, and the guard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import httpx2
import pytest

from tests.lab.people import People
from tests.lab.site import CONTROL_SOCKETS, Administrator, Figure, LabError, Site
from tests.lab.traffic import Traffic, traffic

__all__ = [
    "administrator",
    "api",
    "at_work",
    "close_connections",
    "figure",
    "people",
    "refuse_to_judge_less",
    "site",
]


def asks_for_all(config: pytest.Config, directory: Path) -> bool:
    """Whether the command line names every test of a directory, as such or file by file."""
    if config.option.keyword or config.option.deselect:
        return False
    base = config.invocation_params.dir
    asked = [(base / argument).resolve() for argument in config.args if "::" not in argument]
    return all(
        any(path == file or path in file.parents for path in asked)
        for file in directory.glob("test_*.py")
    )


def refuse_to_judge_less(
    config: pytest.Config,
    items: list[pytest.Item],
    directory: Path,
    fewest: int,
    check: Callable[[], None] = Site.check,
) -> None:
    """End a run without a lab, or of a directory that collected fewer tests than there are.

    `check` raises LabError when the lab is not what the tests judge.
    """
    if config.option.collectonly:
        return
    mine = [item for item in items if directory in item.path.parents]
    if asks_for_all(config, directory) and len(mine) < fewest:
        pytest.exit(f"{len(mine)} tests collected in {directory}, expected {fewest}", 1)
    if not mine:
        return
    try:
        check()
    except LabError as error:
        pytest.exit(f"The lab is not ready ({error}). Run `make up` first.", 1)


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Notes a figure for the summary."""
    return record_property


@pytest.fixture(scope="session", autouse=True)
def close_connections() -> Iterator[None]:
    """Close the shared SSH connections at the end."""
    yield
    # SSH removes the sockets of connections that end meanwhile.
    shutil.rmtree(CONTROL_SOCKETS, ignore_errors=True)


@pytest.fixture(scope="session")
def site() -> Site:
    """The deployed site: addresses, URL, CA, secrets."""
    return Site.load()


@pytest.fixture(scope="session")
def administrator(site: Site) -> Administrator:
    """The first SLM administrator with a password that lasts."""
    return Administrator(site)


@pytest.fixture
def api(site: Site, administrator: Administrator) -> Iterator[httpx2.Client]:
    """The SLM server's API, logged in as the first administrator."""
    with site.client() as client:
        client.headers.update(administrator.authorization(client))
        yield client


@pytest.fixture
def people(site: Site, api: httpx2.Client) -> Iterator[People]:
    """Makes people for this test, and removes them after it."""
    made = People(site, api)
    yield made
    made.remove()


@pytest.fixture
def at_work(site: Site, people: People) -> Callable[[], AbstractContextManager[Traffic]]:
    """People at work on both services meanwhile: `with at_work() as traffic: …`"""
    accounts = people.administrator(), people.create("autobot")
    return lambda: traffic(site, *accounts)
