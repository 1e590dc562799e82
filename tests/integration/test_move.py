"""AutoBot's database of users comes to another server, whole, and nobody writes to the old one."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.autobot.users.plugins.module_utils.adoption import (
    catching_up,
    fence,
    moving,
    prechecks,
    renaming,
)
from ansible_collections.autobot.users.plugins.module_utils.adoption import (
    servers as servers_of_move,
)
from ansible_collections.autobot.users.plugins.module_utils.adoption.servers import (
    MoveError,
    Session,
    identifier,
)
from ansible_collections.autobot.users.plugins.module_utils.adoption.servers import (
    words as complaint,
)
from tests.support.database_server import PostgresServer
from tests.support.moving_site import PEOPLE, WRITE, Site, filled
from tests.support.role_files import ROOT


@pytest.fixture(scope="module")
def servers(
    new_server: Callable[[], PostgresServer],
) -> Iterator[tuple[PostgresServer, PostgresServer]]:
    old, new = new_server(), new_server()
    try:
        old.start()
        new.start()
        new.provision_roles()
        yield old, new
    finally:
        old.remove()
        new.remove()


@pytest.fixture
def site(servers: tuple[PostgresServer, PostgresServer]) -> Iterator[Site]:
    with filled(*servers) as made:
        yield made


def test_look_says_what_would_be_moved_and_writes_nothing(site: Site) -> None:
    before = site.databases()
    found = site.move.look()
    assert found["problems"] == []
    assert (found["tables"], found["users"]) == (17, 2)
    assert found["revision"] == "20260309_007"
    assert site.databases() == before
    site.write()


def test_all_rows_come_and_people_are_those_that_they_were(site: Site) -> None:
    report = site.moved(migrated=True)
    assert report["users"] == 2
    rows = "SELECT username, email, password_hash FROM users ORDER BY 1"
    assert site.database.sql(rows) == site.old.sql(rows, database="people")
    notes = "SELECT * FROM own.notes ORDER BY 1"
    moved = site.new.sql(notes, database="autobot_users", user="slm_app")
    assert moved == site.old.sql(notes, database="people")
    assert site.move.look() == {"moved": True, "problems": [], "report": report}
    assert "autobot_users_before_adoption" in site.databases()
    assert "autobot_users_incoming" not in site.databases()


def test_autobots_role_works_with_its_tables_and_the_services_with_theirs(site: Site) -> None:
    site.moved(migrated=True)
    as_autobot = {"database": "autobot_users", "user": "slm_app"}
    site.new.sql("ALTER TABLE terminal_activities ADD COLUMN extra int", **as_autobot)
    site.new.sql("UPDATE users SET bio = 'theirs' WHERE username = 'ada'", **as_autobot)
    site.new.sql("INSERT INTO own.notes (at) VALUES (now())", **as_autobot)
    site.database.sql("SELECT count(*) FROM users", user="slm_service")
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'users'"
    assert site.database.sql(owner) == "autobot_user_admin"
    # Functions that it made there would be called by our services.
    with pytest.raises(AssertionError, match="permission denied for schema public"):
        site.new.sql("CREATE TABLE later (id int)", **as_autobot)
    # Nothing of the fence came along.
    assert site.database.sql("SELECT to_regnamespace('autobot_fence')") == ""


def test_nobody_writes_once_the_fence_is_up_and_readers_go_on(site: Site) -> None:
    site.old.sql("GRANT USAGE ON SCHEMA public TO reader", database="people")
    site.old.sql("GRANT SELECT ON users TO reader", database="people", user="slm_app")
    # A connection of before, and one that says that it may.
    site.write()
    site.move.copy()
    site.move.fence()
    for statement in (
        WRITE,
        f"SET default_transaction_read_only = off; {WRITE}",
        f"SET TRANSACTION READ WRITE; {WRITE}",
        "SET TRANSACTION READ WRITE; TRUNCATE terminal_activities",
        "SET TRANSACTION READ WRITE; INSERT INTO parts VALUES (2)",
        "SET TRANSACTION READ WRITE; DELETE FROM own.notes",
    ):
        with pytest.raises(AssertionError, match=r"nobody writes here|read-only"):
            site.old.sql(statement, database="people", user="slm_app")
    assert site.old.sql("SELECT count(*) FROM users", database="people", user="reader") == "2"


CHANGES = {
    "new, changed and gone rows": (
        True,
        """
        UPDATE users SET bio = E'line\\n"it''s" \\\\', preferences = '{"a": [1, null]}',
            last_login_at = now();
        INSERT INTO users (id, email, username, is_active, is_verified, mfa_enabled,
            is_platform_admin) VALUES (gen_random_uuid(), 'new@x.org', 'new', true, true, false,
            false);
        INSERT INTO terminal_activities SELECT gen_random_uuid(), id, E'a\\tb' FROM users
            WHERE username = 'new';
        DELETE FROM audit_logs;
        DELETE FROM own.notes WHERE id = 2;
        INSERT INTO own.notes ("a ""strange"" name", at) VALUES ('third', 'infinity');
        """,
    ),
    "a deleted person and all that hangs off them": (
        True,
        "DELETE FROM audit_logs; DELETE FROM users WHERE username = 'ada'",
    ),
    "a role, which migrations change too": (
        False,
        "INSERT INTO roles (id, name, is_system, priority)"
        " VALUES (gen_random_uuid(), 'pilot', false, 1)",
    ),
    "a table without a key": (True, "INSERT INTO parts VALUES (2)"),
    "a new table": (False, "CREATE TABLE later (id int PRIMARY KEY)"),
    "a new column": (False, "ALTER TABLE own.notes ADD COLUMN more int"),
    "the null of JSON": (
        True,
        "UPDATE users SET preferences = 'null' WHERE username = 'ada'",
    ),
}


@pytest.mark.parametrize("change", list(CHANGES))
def test_what_came_after_the_copy_comes_too(site: Site, change: str) -> None:
    """Row by row where that can be, else by a new copy."""
    quick, statements = CHANGES[change]
    if quick:
        site.copied()
    else:
        site.move.copy()
    site.old.sql(statements, database="people", user="slm_app")
    assert site.move.fence()["same"] is quick
    if not quick:
        with pytest.raises(MoveError, match="has written to the source since the copy"):
            site.move.switch()
        site.move.copy()
    site.switched()
    assert site.new.sql(PEOPLE, database="autobot_users") == site.old.sql(PEOPLE, database="people")


def test_more_rows_than_that_are_copied_as_a_whole(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.move.copy()
    site.write()
    monkeypatch.setattr(catching_up, "MOST_ROWS", 0)
    assert not site.move.fence()["same"]


def test_a_switch_without_a_fence_is_refused(site: Site) -> None:
    site.move.copy()
    with pytest.raises(MoveError, match="not fenced"):
        site.move.switch()


def test_a_writer_who_does_not_end_is_named_and_the_source_is_as_before(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fence, "LOCK_ATTEMPTS", 1)
    monkeypatch.setattr(fence, "BLOCK_WRITES", fence.BLOCK_WRITES.replace("'5s'", "'200ms'"))
    site.move.copy()
    with subprocess.Popen(
        [site.old.bin / "psql", "-XAtq", f"-h{site.old.directory}", "-Uslm_app", "people"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PGAPPNAME": "celery"},
        text=True,
    ) as writer:
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write(f"BEGIN;\n{WRITE};\nSELECT 'written';\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == "written\n"
        with pytest.raises(MoveError, match=r"process \d+ \(slm_app, celery, idle in transaction"):
            site.move.fence()
        writer.stdin.write("COMMIT;\n")
        writer.stdin.close()
    site.write()


def test_undo_before_the_switch_leaves_both_servers_as_they_were(site: Site) -> None:
    before = site.databases()
    site.move.copy()
    site.move.fence()
    assert site.move.undo()
    site.write()
    assert site.databases() == before
    assert "default_transaction" not in site.old.sql("SELECT setconfig FROM pg_db_role_setting")
    assert not site.move.undo()


def test_after_the_switch_the_fence_is_not_lifted(site: Site) -> None:
    site.moved()
    with pytest.raises(MoveError, match="was moved"):
        site.move.undo()
    with pytest.raises(AssertionError, match=r"nobody writes here|read-only"):
        site.write()


def test_who_still_asks_for_the_old_name_is_refused(site: Site) -> None:
    site.moved()
    site.old.sql("SELECT 1", database="people", user="slm_app")
    here = replace(site.move.source, user="postgres")
    assert renaming.set_aside(here, "people", "kept", check=True)
    assert renaming.set_aside(here, "people", "kept")
    assert not renaming.set_aside(here, "people", "kept")
    with pytest.raises(AssertionError, match="does not exist"):
        site.old.sql("SELECT 2", database="people", user="reader")
    assert site.old.sql("SELECT count(*) FROM users", database="kept") == "2"


def test_a_set_aside_that_was_killed_is_finished(site: Site) -> None:
    here = replace(site.move.source, user="postgres")
    site.old.sql("ALTER DATABASE people ALLOW_CONNECTIONS false")
    assert renaming.set_aside(here, "people", "kept")
    site.old.sql("ALTER DATABASE kept ALLOW_CONNECTIONS false")
    assert not renaming.set_aside(here, "people", "kept")
    site.old.sql("SELECT 1", database="kept")


def test_a_migration_that_changes_a_row_is_not_switched_to(site: Site) -> None:
    site.move.copy()
    site.adopted()
    incoming = {"database": site.move.incoming}
    site.new.sql("UPDATE users SET email = lower(email)", **incoming)
    with pytest.raises(MoveError, match=r"public\.users has other rows"):
        site.move.check()
    site.new.sql("DELETE FROM terminal_activities", **incoming)
    with pytest.raises(MoveError, match=r"public\.terminal_activities has 0 rows instead of 1"):
        site.move.check()


def test_people_who_are_here_and_in_the_source_are_named(site: Site) -> None:
    site.deployed()
    site.database.sql("INSERT INTO users (email, username) VALUES ('c@example.org', 'ben')")
    (problem,) = site.move.look()["problems"]
    assert problem.startswith("ben: here and in the source")


def test_people_who_were_here_and_nobody_carried_are_not_lost(site: Site) -> None:
    site.deployed()
    site.database.sql("INSERT INTO users (email, username) VALUES ('c@example.org', 'cleo')")
    site.copied()
    site.move.fence()
    with pytest.raises(MoveError, match="cleo of those who are here would be lost"):
        site.move.switch()


def test_what_is_noted_of_people_who_were_here_comes_along(site: Site) -> None:
    """One-time passwords stay so, and nobody of an import comes back."""
    site.deployed()
    keys = [f"00000000-0000-0000-0000-0000000000a{digit}" for digit in "ab"]
    people = ";".join(
        f"INSERT INTO users (id, email, username) VALUES ('{key}', '{key}@x.y', 'cleo{number}')"
        for number, key in enumerate(keys)
    )
    site.database.sql(
        f"{people}; INSERT INTO user_credentials (user_id, must_change_password)"
        " SELECT id, true FROM users;"
        "INSERT INTO users (id, email, username, deleted_at)"
        " VALUES (gen_random_uuid(), 'e@x.y', 'erased', now());"
        "INSERT INTO imported_rows (source, key, user_id)"
        " SELECT 'config', username::bytea, id FROM users"
    )
    site.copied()
    # As an import does it.
    replace(site.database, name=site.move.incoming).sql(people)
    site.move.fence()
    site.switched()
    query = "SELECT username FROM users JOIN user_credentials ON user_id = id ORDER BY 1"
    assert site.database.sql(query).splitlines() == ["cleo0", "cleo1"]
    query = "SELECT convert_from(key, 'UTF8'), user_id FROM imported_rows ORDER BY 1"
    assert site.database.sql(query).splitlines() == [
        f"cleo0|{keys[0]}",
        f"cleo1|{keys[1]}",
        "erased|",
    ]


@pytest.mark.parametrize(
    ("change", "database", "words"),
    [
        ("ALTER TABLE users OWNER TO reader", "people", "the table users of reader"),
        ("DROP TABLE users CASCADE", "people", "has no table users"),
        ("ALTER DATABASE people RENAME TO elsewhere", "postgres", 'database "people" does not'),
        ("ALTER ROLE slm_app NOLOGIN", "postgres", "not permitted to log in"),
    ],
)
def test_what_is_in_the_way_is_said(site: Site, change: str, database: str, words: str) -> None:
    site.old.hang_up()
    site.old.sql(change, database=database)
    try:
        (problem,) = site.move.look()["problems"]
        assert words in problem
    finally:
        site.old.sql("ALTER ROLE slm_app LOGIN")
        site.old.hang_up()


def test_all_that_is_in_the_way_is_said_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.new.sql("CREATE DATABASE autobot_users_before_adoption")
    site.old.sql("ALTER TABLE users OWNER TO reader", database="people")
    monkeypatch.setattr(prechecks, "ROOM", 10**9)
    monkeypatch.setattr(prechecks, "OLDEST", 99)
    taken = replace(site.move, ours=("slm_app",))
    problems = " ".join(taken.look()["problems"])
    for words in (
        "is a role of this site",
        "is here already",
        "MiB are free",
        "99 and later",
        "reader",
    ):
        assert words in problems


def test_a_copy_that_is_refused_says_why_and_no_secret(site: Site) -> None:
    site.old.sql("CREATE EXTENSION pageinspect", database="people")
    with pytest.raises(MoveError, match="permission denied to create extension") as refused:
        site.move.copy()
    assert "theirs" not in str(refused.value)
    assert "SCRAM" not in str(refused.value)


# What a kill leaves: the step that was reached, and how the next run or an undo goes on from there.
STEPS: list[Callable[[Site], Any]] = [
    lambda site: site.move.copy(),
    lambda site: site.move.check(),
    lambda site: site.move.fence(),
    lambda site: site.new.sql("ALTER DATABASE autobot_users ALLOW_CONNECTIONS false"),
]


@pytest.mark.parametrize("reached", range(1, 5))
@pytest.mark.parametrize("undone", [False, True], ids=["finished", "undone"])
def test_what_was_killed_is_finished_or_undone(site: Site, reached: int, undone: bool) -> None:
    for step in STEPS[:reached]:
        step(site)
    site.move.open()
    site.new.hang_up()
    if undone:
        site.move.undo()
        site.write()
        assert not any("incoming" in name for name in site.databases())
        assert site.database.sql("SELECT 1") == "1"
        return
    assert site.move.look()["problems"] == []
    report = site.moved()
    assert report["rows"] == site.move.look()["report"]["rows"]
    count = "SELECT count(*) FROM users"
    assert site.new.sql(count, database="autobot_users", user="slm_app") == "2"


# The whole move in a process of its own, which dies as it starts the program number argv[2].
DYING = """
import json, os, signal, sys
from ansible_collections.autobot.users.plugins.module_utils.adoption.moving import Move
from ansible_collections.autobot.users.plugins.module_utils.adoption.servers import Server
asked = json.loads(sys.argv[1])
start, left = Server.start, [int(sys.argv[2])]
def dying(*arguments, **streams):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return start(*arguments, **streams)
Server.start = dying
move = Move(Server(**asked["source"]), "people", Server(**asked["target"]), "autobot_users",
            asked["verifier"])
