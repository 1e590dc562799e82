"""Judges the deployed lab. `make up` first, then `pytest tests/infra`; or `molecule verify`."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import testinfra
from testinfra.host import Host

from lab import CONTROL_SOCKETS, HOSTS, SSH_CONFIG, Administrator, Figure, LabError, Site, bearer

HERE = Path(__file__).parent
# A run of the whole directory that collects fewer tests than this proves less than it says.
FEWEST_TESTS = 255


def asks_for_all(config: pytest.Config) -> bool:
    """Whether the command line names every test here, as a directory or file by file."""
    option = config.option
    if option.keyword or option.markexpr or option.deselect:
        return False
    base = config.invocation_params.dir
    asked = [(base / argument).resolve() for argument in config.args if "::" not in argument]
    return all(
        any(path == file or path in file.parents for path in asked)
        for file in HERE.glob("test_*.py")
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to judge without a lab, or with fewer tests than there are."""
    mine = [item for item in session.items if HERE in item.path.parents]
    if session.config.option.collectonly:
        return
    if asks_for_all(session.config) and len(mine) < FEWEST_TESTS:
        pytest.exit(f"{len(mine)} tests collected in {HERE}, expected {FEWEST_TESTS}", 1)
    if not mine:
        return
    try:
        Site.check()
    except LabError as error:
        pytest.exit(f"The lab is not ready ({error}). Run `make up` first.", 1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that the tests saw."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    figures = [line for report in reports for line in report.user_properties]
    if figures:
        terminalreporter.section("figures")
        for what, seen in figures:
            terminalreporter.write_line(f"{what}: {seen}")


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Figure:
    """Notes a figure for the summary."""
    return record_property


@pytest.fixture(scope="session", autouse=True)
def _connections() -> Iterator[None]:
    """Close the shared SSH connections at the end."""
    yield
    shutil.rmtree(CONTROL_SOCKETS, ignore_errors=True)


@pytest.fixture(scope="session")
def site() -> Site:
    """The deployed site: addresses, URL, CA, secrets."""
    return Site.load()


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


@pytest.fixture(scope="session")
def administrator(site: Site) -> Administrator:
    """The first SLM administrator with a password that lasts."""
    return Administrator(site)


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
