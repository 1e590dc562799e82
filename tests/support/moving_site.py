"""AutoBot's server with its database of users, and one of ours, to which it is moved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ansible_collections.autobot.users.plugins.module_utils.adoption.moving import Move
from ansible_collections.autobot.users.plugins.module_utils.adoption.servers import Server
from tests.support.database_server import PostgresServer, ProvisionedDatabase
from tests.support.role_files import ROOT, load_plugin, role_vars
from user_management.population import Population

UPSTREAM = (ROOT / "tests/integration/upstream.sql").read_text()
MORE = """
    CREATE SCHEMA own;
    CREATE TABLE own.notes (id serial PRIMARY KEY, "a ""strange"" name" text, at timestamptz);
    INSERT INTO own.notes ("a ""strange"" name", at)
    VALUES (E'tab\\tand\\nline \\\\ ''', now()), (NULL, '-infinity');
    CREATE TABLE parts (id int) PARTITION BY RANGE (id);
    CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (10);
    INSERT INTO parts VALUES (1);
    INSERT INTO users (id, email, username, password_hash, is_active, is_verified, mfa_enabled,
        is_platform_admin)
    VALUES (gen_random_uuid(), 'Ben@Example.org', 'Ben', '$2b$12$hash', true, true, false, false);
"""
WRITE = "UPDATE users SET bio = 'changed' WHERE username = 'ada'"
PEOPLE = """
    SELECT id, email, username, bio, preferences, last_login_at FROM users ORDER BY 1;
    SELECT * FROM terminal_activities ORDER BY 1; SELECT * FROM own.notes ORDER BY 1;
    SELECT id, action FROM audit_logs ORDER BY 1; SELECT * FROM parts ORDER BY 1;
    SELECT last_value, is_called FROM own.notes_id_seq
"""
DATABASE_SCRIPT = ROOT / "roles" / "postgresql" / "files" / "database.sql"


class Site:
    """AutoBot's server, and one of ours."""

    def __init__(self, old: PostgresServer, new: PostgresServer) -> None:
        self.old, self.new = old, new
        self.database = ProvisionedDatabase(new, Population.AUTOBOT, "autobot_users")
        programs = str(new.programs)
        self.move = Move(
            source=Server("slm_app", programs, host=str(old.directory), password="theirs"),
            database="people",
            target=Server("postgres", programs, host=str(new.directory)),
            name="autobot_users",
            verifier=load_plugin("filter.postgresql").verifier("theirs", b"salt"),
            ours=("autobot_user_admin", "slm_service", "autobot_backend"),
        )

    def deployed(self) -> None:
        """Ours has its schema, as after a deployment."""
        self.database.migrate()

    def adopted(self) -> None:
        """The copy is handed over and migrated, as the role does it."""
        wanted = {
            "database": self.move.incoming,
            "owner": "autobot_user_admin",
            "adopt_from": "slm_app",
            "adopted": role_vars("postgresql")("postgresql_adopted_tables"),
            "roles": [
                {"name": "autobot_user_admin", "connection_limit": 5},
                {"name": "slm_service", "connection_limit": 5, "bypass_rls": True},
                {
                    "name": "slm_tenant",
                    "login": False,
                    "connection_limit": 0,
                    "members": ["slm_service"],
                },
                {"name": "autobot_backend", "connection_limit": 5, "members": ["slm_service"]},
            ],
            "verifiers": {},
        }
        quoted = load_plugin("filter.postgresql").psql_quote(json.dumps(wanted))
        self.new.psql(f"\\set check false\n\\set wanted {quoted}\n{DATABASE_SCRIPT.read_text()}")
        replace(self.database, name=self.move.incoming).migrate()

    def copied(self) -> None:
        self.move.copy()
        self.adopted()
        self.move.check()

    def moved(self, *, migrated: bool = False) -> dict[str, Any]:
        """All of it; the schema of ours takes two seconds, which most tests can do without."""
        if migrated:
            self.copied()
        else:
            self.move.copy()
            self.move.check()
        assert self.move.fence()["same"]
        return self.switched()

    def switched(self) -> dict[str, Any]:
        """The switch; it ends the connections of the tests, too."""
        report = self.move.switch()
        self.new.hang_up()
        return report

    def write(self, *, user: str = "slm_app") -> None:
        self.old.sql(WRITE, database="people", user=user)

    def databases(self) -> set[str]:
        return set(self.new.sql("SELECT datname FROM pg_database").splitlines())


@contextmanager
def filled(old: PostgresServer, new: PostgresServer) -> Iterator[Site]:
    """The site, on servers that run; nothing of it is left on them."""
    old.sql("CREATE ROLE slm_app LOGIN; CREATE ROLE reader LOGIN")
    old.sql("CREATE DATABASE people OWNER slm_app")
    old.sql(UPSTREAM + MORE, database="people", user="slm_app")
    new.provision_database("autobot_users", Population.AUTOBOT, None)
    yield Site(old, new)
    for server in (old, new):
        server.hang_up()
        for name in server.sql(
            "SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'"
        ).splitlines():
            server.drop_database(name)
    old.sql("DROP ROLE slm_app, reader")
    new.sql("DROP ROLE IF EXISTS slm_app")