move.copy(); move.check(); move.fence(); move.switch()
"""


@pytest.mark.parametrize("program", [3, 6, 9, 13, 17, 18])
def test_a_move_whose_program_is_killed_comes_to_its_end(site: Site, program: int) -> None:
    asked = {
        "source": dataclasses.asdict(site.move.source),
        "target": dataclasses.asdict(site.move.target),
        "verifier": site.move.verifier,
    }
    killed = subprocess.run(
        [sys.executable, "-c", DYING, json.dumps(asked), str(program)],
        env={"PYTHONPATH": str(ROOT / "collections"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    site.new.hang_up()
    site.move.open()
    if not site.move.look()["moved"]:
        site.move.copy()
        site.move.check()
        assert site.move.fence()["same"]
        site.switched()
    rows = "SELECT * FROM users ORDER BY 1; SELECT * FROM own.notes ORDER BY 1"
    as_owner = {"database": "autobot_users", "user": "slm_app"}
    assert site.new.sql(rows, **as_owner) == site.old.sql(rows, database="people", user="slm_app")
    assert site.databases() >= {"autobot_users", "autobot_users_before_adoption"}
    with pytest.raises(AssertionError, match=r"nobody writes here|read-only"):
        site.write()


def test_users_who_come_while_rows_move_are_not_lost(site: Site) -> None:
    """Somebody registers all the time, and keeps to what was confirmed."""
    confirmed: list[int] = []
    stop = threading.Event()

    def register() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                site.old.sql(
                    "INSERT INTO users (id, email, username, is_active, is_verified, mfa_enabled,"
                    f" is_platform_admin) VALUES (gen_random_uuid(), 'n{number}@x.org',"
                    f" 'n{number}', true, true, false, false)",
                    database="people",
                    user="slm_app",
                )
                confirmed.append(number)
            except AssertionError:
                time.sleep(0.01)

    clerk = threading.Thread(target=register)
    clerk.start()
    try:
        site.copied()
        if not site.move.fence()["same"]:
            site.copied()
        site.switched()
    finally:
        stop.set()
        clerk.join()
    assert len(confirmed) > 10
    here = set(site.database.sql("SELECT username FROM users").splitlines())
    assert here >= {f"n{number}" for number in confirmed}


def test_what_came_since_the_move_goes_back_with_it(site: Site) -> None:
    """An hour of changes: AutoBot's own login works with the new passwords."""
    site.moved(migrated=True)
    here = {"database": "autobot_users"}
    site.database.sql(
        "INSERT INTO users (email, username, password_hash)"
        " VALUES ('new@x.org', 'new', '$2b$12$new'), ('long@x.org', 'long', 'bcrypt-sha384$x');"
        "UPDATE users SET password_hash = '$2b$12$changed' WHERE username = 'ada';"
        "UPDATE users SET is_active = false, deleted_at = now() WHERE username = 'Ben';"
        "INSERT INTO user_roles (user_id, role_id) SELECT users.id, roles.id FROM users, roles"
        " WHERE username = 'new' AND name = 'user'"
    )
    site.new.sql("INSERT INTO own.notes (at) VALUES (now())", user="slm_app", **here)
    site.new.hang_up()
    rows = """
        SELECT id, username, password_hash, is_active, deleted_at FROM users ORDER BY 1;
        SELECT * FROM own.notes ORDER BY 1;
        SELECT name FROM user_roles JOIN roles ON roles.id = role_id
    """
    wanted = site.new.sql(rows, **here)
    site.new.hang_up()
    found = site.move.give_back()
    assert found["unreadable"] == ["long"]
    assert found["rows"] > 4
    assert site.old.sql(rows, database="people", user="slm_app") == wanted
    site.write()
    # The sequence goes on, too.
    site.old.sql("INSERT INTO own.notes (at) VALUES (now())", database="people", user="slm_app")
    # The site has what it had; what served meanwhile is kept.
    assert site.database.sql("SELECT to_regclass('users')") == ""
    assert "autobot_users_given_back" in site.databases()
    assert "autobot_users_before_adoption" not in site.databases()
    # And again.
    assert site.move.look()["problems"] == []
    site.moved()
    count = "SELECT count(*) FROM users"
    assert site.new.sql(count, database="autobot_users", user="slm_app") == "4"


