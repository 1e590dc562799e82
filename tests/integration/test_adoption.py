"""A database that AutoBot filled is taken over with its rows, and given back."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.util import CommandError

from user_management.population import Population

UPSTREAM = (Path(__file__).parent / "upstream.sql").read_text()
# SQLAlchemy's create_all leaves out the defaults that only the migration has.
CREATE_ALL = re.sub(
    r"(jsonb) DEFAULT '..'|(joined_at timestamptz) DEFAULT now\(\)", r"\1\2", UPSTREAM
)
FOREIGN = ("alembic_version", "terminal_activities")
SHAPE = """
    SELECT c.relname, attname, format_type(atttypid, atttypmod), attnotnull,
           pg_get_expr(adbin, adrelid)
    FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid
    LEFT JOIN pg_attrdef d ON adrelid = attrelid AND adnum = attnum
    WHERE c.relkind = 'r' AND relnamespace = 'public'::regnamespace AND attnum > 0
    ORDER BY 1, 2;
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2;
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1;
    SELECT table_name, grantee, privilege_type FROM information_schema.table_privileges
    WHERE table_schema = 'public' ORDER BY 1, 2, 3;
    SELECT table_name, column_name, grantee, privilege_type
    FROM information_schema.column_privileges WHERE table_schema = 'public' ORDER BY 1, 2, 3, 4;
"""
ROWS = """
    SELECT id, name, slug, settings, subscription_tier, max_users, is_active FROM organizations;
    SELECT id, org_id, email, username, password_hash, is_active, preferences, created_at
    FROM users;
    SELECT id, user_id, action, outcome, created_at FROM audit_logs;
    SELECT * FROM terminal_activities;
    SELECT * FROM alembic_version;
"""
MARKED = """
    SELECT relname FROM pg_class
    WHERE obj_description(oid, 'pg_class') LIKE 'Adopted by user_management%' ORDER BY 1
"""


def shape(database: Any) -> list[str]:
    """All that one can say of the tables, without AutoBot's own and without their order."""
    lines = database.sql(SHAPE).splitlines()
    return [line for line in lines if not any(name in line for name in FOREIGN)]


@pytest.mark.parametrize("source", [UPSTREAM, CREATE_ALL], ids=["migration", "create_all"])
@pytest.mark.parametrize("population", list(Population))
def test_what_autobot_made_is_adopted_and_given_back(
    provisioned: Callable[..., Any],
    migrated: Callable[[Population], Any],
    population: Population,
    source: str,
) -> None:
    database = provisioned(population)
    database.sql(source)
    rows = database.sql(ROWS)

    database.migrate()
    assert shape(database) == shape(migrated(population))
    assert database.sql(ROWS) == rows
    assert len(database.sql(MARKED).splitlines()) == 13
    database.run_alembic(command.check)
    # A plain INSERT works now, where AutoBot's tables had no defaults.
    database.sql("INSERT INTO users (email, username) VALUES ('b@autobot.local', 'b')")
    database.sql("DELETE FROM users WHERE username = 'b'")

    database.migrate("base")
    assert database.sql(ROWS) == rows
    assert database.sql(MARKED) == ""
    assert "slm_service" not in database.sql(SHAPE)
    assert database.sql("SELECT to_regclass('auth_sessions')") == ""

    database.migrate()
    assert shape(database) == shape(migrated(population))
    assert database.sql(ROWS) == rows


def test_tables_that_are_missing_are_made_and_only_those_are_dropped(
    provisioned: Callable[..., Any], migrated: Callable[[Population], Any]
) -> None:
    database = provisioned(Population.AUTOBOT)
    database.sql(UPSTREAM)
    database.sql(
        "DROP TABLE api_keys, user_sso_links, sso_providers;"
        "DROP INDEX ix_users_org_id, idx_audit_org_created;"
        "COMMENT ON TABLE users IS 'People'"
    )
    rows = database.sql(ROWS)
    database.migrate()
    assert shape(database) == shape(migrated(Population.AUTOBOT))
    database.migrate("base")
    assert database.sql("SELECT to_regclass('api_keys')") == ""
    assert database.sql("SELECT obj_description('users'::regclass)") == "People"
    assert database.sql(ROWS) == rows


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "ALTER TABLE users ALTER email TYPE varchar(100)",
            "users lacks column email character varying(255) not null",
        ),
        (
            "ALTER TABLE users ALTER username DROP NOT NULL",
            "users lacks column username character varying(100) not null",
        ),
        ("ALTER TABLE roles DROP COLUMN priority", "roles lacks column priority integer not null"),
        (
            "DELETE FROM users; ALTER TABLE users ADD COLUMN badge text NOT NULL",
            "users demands badge, which nothing would fill",
        ),
        (
            "ALTER TABLE teams DROP CONSTRAINT uq_team_org_name",
            "teams lacks uq_team_org_name UNIQUE (org_id, name)",
        ),
        (
            "ALTER TABLE users DROP CONSTRAINT users_org_id_fkey",
            "users lacks FOREIGN KEY (org_id) REFERENCES organizations(id) ON DELETE CASCADE",
        ),
        (
            "DROP INDEX ix_users_email; CREATE INDEX ix_users_email ON users (email)",
            "users has another index ix_users_email",
        ),
        (
            "DROP TABLE role_permissions; CREATE VIEW role_permissions AS SELECT 1 AS role_id",
            "role_permissions is not a table",
        ),
    ],
)
def test_another_shape_is_refused_by_name_and_nothing_is_changed(
    provisioned: Callable[..., Any], change: str, message: str
) -> None:
    database = provisioned(Population.AUTOBOT)
    database.sql(UPSTREAM)
    database.sql(change)
    before = database.sql(SHAPE)
    with pytest.raises(CommandError, match=re.escape(message)):
        database.migrate()
    assert database.sql(SHAPE) == before


def test_tables_of_another_owner_are_refused_with_the_way_out(
    provisioned: Callable[..., Any],
) -> None:
    database = provisioned(Population.AUTOBOT)
    database.server.sql("CREATE ROLE slm_app")
    try:
        database.sql(UPSTREAM)
        database.sql("ALTER TABLE users OWNER TO slm_app", user="postgres")
        done = database.alembic("-n", "autobot", "upgrade", "head")
        assert done.returncode != 0
        assert "Table users belongs to slm_app, not to autobot_user_admin." in done.stdout
        hint = "REASSIGN OWNED BY slm_app TO autobot_user_admin;"
        assert hint in done.stdout
        database.sql(hint, user="postgres")
        database.migrate()
    finally:
        database.sql("DROP OWNED BY slm_app", user="postgres")
        database.server.sql("DROP ROLE slm_app")


def test_offline_sql_adopts_too(provisioned: Callable[..., Any]) -> None:
    database = provisioned(Population.AUTOBOT)
    database.sql(CREATE_ALL)
    rows = database.sql(ROWS)
    database.sql(database.alembic("-n", "autobot", "upgrade", "head", "--sql").stdout)
    assert len(database.sql(MARKED).splitlines()) == 13
    database.sql(database.alembic("-n", "autobot", "downgrade", "head:base", "--sql").stdout)
    assert database.sql(ROWS) == rows
