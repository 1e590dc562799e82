"""What the roles of the services may do, and what not."""

from typing import Any

import pytest

from user_management.database import EXPECTED_REVISION
from user_management.services.locks import TableLock

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
REFUSED = ("permission denied", "must be owner", "must have admin option")


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
        " ('audit_logs', 'audit_seals', 'audit_anchors', 'imported_rows', 'taken_words',"
        " 'user_management_version') AND tablename NOT LIKE 'lock%'"
    ).splitlines()
    assert len(tables) == 19
    for table in tables:
        rights = database.sql(
            "SELECT string_agg(privilege_type, ',' ORDER BY privilege_type)"
            " FROM information_schema.table_privileges"
            f" WHERE table_name = '{table}' AND grantee = 'slm_service'"
        )
        assert rights == "DELETE,INSERT,SELECT,UPDATE", table
    database.sql("UPDATE users SET bio = 'x'; DELETE FROM users", user="slm_service")


def test_the_service_adds_and_reads_what_was_imported_only(database: Any) -> None:
    statements = [
        "INSERT INTO imported_rows (source, key, user_id) SELECT 'config', '\\x01', id FROM users",
        "SELECT source, key, user_id FROM imported_rows",
    ]
    assert allowed(database, "slm_service", statements) == statements
    edits = ["UPDATE imported_rows SET key = '\\x02'", "DELETE FROM imported_rows"]
    assert allowed(database, "slm_service", edits) == []
    database.sql("DELETE FROM users", user="slm_service")
    assert database.sql("SELECT source, user_id FROM imported_rows") == "config|"


def test_the_service_reads_the_version_and_cannot_write_it(database: Any) -> None:
    assert (
        database.sql("SELECT * FROM user_management_version", user="slm_service")
        == EXPECTED_REVISION
    )
    assert allowed(database, "slm_service", ["DELETE FROM user_management_version"]) == []


# All that the backend's role may do with tables, column by column.
BACKEND_COLUMNS = {
    "users": {
        "SELECT": "id org_id email username is_active is_platform_admin last_login_at deleted_at",
    },
    "user_credentials": {"SELECT": "user_id must_change_password one_time_expires_at"},
    "organizations": {"SELECT": "id is_active deleted_at"},
    "user_roles": {"SELECT": "user_id role_id"},
    "roles": {"SELECT": "id org_id name"},
    "role_permissions": {"SELECT": "role_id permission_id"},
    "permissions": {"SELECT": "id name"},
    "auth_sessions": {
        "SELECT": "id user_id created_at expires_at ended_at refresh_secret ip_address"
        " authenticated_at",
        "INSERT": "id user_id expires_at refresh_secret ip_address user_agent",
        "UPDATE": "expires_at refreshed_at ended_at end_reason",
    },
    "known_devices": {
        "SELECT": "device user_id last_login_at",
        "INSERT": "device user_id",
        "UPDATE": "last_login_at",
    },
    "refresh_tokens": {
        "SELECT": "token_hash session_id used_at",
        "INSERT": "token_hash session_id",
        "UPDATE": "used_at",
    },
    "rate_limits": {
        "SELECT": "scope key failures window_started_at blocked_until expires_at",
        "INSERT": "scope key failures window_started_at expires_at",
        "UPDATE": "failures window_started_at blocked_until expires_at",
    },
    "audit_logs": {
        "INSERT": "id org_id user_id action resource_type resource_id outcome details ip_address"
        " user_agent",
    },
    "user_management_version": {"SELECT": "version_num"},
}
BACKEND_TABLES = {("rate_limits", "DELETE")}
PASSWORD_FUNCTIONS = {
    "password_setting(uuid)",
    "password_matches(uuid,text)",
    "earlier_password_settings(uuid,integer)",
    "is_earlier_password(uuid,integer,text[])",
    "note_login(uuid,text,text,timestamp with time zone)",
    "change_password(uuid,text,text,integer)",
    "confirm_session(uuid,uuid,text)",
}
# They read and write nothing, or work in a trigger only.
EVERYBODYS_FUNCTIONS = {
    "user_search_text(character varying,character varying,character varying)",
    "search_form(text)",
    "user_search_form(character varying,character varying,character varying)",
    "audit_anchor_only_grows()",
    "auth_session_stays_ended()",
    "refuse_moment()",
}