# What people do in an hour, and how AutoBot's own schema has it.
HOURS = {
    "deleted, and created again": (
        "UPDATE users SET is_active = false, deleted_at = now() WHERE username = 'ada';"
        "INSERT INTO users (email, username) VALUES ('ada@autobot.local', 'ada')",
        "SELECT deleted_at IS NULL, email LIKE 'ada@autobot.local-%', username LIKE 'ada-%'"
        " FROM users WHERE username LIKE 'ada%' ORDER BY 1",
        "f|t|t\nt|f|f",
    ),
    "deleted twice": (
        "INSERT INTO users (email, username, deleted_at) VALUES ('z@x.org', 'zed', now()),"
        " ('z@x.org', 'zed', now())",
        "SELECT count(*), count(*) FILTER (WHERE username = 'zed') FROM users"
        " WHERE username LIKE 'zed%'",
        "2|1",
    ),
    "names that were swapped": (
        "UPDATE users SET username = 'x' WHERE username = 'ada';"
        "UPDATE users SET username = 'ada' WHERE username = 'Ben';"
        "UPDATE users SET username = 'Ben' WHERE username = 'x'",
        "SELECT username, email FROM users ORDER BY 1",
        "Ben|ada@autobot.local\nada|Ben@Example.org",
    ),
    "a name that another took": (
        "UPDATE users SET username = 'ada2' WHERE username = 'ada';"
        "UPDATE users SET username = 'ada' WHERE username = 'Ben'",
        "SELECT username, email FROM users ORDER BY 1",
        "ada|Ben@Example.org\nada2|ada@autobot.local",
    ),
    "a team that was made again": (
        "INSERT INTO teams (org_id, name, deleted_at) SELECT id, 'ops', now() FROM organizations;"
        "INSERT INTO teams (org_id, name) SELECT id, 'ops' FROM organizations",
        "SELECT name LIKE 'ops-%', deleted_at IS NULL FROM teams ORDER BY 1",
        "f|t\nt|f",
    ),
    "an organization that was made again": (
        "INSERT INTO organizations (name, slug, deleted_at) VALUES ('o', 'o', now());"
        "INSERT INTO organizations (name, slug) VALUES ('o', 'o')",
        "SELECT slug LIKE 'o-%', deleted_at IS NULL FROM organizations WHERE name = 'o' ORDER BY 1",
        "f|t\nt|f",
    ),
    "a role that was deleted": (
        "UPDATE roles SET description = 'x' WHERE name = 'user';"
        "DELETE FROM roles WHERE name = 'theirs'",
        "SELECT name, description FROM roles WHERE name IN ('user', 'theirs')",
        "user|x",
    ),
    "one-time passwords": (
        "INSERT INTO users (email, username, password_hash) VALUES"
        " ('o@x.org', 'once', '$2b$12$onetime'), ('k@x.org', 'kept', '$2b$12$kept');"
        "INSERT INTO user_credentials (user_id, must_change_password, one_time_expires_at)"
        " SELECT id, username = 'once', now() - interval '30 days' FROM users"
        " WHERE username IN ('once', 'kept')",
        "SELECT username, is_active, password_hash FROM users WHERE username IN ('once', 'kept')"
        " ORDER BY 1",
        "kept|t|$2b$12$kept\nonce|t|",
    ),
}


