"""PostgreSQL on both hosts: who may connect from where, and what each role may do."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.lab.site import Result, Site, connect, must, superuser

DATABASES = {"slm": "slm_users", "redis": "autobot_users"}
CA = "/etc/autobot-users/tls/ca.crt"
HBA_REFUSES = "pg_hba.conf rejects connection for host"

each_server = pytest.mark.parametrize("server", DATABASES)


def assert_refused(result: Result, reason: str) -> None:
    """The connection or the statement failed, and for this reason."""
    assert result.status != 0, result.text
    assert re.search(reason, result.stderr, re.DOTALL), result.text


def as_backend(site: Site, sql: str = "SELECT 'answered'", **changes: str) -> Result:
    """From the backend's host as its role: the right way to connect, but for the changes."""
    parameters = {
        "hostaddr": site.addresses["redis"],
        "host": "redis.autobot.internal",
        "dbname": "autobot_users",
        "user": "autobot_backend",
        "sslmode": "verify-full",
        "sslrootcert": CA,
        "password": site.vault["vault_autobot_backend_password"],
        **changes,
    }
    return connect("backend", parameters.pop("password"), sql, **parameters)


def as_service(site: Site, server: str, sql: str, **changes: str) -> Result:
    """From the SLM host as the service's role: the right way to connect, but for the changes."""
    population = "slm" if server == "slm" else "autobot_slm"
    parameters = {
        "hostaddr": "127.0.0.1" if server == "slm" else site.addresses[server],
        "host": f"{server}.autobot.internal",
        "dbname": DATABASES[server],
        "user": "slm_service",
        "sslmode": "verify-full",
        "sslrootcert": CA,
        "password": site.vault[f"vault_{population}_service_password"],
        **changes,
    }
    return connect("slm", parameters.pop("password"), sql, **parameters)


@pytest.fixture
def another_ca() -> Iterator[str]:
    """The certificate of a CA that signed nothing here, on the backend's host."""
    directory = must("backend", "mktemp", "-d")
    must(
        "backend",
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
        *("-subj", "/CN=Another CA", "-keyout", f"{directory}/key", "-out", f"{directory}/ca"),
    )
    yield f"{directory}/ca"
    must("backend", "rm", "-rf", directory)


@pytest.mark.parametrize("host", ["redis.autobot.internal", "172.16.168.23"])
def test_backend_reaches_autobot_users_with_verify_full(site: Site, host: str) -> None:
    result = as_backend(
        site, "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()", host=host
    )
    assert result.stdout.strip() in {"t|TLSv1.2", "t|TLSv1.3"}, result.text


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param({"sslmode": "disable"}, f"{HBA_REFUSES}.*no encryption", id="without-tls"),
        pytest.param(
            {"host": "slm.autobot.internal"}, "does not match host name", id="wrong-host-name"
        ),
        pytest.param({"user": "slm_service"}, HBA_REFUSES, id="role-of-the-service"),
        pytest.param({"user": "autobot_user_admin"}, HBA_REFUSES, id="role-of-the-owner"),
        pytest.param({"user": "slm_tenant"}, HBA_REFUSES, id="role-of-tenants"),
        pytest.param({"user": "postgres"}, HBA_REFUSES, id="superuser"),
        pytest.param({"dbname": "postgres"}, HBA_REFUSES, id="database-postgres"),
        pytest.param({"dbname": "slm_users"}, HBA_REFUSES, id="database-slm_users"),
        pytest.param({"password": "wrong"}, "password authentication failed", id="wrong-password"),
    ],
)
def test_backend_is_refused(site: Site, changes: dict[str, str], reason: str) -> None:
    assert_refused(as_backend(site, **changes), reason)


def test_backend_refuses_a_server_that_another_ca_would_have_signed(
    site: Site, another_ca: str
) -> None:
    assert_refused(as_backend(site, sslrootcert=another_ca), "certificate verify failed")


