"""The script that brings roles, database and privileges to what is wanted."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.database_server import PostgresServer
from tests.support.role_files import ROOT, load_plugin

SCRIPT = ROOT / "roles" / "postgresql" / "files" / "database.sql"


class Site:
    """What is wanted of a server, and the script that brings it about."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.filters = load_plugin("filter.postgresql")
        self.passwords = {"owner": "owner's password", "service": "service's \\password"}
        self.roles: list[dict[str, Any]] = [
            {"name": "owner", "connection_limit": 5},
            {
                "name": "service",
                "connection_limit": 60,
                "settings": {"statement_timeout": "5s", "lock_timeout": "2s"},
                "bypass_rls": True,
            },
            {"name": "tenant", "login": False, "connection_limit": 0, "members": ["service"]},
        ]
        self.database = "people"
        self.adopt_from = ""

    def run(self, *, check: bool = False) -> list[str]:
        """The changes; raises AssertionError with what psql says when it fails."""
        wanted = {
            "database": self.database,
            "owner": "owner",
            "adopt_from": self.adopt_from,
            "adopted": {"users": ["SELECT", "INSERT", "UPDATE"], "logs": ["SELECT"]},
            "roles": self.roles,
            "verifiers": self.filters.scram_verifiers(self.passwords, "host", list(self.passwords)),
        }
        quoted = self.filters.psql_quote(json.dumps(wanted))
        head = f"\\set check {str(check).lower()}\n\\set wanted {quoted}\n"
        return self.server.psql(head + SCRIPT.read_text()).splitlines()

    def sql(self, statements: str, database: str = "postgres") -> str:
        return self.server.sql(statements, database=database)

    def log_in(self, role: str, password: str) -> str:
        """Connect with a password; psql's message."""
        done = subprocess.run(
            [self.server.bin / "psql", "-XAtc", "SELECT 'welcome'"],
            env={
                **os.environ,
                "PGHOST": str(self.server.directory),
                "PGUSER": role,
                "PGPASSWORD": password,
                "PGDATABASE": self.database,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout + done.stderr


@pytest.fixture
def site(new_server: Callable[[], PostgresServer]) -> Iterator[Site]:
    server = new_server()
    try:
        server.start()
        yield Site(server)
    finally:
        server.remove()


def test_a_fresh_server_gets_everything_and_the_next_run_changes_nothing(site: Site) -> None:
    changes = site.run()
    assert "role service: create" in changes
    assert "database people: create" in changes
    assert site.run() == []
    assert (
        site.sql(
            "SELECT pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate "
            "FROM pg_database WHERE datname = 'people'"
        )
        == "owner|UTF8|C.UTF-8"
    )


def test_check_mode_says_the_same_and_does_nothing(site: Site) -> None:
    predicted = site.run(check=True)
    assert site.sql("SELECT count(*) FROM pg_roles WHERE rolname IN ('owner', 'service')") == "0"
    assert site.sql("SELECT count(*) FROM pg_database WHERE datname = 'people'") == "0"
    changes = site.run()
    # What is inside the database can be said only when it is there.
    inside = ("schema public", "advisory locks", "large objects")
    assert predicted == [change for change in changes if not any(each in change for each in inside)]
    site.sql("ALTER SCHEMA public OWNER TO postgres", database="people")
    assert site.run(check=True) == ["database people: owner of schema public"]
    assert site.run() == ["database people: owner of schema public"]


def test_the_password_opens_and_no_other(site: Site) -> None:
    site.run()
    access = site.server.data / "pg_hba.conf"
    access.write_text("local all postgres trust\nlocal all all scram-sha-256\n")
    site.sql("SELECT pg_reload_conf()")
    assert "welcome" in site.log_in("service", site.passwords["service"])
    assert "password authentication failed" in site.log_in("service", "another")
    site.passwords["service"] = "a new password"
    assert site.run() == ["role service: password"]
    assert "welcome" in site.log_in("service", "a new password")


def test_public_has_nothing_and_the_service_owns_nothing(site: Site) -> None:
    site.run()
    site.sql("CREATE ROLE stranger")
    rights = "has_database_privilege('{0}', 'people', 'CONNECT'), has_database_privilege('{0}', 'people', 'TEMP'), has_schema_privilege('{0}', 'public', 'USAGE'), has_schema_privilege('{0}', 'public', 'CREATE')"  # noqa: E501
    for role, expected in (
        ("stranger", "f|f|f|f"),
        ("service", "t|f|t|f"),
        ("owner", "t|t|t|t"),
        ("tenant", "f|f|t|f"),
    ):
        assert site.sql(f"SELECT {rights.format(role)}", database="people") == expected


def test_the_owner_has_a_reserve_where_there_is_one(site: Site) -> None:
    site.run()
    takers = site.sql(
        "SELECT pg_get_userbyid(member) FROM pg_auth_members"
        " WHERE pg_get_userbyid(roleid) = 'pg_use_reserved_connections'"
    )
    version = int(site.sql("SHOW server_version_num"))
    assert takers == ("owner" if version >= 160000 else "")


def test_a_role_without_login_is_taken_by_its_members_only(site: Site) -> None:
    assert "role tenant: service may take it" in site.run()
    take = "SET ROLE tenant; SELECT current_user"
    assert site.server.sql(take, database="people", user="service") == "tenant"
    with pytest.raises(AssertionError, match="permission denied to set role"):
        site.server.sql(take, database="people", user="owner")
    with pytest.raises(AssertionError, match='role "tenant" is not permitted to log in'):
        site.server.sql("SELECT 1", database="people", user="tenant")


@pytest.mark.parametrize(
    ("database", "drift", "change"),
    [
        ("postgres", "ALTER ROLE service SUPERUSER", "role service: attributes"),
        ("postgres", "ALTER ROLE service CONNECTION LIMIT 3", "role service: attributes"),
        ("postgres", "ALTER ROLE service NOLOGIN", "role service: attributes"),
        ("postgres", "ALTER ROLE service NOBYPASSRLS", "role service: attributes"),
        ("postgres", "ALTER ROLE owner BYPASSRLS", "role owner: attributes"),
        ("postgres", "ALTER ROLE tenant LOGIN", "role tenant: attributes"),
        ("postgres", "ALTER ROLE tenant PASSWORD 'x'", "role tenant: password"),
        ("postgres", "REVOKE tenant FROM service", "role tenant: service may take it"),
        ("postgres", "GRANT tenant TO owner", "role tenant: owner may not take it"),
        ("postgres", "GRANT owner TO service", "role owner: service may not take it"),
        ("postgres", "ALTER ROLE service PASSWORD NULL", "role service: password"),
        (
            "postgres",
            "ALTER ROLE service SET statement_timeout = '1h'",
            "role service: statement_timeout",
        ),
        ("postgres", "ALTER ROLE service RESET lock_timeout", "role service: lock_timeout"),
        ("postgres", "ALTER ROLE owner SET work_mem = '8MB'", "role owner: work_mem"),
        ("postgres", "ALTER DATABASE people OWNER TO postgres", "database people: owner"),
        (
            "postgres",
            "GRANT TEMP ON DATABASE people TO PUBLIC",
            "database people: nothing for PUBLIC",
        ),
        (
            "postgres",
            "REVOKE CONNECT ON DATABASE people FROM service",
            "database people: service may connect",
        ),
        (
            "people",
            "GRANT CREATE ON SCHEMA public TO PUBLIC",
            "database people: nothing for PUBLIC in schema public",
        ),
        (
            "people",
            "REVOKE USAGE ON SCHEMA public FROM service",
            "database people: service may use schema public",
        ),
        (
            "people",
            "GRANT EXECUTE ON FUNCTION pg_advisory_lock(int, int) TO PUBLIC",
            "database people: no advisory locks for PUBLIC",
        ),
        (
            "people",
            "GRANT EXECUTE ON FUNCTION lo_create(oid) TO service",
            "database people: no large objects for service",
        ),
        (
            "people",
            "REVOKE EXECUTE ON FUNCTION pg_try_advisory_xact_lock(bigint) FROM owner",
            "database people: advisory locks for owner",
        ),
    ],
)
def test_drift_is_named_and_undone(site: Site, database: str, drift: str, change: str) -> None:
    site.run()
    site.sql(drift, database=database)
    assert site.run() == [change]
    assert site.run() == []


def test_an_earlier_database_keeps_its_data(site: Site) -> None:
    site.sql("CREATE DATABASE people")
    site.sql("CREATE TABLE users (name text); INSERT INTO users VALUES ('ada')", database="people")
    changes = site.run()
    assert "database people: create" not in changes
    assert "database people: owner" in changes
    assert site.sql("SELECT name FROM users", database="people") == "ada"
    assert site.run() == []


def test_who_may_keep_others_waiting_or_fill_the_disk(site: Site) -> None:
    site.roles.append({"name": "worker", "connection_limit": 5, "advisory_locks": True})
    site.sql("CREATE ROLE neighbour LOGIN")
    site.sql("CREATE DATABASE people")
    # One of others that the database had before.
    site.sql("GRANT CONNECT ON DATABASE people TO neighbour")
    site.run()
    calls = {
        "advisory locks": "SELECT pg_try_advisory_lock(1), pg_advisory_xact_lock_shared(1, 2)",
        "large objects": "SELECT lo_from_bytea(0, '\\x00')",
    }
    allowed = {
        (role, kind)
        for role in ("owner", "worker", "service", "neighbour")
        for kind, call in calls.items()
        if may(site, role, call)
    }
    assert allowed == {
        *(("owner", kind) for kind in calls),
        *(("neighbour", kind) for kind in calls),
        ("worker", "advisory locks"),
    }
    # What is for superusers stays for them.
    assert not may(site, "owner", "SELECT lo_import('/etc/passwd')")
    assert site.run() == []


def may(site: Site, role: str, statement: str) -> bool:
    try:
        site.server.sql(statement, database=site.database, user=role)
    except AssertionError as error:
        if "permission denied for function" not in str(error):
            raise
        return False
    return True


def test_a_database_in_another_encoding_is_refused_before_anything_changes(site: Site) -> None:
    site.sql("CREATE DATABASE people TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(AssertionError, match="LATIN1 and must have UTF8") as raised:
        site.run()
    assert "SCRAM" not in str(raised.value)
    assert site.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'owner'") == "0"


def test_an_error_does_not_quote_what_it_was_given(site: Site) -> None:
    damaged = load_plugin("filter.postgresql").psql_quote(
        '{"verifiers": {"owner": "SCRAM-SHA-256$4096:'
    )
    with pytest.raises(AssertionError, match="invalid input syntax for type json") as raised:
        site.server.psql(f"\\set check false\n\\set wanted {damaged}\n{SCRIPT.read_text()}")
    assert "SCRAM" not in str(raised.value)


def test_a_setting_that_does_not_exist_is_named(site: Site) -> None:
    site.roles[1]["settings"] = {"no_such_setting": "1"}
    with pytest.raises(AssertionError, match="no_such_setting"):
        site.run()


def test_names_that_need_quotes_stay_names(site: Site) -> None:
    site.database = 'peo"ple; DROP'
    site.run()
    assert site.run() == []


@pytest.fixture
def inherited(site: Site) -> Site:
    """A database in which AutoBot lives, as another role."""
    site.sql("CREATE ROLE app LOGIN")
    site.sql("CREATE DATABASE people OWNER app ENCODING 'UTF8' LOCALE 'C.UTF-8' TEMPLATE template0")
    site.sql("CREATE DATABASE other OWNER app")
    site.sql(
        "SET ROLE app; CREATE TABLE users (name text); CREATE TABLE logs (line text);"
        "CREATE TABLE theirs (n int); INSERT INTO users VALUES ('ada')",
        database="people",
    )
    return site


def owners(site: Site) -> str:
    return site.sql(
        "SELECT string_agg(relname || ' ' || pg_get_userbyid(relowner), ', ' ORDER BY relname) "
        "FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace",
        database="people",
    )


def test_tables_stay_whose_they_are_where_nobody_says_so(inherited: Site) -> None:
    inherited.run()
    assert owners(inherited) == "logs app, theirs app, users app"


def test_tables_that_are_adopted_change_hands_and_nothing_else_does(inherited: Site) -> None:
    inherited.adopt_from = "app"
    changes = inherited.run()
    assert "database people: owner of table users" in changes
    assert owners(inherited) == "logs owner, theirs app, users owner"
    assert inherited.sql(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'other'"
    ) == ("app")
    assert inherited.run() == []


def test_who_had_the_tables_goes_on_with_their_rows(inherited: Site) -> None:
    inherited.adopt_from = "app"
    inherited.run()

    def as_app(statement: str) -> str:
        return inherited.server.sql(statement, database="people", user="app")

    assert as_app("SELECT name FROM users") == "ada"
    as_app("INSERT INTO users VALUES ('bob'); UPDATE users SET name = 'eve' WHERE name = 'bob'")
    as_app("INSERT INTO theirs VALUES (1)")
    assert as_app("SELECT count(*) FROM logs") == "0"
    for denied in ("INSERT INTO logs VALUES ('x')", "DROP TABLE users", "DELETE FROM users"):
        with pytest.raises(AssertionError, match=r"permission denied|must be owner"):
            as_app(denied)


def test_what_the_former_owner_loses_is_given_back(inherited: Site) -> None:
    inherited.adopt_from = "app"
    inherited.run()
    inherited.sql("REVOKE UPDATE ON users FROM app", database="people")
    assert inherited.run() == ["database people: app may UPDATE in users"]


def test_a_role_that_is_not_there_has_nothing_to_hand_over(inherited: Site) -> None:
    inherited.adopt_from = "nobody"
    inherited.run()
    assert owners(inherited) == "logs app, theirs app, users app"