@pytest.mark.parametrize("change", list(HOURS))
def test_whatever_people_do_goes_back(site: Site, change: str) -> None:
    statements, query, wanted = HOURS[change]
    site.old.sql(
        "INSERT INTO roles (id, name, is_system, priority)"
        " VALUES (gen_random_uuid(), 'theirs', false, 1)",
        database="people",
        user="slm_app",
    )
    site.moved(migrated=True)
    for statement in statements.split(";"):
        site.database.sql(statement)
    site.new.hang_up()
    found = site.move.give_back()
    assert site.old.sql(query, database="people", user="slm_app") == wanted
    assert found["unreadable"] == (["once"] if "once" in statements else [])


OWN_TABLES = """
    CREATE TYPE own.mood AS ENUM ('good', 'bad');
    CREATE TABLE own.kinds (id int PRIMARY KEY, d json, b jsonb, t text, y bytea,
        half int GENERATED ALWAYS AS (id / 2) STORED, always int GENERATED ALWAYS AS IDENTITY,
        moods own.mood[], r int4range, "odd "" name" text, n numeric, f float8);
    CREATE TABLE own.words (word text PRIMARY KEY);
    CREATE TABLE own.keyless (t text, j json);
    INSERT INTO own.keyless VALUES ('a', '1'), ('a', '1'), ('b', NULL);
    CREATE TABLE own.chain (id int PRIMARY KEY, next int REFERENCES own.chain);
    INSERT INTO own.chain VALUES (1, NULL), (2, 1);
    CREATE TABLE own.egg (id int PRIMARY KEY, hen int);
    CREATE TABLE own.hen (id int PRIMARY KEY, egg int REFERENCES own.egg ON DELETE CASCADE);
    ALTER TABLE own.egg ADD CONSTRAINT of_hen FOREIGN KEY (hen) REFERENCES own.hen
        ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED;
    INSERT INTO own.egg VALUES (1, NULL), (2, NULL); INSERT INTO own.hen VALUES (1, 1), (2, 2);
    UPDATE own.egg SET hen = id;
    CREATE FUNCTION own.note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN NEW.t := concat(NEW.t, ' seen by ', current_user); RETURN NEW; END $$;
    CREATE TRIGGER note BEFORE INSERT OR UPDATE ON own.kinds
        FOR EACH ROW EXECUTE FUNCTION own.note();
"""
# Of what comes afterwards; the trigger has acted on it.
OWN_ROWS = r"""
    INSERT INTO own.kinds (id, d, b, t, y, moods, r, "odd "" name", n, f)
    VALUES (1, E'{"a":\n 1,\r\n "a" : 2}', 'null', E'\\. \t \x1f \r\n', '\xff00', '{bad,NULL}',
            '[1,)', E'\\', 'NaN', 0.1 + 0.2),
        (2, 'null', NULL, '', '', '{}', 'empty', NULL, 1.10, '-Infinity'),
        (3, NULL, '{"k": "\u00e4"}', '\N', NULL, NULL, NULL, '"', NULL, NULL);
    INSERT INTO own.kinds (id, t) SELECT 4, repeat('long ', 400000);
    INSERT INTO own.words VALUES (''), ('\.'), (E'\\'), ('-- the answer ends here --'), (E'a\nb');
    DELETE FROM own.keyless WHERE t = 'b'; INSERT INTO own.keyless VALUES ('a', '1'), ('', '{}');
    UPDATE own.chain SET next = 2 WHERE id = 1;
    UPDATE own.egg SET hen = 3 - hen; UPDATE own.hen SET egg = 3 - egg;
"""
OWN = """
    SELECT * FROM own.kinds ORDER BY 1; SELECT * FROM own.words ORDER BY 1;
    SELECT t, j::text FROM own.keyless ORDER BY 1, 2; SELECT * FROM own.chain ORDER BY 1;
    SELECT * FROM own.egg ORDER BY 1; SELECT * FROM own.hen ORDER BY 1;
    SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f'
    AND connamespace = 'own'::regnamespace ORDER BY 1;
    SELECT tgname, tgenabled FROM pg_trigger
    WHERE NOT tgisinternal AND tgrelid = 'own.kinds'::regclass ORDER BY 1
"""