@pytest.mark.parametrize(
    ("sql", "allowed"),
    [
        ("SELECT id, username, password_setting(id), is_active FROM users LIMIT 1", True),
        ("SELECT password_hash FROM users", False),
        ("SELECT * FROM users", False),
        ("UPDATE users SET is_platform_admin = true", False),
        ("UPDATE users SET password_hash = 'x'", False),
        ("DELETE FROM users", False),
        ("SELECT * FROM audit_logs", False),
        ("SELECT * FROM api_keys", False),
        ("UPDATE user_credentials SET must_change_password = false", False),
        ("CREATE TABLE intruder (x int)", False),
    ],
)
def test_backend_role_only_authenticates(site: Site, sql: str, allowed: bool) -> None:
    result = as_backend(site, f"BEGIN; {sql}; ROLLBACK")
    if allowed:
        assert result.status == 0, result.text
    else:
        assert_refused(result, "permission denied")


@each_server
@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE intruder (x int)",
        "CREATE TEMPORARY TABLE intruder (x int)",
        "CREATE SCHEMA intruder",
        "ALTER TABLE users ADD intruder int",
        "DROP TABLE users",
        "TRUNCATE users CASCADE",
        "UPDATE audit_logs SET outcome = 'success'",
        "DELETE FROM audit_logs",
        "TRUNCATE audit_logs",
        "UPDATE user_management_version SET version_num = 'x'",
        "SET ROLE {owner}",
    ],
)
def test_service_role_cannot(site: Site, server: str, sql: str) -> None:
    owner = {"slm": "slm_admin", "redis": "autobot_user_admin"}[server]
    result = as_service(site, server, f"BEGIN; {sql.format(owner=owner)}; ROLLBACK")
    assert_refused(result, "permission denied|must be owner of")


@each_server
def test_service_role_reads_and_writes_rows(site: Site, server: str) -> None:
    result = as_service(
        site,
        server,
        "BEGIN; UPDATE users SET bio = bio; SELECT count(*) >= 0 FROM audit_logs; ROLLBACK",
    )
    assert result.status == 0, result.text


@pytest.mark.parametrize(
    ("server", "changes", "reason"),
    [
        ("slm", {"dbname": "postgres"}, HBA_REFUSES),
        ("slm", {"dbname": "template1"}, HBA_REFUSES),
        ("slm", {"dbname": "autobot_users"}, HBA_REFUSES),
        ("redis", {"dbname": "postgres"}, HBA_REFUSES),
        ("redis", {"dbname": "slm_users"}, HBA_REFUSES),
        ("redis", {"user": "autobot_backend"}, HBA_REFUSES),
        ("redis", {"user": "slm_tenant"}, HBA_REFUSES),
    ],
)
def test_service_role_reaches_no_other_database(
    site: Site, server: str, changes: dict[str, str], reason: str
) -> None:
    assert_refused(as_service(site, server, "SELECT 1", **changes), reason)


@pytest.mark.parametrize(
    ("server", "others"), [("slm", "vault_autobot_slm"), ("redis", "vault_slm")]
)
def test_service_password_of_one_population_is_worthless_at_the_other(
    site: Site, server: str, others: str
) -> None:
    result = as_service(site, server, "SELECT 1", password=site.vault[f"{others}_service_password"])
    assert_refused(result, "password authentication failed")


def test_the_tenant_role_is_taken_by_the_service_alone(site: Site) -> None:
    role = superuser(
        "redis",
        "autobot_users",
        "SELECT rolcanlogin, rolpassword IS NULL, rolbypassrls FROM pg_authid"
        " WHERE rolname = 'slm_tenant';"
        "SELECT rolname FROM pg_roles"
        " WHERE pg_has_role(oid, 'slm_tenant', 'MEMBER') AND NOT rolsuper ORDER BY 1",
    )
    assert role == [["f", "t", "f"], ["slm_service"], ["slm_tenant"]]
    assert_refused(as_backend(site, "SET ROLE slm_tenant"), "permission denied to set role")