def columns_of(database: Any, role: str) -> set[tuple[str, str, str]]:
    """What the role may do with each column of all that has columns: (table, verb, column)."""
    rows = database.sql(
        "SELECT relname, verb, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES']) AS verb"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')"
        " AND attnum > 0 AND NOT attisdropped"
        f" AND has_column_privilege('{role}', pg_class.oid, attnum, verb)"
    )
    return {(table, verb, column) for table, verb, column in map(split, rows.splitlines())}


def split(row: str) -> list[str]:
    return row.split("|")


def functions_of(database: Any, role: str) -> set[str]:
    """The functions of ours that the role may execute."""
    rows = database.sql(
        "SELECT pg_proc.oid::regprocedure FROM pg_proc"
        " WHERE pronamespace = 'public'::regnamespace"
        f" AND has_function_privilege('{role}', pg_proc.oid, 'EXECUTE') AND NOT EXISTS"
        " (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')"
    )
    return set(rows.splitlines())


def test_the_backend_can_do_nothing_else(autobot: Any) -> None:
    expected = {
        (table, verb, column)
        for table, rights in BACKEND_COLUMNS.items()
        for verb, columns in rights.items()
        for column in columns.split()
    }
    assert columns_of(autobot, "autobot_backend") == expected
    rows = autobot.sql(
        "SELECT relname, verb FROM pg_class, unnest(ARRAY['DELETE', 'TRUNCATE', 'TRIGGER']) AS verb"
        " WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')"
        " AND has_table_privilege('autobot_backend', pg_class.oid, verb)"
    )
    assert {tuple(split(row)) for row in rows.splitlines()} == BACKEND_TABLES
    assert functions_of(autobot, "autobot_backend") == PASSWORD_FUNCTIONS | EVERYBODYS_FUNCTIONS
    assert allowed(autobot, "autobot_backend", DDL) == []


def test_who_may_call_our_functions(database: Any) -> None:
    assert functions_of(database, "slm_service") == (
        PASSWORD_FUNCTIONS | EVERYBODYS_FUNCTIONS | {"hold_words()"}
    )
    assert functions_of(database, "slm_tenant") == EVERYBODYS_FUNCTIONS


def test_the_backend_is_nobody_else(autobot: Any) -> None:
    others = ("autobot_user_admin", "slm_admin", "slm_service", "slm_tenant", "postgres")
    assert allowed(autobot, "autobot_backend", [f"SET ROLE {each}" for each in others]) == []
    assert (
        autobot.sql(
            "SELECT rolsuper, rolinherit AND EXISTS (SELECT FROM pg_auth_members WHERE member ="
            " pg_roles.oid), rolcreaterole, rolcreatedb, rolreplication, rolbypassrls"
            " FROM pg_roles WHERE rolname = 'autobot_backend'"
        )
        == "f|f|f|f|f|f"
    )