@pytest.mark.parametrize("backwards", [False, True], ids=["forwards", "backwards"])
def test_rows_of_every_kind_come_as_they_are(site: Site, backwards: bool) -> None:
    theirs = {"database": "people", "user": "slm_app"}
    here = {"database": "autobot_users", "user": "slm_app"}
    site.old.sql(OWN_TABLES, **theirs)
    if backwards:
        site.moved()
        site.new.sql(OWN_ROWS, **here)
        wanted = site.new.sql(OWN, **here)
        site.new.hang_up()
        site.move.give_back()
        assert site.old.sql(OWN, **theirs) == wanted
        # What acted on rows there does so again.
        site.old.sql("INSERT INTO own.kinds (id, t) VALUES (9, 'x')", **theirs)
        acted = "SELECT t FROM own.kinds WHERE id = 9"
        assert site.old.sql(acted, **theirs) == "x seen by slm_app"
        return
    site.copied()
    site.old.sql(OWN_ROWS, **theirs)
    wanted = site.old.sql(OWN, **theirs)
    site.old.hang_up()
    assert site.move.fence()["same"]
    site.switched()
    assert site.new.sql(OWN, **here) == wanted


def test_a_user_who_is_brought_takes_nothing_of_theirs_away(site: Site) -> None:
    """What refers to them has not changed, and stays; what AutoBot's triggers did was done."""
    site.moved(migrated=True)
    site.database.sql("UPDATE users SET bio = 'changed' WHERE username = 'ada'")
    site.new.hang_up()
    site.move.give_back()
    count = "SELECT count(*) FROM terminal_activities; SELECT count(user_id) FROM audit_logs"
    assert site.old.sql(count, database="people") == "1\n1"


