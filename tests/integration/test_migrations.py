"""Both targets up and down, as the commands are really run."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.util import CommandError

from user_management.population import Population

ROOT = Path(__file__).parents[2]
LOCK_KEY = 0x757365725F6D676D
HEAD = "0012"
TABLES = {
    "api_keys",
    "audit_anchors",
    "audit_logs",
    "audit_seals",
    "auth_sessions",
    "idempotency_records",
    "imported_rows",
    "known_devices",
    "lock_first_administrator",
    "lock_import",
    "lock_roles",
    "lock_sealing",
    "organizations",
    "password_history",
    "permissions",
    "rate_limits",
    "refresh_tokens",
    "role_permissions",
    "roles",
    "sso_providers",
    "team_memberships",
    "taken_words",
    "teams",
    "user_credentials",
    "user_management_version",
    "user_mfa",
    "user_roles",
    "user_sso_links",
    "users",
}

both = pytest.mark.parametrize("population", list(Population))


def dump(database: Any, *options: str) -> str:
    """The schema as SQL, with privileges, without what differs from one pg_dump to the next."""
    done = subprocess.run(
        [
            database.server.bin / "pg_dump",
            "--schema-only",
            *options,
            f"--host={database.server.directory}",
            "--username=postgres",
            database.name,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return re.sub(r"^\\(un)?restrict .*$", "", done.stdout, flags=re.MULTILINE)


def tables(database: Any) -> set[str]:
    return set(
        database.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").splitlines()
    )


@both
@pytest.mark.parametrize("form", ["-n {}", "-x name={}"])
def test_both_command_forms_reach_the_named_database(
    provisioned: Callable[..., Any], population: Population, form: str
) -> None:
    database = provisioned(population)
    done = database.alembic(*form.format(population).split(), "upgrade", "head")
    assert done.returncode == 0, done.stderr
    assert tables(database) == TABLES
    assert database.sql("SELECT version_num FROM user_management_version") == HEAD


@pytest.mark.parametrize(
    "arguments", [[], ["-x", "name=other"], ["-n", "slm", "-x", "name=autobot"]]
)
def test_a_run_without_one_target_says_how_to_name_it(
    provisioned: Callable[..., Any], arguments: list[str]
) -> None:
    done = provisioned(Population.SLM).alembic(*arguments, "upgrade", "head")
    assert done.returncode != 0
    assert "Name one database, slm or autobot" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_missing_setting_is_named(provisioned: Callable[..., Any]) -> None:
    done = provisioned(Population.SLM).alembic("-n", "autobot", "upgrade", "head")
    assert done.returncode != 0
    assert "AUTOBOT_POSTGRES_HOST is not set" in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("population", "role"),
    [
        (Population.SLM, "slm_service"),
        (Population.AUTOBOT, "slm_service"),
        (Population.AUTOBOT, "autobot_backend"),
        (Population.AUTOBOT, "slm_tenant"),
    ],
)
def test_a_missing_role_is_named(
    provisioned: Callable[..., Any], population: Population, role: str
) -> None:
    database = provisioned(population)
    # The roles are the server's, so this one is hidden for as long as the run takes.
    database.server.sql(f"ALTER ROLE {role} RENAME TO hidden")
    try:
        done = database.alembic("-n", population, "upgrade", "head")
    finally:
        database.server.sql(f"ALTER ROLE hidden RENAME TO {role}")
    assert done.returncode != 0
    assert f"Role {role} does not exist." in done.stderr + done.stdout
    assert tables(database) == set()


@both
def test_down_and_up_again_leaves_no_difference(
    provisioned: Callable[..., Any], population: Population
) -> None:
    database = provisioned(population)
    ours = "--exclude-table=user_management_version"
    empty = dump(database, ours)
    database.migrate()
    first = dump(database)
    database.migrate("base")
    assert dump(database, ours) == empty
    database.migrate()
    assert dump(database) == first


@both
@pytest.mark.parametrize("revision", ["0001", "0002", "0004"])
def test_each_revision_is_undone_alone(
    provisioned: Callable[..., Any], population: Population, revision: str
) -> None:
    database = provisioned(population)
    database.migrate(revision)
    before = dump(database)
    database.migrate()
    head = dump(database)
    database.run_alembic(command.downgrade, revision)
    assert dump(database) == before
    database.migrate()
    assert dump(database) == head


@both
def test_autogenerate_finds_no_drift(
    migrated: Callable[[Population], Any], population: Population
) -> None:
    done = migrated(population).alembic("-n", population, "check")
    assert "No new upgrade operations detected." in done.stdout
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "change",
    [
        "DROP INDEX ix_users_search",
        "DROP INDEX ix_users_search_form",
        "DROP INDEX ix_users_username_form",
        "DROP INDEX ix_users_created_at_id",
        "ALTER TABLE users ALTER is_active DROP DEFAULT",
        "ALTER TABLE users ALTER bio TYPE varchar(10)",
        "ALTER TABLE users ADD COLUMN nickname text",
        "DROP TABLE refresh_tokens",
        "DROP TABLE audit_seals",
        "ALTER TABLE auth_sessions DROP COLUMN refresh_secret",
        "ALTER TABLE rate_limits ALTER failures DROP DEFAULT",
        "DROP INDEX ix_audit_seals_audit_id",
        "DROP INDEX uq_team_org_name;"
        "CREATE UNIQUE INDEX uq_team_org_name ON teams (org_id, name) WHERE deleted_at IS NULL",
        "DROP INDEX ix_users_search;"
        "CREATE INDEX ix_users_search ON users USING gin (lower(email) gin_trgm_ops)",
    ],
)
def test_autogenerate_would_see_drift(slm_database: Any, change: str) -> None:
    slm_database.sql(change)
    with pytest.raises(CommandError, match="New upgrade operations detected"):
        slm_database.run_alembic(command.check)


def test_only_the_organization_of_fleet_administrators_is_no_foreign_key(
    slm_database: Any, autobot_database: Any
) -> None:
    drop = "ALTER TABLE {} DROP CONSTRAINT {}_org_id_fkey"
    slm_database.sql(
        "INSERT INTO users (username, email, org_id) VALUES ('ada', 'ada@x', gen_random_uuid())"
    )
    slm_database.sql(drop.format("teams", "teams"))
    autobot_database.sql(drop.format("users", "users"))
    for database in (slm_database, autobot_database):
        with pytest.raises(CommandError, match="New upgrade operations detected"):
            database.run_alembic(command.check)


@both
def test_offline_sql_does_what_the_online_run_does(
    provisioned: Callable[..., Any], migrated: Callable[[Population], Any], population: Population
) -> None:
    database = provisioned(population)
    empty = dump(database, "--exclude-table=user_management_version")
    for arguments, expected in (
        (["upgrade", "head"], dump(migrated(population))),
        (["downgrade", "head:base"], None),
    ):
        script = database.alembic("-x", f"name={population}", *arguments, "--sql")
        assert script.returncode == 0, script.stderr
        database.psql(script.stdout)
        if expected is None:
            assert dump(database, "--exclude-table=user_management_version") == empty
        else:
            assert dump(database) == expected
            assert database.sql("SELECT version_num FROM user_management_version") == HEAD


@both
def test_foreign_tables_are_neither_touched_nor_proposed_for_dropping(
    provisioned: Callable[..., Any], population: Population
) -> None:
    database = provisioned(population)
    database.sql(
        "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);"
        "INSERT INTO alembic_version VALUES ('20260309_007');"
        "CREATE TABLE approvals (id uuid PRIMARY KEY, note text)"
    )
    foreign = dump(database, "--table=alembic_version", "--table=approvals")
    database.migrate()
    database.run_alembic(command.check)
    database.migrate("base")
    assert dump(database, "--table=alembic_version", "--table=approvals") == foreign
    assert database.sql("SELECT version_num FROM alembic_version") == "20260309_007"


def test_a_table_that_others_refer_to_is_not_dropped(slm_database: Any) -> None:
    slm_database.sql("CREATE TABLE file_activities (user_id uuid REFERENCES users (id))")
    done = slm_database.alembic("-n", "slm", "downgrade", "base")
    assert done.returncode != 0
    assert "file_activities" in done.stderr + done.stdout
    assert tables(slm_database) == TABLES | {"file_activities"}


def test_an_extension_that_was_there_stays(provisioned: Callable[..., Any]) -> None:
    database = provisioned(Population.SLM)
    database.sql("CREATE EXTENSION pg_trgm")
    database.migrate()
    database.migrate("base")
    assert database.sql("SELECT count(*) FROM pg_extension WHERE extname = 'pg_trgm'") == "1"


AHEAD = "UPDATE user_management_version SET version_num = '9999';"
SUITS = "COMMENT ON TABLE user_management_version IS 'Suits code since revision {}.'"


@pytest.mark.parametrize("comment", [SUITS.format("9998"), SUITS[:40] + " IS NULL"])
def test_a_schema_ahead_of_the_code_is_refused(slm_database: Any, comment: str) -> None:
    slm_database.sql(AHEAD + comment)
    done = slm_database.alembic("-n", "slm", "upgrade", "head")
    assert done.returncode != 0
    assert "revision 9999" in done.stderr + done.stdout
    assert "ahead of the code" in done.stderr + done.stdout


def test_a_schema_ahead_that_suits_the_code_is_left_alone(slm_database: Any) -> None:
    slm_database.sql(AHEAD + SUITS.format(HEAD))
    before = dump(slm_database)
    done = slm_database.alembic("-n", "slm", "upgrade", "head")
    assert done.returncode == 0, done.stderr
    assert "revision 9999, which suits this release" in done.stderr
    assert dump(slm_database) == before
    down = slm_database.alembic("-n", "slm", "downgrade", "base")
    assert down.returncode != 0
    assert "ahead of the code" in down.stderr + down.stdout


def test_two_runs_at_once_both_succeed(provisioned: Callable[..., Any]) -> None:
    database = provisioned(Population.AUTOBOT)
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "alembic", "-n", "autobot", "upgrade", "head"],
            cwd=ROOT,
            env=database.environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    errors = [run.communicate(timeout=600)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], errors
    assert sum("Running upgrade  -> 0001" in error for error in errors) == 1
    assert tables(database) == TABLES


async def test_a_run_waits_for_another_one(provisioned: Callable[..., Any]) -> None:
    database = provisioned(Population.SLM)
    other = await asyncpg.connect(**database.owner.connect_arguments())
    try:
        await other.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "alembic", "-n", "slm", "upgrade", "head",
            cwd=ROOT, env=database.environment(), stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'alembic'"
        async with asyncio.timeout(600):
            while not await other.fetchval(f"{there} AND pg_sleep(0.05) IS NOT NULL"):
                assert run.returncode is None
        await asyncio.sleep(1)
        assert run.returncode is None
        assert tables(database) == set()
        await other.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)
        _, errors = await run.communicate()
        assert run.returncode == 0, errors
    finally:
        await other.close()


def holding(database: Any, statement: str) -> subprocess.Popen[str]:
    """A psql session that has run `statement` in an open transaction."""
    session = subprocess.Popen(
        [
            database.server.bin / "psql", "-qtA", f"--host={database.server.directory}",
            "--username=postgres", database.name,
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert session.stdin is not None
    assert session.stdout is not None
    session.stdin.write(f"BEGIN; {statement};\n\\echo ready\n")
    session.stdin.flush()
    while session.stdout.readline().strip() != "ready":
        assert session.poll() is None
    return session


def test_waiting_for_another_run_has_an_end(provisioned: Callable[..., Any]) -> None:
    database = provisioned(Population.SLM)
    with holding(database, f"SELECT pg_advisory_lock({LOCK_KEY})"):
        with pytest.raises(
            CommandError, match=r"Another migration .* process \d+ \(postgres, psql"
        ):
            database.run_alembic(command.upgrade, "head", migration_wait_seconds="1")
        assert tables(database) == set()
    database.migrate()


def test_a_table_in_use_stops_the_run_and_nothing_is_changed(slm_database: Any) -> None:
    with holding(slm_database, "LOCK TABLE users IN ACCESS SHARE MODE"):
        with pytest.raises(CommandError, match=r"stays locked by process \d+ \(postgres, psql\)"):
            slm_database.run_alembic(command.downgrade, "base", table_lock_wait_seconds="1")
        assert tables(slm_database) == TABLES


def test_a_statement_that_takes_too_long_is_ended(slm_database: Any) -> None:
    with (
        holding(slm_database, "LOCK TABLE users IN ACCESS SHARE MODE"),
        pytest.raises(CommandError, match="longer than 1s"),
    ):
        slm_database.run_alembic(command.downgrade, "base", statement_seconds="1")
    assert tables(slm_database) == TABLES


NAMES = """
    SELECT username || ' ' || email FROM users ORDER BY id;
    SELECT slug FROM organizations ORDER BY id;
    SELECT name FROM teams ORDER BY id
