"""What the roles of the services may do, and what not."""

from typing import Any

import pytest

from user_management.database import EXPECTED_REVISION

ROWS = """
    INSERT INTO users (id, username, email, password_hash)
    VALUES ('00000000-0000-0000-0000-000000000001', 'ada', 'ada@autobot.local', 'hash');
    INSERT INTO auth_sessions (id, user_id, expires_at)
    VALUES ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001',
            now() + interval '1 hour');
    INSERT INTO user_credentials (user_id) VALUES ('00000000-0000-0000-0000-000000000001');
    INSERT INTO audit_logs (action, resource_type) VALUES ('login_success', 'user');
"""
DDL = [
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE SCHEMA mine",
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "ALTER TABLE users ADD COLUMN mine int",
    "ALTER TABLE users OWNER TO CURRENT_USER",
    "DROP TABLE users",
    "DROP INDEX ix_users_email",
    "CREATE INDEX ON users (bio)",
    "TRUNCATE audit_logs",
    "CREATE TRIGGER mine BEFORE UPDATE ON users FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
]
REFUSED = ("permission denied", "must be owner")


@pytest.fixture(params=["slm_database", "autobot_database"])
def database(request: pytest.FixtureRequest) -> Any:
    """Either database, with a user."""
    made = request.getfixturevalue(request.param)
    made.sql(ROWS)
    return made


@pytest.fixture
def autobot(autobot_database: Any) -> Any:
    autobot_database.sql(ROWS)
    return autobot_database


def allowed(database: Any, role: str, statements: list[str]) -> list[str]:
    """Those of the statements that the server did not refuse to `role`."""
    done = []
    for statement in statements:
        try:
            database.sql(statement, user=role)
        except AssertionError as error:
            if not any(reason in str(error) for reason in REFUSED):
                raise
        else:
            done.append(statement)
    return done


def test_the_service_changes_no_schema(autobot: Any) -> None:
    assert allowed(autobot, "slm_service", DDL) == []


def test_the_service_adds_and_reads_audit_rows_only(database: Any) -> None:
    database.sql(ROWS.splitlines()[-1], user="slm_service")
    assert database.sql("SELECT count(*) FROM audit_logs", user="slm_service") == "2"
    # Granting to oneself draws a warning and has no effect.
    database.sql("GRANT UPDATE, DELETE ON audit_logs TO CURRENT_USER", user="slm_service")
    edits = ["UPDATE audit_logs SET action = 'x'", "DELETE FROM audit_logs"]
    assert allowed(database, "slm_service", edits) == []


def test_the_service_adds_and_reads_seals_only(database: Any) -> None:
    statements = [
        "INSERT INTO audit_seals (seq, audit_id, hash) SELECT 1, id, '\\x01' FROM audit_logs",
        "SELECT seq, audit_id, hash FROM audit_seals",
    ]
    assert allowed(database, "slm_service", statements) == statements
    edits = [
        *("UPDATE audit_seals SET hash = '\\x02'", "DELETE FROM audit_seals"),
        *("TRUNCATE audit_seals", "SELECT 1 FROM audit_seals FOR UPDATE"),
    ]
    assert allowed(database, "slm_service", edits) == []


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ("seq = 6, hash = '\\x02'", True),
        ("anchored_at = now()", True),
        ("seq = 4", False),
        ("seq = 4, hash = '\\x02'", False),
        ("hash = '\\x02'", False),
        ("population = 'autobot', seq = 6", False),
    ],
)
def test_an_anchor_only_moves_forward(database: Any, change: str, accepted: bool) -> None:
    anchor = "SELECT population, seq, hash FROM audit_anchors"
    database.sql(
        "INSERT INTO audit_anchors (population, seq, hash) VALUES ('slm', 5, '\\x01')",
        user="slm_service",
    )
    update = f"UPDATE audit_anchors SET {change}"
    if accepted:
        database.sql(update, user="slm_service")
        return
    with pytest.raises(AssertionError, match="only moves forward"):
        database.sql(update, user="slm_service")
    assert database.sql(anchor) == "slm|5|\\x01"


