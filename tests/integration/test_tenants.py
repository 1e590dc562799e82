"""Row-level security: who acts for one organization of AutoBot reaches no other."""

from typing import Any

import pytest

# All rows of an organization have its identifier.
OURS, THEIRS = (f"00000000-0000-0000-0000-00000000000{digit}" for digit in (1, 2))
ROWS = """
    INSERT INTO organizations (id, name, slug) VALUES ('{0}', 'Organization', '{0}');
    INSERT INTO users (id, org_id, username, email) VALUES ('{0}', '{0}', '{0}', '{0}@x');
    INSERT INTO teams (id, org_id, name) VALUES ('{0}', '{0}', 'Team');
    INSERT INTO team_memberships (team_id, user_id) VALUES ('{0}', '{0}');
    INSERT INTO roles (id, org_id, name) VALUES ('{0}', '{0}', 'lead');
    INSERT INTO role_permissions SELECT '{0}', id FROM permissions WHERE name = 'chat:use';
    INSERT INTO user_roles (user_id, role_id) VALUES ('{0}', '{0}');
    INSERT INTO audit_logs (org_id, action, resource_type) VALUES ('{0}', 'user_created', 'user');
    INSERT INTO auth_sessions (id, user_id, expires_at) VALUES ('{0}', '{0}', now());
    INSERT INTO refresh_tokens (token_hash, session_id) VALUES ('{0}', '{0}');
    INSERT INTO user_credentials (user_id) VALUES ('{0}');
    INSERT INTO password_history (user_id, password_hash) VALUES ('{0}', 'hash');
    INSERT INTO api_keys (key_hash, key_prefix, user_id, name) VALUES ('{0}', 'abot', '{0}', 'k');
    INSERT INTO user_mfa (user_id, secret_encrypted) VALUES ('{0}', 'sealed');
    INSERT INTO sso_providers (org_id, provider_type, name) VALUES ('{0}', 'ldap', 'Directory');
"""
# Rows of no organization, and one that is half in ours.
SHARED = f"""
    INSERT INTO users (username, email) VALUES ('nobodys', 'nobodys@x');
    INSERT INTO audit_logs (action, resource_type) VALUES ('user_created', 'user');
    INSERT INTO team_memberships (team_id, user_id) VALUES ('{OURS}', '{THEIRS}');
"""
# The column that says whose a row is.
OWNER = {
    "organizations": "id",
    "users": "org_id",
    "teams": "org_id",
    "team_memberships": "team_id",
    "roles": "org_id",
    "role_permissions": "role_id",
    "user_roles": "user_id",
    "audit_logs": "org_id",
    "auth_sessions": "user_id",
    "refresh_tokens": "session_id",
    "user_credentials": "user_id",
    "password_history": "user_id",
}
# A new row of the organization {}.
INSERTS = {
    "users": "(org_id, username, email) VALUES ('{}', 'new', 'new@x')",
    "teams": "(org_id, name) VALUES ('{}', 'New')",
    "team_memberships": "(team_id, user_id) SELECT '{}', id FROM users WHERE username = 'second'",
    "roles": "(org_id, name) VALUES ('{}', 'new')",
    "role_permissions": "SELECT '{}', id FROM permissions WHERE name = 'files:view'",
    "user_roles": "(user_id, role_id) SELECT '{}', id FROM roles WHERE name = 'user'",
    "audit_logs": "(org_id, action, resource_type) VALUES ('{}', 'user_updated', 'user')",
    "auth_sessions": "(user_id, expires_at) VALUES ('{}', now())",
    "refresh_tokens": "(token_hash, session_id) VALUES ('new', '{}')",
    "user_credentials": "(user_id) VALUES ('{}') ON CONFLICT DO NOTHING",
    "password_history": "(user_id, password_hash) VALUES ('{}', 'new')",
}
# What a tenant sees of the system roles, which belong to nobody.
SYSTEM_ROLES, SYSTEM_ROLE_PERMISSIONS = 3, 41
CHANGED = "WITH changed AS ({} RETURNING 1) SELECT count(*) FROM changed"

each_table = pytest.mark.parametrize("table", OWNER)


@pytest.fixture
def database(autobot_database: Any) -> Any:
    """Two organizations with a row in each table, and rows of neither."""
    autobot_database.sql(ROWS.format(OURS) + ROWS.format(THEIRS) + SHARED)
    return autobot_database


def as_tenant(database: Any, statements: str, organization: str = OURS) -> str:
    """Run as the SLM server does for somebody who is limited to `organization`."""
    found: str = database.sql(
        f"SET ROLE slm_tenant; SET user_management.org_id = '{organization}'; {statements}",
        user="slm_service",
    )
    return found