"""
# 1 is in use, 2 and 3 were deleted before; 4 alone has its name.
REUSED = """
    INSERT INTO organizations (id, name, slug, deleted_at) VALUES
    ('00000000-0000-0000-0000-000000000001', 'One', 'one', NULL),
    ('00000000-0000-0000-0000-000000000002', 'One', 'one', now()),
    ('00000000-0000-0000-0000-000000000003', 'One', 'one', now()),
    ('00000000-0000-0000-0000-000000000004', 'Four', 'four', now());
    INSERT INTO users (id, username, email, deleted_at)
    SELECT id, slug, slug || '@autobot.local', deleted_at FROM organizations;
    INSERT INTO teams (id, org_id, name, deleted_at)
    SELECT id, '00000000-0000-0000-0000-000000000001', slug, deleted_at FROM organizations;
"""


@both
def test_the_release_before_gets_names_that_are_unique_again(
    migrated: Callable[[Population], Any], population: Population
) -> None:
    database = migrated(population)
    database.sql(REUSED)
    database.run_alembic(command.downgrade, "0002")
    suffix = "-00000000-0000-0000-0000-00000000000"
    assert database.sql(NAMES).splitlines() == [
        "one one@autobot.local",
        *(f"one{suffix}{n} one@autobot.local{suffix}{n}" for n in (2, 3)),
        "four four@autobot.local",
        *(2 * ["one", f"one{suffix}2", f"one{suffix}3", "four"]),
    ]
    database.migrate()


@both
def test_of_deleted_rows_with_one_name_one_keeps_it(
    migrated: Callable[[Population], Any], population: Population
) -> None:
    database = migrated(population)
    database.sql(REUSED)
    # Names as long as the columns take them.
    database.sql(
        "DELETE FROM users WHERE deleted_at IS NULL;"
        "UPDATE users SET username = rpad(username, 100, 'x'), email = rpad(email, 255, 'x')"
    )
    database.run_alembic(command.downgrade, "0002")
    kept = "SELECT count(*) FROM users WHERE length(username) = 100 AND length(email) = 255"
    assert database.sql(kept) == "2"


def test_who_was_limited_to_an_organization_is_kept_without_it(slm_database: Any) -> None:
    slm_database.sql(
        "INSERT INTO users (username, email, org_id) VALUES ('ada', 'ada@x', gen_random_uuid())"
    )
    slm_database.run_alembic(command.downgrade, "0002")
    assert slm_database.sql("SELECT username, org_id FROM users") == "ada|"


@both
@pytest.mark.parametrize(
    ("table", "again"),
    [
        ("users", "INSERT INTO users (username, email) VALUES ('one', 'new@autobot.local')"),
        ("users", "INSERT INTO users (username, email) VALUES ('new', 'one@autobot.local')"),
        ("organizations", "INSERT INTO organizations (name, slug) VALUES ('New', 'one')"),
        ("teams", "INSERT INTO teams (org_id, name) SELECT org_id, 'ONE' FROM teams LIMIT 1"),
    ],
)
def test_a_name_is_free_when_its_row_is_deleted(
    migrated: Callable[[Population], Any], population: Population, table: str, again: str
) -> None:
    database = migrated(population)
    database.sql(REUSED)
    with pytest.raises(AssertionError, match="duplicate key"):
        database.sql(again)
    database.sql(f"UPDATE {table} SET deleted_at = now(); {again}")


@both
def test_the_system_roles_hold_what_they_are_named_for(
    migrated: Callable[[Population], Any], population: Population
) -> None:
    roles = migrated(population).sql(
        "SELECT roles.name, is_system, priority, count(*),"
        " count(*) FILTER (WHERE action IN ('read', 'history', 'view', 'download'))"
        " FROM roles JOIN role_permissions ON role_id = roles.id"
        " JOIN permissions ON permissions.id = permission_id GROUP BY roles.id ORDER BY priority"
    )
    assert roles.splitlines() == ["readonly|t|10|7|7", "user|t|50|10|7", "admin|t|100|24|8"]
