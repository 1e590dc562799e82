"""A database is given to a second test only if nobody wrote to it."""

from collections.abc import Callable

import pytest

from tests.support.database_server import PostgresServer, ProvisionedDatabase
from user_management.population import Population

Migrated = Callable[[Population], ProvisionedDatabase]


def test_who_only_reads_leaves_it_as_it_was(postgres: PostgresServer, migrated: Migrated) -> None:
    database = migrated(Population.SLM)
    database.sql("SELECT * FROM users")
    assert postgres.is_untouched(database.name)


@pytest.mark.parametrize(
    "statements",
    [
        "INSERT INTO users (username, email) VALUES ('ada', 'ada@x.y')",
        "INSERT INTO rate_limits VALUES ('pair', 'x', 1, now(), null, now()); ROLLBACK",
        "UPDATE roles SET description = description",
        "TRUNCATE users CASCADE",
        "ALTER TABLE audit_seals RENAME TO elsewhere",
        "CREATE TABLE copy (id integer)",
        "GRANT SELECT ON users TO public",
        "DO $$ BEGIN EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO public', "
        "current_database()); END $$",
    ],
)
def test_whatever_is_written_is_noticed(
    postgres: PostgresServer, migrated: Migrated, statements: str
) -> None:
    database = migrated(Population.SLM)
    database.psql(f"BEGIN; {statements}; COMMIT")
    assert not postgres.is_untouched(database.name)