def test_the_tables_with_policies_are_these(database: Any) -> None:
    secured = database.sql("SELECT relname FROM pg_class WHERE relrowsecurity ORDER BY 1")
    assert secured.splitlines() == sorted(OWNER)


@each_table
def test_a_tenant_sees_its_own_rows_only(database: Any, table: str) -> None:
    everybodys = {
        "roles": "org_id IS NOT NULL",
        "role_permissions": f"role_id IN ('{OURS}', '{THEIRS}')",
    }
    owners = f"SELECT {OWNER[table]} FROM {table} WHERE {everybodys.get(table, 'true')}"
    assert as_tenant(database, owners) == OURS
    assert as_tenant(database, owners, THEIRS) == THEIRS


@each_table
@pytest.mark.parametrize(
    "setting",
    ["", "SET user_management.org_id = '';", f"SET LOCAL user_management.org_id = '{OURS}';"],
    ids=["unset", "empty", "of another transaction"],
)
def test_without_an_organization_a_tenant_sees_nothing(
    database: Any, table: str, setting: str
) -> None:
    seen = database.sql(
        f"BEGIN; {setting} COMMIT; SET ROLE slm_tenant; SELECT count(*) FROM {table}",
        user="slm_service",
    )
    system = {"roles": SYSTEM_ROLES, "role_permissions": SYSTEM_ROLE_PERMISSIONS}
    assert int(seen) == system.get(table, 0)


@pytest.mark.parametrize("table", INSERTS)
def test_a_tenant_adds_rows_to_its_organization_only(database: Any, table: str) -> None:
    second = "INSERT INTO users (org_id, username, email) VALUES ('{}', 'second', 'second@x')"
    database.sql(second.format(OURS))
    insert = f"INSERT INTO {table} {INSERTS[table]}"
    as_tenant(database, insert.format(OURS))
    with pytest.raises(AssertionError, match="violates row-level security policy"):
        as_tenant(database, insert.format(THEIRS))


@pytest.mark.parametrize("table", sorted(set(OWNER) - {"audit_logs"}))
def test_a_tenant_changes_its_own_rows_only(database: Any, table: str) -> None:
    column = OWNER[table]
    update = f"UPDATE {table} SET {column} = {column}"
    assert as_tenant(database, CHANGED.format(update)) == "1"
    assert as_tenant(database, CHANGED.format(f"{update} WHERE {column} = '{THEIRS}'")) == "0"


@pytest.mark.parametrize("table", sorted(set(OWNER) - {"audit_logs", "organizations"}))
def test_a_tenant_deletes_its_own_rows_only(database: Any, table: str) -> None:
    count = f"SELECT count(*) FROM {table}"
    before = int(database.sql(count))
    assert as_tenant(database, CHANGED.format(f"DELETE FROM {table}")) == "1"
    assert int(database.sql(count)) == before - 1


@each_table
def test_a_tenant_moves_no_row_to_another_organization(database: Any, table: str) -> None:
    refusal = "permission denied" if table == "audit_logs" else "row-level security policy"
    with pytest.raises(AssertionError, match=refusal):
        as_tenant(database, f"UPDATE {table} SET {OWNER[table]} = '{THEIRS}'")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM api_keys",
        "SELECT FROM user_mfa",
        "SELECT FROM sso_providers",
        "SELECT FROM user_sso_links",
        "SELECT FROM audit_seals",
        "SELECT FROM audit_anchors",
        "SELECT FROM imported_rows",
        "INSERT INTO permissions (name, resource, action) VALUES ('a:b', 'a', 'b')",
        "INSERT INTO rate_limits (scope, key, expires_at) VALUES ('global', '', now())",
        "DELETE FROM organizations",
        "INSERT INTO organizations (name, slug) VALUES ('New', 'new')",
        "DELETE FROM audit_logs",
        "UPDATE audit_logs SET action = 'x'",
        "ALTER TABLE users DISABLE ROW LEVEL SECURITY",
        "CREATE TABLE mine (id int)",
    ],
)
def test_a_tenant_may_do_nothing_else(database: Any, statement: str) -> None:
    with pytest.raises(AssertionError, match=r"permission denied|must be owner"):
        as_tenant(database, statement)


def test_a_tenant_gives_system_roles_and_leaves_them_as_they_are(database: Any) -> None:
    system = "SELECT id FROM roles WHERE org_id IS NULL"
    assert len(as_tenant(database, system).splitlines()) == SYSTEM_ROLES
    as_tenant(
        database, f"INSERT INTO user_roles (user_id, role_id) SELECT '{OURS}', id FROM ({system}) r"
    )
    for statement in (
        "UPDATE roles SET priority = 0 WHERE org_id IS NULL",
        f"UPDATE roles SET org_id = '{OURS}' WHERE org_id IS NULL",
        "DELETE FROM roles WHERE org_id IS NULL",
        f"DELETE FROM role_permissions WHERE role_id IN ({system})",
    ):
        assert as_tenant(database, CHANGED.format(statement)) == "0", statement
    for statement in (
        "INSERT INTO roles (name) VALUES ('new')",
        "INSERT INTO role_permissions SELECT roles.id, permissions.id FROM roles, permissions"
        " WHERE roles.name = 'readonly' AND permissions.name = 'users:delete'",
        f"UPDATE role_permissions SET role_id = (SELECT id FROM roles WHERE name = 'readonly')"
        f" WHERE role_id = '{OURS}'",
    ):
        with pytest.raises(AssertionError, match="row-level security policy"):
            as_tenant(database, statement)


