"""What the survey of a host says of PostgreSQL and of AutoBot's users in it."""

import os
import socket
import subprocess
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ansible_collections.autobot.users.plugins.module_utils.survey import (
    clusters,
    databases,
    people,
    psql,
)
from tests.support.database_server import PostgresServer
from tests.support.libpq import Connection
from tests.support.role_files import ROOT
from user_management.database import VERSION_TABLE
from user_management.names import comparable
from user_management.schemas.fields import Username
from user_management.transfer.candidates import MADE_UP_DOMAIN, InvalidRow, read_row

UPSTREAM = (ROOT / "tests" / "integration" / "upstream.sql").read_text()
OPERATIONAL = """
CREATE TABLE users (
    id serial PRIMARY KEY, username varchar(64) NOT NULL UNIQUE,
    password_hash varchar(255) NOT NULL, is_active boolean, is_admin boolean,
    created_at timestamp, last_login timestamp
);
"""
OPERATIONAL_USERS = {
    "admin": "$2b$12$abcdefghijklmnopqrstuv",
    "Marta": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
    "marta": "$scrypt$ln=16,r=8,p=1$c2FsdA$aGFzaA",
    "zero\u200bwidth": "pbkdf2:sha256:600000$salt$0123",
    "ops.team": "",
    "lena": "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8",
    # Another population has one of this name.
    "rob": "{SSHA}c2FsdGVk",
    "ada": "bcrypt-sha384$$2b$12$abcdefghijklmnopqrstuv",
}
MANAGED_USER = """
INSERT INTO users (id, email, username, password_hash, is_active, is_verified, mfa_enabled,
                   is_platform_admin, deleted_at)
VALUES ('{id}', '{email}', '{username}', NULL, true, true, false, false, {deleted_at});
"""
# How AutoBot's role writes it, and what the server shows of each line.
HBA = """\
# TYPE  DATABASE        USER            ADDRESS                 METHOD
local   all             postgres                                peer
host    "slm",slm_users slm_app         172.16.168.0/24         scram-sha-256
hostssl all             all \\
        fd00::/64       scram-sha-256 # all
host    all             all             samenet                 md5
host    all             all             10.0.9.0  255.0.255.0   reject
host    all             all             all
"""
# pg_hba_file_rules of PostgreSQL 16, and its file names.
RULE = {
    "rule_number": 1,
    "line_number": 2,
    "type": "host",
    "database": ["all"],
    "user_name": ["all"],
    "address": "10.0.0.0",
    "netmask": "255.0.0.0",
    "auth_method": "md5",
    "options": None,
    "error": None,
}


class Cluster:
    """A running cluster of AutoBot's, and what the survey needs to ask it."""

    def __init__(self, server: PostgresServer, port: int) -> None:
        self.server = server
        self.port = port
        version = server.bin.parent.name
        (self.found,) = clusters.listed(f"{version} main {port} online postgres {server.data} log")

    def connect(self, _cluster: dict[str, Any]) -> list[str]:
        return [
            str(self.server.bin / "psql"),
            f"--host={self.server.directory}",
            f"--port={self.port}",
            "--username=surveyor",
        ]


def managed_user(number: int, username: str, email: str, deleted_at: str = "NULL") -> str:
    identity = f"00000000-0000-0000-0000-{number:012}"
    return MANAGED_USER.format(id=identity, username=username, email=email, deleted_at=deleted_at)


@pytest.fixture(scope="module")
def cluster(new_server: Callable[[], PostgresServer]) -> Iterator[Cluster]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = new_server()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPORT", str(port))
        try:
            (server.data / "conf.d").mkdir()
            with (server.data / "postgresql.conf").open("a") as configuration:
                configuration.write("include_dir = 'conf.d'\n")
            server.start("listen_addresses=127.0.0.1", port=port)
            fill(server)
            (server.data / "pg_hba.conf").write_text(HBA)
            yield Cluster(server, port)
        finally:
            server.remove()


