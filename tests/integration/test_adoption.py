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
        database.sql("ALTER TABLE teams OWNER TO slm_app", user="postgres")
        database.sql("CREATE TABLE public.theirs ()", user="postgres")
        database.sql("ALTER TABLE public.theirs OWNER TO slm_app", user="postgres")
        done = database.alembic("-n", "autobot", "upgrade", "head")
        assert done.returncode != 0
        assert (
            "Of the tables to adopt, teams belongs to slm_app, users belongs to slm_app"
            " and not to autobot_user_admin." in done.stdout
        )
        hint = done.stdout.split("As superuser in this database: ", 1)[1].strip()
        assert hint == (
            "ALTER TABLE public.teams OWNER TO autobot_user_admin;"
            " ALTER TABLE public.users OWNER TO autobot_user_admin;"
        )
        database.sql(hint, user="postgres")
        database.migrate()
        # What is no table of AutoBot's stays whose it was.
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'theirs'"
        assert database.sql(owner) == "slm_app"
    finally:
        database.sql("DROP OWNED BY slm_app", user="postgres")
        database.server.sql("DROP ROLE slm_app")


HELD = """
    SELECT roles.name, count(*) FROM roles JOIN role_permissions ON role_id = roles.id
    WHERE org_id IS NULL AND is_system GROUP BY roles.id ORDER BY 1;
    SELECT count(*) FROM permissions
"""


def test_roles_and_permissions_get_what_they_lack_and_keep_what_they_have(
    provisioned: Callable[..., Any],
) -> None:
    """AutoBot's tables take a role twice; and an organization may have roles of its own."""
    database = provisioned(Population.AUTOBOT)
    database.sql(UPSTREAM)
    database.sql(
        "INSERT INTO permissions (id, name, description, resource, action) VALUES"
        " (gen_random_uuid(), 'users:read', 'Its own words', 'users', 'read'),"
        " (gen_random_uuid(), 'robots:drive', 'Of AutoBot alone', 'robots', 'drive');"
        "INSERT INTO roles (id, org_id, name, is_system, priority) VALUES"
        " (gen_random_uuid(), NULL, 'admin', true, 7),"
        " (gen_random_uuid(), NULL, 'admin', false, 8),"
        " (gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 'admin', false, 9),"
        " (gen_random_uuid(), '00000000-0000-0000-0000-000000000001', 'user', false, 9);"
        "INSERT INTO role_permissions SELECT roles.id, permissions.id FROM roles, permissions"
        " WHERE priority = 7"
    )
    database.migrate()
    # Both roles `admin` have the 24; one of them what it had besides.
    held = ["admin|24", "admin|25", "readonly|7", "user|10", "25"]
    assert sorted(database.sql(HELD).splitlines()) == sorted(held)
    priorities = "SELECT name, priority FROM roles ORDER BY name, priority"
    assert database.sql(priorities).splitlines() == [
        *("admin|7", "admin|8", "admin|9", "readonly|10", "user|9", "user|50")
    ]
    own = "SELECT count(*) FROM role_permissions JOIN roles ON role_id = id WHERE priority = 9"
    assert database.sql(own) == "0"
    words = "SELECT description FROM permissions WHERE name = 'users:read'"
    assert database.sql(words) == "Its own words"
    # Undone and done again, nothing is there twice.
    database.migrate("base")
    database.migrate()
    assert sorted(database.sql(HELD).splitlines()) == sorted(held)


def test_teams_that_differ_in_case_only_are_named_and_nothing_is_changed(
    provisioned: Callable[..., Any],
) -> None:
    database = provisioned(Population.AUTOBOT)
    database.sql(UPSTREAM)
    database.sql(
        "INSERT INTO teams (id, org_id, name, is_default)"
        " SELECT gen_random_uuid(), organizations.id, team.name, false"
        " FROM organizations, (VALUES ('Ops'), ('ops')) AS team (name)"
    )
    before = database.sql(SHAPE)
    with pytest.raises(CommandError, match=r"lower\(name::text\).*, ops\) is duplicated"):
        database.migrate()
    assert database.sql(SHAPE) == before


def test_offline_sql_adopts_too(provisioned: Callable[..., Any]) -> None:
    database = provisioned(Population.AUTOBOT)
    database.sql(CREATE_ALL)
    rows = database.sql(ROWS)
    database.psql(database.alembic("-n", "autobot", "upgrade", "head", "--sql").stdout)
    assert len(database.sql(MARKED).splitlines()) == 13
    database.psql(database.alembic("-n", "autobot", "downgrade", "head:base", "--sql").stdout)
    assert database.sql(ROWS) == rows