FORBIDDEN = {
    "create a user": [
        "INSERT INTO users (username, email) VALUES ('eve', 'eve@x')",
        "INSERT INTO users (id, username, email, is_platform_admin, password_hash)"
        " VALUES (gen_random_uuid(), 'eve', 'eve@x', true, '$2b$04$x')",
        "COPY users (username, email) FROM STDIN",
    ],
    "promote somebody": [
        "UPDATE users SET is_platform_admin = true",
        "UPDATE users SET org_id = NULL",
        "INSERT INTO roles (name) VALUES ('operator')",
        "UPDATE roles SET org_id = NULL, name = 'admin'",
        "INSERT INTO user_roles (user_id, role_id) SELECT users.id, roles.id FROM users, roles",
        "UPDATE user_roles SET role_id = role_id",
        "INSERT INTO role_permissions (role_id, permission_id)"
        " SELECT roles.id, permissions.id FROM roles, permissions",
        "UPDATE permissions SET name = name",
    ],
    "let somebody back in": [
        "UPDATE users SET is_active = true",
        "UPDATE users SET deleted_at = NULL",
        "UPDATE organizations SET is_active = true",
        "UPDATE user_credentials SET must_change_password = false",
        "UPDATE user_credentials SET one_time_expires_at = NULL",
        "DELETE FROM user_credentials",
    ],
    "set a password": [
        "UPDATE users SET password_hash = 'x'",
        "UPDATE users SET email = 'eve@x'",
        "UPDATE users SET username = 'eve'",
        "INSERT INTO password_history (user_id, password_hash) SELECT id, 'x' FROM users",
        "DELETE FROM password_history",
    ],
    "read a password's hash": [
        "SELECT password_hash FROM users",
        "SELECT * FROM users",
        "SELECT users FROM users",
        "SELECT to_jsonb(users) FROM users",
        "SELECT id FROM users WHERE password_hash LIKE '$2b$%'",
        "SELECT id FROM users ORDER BY password_hash",
        "SELECT count(password_hash) FROM users",
        "COPY users TO STDOUT",
        "SELECT password_hash FROM password_history",
        "SELECT id FROM password_history",
        "SELECT setting_of_password_hash('x')",
        "SELECT most_common_vals FROM pg_statistic, pg_stats WHERE false; TABLE pg_statistic",
        "SELECT pg_read_file('base/1/pg_filenode.map')",
    ],
    "read secrets": [
        "SELECT config FROM sso_providers",
        "SELECT external_id FROM user_sso_links",
        "SELECT secret_encrypted FROM user_mfa",
        "SELECT backup_codes_encrypted FROM user_mfa",
        "SELECT key_hash FROM api_keys",
        "SELECT request_hash FROM idempotency_records",
    ],
    "read about people": [
        "SELECT bio FROM users",
        "SELECT display_name FROM users",
        "SELECT preferences FROM users",
        "SELECT user_agent FROM auth_sessions",
        "SELECT name FROM organizations",
        "SELECT id FROM teams",
        "SELECT id FROM team_memberships",
    ],
    "touch the audit log": [
        "SELECT id FROM audit_logs",
        "INSERT INTO audit_logs (action, resource_type) VALUES ('x', 'user') RETURNING id",
        "INSERT INTO audit_logs (action, resource_type, created_at)"
        " VALUES ('login_success', 'user', now() - interval '1 year')",
        "UPDATE audit_logs SET action = 'x'",
        "UPDATE audit_logs SET created_at = now()",
        "DELETE FROM audit_logs",
        "SELECT hash FROM audit_seals",
        "INSERT INTO audit_seals (seq, audit_id, hash) VALUES (1, gen_random_uuid(), '')",
        "DELETE FROM audit_seals",
        "SELECT hash FROM audit_anchors",
        "INSERT INTO audit_anchors (population, seq, hash) VALUES ('slm', 9, '')",
        "UPDATE audit_anchors SET seq = 9",
    ],
    "write another history of sessions": [
        "DELETE FROM auth_sessions",
        "UPDATE auth_sessions SET user_id = user_id",
        "UPDATE auth_sessions SET created_at = now()",
        "UPDATE auth_sessions SET refresh_secret = NULL",
        "INSERT INTO auth_sessions (user_id, expires_at, ended_at) SELECT id, now(), now()"
        " FROM users",
        "UPDATE auth_sessions SET authenticated_at = now()",
        "INSERT INTO auth_sessions (user_id, expires_at, authenticated_at)"
        " SELECT id, now(), 'infinity' FROM users",
        "DELETE FROM known_devices",
        "DELETE FROM refresh_tokens",
        "UPDATE refresh_tokens SET session_id = session_id",
        "UPDATE refresh_tokens SET token_hash = token_hash",
    ],
    "keep others waiting": [
        *(
            f"BEGIN; LOCK TABLE {lock} IN {mode} MODE; ROLLBACK"
            for lock in TableLock
            for mode in ("ACCESS SHARE", "ROW SHARE", "SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE")
        ),
        *(f"SELECT FROM {lock} FOR SHARE" for lock in TableLock),
        *(
            f"SELECT pg_{kind}lock{shared}({key})"
            for kind in ("advisory_", "advisory_xact_", "try_advisory_", "try_advisory_xact_")
            for shared in ("", "_shared")
            for key in ("1", "1, 2")
        ),
    ],
    "fill the disk": [
        *("SELECT lo_from_bytea(0, '')", "SELECT lo_creat(-1)", "SELECT lo_create(0)"),
        *(
            "SELECT lo_put(1, 0, '')",
            "SELECT lo_open(1, 131072)",
            "SELECT lo_import('/etc/passwd')",
        ),
    ],
    "get around a trigger": [
        "DROP TRIGGER stays_ended ON auth_sessions",
        "ALTER TABLE auth_sessions DISABLE TRIGGER stays_ended",
        "SET session_replication_role = replica",
        "CREATE OR REPLACE FUNCTION auth_session_stays_ended() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'",
        "ALTER FUNCTION password_matches RESET search_path",
        "UPDATE user_management_version SET version_num = '0003'",
        "GRANT autobot_user_admin TO autobot_backend",
    ],
}