def fill(server: PostgresServer) -> None:
    """The databases of an installation, and some that are none of AutoBot's."""
    names = ("slm", "slm_users", "autobot_users", "moved", "others", "typed", "shown", "closed")
    server.psql(
        "CREATE ROLE surveyor SUPERUSER LOGIN; CREATE ROLE slm_app LOGIN;"
        + "".join(f"CREATE DATABASE {name} OWNER slm_app;" for name in names)
        + "ALTER DATABASE closed ALLOW_CONNECTIONS false;"
    )
    server.psql(
        OPERATIONAL
        + "".join(
            f"INSERT INTO users (username, password_hash) VALUES ('{name}', '{stored}');"
            for name, stored in OPERATIONAL_USERS.items()
        ),
        database="slm",
    )
    server.psql(
        UPSTREAM
        + managed_user(10, "admin", "Admin@example.org")
        + managed_user(13, "admin2", "admin@EXAMPLE.org")
        + managed_user(11, "lena", f"lena@{MADE_UP_DOMAIN}")
        + managed_user(12, "gone", "gone@example.org", "now()")
        # The owner of a database may say where names are looked up there.
        + "CREATE SCHEMA owners; CREATE FUNCTION owners.format_type(oid, integer) RETURNS text"
        " LANGUAGE sql AS $$ SELECT 'stolen' $$;"
        "ALTER DATABASE slm_users SET search_path = owners, pg_catalog;",
        database="slm_users",
    )
    server.psql(
        UPSTREAM
        + "DROP TABLE user_mfa; ALTER TABLE users DROP COLUMN bio;"
        + "ALTER TABLE users ALTER COLUMN preferences TYPE text;"
        + managed_user(20, "nils", "nils@example.org")
        + managed_user(21, "olga", "olga@example.org")
        + managed_user(22, "pia", "pia@example.org")
        + managed_user(24, "rob", "rob@example.org")
        + managed_user(26, "uma", "uma@example.org")
        + managed_user(25, "sven", f"Sven@{MADE_UP_DOMAIN}")
        + managed_user(23, "kim@example.org", "kim@example.org")
        + "INSERT INTO teams (id, org_id, name, settings, is_default, deleted_at) SELECT"
        " gen_random_uuid(), id, team, '{}', false, CASE team WHEN 'old' THEN now() END"
        " FROM organizations, unnest(ARRAY['one', 'two', 'old']) AS team;",
        database="autobot_users",
    )
    server.psql(
        UPSTREAM
        + f"CREATE TABLE {VERSION_TABLE} (version_num text);"
        + managed_user(20, "nils", "new@example.org")
        + managed_user(31, "olga", "another@example.org")
        + managed_user(32, "pia2", "pia@example.org")
        + managed_user(33, "kim", "kim@elsewhere.org")
        + managed_user(34, "mail", "rob")
        + managed_user(36, "uma", "UMA@example.org")
        + managed_user(35, "sven", "sven@example.org"),
        database="moved",
    )
    # Its owner could have made a type whose casts are their code.
    server.psql(
        "CREATE DOMAIN secret AS varchar(255);"
        + OPERATIONAL.replace("password_hash varchar(255)", "password_hash secret")
        + "INSERT INTO users (username, password_hash) VALUES ('tom', '$2b$12$hash');",
        database="typed",
    )
    server.psql("CREATE TABLE users (id integer, username text);", database="others")
    server.psql(
        OPERATIONAL.replace("TABLE users", "TABLE people")
        + "CREATE VIEW users AS SELECT * FROM people;",
        database="shown",
    )


@pytest.fixture(scope="module")
def stores(cluster: Cluster) -> dict[str, dict[str, Any]]:
    """By database."""
    described = clusters.described(cluster.found, cluster.connect)
    assert described["error"] == ""
    return {store["database"]: store for store in databases.stores([described], cluster.connect)}