def test_a_tenant_gives_no_role_and_no_team_of_another_organization(database: Any) -> None:
    for statement in (
        f"INSERT INTO user_roles (user_id, role_id) VALUES ('{OURS}', '{THEIRS}')",
        f"UPDATE user_roles SET role_id = '{THEIRS}'",
        f"INSERT INTO team_memberships (team_id, user_id) VALUES ('{OURS}', '{THEIRS}')",
        f"UPDATE team_memberships SET user_id = '{THEIRS}'",
    ):
        with pytest.raises(AssertionError, match="row-level security policy"):
            as_tenant(database, statement)


@each_table
def test_the_services_see_everything(database: Any, table: str) -> None:
    count = f"SELECT count(*) FROM {table}"
    assert database.sql(count, user="slm_service") == database.sql(count)


def test_the_backend_sees_everybody_it_lets_in(database: Any) -> None:
    """Of these tables it may read columns."""
    for table in ("users", "roles", "user_roles", "auth_sessions", "user_credentials"):
        column = {"user_roles": "user_id", "user_credentials": "user_id"}.get(table, "id")
        count = f"SELECT count({column}) FROM {table}"
        assert database.sql(count, user="autobot_backend") == database.sql(count), table
    database.sql(
        "SELECT note_login(id, 'hash', NULL, now()) FROM users;"
        "INSERT INTO auth_sessions (user_id, expires_at) SELECT id, now() FROM users;"
        "INSERT INTO audit_logs (action, resource_type) VALUES ('login_failed', 'user')",
        user="autobot_backend",
    )


def test_programs_of_autobot_keep_the_rights_that_they_have(database: Any) -> None:
    server = database.server
    server.sql("CREATE ROLE autobot_program LOGIN")
    try:
        database.sql(f"GRANT CONNECT ON DATABASE {database.name} TO autobot_program", "postgres")
        database.sql("GRANT USAGE ON SCHEMA public TO autobot_program")
        database.sql("GRANT SELECT, INSERT ON organizations TO autobot_program")
        database.sql(
            "INSERT INTO organizations (name, slug) VALUES ('New', 'new')", user="autobot_program"
        )
        count = "SELECT count(*) FROM organizations"
        assert database.sql(count, user="autobot_program") == "3"
    finally:
        database.sql("DROP OWNED BY autobot_program", user="postgres")
        server.sql("DROP ROLE autobot_program")


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        (
            "user_search_form(email, username, display_name) LIKE '%abc%'",
            "ix_users_search_form",
        ),
        ("deleted_at IS NULL AND username ~>=~ 'zq' AND username ~<~ 'zr'", "ix_users_username"),
        ("deleted_at IS NULL AND email ~>=~ 'zq' AND email ~<~ 'zr'", "ix_users_email"),
        (
            "deleted_at IS NULL AND search_form(display_name) ~>=~ 'zq'",
            "ix_users_display_name_form",
        ),
    ],
)
def test_policies_stand_in_no_way_of_the_search(database: Any, condition: str, index: str) -> None:
    """Where policies hold, the planner has no figures on LIKE, and reads the list to its end."""
    database.sql(
        "INSERT INTO users (username, email)"
        " SELECT md5(n::text), md5(n::text) || '@autobot.local' FROM generate_series(1, 20000) n"
    )
    database.sql("VACUUM ANALYZE users")
    search = f"EXPLAIN SELECT id FROM users WHERE {condition}"
    plan = database.sql(search, user="slm_service")
    assert f" {index} " in plan
    assert plan == database.sql(search)


def test_a_prepared_statement_follows_the_role(database: Any) -> None:
    """The driver prepares each statement once for a connection, whoever it is used for."""
    seen = database.sql(
        "PREPARE people AS SELECT count(*) FROM users; EXECUTE people;"
        f"BEGIN; SET LOCAL ROLE slm_tenant; SET LOCAL user_management.org_id = '{OURS}';"
        "EXECUTE people; SET LOCAL user_management.org_id = ''; EXECUTE people; COMMIT;"
        "EXECUTE people",
        user="slm_service",
    )
    assert seen.split() == ["3", "1", "0", "3"]
