"""The script that gives databases back to whom they belonged before the first deployment."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.database_server import PostgresServer
from tests.support.role_files import ROOT, load_plugin
from user_management.population import Population

ADOPTING = (ROOT / "roles/postgresql/files/database.sql").read_text()
SCRIPT = (ROOT / "roles/takeover/files/undo.sql").read_text()
UPSTREAM = (Path(__file__).parent / "upstream.sql").read_text()
ROLES = ["owner", "service"]
TABLES = {"users": ["SELECT", "INSERT", "UPDATE", "DELETE"]}


def found(server: PostgresServer, database: str) -> list[dict[str, Any]]:
    """Who owns what, as the first copies have it."""
    query = f"SET search_path = pg_catalog; {load_plugin('modules.first_copies').RIGHTS}"
    said: list[dict[str, Any]] = json.loads(server.sql(query, database=database))
    return said


def run(server: PostgresServer, script: str, **wanted: Any) -> list[str]:
    quoted = load_plugin("filter.postgresql").psql_quote(json.dumps(wanted))
    return server.psql(f"\\set check false\n\\set wanted {quoted}\n{script}").splitlines()


def undo(server: PostgresServer, database: str, before: list[Any], **more: Any) -> list[str]:
    wanted = {"owner": "owner", "kept": f"{database}_undone", "roles": ROLES, **more}
    return run(server, SCRIPT, database=database, found=before, **wanted)


def adopt(server: PostgresServer, database: str) -> list[str]:
    roles = [{"name": name, "connection_limit": 5} for name in ROLES]
    verifiers = load_plugin("filter.postgresql").scram_verifiers(
        dict.fromkeys(ROLES, "a password"), "host", ROLES
    )
    wanted = {"owner": "owner", "adopt_from": "app", "adopted": TABLES, "roles": roles}
    return run(server, ADOPTING, database=database, verifiers=verifiers, **wanted)


@pytest.fixture
def server(new_server: Callable[[], PostgresServer]) -> Iterator[PostgresServer]:
    """A server on which AutoBot lives, as the role app."""
    server = new_server()
    try:
        server.start()
        server.sql("CREATE ROLE app LOGIN; CREATE ROLE reader")
        server.sql("CREATE DATABASE people OWNER app")
        server.sql(
            "ALTER SCHEMA public OWNER TO app; SET ROLE app; CREATE TABLE users (name text);"
            "CREATE TABLE theirs (n int); GRANT SELECT ON users TO reader WITH GRANT OPTION",
            database="people",
        )
        server.hang_up()
        yield server
    finally:
        server.remove()


def test_everything_belongs_to_whom_it_belonged(server: PostgresServer) -> None:
    before = found(server, "people")
    adopt(server, "people")
    adopted = {each["name"]: each["owner"] for each in found(server, "people")}
    assert (adopted["people"], adopted["users"], adopted["public"]) == ("owner",) * 3
    server.hang_up()

    changes = undo(server, "people", before)
    assert "database people: owner of TABLE public.users" in changes
    after = {(each["kind"], each["name"]): each for each in found(server, "people")}
    for each in before:
        now = after[each["kind"], each["name"]]
        assert now["owner"] == each["owner"], each
        lost = [right for right in each["rights"] if right not in now["rights"]]
        assert lost == [], each
    assert server.sql("SELECT rolname FROM pg_roles WHERE rolcanlogin ORDER BY 1") == (
        "app\npostgres"
    )
    server.hang_up()
    assert undo(server, "people", before) == []


def test_what_was_undone_can_be_adopted_again(server: PostgresServer) -> None:
    before = found(server, "people")
    adopt(server, "people")
    undo(server, "people", before)
    changes = adopt(server, "people")
    assert "role owner: attributes" in changes
    assert "database people: owner of table users" in changes
    assert adopt(server, "people") == []


def test_a_table_that_is_gone_since_keeps_nobody_from_the_rest(server: PostgresServer) -> None:
    before = found(server, "people")
    adopt(server, "people")
    server.sql("DROP TABLE theirs", database="people")
    server.hang_up()
    undo(server, "people", before)
    owners = {each["name"]: each["owner"] for each in found(server, "people")}
    assert (owners["people"], owners["users"]) == ("app", "app")


def test_a_database_that_was_made_is_kept_under_a_name_that_says_so(
    server: PostgresServer,
) -> None:
    adopt(server, "made")
    server.sql("CREATE TABLE rows ()", database="made")
    changes = undo(server, "made", [], kept="made_undone_20261130_110000")
    assert "database made: kept as made_undone_20261130_110000" in changes
    server.hang_up()
    assert server.sql("SELECT to_regclass('rows')", database="made_undone_20261130_110000")
    assert undo(server, "made", [], kept="made_undone_20261130_110001") == []
    # The next take-over begins with an empty one.
    assert "database made: create" in adopt(server, "made")


def test_who_may_not_log_in_any_more_is_not_connected_either(server: PostgresServer) -> None:
    before = found(server, "people")
    adopt(server, "people")
    server.hang_up()
    server.sql("SELECT", database="people", user="service")
    server.sql("SELECT", database="people", user="app")
    undo(server, "people", before)
    connected = "SELECT usename FROM pg_stat_activity WHERE usename IN ('app', 'service', 'owner')"
    assert server.sql(connected) == "app"


def test_autobot_works_with_what_migrations_have_added(provisioned: Callable[..., Any]) -> None:
    """Their triggers and tables stay their former owner's, and see what they look at.

    A name with a ligature has other forms, which the triggers look for among all users.
    """
    database = provisioned(Population.SLM)
    server = database.server
    server.sql("CREATE ROLE slm_app")
    try:
        database.sql(UPSTREAM)
        # As if its tables had been the role's before they were adopted.
        before = [
            each | {"owner": "slm_app", "rights": []}
            for each in found(server, database.name)
            if each["kind"] in {"TABLE", "SCHEMA"}
        ]
        database.migrate()
        undo(server, database.name, before, owner="slm_admin", roles=[])
        database.sql(
            "SET ROLE slm_app;"
            "INSERT INTO users (id, email, username, is_active, is_verified, mfa_enabled,"
            " is_platform_admin) VALUES (gen_random_uuid(), 'lig@autobot.local', 'lig\ufb01', true,"
            " true, false, false);"
            "UPDATE users SET username = 'lig\ufb00' WHERE username = 'lig\ufb01';"
            "UPDATE users SET deleted_at = now() WHERE username = 'lig\ufb00';"
            "DELETE FROM users WHERE username = 'lig\ufb00';"
            "ALTER TABLE users ADD COLUMN theirs text",
            user="postgres",
        )
    finally:
        database.sql("REASSIGN OWNED BY slm_app TO slm_admin", user="postgres")
        database.sql("DROP OWNED BY slm_app", user="postgres")
        server.sql("DROP ROLE slm_app")