def test_the_service_takes_no_anchor_away(database: Any) -> None:
    statements = [
        "DELETE FROM audit_anchors",
        "TRUNCATE audit_anchors",
        "DROP TRIGGER only_grows ON audit_anchors",
        "ALTER TABLE audit_anchors DISABLE TRIGGER only_grows",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION audit_anchor_only_grows() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'",
    ]
    assert allowed(database, "slm_service", statements) == []


def test_the_service_works_with_all_other_tables(database: Any) -> None:
    tables = database.sql(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN"
        " ('audit_logs', 'audit_seals', 'audit_anchors', 'user_management_version')"
    ).splitlines()
    assert len(tables) == 18
    for table in tables:
        rights = database.sql(
            "SELECT string_agg(privilege_type, ',' ORDER BY privilege_type)"
            " FROM information_schema.table_privileges"
            f" WHERE table_name = '{table}' AND grantee = 'slm_service'"
        )
        assert rights == "DELETE,INSERT,SELECT,UPDATE", table
    database.sql("UPDATE users SET bio = 'x'; DELETE FROM users", user="slm_service")


def test_the_service_reads_the_version_and_cannot_write_it(database: Any) -> None:
    assert (
        database.sql("SELECT * FROM user_management_version", user="slm_service")
        == EXPECTED_REVISION
    )
    assert allowed(database, "slm_service", ["DELETE FROM user_management_version"]) == []


def test_the_backend_can_authenticate(autobot: Any) -> None:
    statements = [
        "SELECT id, username, email, password_hash, is_active, is_platform_admin, deleted_at"
        " FROM users",
        "UPDATE users SET last_login_at = now() WHERE username = 'ada'",
        "SELECT r.name FROM user_roles u JOIN roles r ON r.id = u.role_id ORDER BY r.priority",
        "SELECT must_change_password, one_time_expires_at FROM user_credentials",
        "INSERT INTO auth_sessions (user_id, expires_at)"
        " SELECT id, now() FROM users RETURNING id, created_at",
        "UPDATE auth_sessions SET ended_at = now(), end_reason = 'logout'",
        "INSERT INTO audit_logs (action, resource_type) VALUES ('login_failed', 'user')",
    ]
    assert allowed(autobot, "autobot_backend", statements) == statements


def test_the_backend_can_do_nothing_else(autobot: Any) -> None:
    statements = [
        *DDL,
        "SELECT bio FROM users",
        "SELECT preferences FROM users",
        "SELECT * FROM users",
        "INSERT INTO users (username, email) VALUES ('eve', 'eve@x')",
        "UPDATE users SET is_platform_admin = true",
        "UPDATE users SET password_hash = 'x'",
        "DELETE FROM users",
        "SELECT id FROM audit_logs",
        "UPDATE audit_logs SET action = 'x'",
        "DELETE FROM audit_logs",
        "UPDATE auth_sessions SET expires_at = now() + interval '1 year'",
        "UPDATE auth_sessions SET user_id = user_id",
        "DELETE FROM auth_sessions",
        "UPDATE user_credentials SET must_change_password = false",
        "INSERT INTO user_roles (user_id, role_id) SELECT id, id FROM users",
        "SELECT key_hash FROM api_keys",
        "SELECT secret_encrypted FROM user_mfa",
        "SELECT config FROM sso_providers",
        "SELECT token_hash FROM refresh_tokens",
        "SELECT password_hash FROM password_history",
        "DELETE FROM rate_limits",
        "INSERT INTO audit_seals (seq, audit_id, hash) VALUES (1, gen_random_uuid(), '')",
        "INSERT INTO audit_anchors (population, seq, hash) VALUES ('slm', 9, '')",
        "SET ROLE slm_tenant",
        "SET ROLE slm_service",
    ]
    assert allowed(autobot, "autobot_backend", statements) == []


def test_the_backend_has_nothing_in_slm_users(slm_database: Any) -> None:
    assert allowed(slm_database, "autobot_backend", ["SELECT 1"]) == []


def test_public_has_nothing(database: Any) -> None:
    server = database.server
    server.sql(f"CREATE ROLE stranger_{database.population} LOGIN")
    try:
        assert allowed(database, f"stranger_{database.population}", ["SELECT 1"]) == []
        assert "PUBLIC" not in database.sql(
            "SELECT grantee FROM information_schema.table_privileges WHERE table_schema = 'public'"
        )
    finally:
        server.sql(f"DROP ROLE stranger_{database.population}")