class TestClusters:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", []),
            # Debian 12
            (
                "15  main    5432 online postgres /var/lib/postgresql/15/main"
                " /var/log/postgresql/postgresql-15-main.log\n",
                [("15", "main", 5432, True, "postgres", "/var/lib/postgresql/15/main")],
            ),
            # Ubuntu 22.04 with the cluster that was there before, and a standby
            (
                "14  main    5433 down,binaries_missing postgres  /var/lib/postgresql/14/main"
                " /var/log/postgresql/postgresql-14-main.log\n"
                "16  main    5432 online,recovery       postgres  /var/lib/postgresql/16/main"
                " /var/log/postgresql/postgresql-16-main.log\n"
                "16  test    5434 down                  <unknown> <unknown>                  "
                " /var/log/postgresql/postgresql-16-test.log\n",
                [
                    ("14", "main", 5433, False, "postgres", "/var/lib/postgresql/14/main"),
                    ("16", "main", 5432, True, "postgres", "/var/lib/postgresql/16/main"),
                    ("16", "test", 5434, False, "", ""),
                ],
            ),
        ],
    )
    def test_pg_lsclusters_lists_them(self, text: str, found: list[tuple[Any, ...]]) -> None:
        columns = ("version", "name", "port", "running", "owner", "data_directory")
        listed = clusters.listed(text)
        assert [tuple(cluster[column] for column in columns) for cluster in listed] == found

    def test_a_running_one_says_what_it_is(self, cluster: Cluster) -> None:
        over_network = f"127.0.0.1 port={cluster.port}"
        sessions = [
            Connection(host, "slm_app", "slm")
            for host in (over_network, over_network, str(cluster.server.directory))
        ]
        described = clusters.described(cluster.found, cluster.connect)
        for session in sessions:
            session.close()

        data = cluster.server.data
        assert described["error"] == ""
        assert described["config_file"] == str(data / "postgresql.conf")
        assert described["hba_file"] == str(data / "pg_hba.conf")
        assert described["listen_addresses"] == "127.0.0.1"
        assert [described[key] for key in ("ssl", "checksums", "include_dir")] == [
            False,
            False,
            True,
        ]
        databases = {database.pop("name"): database for database in described["databases"]}
        assert databases.keys() >= {"postgres", "slm", "closed"}
        assert databases.keys().isdisjoint({"template0", "template1"})
        assert databases["slm"].pop("size_bytes") > 1_000_000
        assert databases["slm"] == {
            "owner": "slm_app",
            "encoding": "UTF8",
            "collate": "C.UTF-8",
            "ctype": "C.UTF-8",
        }
        assert described["roles"] == [
            {"name": "postgres", "login": True, "superuser": True},
            {"name": "slm_app", "login": True, "superuser": False},
            {"name": "surveyor", "login": True, "superuser": True},
        ]
        clients = described["clients"]
        assert [each for each in clients if each["role"] == "slm_app"] == [
            {
                "address": address,
                "role": "slm_app",
                "database": "slm",
                "tls": False,
                "connections": connections,
            }
            for address, connections in (("", 1), ("127.0.0.1", 2))
        ]
        assert "surveyor" not in [each["role"] for each in clients]

    def test_who_may_enter_is_told_line_by_line(self, cluster: Cluster) -> None:
        described = clusters.described(cluster.found, cluster.connect)

        rules = described["hba"]
        assert {rule["file"] for rule in rules} == {described["hba_file"]}
        assert [
            (rule["line"], rule["type"], rule["address"], rule["method"]) for rule in rules
        ] == [
            (2, "local", None, "peer"),
            (3, "host", "172.16.168.0/24", "scram-sha-256"),
            (4, "hostssl", "fd00::/64", "scram-sha-256"),
            (6, "host", "samenet", "md5"),
            (7, "host", "10.0.9.0/255.0.255.0", "reject"),
        ]
        assert (rules[1]["databases"], rules[1]["roles"]) == (["slm", "slm_users"], ["slm_app"])
        assert rules[1]["text"].startswith('host    "slm",slm_users')
        assert rules[2]["text"].startswith("hostssl all")
        assert rules[2]["text"].endswith("scram-sha-256 # all")
        # Line 4 matches nobody as long as the server has no TLS, and is no fault.
        assert described["hba_errors"] == ["line 8: end-of-line before authentication method"]

    def test_lines_of_included_files_have_their_place(self, tmp_path: Path) -> None:
        main, other, lost = (str(tmp_path / name) for name in ("hba", "other", "lost"))
        Path(main).write_text("# nothing\nhost all all 10.0.0.0/8 md5\n")
        Path(other).write_text("\n# nothing\nlocal all all peer\n")
        rules, errors, unread = clusters.hba(
            [
                {**RULE, "file_name": other, "line_number": 3, "address": None, "netmask": None},
                {**RULE, "file_name": main},
                {**RULE, "file_name": lost},
                {**RULE, "type": None, "file_name": other, "line_number": 7, "error": "invalid"},
            ],
            main,
        )
        assert [rule["text"] for rule in rules] == [
            "local all all peer",
            "host all all 10.0.0.0/8 md5",
            "",
        ]
        assert errors == [f"{other} line 7: invalid"]
        assert len(unread) == 1
        assert lost in unread[0]

    @pytest.mark.parametrize(
        ("files", "expected"),
        [
            # Debian's own
            (
                {
                    "postgresql.conf": "data_directory = '/data'\t\t# use data in another place\n"
                    "hba_file = '/etc/postgresql/16/main/pg_hba.conf'\t# host-based file\n"
                    "#listen_addresses = '*'\nport = 5432\nssl = on\n"
                    "include_dir = 'conf.d'\t\t\t# include files ending in '.conf' from\n",
                    "conf.d/10.conf": "listen_addresses = 'localhost, 10.0.0.1'\n",
                    "conf.d/20.conf.off": "listen_addresses = '*'\n",
                    "conf.d/.hidden.conf": "ssl = off\n",
                },
                ("localhost, 10.0.0.1", True, True, "/etc/postgresql/16/main/pg_hba.conf"),
            ),
            # AutoBot's: no include_dir, no ssl
            (
                {"postgresql.conf": "listen_addresses = '*'\nmax_connections = 100\n"},
                ("*", False, False, "{data}/pg_hba.conf"),
            ),
            # What comes last counts, in the place where it is included, ALTER SYSTEM at the end
            (
                {
                    "postgresql.conf": "include 'more/a.conf'\ninclude_if_exists nowhere.conf\n"
                    "SSL=off\n#include_dir 'conf.d'\n",
                    "more/a.conf": "ssl on\ninclude_dir='../conf.d'\ninclude_dir 'empty'\n"
                    "listen_addresses '10.0.0.2'\n",
                    "more/empty/none": "",
                    "conf.d/10.conf": "listen_addresses = '10.0.0.1'\nssl = 'yes'\n",
                    "data/postgresql.auto.conf": "listen_addresses = 'it''s\\'10.0.0.3'\n",
                },
                ("it's'10.0.0.3", False, True, "{data}/pg_hba.conf"),
            ),
            (
                {
                    "postgresql.conf": "include_dir = 'other/conf.d'\n",
                    "conf.d/10.conf": "ssl = on\n",
                    "other/conf.d/10.conf": "",
                },
                ("localhost", False, False, "{data}/pg_hba.conf"),
            ),
        ],
        ids=["debian", "autobot", "includes", "another directory"],
    )
    def test_files_speak_for_one_that_is_down(
        self, tmp_path: Path, files: dict[str, str], expected: tuple[Any, ...]
    ) -> None:
        place = tmp_path / "16" / "main"
        data = place / "data"
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
        line = f"16 main 5433 down postgres {data} /var/log/postgresql/postgresql-16-main.log"

        described = clusters.described(clusters.listed(line)[0], configurations=tmp_path)

        assert described["error"] == ""
        assert described["config_file"] == str(place / "postgresql.conf")
        keys = ("listen_addresses", "ssl", "include_dir")
        listen_addresses, ssl, include_dir, hba_file = expected
        assert [described[key] for key in keys] == [listen_addresses, ssl, include_dir]
        assert described["hba_file"] == hba_file.format(data=data)
        assert (described["databases"], described["hba"]) == ([], [])
        assert databases.stores([described]) == []

    @pytest.mark.parametrize(
        ("text", "by_command", "later"),
        [
            ("ssl = off\ninclude_dir 'conf.d'\n", "", {}),
            ("include_dir 'conf.d'\nssl = off\n", "", {"ssl": "postgresql.conf"}),
            ("include_dir 'conf.d'\ninclude 'more.conf'\n", "", {"port": "more.conf"}),
            # The run appends it: only what ALTER SYSTEM has set comes later.
            ("ssl = off\n", "", {}),
            ("ssl = off\n", "ssl = 'off'\n", {"ssl": "data/postgresql.auto.conf"}),
        ],
    )
    def test_what_comes_after_the_settings_of_the_run_is_found(
        self, tmp_path: Path, text: str, by_command: str, later: dict[str, str]
    ) -> None:
        place = tmp_path / "16" / "main"
        (place / "conf.d").mkdir(parents=True)
        (place / "data").mkdir()
        (place / "conf.d/50.conf").write_text("ssl = on\n")
        (place / "more.conf").write_text("port = 5433\n")
        (place / "postgresql.conf").write_text(text)
        (place / "data/postgresql.auto.conf").write_text(by_command)
        line = f"16 main 5433 down postgres {place}/data /var/log/postgresql/16.log"
        described = clusters.described(clusters.listed(line)[0], configurations=tmp_path)
        assert described["later"] == {name: str(place / file) for name, file in later.items()}

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            (None, "No such file"),
            ("include 'nowhere.conf'\n", "nowhere.conf"),
            ("include_dir 'nowhere'\n", "nowhere"),
            ("include 'postgresql.conf'\n", "included by too many files"),
        ],
    )
    def test_files_that_cannot_be_read_are_an_error(
        self, tmp_path: Path, text: str | None, said: str
    ) -> None:
        if text is not None:
            (tmp_path / "postgresql.conf").write_text(text)
        line = f"16 main 5433 down postgres {tmp_path} log"
        described = clusters.described(clusters.listed(line)[0], configurations=tmp_path)
        assert said in described["error"]
        assert (described["listen_addresses"], described["ssl"]) == ("", None)

    def test_one_that_does_not_answer_is_told_with_psqls_words(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def asked_as(*options: str) -> str:
            described = clusters.described(
                cluster.found, lambda found: [*cluster.connect(found), *options]
            )
            assert described["databases"] == []
            return str(described["error"])

        assert asked_as("--username=nobody").endswith('FATAL:  role "nobody" does not exist')
        # Its last line is a hint.
        refused = asked_as("--port=1")
        assert "failed: No such file or directory" in refused
        monkeypatch.setattr(clusters, "CLUSTER_QUERY", "SELECT pg_sleep(3)")
        monkeypatch.setattr(psql, "DEADLINE", 1)
        # Of another role, because it goes on for a while, a client that another test would see.
        assert asked_as("--username=postgres") == "There was no answer within 1 seconds."

    def test_a_session_is_bounded_and_looks_up_names_in_postgresqls_schema(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = ("search_path", "transaction_read_only", "statement_timeout", "lock_timeout")
        settings = ", ".join(f"current_setting('{name}')" for name in (*names, "lc_messages"))
        # The text of what is no number is in the message.
        monkeypatch.setattr(clusters, "CLUSTER_QUERY", f"SELECT concat_ws(' ', {settings})::int")
        described = clusters.described(cluster.found, cluster.connect)
        assert described["error"].endswith(': "pg_catalog on 5s 5s C"')

    def test_psql_is_run_as_the_owner_at_the_clusters_socket(self) -> None:
        (found,) = clusters.listed("16 main 5432 online postgres /data log")
        command = psql.as_owner(found)
        assert command[-3:] == ["psql", "--cluster", "16/main"]
        if os.geteuid() == 0:
            who = subprocess.run(
                [*command[:-3], "id", "-un"], capture_output=True, text=True, check=True
            )
            assert who.stdout == "postgres\n"
        described = clusters.described({**found, "owner": "no-such-user"})
        assert "There is no user no-such-user." in described["error"]

    def test_a_host_without_clusters_has_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(clusters, "PATH", str(tmp_path))
        assert clusters.clusters() == []
        program = tmp_path / "pg_lsclusters"
        program.write_text("#!/bin/sh\necho '16 main 5432 down postgres /nowhere log'\n")
        program.chmod(0o755)
        assert [found["name"] for found in clusters.clusters()] == ["main"]
        program.write_text("#!/bin/sh\necho 'Error: Invalid configuration' >&2; exit 1\n")
        (nameless,) = clusters.clusters()
        assert (nameless["name"], nameless["error"]) == ("", "Error: Invalid configuration")


class TestStores:
    def test_they_are_told_by_their_tables(self, stores: dict[str, dict[str, Any]]) -> None:
        keys = ("kind", "population", "users", "teams", "schema", "missing")
        assert {name: tuple(store[key] for key in keys) for name, store in stores.items()} == {
            "slm": ("slm_operational", "slm", 8, 0, "upstream", []),
            "slm_users": ("user_management", "slm", 4, 0, "upstream", []),
            "autobot_users": (
                "user_management",
                "autobot",
                8,
                2,
                "partial",
                ["user_mfa", "users.bio", "users.preferences (it is text)"],
            ),
            "moved": ("user_management", "autobot", 8, 0, "ours", []),
            "typed": (
                "slm_operational",
                "slm",
                1,
                0,
                "partial",
                ["users.password_hash (it is public.secret)"],
            ),
            "shown": ("slm_operational", "slm", None, None, "partial", []),
            "closed": ("unknown", "autobot", None, None, "partial", []),
        }

    def test_hashes_are_counted_by_their_form(self, stores: dict[str, dict[str, Any]]) -> None:
        assert stores["slm"]["hash_forms"] == {
            "bcrypt": 2,
            "argon2": 1,
            "scrypt": 1,
            "pbkdf2": 1,
            "none": 1,
            "unknown": 2,
        }
        assert stores["typed"]["hash_forms"] == {"unknown": 1}
        assert stores["slm_users"]["hash_forms"] == {"bcrypt": 1, "none": 3}

    def test_what_an_import_would_stumble_over_is_named(
        self, stores: dict[str, dict[str, Any]]
    ) -> None:
        def problems(database: str) -> list[tuple[str, str]]:
            return [(each["user"], each["reason"]) for each in stores[database]["problems"]]

        version = stores["slm"]["cluster"].split("/")[0]
        here = f"{version}/main"
        unsaid = "whether they are one person is not said. " + people.ONE_PERSON
        moved, left, one = f"{here} moved", f"{here} autobot_users", people.ONE_PERSON
        crossed = "It has a name that is the address of {}, or the reverse. " + people.ONE_OF_THEM
        case = "Its name is, but for case and the like, that of {}, too. " + people.ONE_OF_THEM
        assert problems("slm") == [
            (
                "zero\u200bwidth",
                "Its name holds white space or characters that people cannot see or tell apart. "
                + people.REFUSED,
            ),
            ("Marta", case.format("marta")),
            ("ada", f"It has the name of ada in {here} slm_users; {unsaid}"),
            ("admin", f"It has the name of admin in {here} slm_users; {unsaid}"),
            ("lena", f"It has the name of lena in {here} slm_users; {unsaid}"),
            ("marta", case.format("Marta")),
            ("ops.team", people.OUTSIDE.format(word="ops.team")),
        ]
        address = "Its e-mail address is, but for case and the like, that of {}, too. "
        assert problems("slm_users") == [
            ("ada", f"It has the name of ada in {here} slm; {unsaid}"),
            ("admin", f"It has the name of admin in {here} slm; {unsaid}"),
            ("admin", address.format("admin2") + people.ONE_OF_THEM),
            ("admin2", address.format("admin") + people.ONE_OF_THEM),
            ("lena", f"It has the name of lena in {here} slm; {unsaid}"),
        ]
        # Nils has another address now, and is who he was: he has his id. Sven was imported, and has
        # an address since. Uma has one name and one address.
        assert problems("autobot_users") == [
            ("olga", f"It has the name of olga in {moved}, and another e-mail address. {one}"),
            ("pia", f"It has the e-mail address of pia2 in {moved}. {one}"),
            ("rob", crossed.format(f"mail in {moved}")),
            ("kim@example.org", people.OUTSIDE.format(word="kim@example.org")),
        ]
        assert problems("moved") == [
            (
                "mail",
                "Its e-mail address is not of the form name@domain. " + people.REFUSED,
            ),
            ("mail", crossed.format(f"rob in {left}")),
            ("olga", f"It has the name of olga in {left}, and another e-mail address. {one}"),
            ("pia2", f"It has the e-mail address of pia in {left}. {one}"),
        ]
        assert "example.org" not in str([store["problems"] for store in stores.values()]).replace(
            "kim@example.org", ""
        )
        assert problems("shown") == [("", "public.users is not a plain table, so it is not read.")]
        ((nobody, reason),) = problems("closed")
        assert nobody == ""
        assert 'database "closed" is not currently accepting connections' in reason

    def test_a_locked_table_is_a_problem_with_postgresqls_words(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        options = psql.ENVIRONMENT["PGOPTIONS"].replace("lock_timeout=5s", "lock_timeout=100ms")
        monkeypatch.setitem(psql.ENVIRONMENT, "PGOPTIONS", options)
        found = {**cluster.found, "databases": [{"name": "slm"}]}
        holder = subprocess.Popen(
            [*cluster.connect(found), "slm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"BEGIN; LOCK TABLE users;\n")
        holder.stdin.flush()
        # Its words come when it has the lock.
        assert [holder.stdout.readline() for _ in range(2)] == [b"BEGIN\n", b"LOCK TABLE\n"]
        (store,) = databases.stores([found], cluster.connect)
        holder.communicate()
        reason = "ERROR:  canceling statement due to lock timeout"
        assert store["problems"] == [{"user": "", "reason": reason}]
        assert store["kind"] == "slm_operational"

    def test_many_problems_are_counted_and_too_many_names_not_compared(
        self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = {**cluster.found, "databases": [{"name": "slm"}]}
        monkeypatch.setattr(people, "SHOWN_PROBLEMS", 2)
        (store,) = databases.stores([found], cluster.connect)
        assert [each["user"] for each in store["problems"]] == ["zero\u200bwidth", "Marta", ""]
        assert store["problems"][2]["reason"] == "There are 2 more."
        monkeypatch.setattr(databases, "COMPARED_USERS", len(OPERATIONAL_USERS) - 1)
        (store,) = databases.stores([found], cluster.connect)
        assert (store["users"], len(store["problems"])) == (len(OPERATIONAL_USERS), 1)
        assert "Names are not compared" in store["problems"][0]["reason"]

    def test_tables_are_those_of_upstream(self) -> None:
        created = [line.split()[2] for line in UPSTREAM.splitlines() if line.startswith("CREATE T")]
        others = {"alembic_version", "terminal_activities"}
        assert set(databases.TABLES["user_management"]) == set(created) - others
        assert databases.VERSION_TABLE == VERSION_TABLE


# Signs, marks, letters of many scripts, and what cannot be seen: without those of which thousands
# are alike.
CHARACTERS = [
    chr(code)
    for first, end in (
        (0x0001, 0x0900),
        (0x1100, 0x1200),
        (0x1700, 0x1900),
        (0x2000, 0x2200),
        (0x2800, 0x2801),
        (0x2E00, 0x2F00),
        (0x3000, 0x3200),
        (0xA960, 0xA980),
        (0xD7B0, 0xD800),
        (0xFB00, 0x10000),
        (0x1F600, 0x1F610),
        (0xE0000, 0xE0200),
    )
    for code in range(first, end)
]
NAMES = [
    *(f"a{character}b" for character in CHARACTERS),
    *(f"{each}ab" for each in CHARACTERS if unicodedata.category(each)[0] in "MPZ"),
    *(f"\N{HANGUL CHOSEONG KIYEOK}{chr(code)}" for code in range(0x1100, 0x1200)),
]


class TestNames:
    """The rule of the import, restated without its libraries."""

    def test_a_name_is_refused_for_the_same_characters(self) -> None:
        refused = {name for name in NAMES if is_refused(name, None)}
        assert {name for name in NAMES if people.refusal(name, None)} ^ refused == set()

    def test_the_same_names_are_one(self) -> None:
        taken = [name for name in NAMES if not people.refusal(name, None)]
        assert len(taken) > 3000
        assert [name for name in taken if people.comparable(name) != comparable(name)] == []

    @pytest.mark.parametrize(
        ("name", "email"),
        [
            ("marta", "marta@example.org"),
            ("", "marta@example.org"),
            ("  ", None),
            ("ops team", None),
            (" ops.team ", None),
            ("n" * 100, None),
            ("n" * 101, None),
            # One character that becomes two in lower case, and one that becomes 18.
            ("\u0130" * 60, None),
            ("\ufdfa", None),
            ("stra\u00dfe", None),
            ("\u0440\u0430\u0443", None),
            ("e\u0301", None),
            ("kim@example.org", None),
            ("Kim@Example.org", "kim@example.ORG"),
            ("kim@example.org", "kim@example.com"),
            ("kim@", None),
            ("@kim", None),
            ("kim@exam_ple.org", None),
            ("kim@b\u00fccher.example", None),
            ("kim", "kim"),
            ("kim", "kim@localhost"),
            ("kim", "k\u00efm@example.org"),
            ("kim", "k\u00efm"),
            ("kim", "kim.@b\u00fccher.example"),
            ("kim", "@b\u00fccher.example"),
            ("kim", "kim@b\u00fccher.example"),
            ("kim", " kim@example.org "),
            ("kim", "kim@example..org"),
            ("kim", "kim.@example.org"),
            ("kim", f"kim@{'a' * 64}.org"),
            ("kim", f"{'k' * 250}@example.org"),
        ],
    )
    def test_a_user_is_refused_as_the_import_does(self, name: str, email: str | None) -> None:
        assert bool(people.refusal(name, email)) is is_refused(name, email)

    @pytest.mark.parametrize("name", ["ab", "abc", "a" * 100, "a" * 101, "a_B9", "a.b", "\u00e4bc"])
    def test_autobots_own_rule(self, name: str) -> None:
        try:
            TypeAdapter(Username).validate_python(name)
        except ValidationError:
            is_taken = False
        else:
            is_taken = True
        assert (people.USERNAME.fullmatch(name) is not None) is is_taken


def is_refused(name: str, email: str | None) -> bool:
    return isinstance(read_row("", {"username": name, "email": email}), InvalidRow)