def returns(site: Site) -> list[Callable[[], dict[str, Any]]]:
    """The way back, and first whether it is open."""
    return [lambda: site.move.rehearse("kept"), site.move.give_back]


SCHEMAS = {
    "ALTER TABLE terminal_activities ADD COLUMN extra int DEFAULT 7": (
        "column extra of public.terminal_activities is new"
    ),
    "CREATE TABLE own.later (id int PRIMARY KEY)": "table own.later is new",
    "DROP TABLE own.notes": "table own.notes is gone",
    "ALTER TABLE terminal_activities ALTER command TYPE varchar(9)": (
        "column command of public.terminal_activities is another"
    ),
    "CREATE UNIQUE INDEX once ON terminal_activities (command)": "index public.once of",
}


@pytest.mark.parametrize("change", list(SCHEMAS))
def test_a_schema_that_autobot_has_changed_since_is_found_before_anything_is(
    site: Site, change: str
) -> None:
    site.moved(migrated=True)
    here = {"database": "autobot_users", "user": "slm_app"}
    # For as long as AutoBot's migrations run.
    site.database.sql("GRANT CREATE ON SCHEMA public TO slm_app")
    site.new.sql(f"{change}; UPDATE alembic_version SET version_num = '20260401_008'", **here)
    site.database.sql("REVOKE CREATE ON SCHEMA public FROM slm_app")
    site.new.hang_up()
    for step in returns(site):
        with pytest.raises(MoveError, match=SCHEMAS[change]):
            step()
    with pytest.raises(AssertionError, match=r"nobody writes here|read-only"):
        site.write()
    site.new.sql("UPDATE alembic_version SET version_num = '20260401_009'", **here)
    # As the message says.
    site.old.sql(f"SET TRANSACTION READ WRITE; {change}", database="people", user="slm_app")
    site.old.hang_up()
    site.new.hang_up()
    site.move.rehearse("kept")
    site.move.give_back()
    assert site.old.sql("SELECT * FROM alembic_version", database="people") == "20260401_009"


