"""Databases for the tests: a server for all of them, databases for each. And their figures."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator

import pytest
from ansible.plugins.loader import init_plugin_loader
from hypothesis import settings

from tests.support.budgets import FULL
from tests.support.database_server import PostgresServer, ProvisionedDatabase
from user_management.population import Population

# The collection autobot.users is imported as Ansible imports it; ansible.cfg says where it is.
init_plugin_loader()

# A machine that is busy is no slow function.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server that the tests share; each of them has databases of its own."""
    server = PostgresServer()
    try:
        server.start()
        server.provision_roles()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="session")
def new_server() -> Iterator[Callable[[], PostgresServer]]:
    """Make servers that the caller starts, may maltreat, and removes: `new_server()`."""
    pristine = PostgresServer()
    yield lambda: PostgresServer(pristine.data)
    pristine.remove()


@pytest.fixture(scope="session")
def spare_databases() -> defaultdict[str, list[str]]:
    """Names of databases that a test had and left as they were made, by their template."""
    return defaultdict(list)


@pytest.fixture
def provisioned(
    postgres: PostgresServer, spare_databases: defaultdict[str, list[str]]
) -> Iterator[Callable[..., ProvisionedDatabase]]:
    """Make empty databases: `provisioned(population)`."""
    made: dict[str, str | None] = {}

    def make(population: Population, template: str | None = None) -> ProvisionedDatabase:
        if template and spare_databases[template]:
            name = spare_databases[template].pop()
        else:
            name = f"{population}_{uuid.uuid4().hex}"
            postgres.provision_database(name, population, template)
        made[name] = template
        return ProvisionedDatabase(postgres, population, name)

    yield make
    for name, template in made.items():
        if template and postgres.is_untouched(name):
            spare_databases[template].append(name)
        else:
            postgres.drop_database(name)


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> Callable[[Population], str]:
    """A database at head for each population, made once; name of it."""
    made: dict[Population, str] = {}

    def template(population: Population) -> str:
        if population not in made:
            name = f"{population}_template"
            postgres.provision_database(name, population, None)
            ProvisionedDatabase(postgres, population, name).migrate()
            made[population] = name
        return made[population]

    return template


@pytest.fixture
def migrated(
    provisioned: Callable[..., ProvisionedDatabase],
    migrated_template: Callable[[Population], str],
) -> Callable[[Population], ProvisionedDatabase]:
    """Make databases at Alembic's head: `migrated(population)`."""
    return lambda population: provisioned(population, migrated_template(population))


@pytest.fixture
def slm_database(
    migrated: Callable[[Population], ProvisionedDatabase],
) -> ProvisionedDatabase:
    """An empty slm_users at head."""
    return migrated(Population.SLM)


@pytest.fixture
def autobot_database(
    migrated: Callable[[Population], ProvisionedDatabase],
) -> ProvisionedDatabase:
    """An empty autobot_users at head."""
    return migrated(Population.AUTOBOT)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a full run has."""
    left_out = [] if FULL else [item for item in items if item.get_closest_marker("full")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that the tests saw."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    figures = [line for report in reports for line in report.user_properties]
    if figures:
        terminalreporter.section("figures")
        for what, seen in figures:
            terminalreporter.write_line(f"{what}: {seen}")