def test_the_tenant_role_sees_no_row_without_an_organization(site: Site) -> None:
    counts = "(SELECT count(*) FROM users), (SELECT count(*) FROM audit_logs)"
    result = as_service(
        site, "redis", f"SELECT {counts}; BEGIN; SET LOCAL ROLE slm_tenant; SELECT {counts}"
    )
    everybody, tenant = result.stdout.split()
    assert "0" not in everybody.split("|")
    assert tenant == "0|0"


def test_policies_hold_for_all_but_the_service() -> None:
    rows = superuser(
        "redis",
        "autobot_users",
        "SELECT count(*) FROM pg_class WHERE relrowsecurity;"
        "SELECT rolname FROM pg_roles WHERE rolbypassrls AND NOT rolsuper",
    )
    assert rows == [["12"], ["slm_service"]]


@each_server
def test_server_listens_on_the_addresses_of_the_inventory_only(site: Site, server: str) -> None:
    expected = {"slm": {"127.0.0.1"}, "redis": {"127.0.0.1", site.addresses["redis"]}}
    sockets = must(server, "ss", "-Hltn", "sport = :5432").splitlines()
    assert {line.split()[3].removesuffix(":5432") for line in sockets} == expected[server]


@each_server
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("SHOW ssl", "on", id="ssl"),
        pytest.param("SHOW ssl_min_protocol_version", "TLSv1.2", id="tls-1.2"),
        pytest.param("SHOW data_checksums", "on", id="data-checksums"),
        pytest.param("SHOW password_encryption", "scram-sha-256", id="scram"),
        pytest.param(
            "SELECT count(*) FROM pg_authid WHERE rolpassword !~ '^SCRAM-SHA-256\\$'",
            "0",
            id="no-md5-verifier",
        ),
        pytest.param(
            "SELECT count(*) FROM pg_authid"
            " WHERE rolcanlogin AND rolname <> 'postgres' AND rolpassword IS NULL",
            "0",
            id="every-login-has-a-password",
        ),
        pytest.param(
            "SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL", "0", id="hba-errors"
        ),
        pytest.param(
            "SELECT count(*) FROM pg_settings WHERE pending_restart", "0", id="pending-restart"
        ),
        pytest.param(
            "SELECT count(*) FROM pg_file_settings WHERE error IS NOT NULL", "0", id="file-errors"
        ),
        pytest.param(
            "SELECT count(*) FROM pg_hba_file_rules WHERE type IN ('host', 'hostnossl')"
            " AND auth_method <> 'reject'",
            "0",
            id="network-only-with-tls",
        ),
        pytest.param(
            "SELECT auth_method FROM pg_hba_file_rules ORDER BY line_number DESC LIMIT 1",
            "reject",
            id="the-last-rule-rejects",
        ),
        pytest.param(
            "SELECT has_database_privilege('public', current_database(), 'CONNECT')"
            " OR has_database_privilege('public', current_database(), 'TEMPORARY')"
            " OR has_schema_privilege('public', 'public', 'CREATE')"
            " OR has_schema_privilege('public', 'public', 'USAGE')",
            "f",
            id="public-has-nothing",
        ),
        pytest.param(
            "SELECT count(*) FROM pg_roles WHERE rolname <> 'postgres' AND rolcanlogin AND"
            " (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication)",
            "0",
            id="no-powerful-role",
        ),
        pytest.param(
            "SELECT setting::int BETWEEN 0 AND 5000 FROM pg_settings"
            " WHERE name = 'log_min_duration_statement'",
            "t",
            id="slow-queries-are-logged",
        ),
        pytest.param(
            "SELECT bool_and(EXISTS (SELECT FROM unnest(rolconfig) s"
            " WHERE s LIKE 'statement_timeout=%'))"
            " FROM pg_roles WHERE rolname IN ('slm_service', 'autobot_backend')",
            "t",
            id="services-have-deadlines",
        ),
    ],
)
def test_server_setting(server: str, query: str, expected: str) -> None:
    assert superuser(server, DATABASES[server], query) == [[expected]]