def test_a_rehearsal_changes_nothing_and_keeps_nobody_from_writing(site: Site) -> None:
    site.moved(migrated=True)
    here = replace(site.move.source, user="postgres")
    assert renaming.set_aside(here, "people", "kept")
    site.new.sql(WRITE, database="autobot_users", user="slm_app")
    site.new.sql(
        "INSERT INTO own.notes (at) VALUES (now())", database="autobot_users", user="slm_app"
    )
    site.new.hang_up()
    before = site.old.sql(PEOPLE, database="kept")
    site.old.hang_up()
    site.old.sql("CREATE DATABASE people")
    with pytest.raises(MoveError, match="Both people and kept are there"):
        site.move.rehearse("kept")
    site.old.sql("DROP DATABASE people")
    with pytest.raises(MoveError, match="cannot be reached"):
        site.move.rehearse("elsewhere")
    found = site.move.rehearse("kept")
    assert not found["changed"]
    assert site.old.sql(PEOPLE, database="kept") == before
    with pytest.raises(AssertionError, match=r"nobody writes here|read-only"):
        site.old.sql(WRITE, database="kept", user="slm_app")
    site.new.sql(WRITE, database="autobot_users", user="slm_app")
    site.old.hang_up()
    site.new.hang_up()
    assert renaming.set_aside(here, "kept", "people")
    assert site.move.give_back()["rows"] == found["rows"] > 2
    assert not site.move.rehearse("kept")["changed"]


def test_what_the_source_would_refuse_is_said_without_the_row(site: Site) -> None:
    site.moved(migrated=True)
    site.old.sql(
        "SET TRANSACTION READ WRITE;"
        "ALTER TABLE users ADD CONSTRAINT shorty CHECK (length(email) < 40)",
        database="people",
    )
    site.database.sql(
        "INSERT INTO users (email, username, password_hash)"
        " VALUES (repeat('x', 60) || E'@x.org\\nERROR', 'zed', '$2b$12$secret')"
    )
    site.new.hang_up()
    for step in returns(site):
        with pytest.raises(MoveError, match="shorty") as refused:
            step()
        for value in ("secret", "xxxx", "zed"):
            assert value not in str(refused.value)


def test_who_holds_a_lock_makes_nobody_wait_for_ever(site: Site) -> None:
    assert site.move.source.run("people", "SHOW lock_timeout") == [["1min"]]
    hurried = replace(site.move.source, options={"lock_timeout": "1s"})
    with Session(site.move.source, "people") as other:
        other.query("BEGIN; LOCK TABLE public.users")
        (problem,) = replace(site.move, source=hurried).look()["problems"]
    assert "lock timeout" in problem