@pytest.mark.parametrize("wish", FORBIDDEN)
def test_the_backends_password_does_not_suffice_to(autobot: Any, wish: str) -> None:
    assert allowed(autobot, "autobot_backend", FORBIDDEN[wish]) == []


@pytest.mark.parametrize(
    "change", ["ended_at = NULL", "ended_at = NULL, expires_at = 'infinity'", "ended_at = now()"]
)
@pytest.mark.parametrize("role", ["autobot_backend", "slm_service", "autobot_user_admin"])
def test_a_session_that_has_ended_stays_so(autobot: Any, change: str, role: str) -> None:
    autobot.sql("UPDATE auth_sessions SET ended_at = now() - interval '1 s'", user=role)
    with pytest.raises(AssertionError, match="A session that has ended stays so"):
        autobot.sql(f"UPDATE auth_sessions SET {change}", user=role)
    autobot.sql("UPDATE auth_sessions SET ended_at = ended_at, end_reason = 'logout'")
    assert autobot.sql("SELECT ended_at < now(), expires_at > now() FROM auth_sessions") == "t|t"


ADA, SESSION = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))
A_HASH = "$2b$04$" + "." * 53


@pytest.mark.parametrize("role", ["autobot_backend", "slm_service"])
@pytest.mark.parametrize(
    ("session", "user", "password_hash", "before", "confirmed"),
    [
        (SESSION, ADA, A_HASH, "", "t"),
        (SESSION, ADA, "hash", "", "f"),
        (SESSION, ADA, "hash", "UPDATE users SET password_hash = 'hash'", "f"),
        (SESSION, SESSION, A_HASH, "", "f"),
        (ADA, ADA, A_HASH, "", "f"),
        (SESSION, ADA, A_HASH, "UPDATE users SET is_active = false", "f"),
        (SESSION, ADA, A_HASH, "UPDATE users SET deleted_at = now()", "f"),
        (SESSION, ADA, A_HASH, "UPDATE auth_sessions SET ended_at = now()", "f"),
        (SESSION, ADA, A_HASH, "UPDATE auth_sessions SET expires_at = now()", "f"),
    ],
)
def test_only_the_password_confirms_a_session(
    autobot: Any,
    role: str,
    session: str,
    user: str,
    password_hash: str,
    before: str,
    confirmed: str,
) -> None:
    autobot.sql(
        f"UPDATE users SET password_hash = '{A_HASH}';"
        f"UPDATE auth_sessions SET authenticated_at = now() - interval '1 hour'; {before}"
    )
    asked = f"SELECT confirm_session('{session}', '{user}', '{password_hash}')"
    assert autobot.sql(asked, user=role) == confirmed
    recent = "SELECT authenticated_at > now() - interval '1 minute' FROM auth_sessions"
    assert autobot.sql(recent) == confirmed


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