def test_the_name_of_a_database_can_have_quotes(site: Site) -> None:
    name = r"o'dd \ name"
    site.move.target.run("postgres", f"CREATE DATABASE {identifier(name)}")
    assert site.move.target.run(name, "SELECT current_database()") == [[name]]
    site.move.target.run("postgres", f"DROP DATABASE {identifier(name)} WITH (FORCE)")


def test_a_host_that_is_gone_is_noticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_of_move, "CONNECT_SECONDS", "600")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        away = replace(site.move.source, host="127.0.0.1", port=port)
        with Session(away, "people"):
            connection, _ = silent.accept()
            with connection:
                begin = time.monotonic()
                while not (timer := timer_of_connection_to(port)).startswith(KEEPALIVE):
                    assert time.monotonic() - begin < 300, timer
                    time.sleep(0.05)
                remaining = int(timer.removeprefix(KEEPALIVE), 16)
    assert remaining <= 15 * os.sysconf("SC_CLK_TCK")


# As in the column tr:tm->when of /proc/net/tcp.
KEEPALIVE = "02:"


def timer_of_connection_to(port: int) -> str:
    """The active timer of who is connected to a port, in the kernel's words; empty without one."""
    for line in Path("/proc/net/tcp").read_text().splitlines():
        _, _, peer, _, _, timer, *_ = line.split()
        if peer.endswith(f":{port:04X}") and not timer.startswith("00:"):
            return timer
    return ""


def test_a_complaint_quotes_no_row() -> None:
    said = """\
psql:<stdin>:7: ERROR:  null value in column "at" violates not-null constraint
DETAIL:  Failing row contains (1, $2b$12$one,
$2b$12$two).
CONTEXT:  COPY users, line 3: "$2b$12$three"
HINT:  Look again.
pg_restore: error: COPY failed for table "users": ERROR:  invalid input
LINE 1: SELECT '$2b$12$four'
               ^
"""
    assert "$2b" not in complaint(said)
    for part in ('column "at"', "Look again", "COPY failed", "invalid input"):
        assert part in complaint(said)


def test_a_return_that_was_killed_before_the_names_loses_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.moved(migrated=True)
    site.new.hang_up()

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(moving, "rename", kill)
        with pytest.raises(KeyboardInterrupt):
            site.move.give_back()
    site.write()
    site.old.hang_up()
    site.move.give_back()
    bio = "SELECT bio FROM users WHERE username = 'ada'"
    assert site.old.sql(bio, database="people") == "changed"
    assert "autobot_users_given_back" in site.databases()


def test_a_return_needs_nothing_of_what_served_before_the_move(site: Site) -> None:
    site.moved()
    site.new.hang_up()
    site.new.sql("DROP DATABASE autobot_users_before_adoption")
    site.move.give_back()
    site.write()
    assert "autobot_users_given_back" in site.databases()
    assert "autobot_users" not in site.databases()


@pytest.mark.parametrize(
    ("role", "words"),
    [
        ("SUPERUSER PASSWORD 'theirs'", "may do more on this server"),
        ("CREATEROLE PASSWORD 'theirs'", "may do more on this server"),
        ("PASSWORD 'another'", "with another password"),
        ("PASSWORD NULL", "with another password"),
        ("PASSWORD 'theirs'", ""),
    ],
)
def test_a_role_of_another_keeps_its_password(site: Site, role: str, words: str) -> None:
    site.new.sql(f"CREATE ROLE slm_app LOGIN {role}")
    problems = site.move.look()["problems"]
    assert [words in it for it in problems] == ([True] if words else [])


def test_the_servers_own_superuser_is_not_made_autobots(site: Site) -> None:
    site.old.sql("ALTER DATABASE people OWNER TO postgres")
    taken = replace(site.move, source=replace(site.move.source, user="postgres"))
    (problem,) = taken.look()["problems"]
    assert problem.startswith("postgres, which owns the source, may do more on this server")


def test_the_moves_own_role_may_get_another_password(site: Site) -> None:
    site.move.copy()
    site.move.undo()
    later = replace(site.move, source=replace(site.move.source, password="since then"))
    assert later.look()["problems"] == []


def test_nobody_writes_to_what_is_given_back(site: Site) -> None:
    site.moved()
    site.move.give_back()
    site.new.hang_up()
    with pytest.raises(AssertionError, match="nobody writes here"):
        site.new.sql(WRITE, database="autobot_users_given_back")


def test_a_return_that_cannot_be_whole_changes_nothing_of_the_source(site: Site) -> None:
    site.moved()
    site.new.sql("CREATE TABLE own.later ()", database="autobot_users", user="slm_app")
    site.new.hang_up()
    with pytest.raises(MoveError, match=r"table own\.later is new"):
        site.move.give_back()
    with pytest.raises(AssertionError, match=r"nobody writes here|read-only"):
        site.write()
    # AutoBot goes on where it is.
    site.new.sql(WRITE, database="autobot_users", user="slm_app")
