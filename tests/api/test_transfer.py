"""`slm import` and `slm export`: the three stores of AutoBot, and files."""

import asyncio
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import bcrypt
import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from slm_server.cli import app
from slm_server.cli.transfer import INCOMPLETE, SHOWN
from tests.support.applications import Databases, Site
from tests.support.database_server import ProvisionedDatabase
from user_management.database import Database
from user_management.population import Population
from user_management.transfer import importer
from user_management.transfer.source_databases import source_database
from user_management.transfer.sources import SourceKind
from user_management.transfer.target_database import NewUser, TargetDatabase

UPSTREAM = (Path(__file__).parents[1] / "integration/upstream.sql").read_text()
# Eight characters, which AutoBot took.
OLD_PASSWORD = "Old-pa55"
HASH = bcrypt.hashpw(OLD_PASSWORD.encode(), bcrypt.gensalt(4)).decode()
SHA256 = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"
LOCAL_MODES = 3  # of termios
USERS = "SELECT count(*) FROM users"


@pytest.fixture
def slm(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `slm` with these arguments, standard input and additional environment."""
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)

    def run(*arguments: str, typed: str | None = None, **environment: str) -> Result:
        return CliRunner().invoke(app, [*arguments], input=typed, env=environment)

    return run


@pytest.fixture
def autobot(databases: Databases) -> ProvisionedDatabase:
    return databases[Population.AUTOBOT]


@pytest.fixture
def bring(slm: Callable[..., Result]) -> Callable[..., Any]:
    """Import rows as NDJSON: what became of each, by name, and the summary."""

    def run(
        *rows: dict[str, Any], population: str = "autobot", apply: bool = True
    ) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        arguments = ["import", "--population", population, "--from", "ndjson", "--json", "-"]
        return told(slm(*arguments, *(["--apply"] if apply else []), typed=lines))

    return run


def told(done: Result) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a report, and its summary."""
    assert done.exit_code in (0, INCOMPLETE), done.output + repr(done.exception)
    *rows, last = map(json.loads, done.stdout.splitlines())
    left_out = any(row["outcome"] in ("skipped", "invalid") for row in rows)
    assert done.exit_code == (INCOMPLETE if left_out else 0)
    return rows, last["summary"]


def outcomes(rows: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["name"], row["outcome"]) for row in rows]


def person(username: str, **values: object) -> dict[str, object]:
    return {"username": username, "email": f"{username}@x.y", "password_hash": HASH} | values


def test_without_apply_nothing_is_written(
    bring: Callable[..., Any], autobot: ProvisionedDatabase
) -> None:
    autobot.sql("INSERT INTO users (username, email) VALUES ('bob', 'bob@x.y')")
    rows, summary = bring(person("ada"), person("bob"), {"username": "a b"}, apply=False)
    assert outcomes(rows) == [("ada", "created"), ("bob", "merged"), ("a b", "invalid")]
    assert summary["applied"] is False
    assert summary["counts"]["user"] == {
        "created": 1,
        "merged": 1,
        "unchanged": 0,
        "skipped": 0,
        "invalid": 1,
    }
    assert autobot.sql(f"{USERS} WHERE password_hash IS NOT NULL") == "0"
    assert autobot.sql("SELECT count(*) FROM audit_logs") == "0"


def test_a_dry_run_tells_what_an_import_does(
    bring: Callable[..., Any], autobot: ProvisionedDatabase
) -> None:
    autobot.sql("INSERT INTO users (username, email) VALUES ('bob', 'bob@x.y')")
    rows = [person("ada"), person("ADA"), person("bob", bio="b"), person("eve", email="bob@x.y")]
    forecast, _ = bring(*rows, apply=False)
    done, _ = bring(*rows)
    assert forecast == done
    assert [row["outcome"] for row in done] == ["created", "skipped", "merged", "skipped"]


def test_an_import_that_is_repeated_changes_nothing(
    bring: Callable[..., Any], autobot: ProvisionedDatabase
) -> None:
    everything = "SELECT json_agg(users ORDER BY id) FROM users"
    rows = [person("ada"), person("bob", roles=["readonly"]), {"username": "carol"}]
    first, _ = bring(*rows)
    before = autobot.sql(everything)
    second, _ = bring(*rows)
    assert {row["outcome"] for row in first} == {"created"}
    assert {row["outcome"] for row in second} == {"unchanged"}
    assert autobot.sql(everything) == before


def test_an_existing_user_keeps_what_they_have(
    bring: Callable[..., Any], autobot: ProvisionedDatabase
) -> None:
    autobot.sql(
        "INSERT INTO users (username, email, display_name, is_active, preferences)"
        """ VALUES ('ada', 'ada@x.y', 'Ada', false, '{"theme": "dark"}')"""
    )
    rows, _ = bring(
        person(
            "ada",
            display_name="Eve",
            bio="a bio",
            is_active=True,
            is_platform_admin=True,
            preferences={"theme": "light"},
            roles=["admin"],
            last_login_at="2026-01-01T00:00:00",
        )
    )
    assert rows[0]["reason"] == "Filled: password_hash, bio, last_login_at."
    kept = autobot.sql(
        "SELECT display_name, is_active, is_platform_admin, preferences, bio, last_login_at,"
        " password_hash FROM users"
    )
    expected = f'Ada|f|f|{{"theme": "dark"}}|a bio|2026-01-01 00:00:00+00|{HASH}'
    assert kept == expected
    assert autobot.sql("SELECT count(*) FROM user_roles") == "0"
    changed = autobot.sql("SELECT details->'filled' FROM audit_logs WHERE action = 'user_updated'")
    assert json.loads(changed) == ["password_hash", "bio", "last_login_at"]


def test_each_user_and_the_import_are_in_the_audit_log(
    bring: Callable[..., Any], databases: Databases
) -> None:
    bring(person("ada", roles=["user"]), person("bob"), population="slm")
    rows = databases[Population.SLM].sql(
        "SELECT details FROM audit_logs JOIN users ON users.id = resource_id"
        " WHERE action = 'user_created' AND resource_type = 'user' ORDER BY username"
    )
    ada, bob = map(json.loads, rows.splitlines())
    role = databases[Population.SLM].sql("SELECT id FROM roles WHERE name = 'user'")
    assert ada == {
        "username": "ada",
        "email": "ada@x.y",
        "is_platform_admin": False,
        "role_ids": [role],
        "import": "ndjson",
    }
    assert bob["role_ids"] == []
    whole = databases[Population.SLM].sql(
        "SELECT action, details FROM audit_logs WHERE resource_id IS NULL"
    )
    action, details = whole.split("|")
    assert action == "user_created"
    assert json.loads(details)["import"] == "ndjson"
    assert json.loads(details)["counts"]["created"] == 2
    everything = databases[Population.SLM].sql("SELECT * FROM audit_logs")
    assert HASH not in everything


def test_a_hash_that_is_not_bcrypt_is_left_behind_and_said_so(
    bring: Callable[..., Any], autobot: ProvisionedDatabase
) -> None:
    rows, _ = bring(person("ada", password_hash=SHA256))
    assert rows[0]["outcome"] == "created"
    assert "an administrator must reset it" in rows[0]["reason"]
    assert autobot.sql(f"{USERS} WHERE password_hash IS NULL") == "1"


def test_how_a_row_was_read_is_told_whatever_becomes_of_it(
    bring: Callable[..., Any], autobot: ProvisionedDatabase
) -> None:
    never = {"last_login_at": "0001-01-01T00:00:00", "bio": " b"}
    remarks = (
        "last_login_at: It is left empty, because 0001-01-01T00:00:00 stands for never. "
        "Blanks around bio are left out."
    )
    for outcome, reason in (
        ("created", remarks),
        ("unchanged", remarks),
    ):
        (row,), _ = bring(person("ada", **never))
        assert (row["outcome"], row["reason"]) == (outcome, reason)
    autobot.sql("UPDATE users SET bio = NULL")
    (merged, repeated), _ = bring(person("ada", **never), person("ADA", **never))
    assert merged["reason"] == f"Filled: bio. {remarks}"
    assert repeated["reason"].startswith("An earlier row has the same")
    assert repeated["reason"].endswith(remarks)
    assert autobot.sql("SELECT last_login_at, bio FROM users") == "|b"


def test_roles(bring: Callable[..., Any], autobot: ProvisionedDatabase) -> None:
    autobot.sql(
        "INSERT INTO organizations (id, name, slug)"
        " VALUES ('00000000-0000-0000-0000-00000000000c', 'C', 'c');"
        "INSERT INTO roles (name, org_id)"
        " VALUES ('readonly', '00000000-0000-0000-0000-00000000000c')"
    )
    org_id = "00000000-0000-0000-0000-00000000000c"
    rows, _ = bring(
        person("ada", roles=["readonly"]),
        person("bob", roles=["readonly"], org_id=org_id),
        person("carol", roles=["editor", "user"]),
        person("dave", org_id="00000000-0000-0000-0000-00000000000d"),
    )
    assert outcomes(rows)[-1] == ("dave", "invalid")
    assert rows[-1]["reason"] == "org_id: There is no such organization here."
    assert rows[2]["reason"] == "There is no role 'editor' here: it has the role user instead."
    has = autobot.sql(
        "SELECT username, roles.name, roles.org_id IS NOT NULL FROM user_roles"
        " JOIN users ON users.id = user_id JOIN roles ON roles.id = role_id ORDER BY username"
    )
    assert has.splitlines() == ["ada|readonly|f", "bob|readonly|t", "carol|user|f"]


def test_a_fleet_administrator_stays_limited_to_an_organization_of_the_other_database(
    bring: Callable[..., Any], databases: Databases
) -> None:
    org_id = "00000000-0000-0000-0000-00000000000c"
    rows, _ = bring(person("ada", org_id=org_id), population="slm")
    assert outcomes(rows) == [("ada", "created")]
    assert databases[Population.SLM].sql("SELECT org_id FROM users") == org_id
    assert databases[Population.SLM].sql("SELECT count(*) FROM audit_logs") == "2"


def test_nobody_comes_back_who_was_deleted(
    bring: Callable[..., Any], autobot: ProvisionedDatabase
) -> None:
    bring(person("ada", id="00000000-0000-0000-0000-00000000000a"), person("bob"), person("eve"))
    autobot.sql("UPDATE users SET deleted_at = now()")
    rows, _ = bring(
        person("ada", id="00000000-0000-0000-0000-00000000000a"),
        person("bob"),
        person("carol", email="eve@x.y"),
    )
    assert {row["outcome"] for row in rows} == {"skipped"}
    assert all("was deleted here" in row["reason"] for row in rows)


def test_an_organization_that_is_too_full_is_told(
    bring: Callable[..., Any], autobot: ProvisionedDatabase
) -> None:
    org_id = "00000000-0000-0000-0000-00000000000c"
    autobot.sql(
        f"INSERT INTO organizations (id, name, slug, max_users) VALUES ('{org_id}', 'C', 'c', 1);"
        f"INSERT INTO users (username, email, org_id) VALUES ('ada', 'ada@x.y', '{org_id}')"
    )
    over = [{"organization": "c", "max_users": 1, "users": 2}]
    row = person("bob", org_id=org_id)
    assert bring(row, apply=False)[1]["over_quota"] == over
    assert bring(row)[1]["over_quota"] == over
    assert autobot.sql(USERS) == "2"


def test_an_import_that_was_interrupted_goes_on(
    slm: Callable[..., Result],
    autobot: ProvisionedDatabase,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(importer, "CHUNK", 3)
    lines = [json.dumps(person(f"person_{number}")) for number in range(10)]
    path = tmp_path / "users.ndjson"
    path.write_text("\n".join(lines))
    # In the third chunk.
    autobot.sql(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN RAISE 'the disk is full'; END$$;"
        "CREATE TRIGGER refuse BEFORE INSERT ON users FOR EACH ROW"
        " WHEN (NEW.username = 'person_7') EXECUTE FUNCTION refuse()"
    )
    arguments = ["import", "--population", "autobot", "--from", "ndjson", "--apply", "--json"]
    broken = slm(*arguments, str(path))
    assert broken.exit_code == 1
    assert "the disk is full" in broken.stderr
    assert "Import again." in broken.stderr
    assert autobot.sql(USERS) == "6"
    autobot.sql("DROP TRIGGER refuse ON users")
    rows, _ = told(slm(*arguments, str(path)))
    assert [row["outcome"] for row in rows] == ["unchanged"] * 6 + ["created"] * 4


async def test_a_name_that_is_taken_meanwhile_costs_one_row(
    slm: Callable[..., Result], autobot: ProvisionedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody creates a user between the look-up and the writing."""
    create = TargetDatabase.create

    async def overtaken(self: TargetDatabase, users: Sequence[NewUser]) -> set[UUID]:
        await asyncio.to_thread(
            autobot.sql, "INSERT INTO users (username, email) VALUES ('bob', 'bob@elsewhere')"
        )
        return await create(self, users)

    monkeypatch.setattr(TargetDatabase, "create", overtaken)
    lines = "\n".join(json.dumps(person(name, roles=["user"])) for name in ("ada", "bob"))
    arguments = ["import", "--population", "autobot", "--from", "ndjson", "--apply", "--json", "-"]
    rows, _ = told(await asyncio.to_thread(slm, *arguments, typed=lines))
    assert outcomes(rows) == [("ada", "created"), ("bob", "skipped")]
    assert rows[1]["reason"] == "Somebody took the name meanwhile. Import again."
    assert autobot.sql("SELECT count(*) FROM user_roles") == "1"


def test_what_a_quote_took_is_counted_line_by_line(
    slm: Callable[..., Result], autobot: ProvisionedDatabase
) -> None:
    lost = "".join(f"r{number},ok\n" for number in range(58))
    typed = f'username,display_name\nq1,ok\nq2,"unclosed\n{lost}'
    arguments = ["import", "--population", "autobot", "--from", "csv", "--apply"]
    (q1, q2), summary = told(slm(*arguments, "--json", "-", typed=typed))
    assert (q1["outcome"], q1["rows"]) == ("created", 1)
    assert (q2["place"], q2["outcome"], q2["rows"]) == ("lines 3-61", "invalid", 59)
    assert "the quote opened in line 3 is never closed. Lines 3-61 are lost." in q2["reason"]
    assert summary["counts"]["user"]["invalid"] == 59
    lines = {"total": 61, "header": 1, "empty": 0, "rows": 1, "lost": 59}
    assert summary["lines"] == lines
    assert (
        "61 lines: 1 of the header, 0 empty, 1 of rows, 59 lost."
        in slm(*arguments, "-", typed=typed, COLUMNS="200").stdout
    )
    details = "SELECT details->'counts'->>'invalid' FROM audit_logs WHERE details ? 'counts'"
    assert set(autobot.sql(details).splitlines()) == {"59"}


def test_people_read_tables(slm: Callable[..., Result], tmp_path: Path) -> None:
    report = tmp_path / "report.ndjson"
    bad = "".join(f"nobody_{number},nowhere\n" for number in range(SHOWN))
    typed = f"username,email\nada,ada@x.y\n\x1b[31mred,\n{bad}"
    arguments = ["import", "--population", "autobot", "--from", "csv", "-"]
    done = slm(*arguments, "--report", str(report), typed=typed, COLUMNS="200")
    assert done.exit_code == INCOMPLETE
    assert "\x1b" not in done.stdout
    assert "�[31mred" in done.stdout
    assert "… and 1 more: --json has them all." in done.stdout
    assert "Nothing was written. Add --apply to do it." in done.stdout
    rows = [json.loads(line) for line in report.read_text().splitlines()]
    assert len(rows) == SHOWN + 3
    assert rows[0] == {
        "resource": "user",
        "place": "line 2",
        "name": "ada",
        "outcome": "created",
        "reason": None,
        "rows": 1,
    }
    assert "23 lines: 1 of the header, 0 empty, 22 of rows, 0 lost." in done.stdout
    assert "Nothing was written" not in slm(*arguments, "--apply", typed=typed).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from", "csv", "/nowhere/users.csv"], "/nowhere/users.csv cannot be read: No such"),
        (["--from", "csv", "postgresql://x/y"], "The source of csv is a file or -"),
        (["--from", "uuid-tables", "users.csv"], "The source of uuid-tables is the URL postgresql"),
        (["--from", "slm-table", "/nowhere/slm.db"], "is no SQLite file of the fleet manager"),
        (
            ["--from", "slm-table", "postgresql://eve:hunter2@127.0.0.1/slm"],
            "Everybody on this machine can read a password in an argument",
        ),
        (
            ["--from", "slm-table", "postgresql://eve@127.0.0.1/slm?password=hunter2"],
            "Everybody on this machine can read a password in an argument",
        ),
        (["--from", "slm-table", "postgresql://eve@127.0.0.1:1/slm"], "does not let us in"),
        (["--from", "csv", "-", "--report", "/nowhere/x"], "/nowhere/x cannot be written"),
        (["--from", "csv", "-"], "The source is empty"),
    ],
)
def test_a_source_that_cannot_be_used_is_named(
    slm: Callable[..., Result], arguments: list[str], message: str
) -> None:
    done = slm("import", "--population", "autobot", *arguments)
    assert (done.exit_code, done.stdout) == (1, "")
    assert message in done.stderr
    assert "hunter2" not in done.stderr


def url(database: ProvisionedDatabase) -> str:
    """How to reach a database on the test server."""
    owner = database.owner
    return f"postgresql+asyncpg://{owner.user}@/{owner.database}?host={owner.hosts[0]}"


@pytest.fixture
def fleet(provisioned: Callable[..., ProvisionedDatabase]) -> ProvisionedDatabase:
    """AutoBot's database `slm`, with its table of integer ids."""
    database = provisioned(Population.SLM)
    database.sql(
        f"""
        CREATE TABLE users (
            id serial PRIMARY KEY, username varchar(64) UNIQUE NOT NULL,
            password_hash varchar(255) NOT NULL, is_active boolean, is_admin boolean,
            created_at timestamp, last_login timestamp
        );
        INSERT INTO users (username, password_hash, is_active, is_admin, created_at, last_login)
        VALUES ('admin', '{HASH}', true, true, '2026-02-05 10:00', '2026-02-06 11:00'),
               ('Ops.Team', '{HASH}', true, false, '2026-02-05 12:00', NULL),
               ('gone', '{SHA256}', false, NULL, '2026-02-05 13:00', NULL)
        """
    )
    return database


def test_the_fleets_table(
    slm: Callable[..., Result], fleet: ProvisionedDatabase, databases: Databases
) -> None:
    arguments = ["import", "--population", "slm", "--from", "slm-table", "--apply", "--json"]
    rows, _ = told(slm(*arguments, url(fleet), SOURCE_DATABASE_PASSWORD="secret"))
    assert outcomes(rows) == [("admin", "created"), ("ops.team", "created"), ("gone", "created")]
    stored = databases[Population.SLM].sql(
        "SELECT username, email, password_hash, is_active, is_platform_admin, created_at,"
        " last_login_at, display_name FROM users ORDER BY created_at"
    )
    assert stored.splitlines() == [
        f"admin|admin@autobot.local|{HASH}|t|t|2026-02-05 10:00:00+00|2026-02-06 11:00:00+00|admin",
        f"ops.team|ops.team@autobot.local|{HASH}|t|f|2026-02-05 12:00:00+00||Ops.Team",
        "gone|gone@autobot.local||f|f|2026-02-05 13:00:00+00||gone",
    ]


FLEET_IMPORT = ("import", "--population", "slm", "--from", "slm-table", "--json")


@pytest.fixture
def bring_fleet(slm: Callable[..., Result], fleet: ProvisionedDatabase) -> Callable[..., Any]:
    """Import the fleet manager's table: what became of each row, by name, and the reasons."""

    def run(*, apply: bool = True) -> tuple[list[tuple[str, str]], list[str | None]]:
        options = ["--apply"] if apply else []
        done = slm(*FLEET_IMPORT, *options, url(fleet), SOURCE_DATABASE_PASSWORD="secret")
        rows, _ = told(done)
        return outcomes(rows), [row["reason"] for row in rows]

    return run


PEOPLE = "SELECT username, email, is_active, deleted_at IS NULL FROM users ORDER BY created_at, id"


def test_nobody_comes_back_who_was_renamed_disabled_deleted_or_erased_since(
    slm: Callable[..., Result],
    bring_fleet: Callable[..., Any],
    fleet: ProvisionedDatabase,
    databases: Databases,
) -> None:
    bring_fleet()
    ours = databases[Population.SLM]
    ours.sql(
        "UPDATE users SET username = 'robert', email = 'robert@corp.example', is_active = false"
        " WHERE username = 'admin'"
    )
    for name in ("ops.team", "gone"):
        assert slm("users", "delete", "-p", "slm", name, "--yes").exit_code == 0
    assert slm("users", "purge", "-p", "slm", "ops.team", "--yes").exit_code == 0
    before = ours.sql(PEOPLE)
    # Who appears in the source later comes in.
    fleet.sql(f"INSERT INTO users (username, password_hash) VALUES ('later', '{HASH}')")
    forecast = bring_fleet(apply=False)
    done = bring_fleet()
    assert forecast == done
    assert done[0] == [
        ("admin", "unchanged"),
        ("ops.team", "skipped"),
        ("gone", "skipped"),
        ("later", "created"),
    ]
    assert done[1][1:3] == ["This user was deleted here."] * 2
    assert ours.sql(PEOPLE) == f"{before}\nlater|later@autobot.local|t|t"


def test_a_namesake_who_is_made_later_is_nobody_of_the_source(
    bring_fleet: Callable[..., Any], databases: Databases
) -> None:
    bring_fleet()
    ours = databases[Population.SLM]
    ours.sql(
        "UPDATE users SET username = 'robert', email = 'r@corp.example' WHERE username = 'admin';"
        "INSERT INTO users (username, email) VALUES ('admin', 'admin@autobot.local')"
    )
    assert bring_fleet()[0][0] == ("admin", "unchanged")
    assert ours.sql("SELECT password_hash FROM users WHERE username = 'admin'") == ""


def test_a_row_whose_user_is_gone_for_good_stays_out(
    bring_fleet: Callable[..., Any], databases: Databases
) -> None:
    bring_fleet()
    ours = databases[Population.SLM]
    ours.sql("DELETE FROM users WHERE username = 'admin'")
    done, reasons = bring_fleet()
    assert (done[0], reasons[0]) == (("admin", "skipped"), "It was imported, and erased here.")


def test_what_was_imported_before_there_were_records_gets_one(
    slm: Callable[..., Result], bring_fleet: Callable[..., Any], databases: Databases
) -> None:
    bring_fleet()
    ours = databases[Population.SLM]
    ours.sql("DELETE FROM imported_rows")
    assert slm("users", "delete", "-p", "slm", "ops.team", "--yes").exit_code == 0
    assert [outcome for _, outcome in bring_fleet()[0]] == ["unchanged", "skipped", "unchanged"]
    assert slm("users", "purge", "-p", "slm", "ops.team", "--yes").exit_code == 0
    ours.sql("UPDATE users SET username = 'robert', email = 'r@x.y' WHERE username = 'admin'")
    assert [outcome for _, outcome in bring_fleet()[0]] == ["unchanged", "skipped", "unchanged"]


def test_a_dry_run_and_a_repetition_leave_no_record(
    bring_fleet: Callable[..., Any], databases: Databases
) -> None:
    records = "SELECT json_agg(imported_rows) FROM imported_rows"
    ours = databases[Population.SLM]
    bring_fleet(apply=False)
    assert ours.sql(records) == ""
    bring_fleet()
    before = ours.sql(records)
    assert ours.sql("SELECT count(*) FROM imported_rows WHERE source = 'slm-table'") == "3"
    bring_fleet()
    assert ours.sql(records) == before
    assert "admin" not in before


def test_nobody_of_a_configuration_comes_back(
    slm: Callable[..., Result], autobot: ProvisionedDatabase
) -> None:
    users = {name: {"password_hash": HASH, "role": "admin"} for name in ("Ada", "Ben")}
    typed = json.dumps({"security_config": {"allowed_users": users}})
    arguments = ["import", "--population", "autobot", "--from", "config", "--json", "--apply", "-"]
    told(slm(*arguments, typed=typed))
    autobot.sql("UPDATE users SET username = 'lovelace', email = 'l@x.y' WHERE username = 'ada'")
    for verb in ("delete", "purge"):
        assert slm("users", verb, "-p", "autobot", "ben", "--yes").exit_code == 0
    rows, _ = told(slm(*arguments, typed=typed))
    assert outcomes(rows) == [("ada", "unchanged"), ("ben", "skipped")]
    assert autobot.sql(USERS) == "2"


def test_who_is_typed_into_a_file_again_is_meant(
    slm: Callable[..., Result], bring: Callable[..., Any]
) -> None:
    bring(person("ada"))
    for verb in ("delete", "purge"):
        assert slm("users", verb, "-p", "autobot", "ada", "--yes").exit_code == 0
    rows, _ = bring(person("ada"))
    assert outcomes(rows) == [("ada", "created")]


@pytest.mark.parametrize(
    ("options", "typed", "environment"),
    [([], None, {"SOURCE_DATABASE_PASSWORD": "secret"}), (["--password-stdin"], "secret\n", {})],
)
def test_where_the_sources_password_comes_from(
    slm: Callable[..., Result],
    fleet: ProvisionedDatabase,
    monkeypatch: pytest.MonkeyPatch,
    options: list[Any] | list[str],
    typed: str | None,
    environment: dict[str, Any],
) -> None:
    given = []
    connect = asyncpg.connect

    async def noted(*arguments: str, **settings: Any) -> Any:
        if settings.get("server_settings", {}).get("application_name") == "slm import":
            given.append(settings["password"])
        return await connect(*arguments, **settings)

    monkeypatch.setattr(asyncpg, "connect", noted)
    arguments = ["import", "--population", "slm", "--from", "slm-table", url(fleet)]
    assert slm(*arguments, *options, typed=typed, **environment).exit_code == 0
    assert given == ["secret"]


def test_on_a_terminal_the_password_is_asked_for_and_not_shown(
    fleet: ProvisionedDatabase, databases: Databases
) -> None:
    database = databases[Population.SLM]
    ours, theirs = pty.openpty()
    command = ["import", "--population", "slm", "--from", "slm-table", "--json", url(fleet)]
    process = subprocess.Popen(
        [sys.executable, "-m", "slm_server.cli", *command],
        env=database.environment(database.service),
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        # As a unit of systemd, it has a terminal that it does not control.
        start_new_session=True,
    )
    shown = os.read(ours, 1000)
    while process.poll() is None and termios.tcgetattr(theirs)[LOCAL_MODES] & termios.ECHO:
        time.sleep(0.01)
    os.write(ours, b"secret\n")
    output, _ = process.communicate(timeout=600)
    os.close(theirs)
    shown += os.read(ours, 1000)
    os.close(ours)
    assert process.returncode == 0
    assert len(output.splitlines()) == 4
    assert shown.startswith(b"Password of the source")
    assert b"secret" not in shown


async def test_work_in_bulk_has_no_deadline(autobot: ProvisionedDatabase) -> None:
    database = Database(Population.AUTOBOT, autobot.service, deadlines=False)
    try:
        async with database.session() as session:
            assert await session.scalar(text("SHOW statement_timeout")) == "0"
    finally:
        await database.dispose()


def test_the_source_is_not_as_expected(
    slm: Callable[..., Result], autobot_database: ProvisionedDatabase
) -> None:
    done = slm("import", "--population", "slm", "--from", "slm-table", url(autobot_database))
    assert done.exit_code == 1
    assert 'The source is not as expected: column "is_admin" does not exist' in done.stderr


async def test_the_old_password_is_good(
    site: Site, slm: Callable[..., Result], fleet: ProvisionedDatabase
) -> None:
    arguments = ["import", "--population", "slm", "--from", "slm-table", "--apply", url(fleet)]
    done = await asyncio.to_thread(slm, *arguments, "--password-stdin", typed="secret\n")
    assert done.exit_code == 0
    for name in ("admin", "ops.team", "Ops.Team"):
        assert (await site.try_login(name, OLD_PASSWORD)).status_code == 200
    assert (await site.try_login("gone", OLD_PASSWORD)).status_code == 401
    assert (await site.try_login("admin", OLD_PASSWORD + "x")).status_code == 401


ORG, TEAM, ROLE = (f"00000000-0000-0000-0000-00000000000{digit}" for digit in "abc")
ADA, BOB, CAROL = (f"00000000-0000-0000-0000-00000000001{digit}" for digit in "abc")
SYSTEM_ROLE, OTHER_TEAM = (f"00000000-0000-0000-0000-00000000002{digit}" for digit in "ab")


@pytest.fixture
def upstream(provisioned: Callable[..., ProvisionedDatabase]) -> ProvisionedDatabase:
    """An AutoBot database with an organization, its team, its role, and three users."""
    database = provisioned(Population.AUTOBOT)
    database.sql(UPSTREAM)
    database.sql(
        f"""
        TRUNCATE organizations, users, roles, permissions CASCADE;
        INSERT INTO organizations (id, name, slug, max_users, is_active, settings)
        VALUES ('{ORG}', 'Default Organization', 'default', 1, true, '{{"a": 1}}');
        INSERT INTO teams (id, org_id, name, is_default)
        VALUES ('{TEAM}', '{ORG}', 'Builders', true), ('{OTHER_TEAM}', '{ORG}', 'builders', true);
        INSERT INTO permissions (id, name, resource, action)
        VALUES (gen_random_uuid(), 'chat:use', 'chat', 'use'),
               (gen_random_uuid(), 'own:thing', 'own', 'thing');
        INSERT INTO roles (id, org_id, name, is_system, priority)
        VALUES ('{ROLE}', '{ORG}', 'chatter', true, 7),
               ('{SYSTEM_ROLE}', NULL, 'readonly', true, 10);
        INSERT INTO role_permissions SELECT '{ROLE}', id FROM permissions;
        INSERT INTO users (id, org_id, username, email, password_hash, is_active, is_verified,
                           mfa_enabled, is_platform_admin, preferences, created_at, deleted_at)
        VALUES
            ('{ADA}', '{ORG}', 'ada', 'ada@x.y', '{HASH}', true, true, true, true,
             '{{"theme": "dark"}}', '2026-01-01 00:00+00', NULL),
            ('{BOB}', '{ORG}', 'bob', 'bob@x.y', '{HASH}', true, false, false, false,
             '{{}}', '2026-01-02 00:00+00', NULL),
            ('{CAROL}', NULL, 'carol', 'carol@x.y', '{HASH}', false, false, false, false,
             '{{}}', '2026-01-03 00:00+00', now());
        INSERT INTO user_roles (user_id, role_id)
        VALUES ('{ADA}', '{ROLE}'), ('{ADA}', '{SYSTEM_ROLE}');
        INSERT INTO team_memberships (id, team_id, user_id, role, joined_at)
        VALUES (gen_random_uuid(), '{TEAM}', '{ADA}', 'owner', '2026-01-04 00:00+00'),
               (gen_random_uuid(), '{TEAM}', '{BOB}', 'visitor', '2026-01-05 00:00+00');
        """
    )
    return database


MEMBERS = (
    "SELECT teams.id, users.username, role, joined_at FROM team_memberships"
    " JOIN users ON users.id = user_id JOIN teams ON teams.id = team_id ORDER BY username"
)


def test_who_was_found_by_name_is_known_by_id_from_then_on(
    slm: Callable[..., Result], upstream: ProvisionedDatabase, autobot: ProvisionedDatabase
) -> None:
    autobot.sql("INSERT INTO users (username, email) VALUES ('bob', 'bob@x.y')")
    arguments = ["import", "--population", "autobot", "--from", "uuid-tables", "--json"]
    told(slm(*arguments, "--apply", url(upstream)))
    autobot.sql("UPDATE users SET username = 'robert', email = 'r@x.y' WHERE username = 'bob'")
    rows, _ = told(slm(*arguments, "--apply", url(upstream)))
    assert ("bob", "unchanged") in outcomes(rows)
    assert autobot.sql(USERS) == "2"


def test_autobots_tables(
    slm: Callable[..., Result], upstream: ProvisionedDatabase, autobot: ProvisionedDatabase
) -> None:
    arguments = ["import", "--population", "autobot", "--from", "uuid-tables", "--json"]
    forecast, before = told(slm(*arguments, url(upstream)))
    assert autobot.sql(USERS) == "0"
    rows, summary = told(slm(*arguments, "--apply", url(upstream)))
    assert rows == forecast
    assert outcomes(rows) == [
        ("default", "created"),
        ("chatter", "created"),
        ("readonly", "unchanged"),
        ("Builders", "created"),
        ("builders", "unchanged"),
        ("ada", "created"),
        ("bob", "created"),
        ("carol", "skipped"),
    ]
    assert "must set up a new one" in rows[5]["reason"]
    assert rows[7]["reason"] == "It is deleted in the source."
    over = [{"organization": "default", "max_users": 1, "users": 2}]
    assert before["over_quota"] == summary["over_quota"] == over
    users = autobot.sql(
        "SELECT id, org_id, username, password_hash, is_verified, mfa_enabled, is_platform_admin,"
        " preferences, created_at FROM users ORDER BY username"
    )
    assert users.splitlines() == [
        f'{ADA}|{ORG}|ada|{HASH}|t|f|t|{{"theme": "dark"}}|2026-01-01 00:00:00+00',
        f"{BOB}|{ORG}|bob|{HASH}|f|f|f|{{}}|2026-01-02 00:00:00+00",
    ]
    assert autobot.sql(MEMBERS).splitlines() == [
        f"{TEAM}|ada|owner|2026-01-04 00:00:00+00",
        f"{TEAM}|bob|member|2026-01-05 00:00:00+00",
    ]
    granted = autobot.sql(
        "SELECT roles.name, is_system, permissions.name FROM user_roles"
        " JOIN roles ON roles.id = user_roles.role_id"
        " JOIN role_permissions ON role_permissions.role_id = roles.id"
        " JOIN permissions ON permissions.id = permission_id WHERE roles.org_id IS NOT NULL"
    )
    assert granted == "chatter|f|chat:use"
    seeded = autobot.sql(
        "SELECT count(*) FROM user_roles JOIN roles ON roles.id = role_id"
        " WHERE name = 'readonly' AND org_id IS NULL"
    )
    assert seeded == "1"
    assert autobot.sql("SELECT settings FROM organizations") == '{"a": 1}'
    again, _ = told(slm(*arguments, "--apply", url(upstream)))
    assert {row["outcome"] for row in again} == {"unchanged", "skipped"}
    actions = autobot.sql(
        "SELECT action, count(*) FROM audit_logs WHERE resource_id IS NOT NULL"
        " GROUP BY action ORDER BY action"
    )
    assert actions.splitlines() == [
        "org_created|1",
        "role_created|1",
        "team_created|1",
        "team_member_added|2",
        "user_created|2",
    ]


def test_times_that_python_has_not_cost_no_more_than_their_row(
    slm: Callable[..., Result], upstream: ProvisionedDatabase, autobot: ProvisionedDatabase
) -> None:
    strange = ("'infinity'", "'-infinity'", "'0044-03-15 00:00+00 BC'", "'294276-12-31 00:00+00'")
    for column in ("last_login_at", "email_verified_at", "created_at"):
        for number, value in enumerate(strange):
            name = f"{column}_{number}"
            upstream.sql(
                "INSERT INTO users (id, username, email, is_active, is_verified, mfa_enabled,"
                f" is_platform_admin, preferences, created_at) VALUES (gen_random_uuid(), '{name}',"
                f" '{name}@x.y', true, true, false, false, '{{}}', '2026-01-04 00:00+00');"
                f"UPDATE users SET {column} = {value} WHERE username = '{name}'"
            )
    upstream.sql(
        "UPDATE organizations SET created_at = '0044-03-15 00:00+00 BC';"
        "UPDATE teams SET created_at = 'infinity';"
        f"UPDATE team_memberships SET joined_at = '294276-12-31 00:00+00' WHERE user_id = '{ADA}';"
        f"UPDATE users SET deleted_at = 'infinity' WHERE id = '{CAROL}'"
    )
    arguments = ["import", "--population", "autobot", "--from", "uuid-tables", "--json"]
    rows, _ = told(slm(*arguments, "--apply", url(upstream)))
    by_name = {row["name"]: row for row in rows}
    never = {"last_login_at_1", "email_verified_at_1"}
    for name, row in by_name.items():
        if name in never:
            assert "-infinity stands for never" in row["reason"]
            assert row["outcome"] == "created"
        elif "_at_" in name:
            assert row["outcome"] == "invalid"
            assert row["reason"].startswith(f"{name[:-2]}: It is not a time")
    for name in ("default", "Builders"):
        assert (by_name[name]["outcome"], by_name[name]["reason"]) == (
            "created",
            "created_at: In the source it is before 1970 or in the future: it is now instead.",
        )
    assert "joined_at: The time of a team membership" in by_name["ada"]["reason"]
    assert by_name["bob"]["reason"] is None
    assert by_name["carol"]["outcome"] == "skipped"
    now = "BETWEEN now() - interval '1 hour' AND now()"
    assert autobot.sql(f"SELECT count(*) FROM organizations WHERE created_at {now}") == "1"
    assert autobot.sql(f"SELECT count(*) FROM team_memberships WHERE joined_at {now}") == "1"


def test_the_fleets_table_holds_times_that_python_has_not(
    slm: Callable[..., Result], fleet: ProvisionedDatabase
) -> None:
    fleet.sql(
        "UPDATE users SET last_login = '0044-03-15 BC' WHERE id = (SELECT min(id) FROM users);"
        "UPDATE users SET last_login = '-infinity' WHERE id = (SELECT max(id) FROM users)"
    )
    arguments = ["import", "--population", "slm", "--from", "slm-table", "--json"]
    rows, _ = told(slm(*arguments, url(fleet)))
    assert rows[0]["reason"] == "last_login_at: It is not a time as in ISO 8601."
    assert "stands for never" in rows[-1]["reason"]


def test_who_is_here_under_another_id_keeps_it(
    slm: Callable[..., Result], upstream: ProvisionedDatabase, autobot: ProvisionedDatabase
) -> None:
    """What is matched by name is used as it is; memberships that are missing are added."""
    here = "00000000-0000-0000-0000-000000000001"
    autobot.sql(
        f"INSERT INTO organizations (id, name, slug) VALUES ('{here}', 'Here', 'default');"
        f"INSERT INTO users (id, username, email) VALUES ('{here}', 'ada', 'ada@elsewhere');"
        f"INSERT INTO teams (id, org_id, name) VALUES ('{here}', '{here}', 'BUILDERS')"
    )
    arguments = ["import", "--population", "autobot", "--from", "uuid-tables", "--json"]
    rows, _ = told(slm(*arguments, "--apply", url(upstream)))
    by_name = {row["name"]: row for row in rows}
    assert by_name["default"]["reason"] == f"It is {here} here."
    assert by_name["Builders"]["outcome"] == "unchanged"
    assert by_name["ada"]["outcome"] == "merged"
    assert by_name["ada"]["reason"].endswith("team memberships.")
    assert autobot.sql("SELECT org_id FROM users WHERE username = 'bob'") == here
    assert [line.split("|")[:2] for line in autobot.sql(MEMBERS).splitlines()] == [
        [here, "ada"],
        [here, "bob"],
    ]
    assert autobot.sql("SELECT count(*) FROM user_roles") == "0"
    again, _ = told(slm(*arguments, "--apply", url(upstream)))
    assert {row["outcome"] for row in again} == {"unchanged", "skipped"}


def test_a_deleted_organization_is_not_the_one_that_has_its_name_now(
    slm: Callable[..., Result], upstream: ProvisionedDatabase, autobot: ProvisionedDatabase
) -> None:
    upstream.sql("UPDATE organizations SET deleted_at = now(), is_active = false")
    autobot.sql("INSERT INTO organizations (name, slug) VALUES ('Here', 'default')")
    arguments = ["import", "--population", "autobot", "--from", "uuid-tables", "--json"]
    told(slm(*arguments, "--apply", url(upstream)))
    assert autobot.sql("SELECT DISTINCT org_id FROM users") == ORG
    deleted = autobot.sql("SELECT id, is_active FROM organizations WHERE deleted_at IS NOT NULL")
    assert deleted == f"{ORG}|f"


async def test_a_source_is_read_as_it_was_at_one_moment(upstream: ProvisionedDatabase) -> None:
    async with source_database(SourceKind.UUID_TABLES, url(upstream), None) as source:
        await asyncio.to_thread(upstream.sql, "DELETE FROM users")
        assert [row.username async for row in source.rows] == ["ada", "bob", "carol"]


def test_fleet_administrators_have_neither_organizations_nor_teams(
    slm: Callable[..., Result], upstream: ProvisionedDatabase, databases: Databases
) -> None:
    arguments = ["import", "--population", "slm", "--from", "uuid-tables", "--json"]
    rows, _ = told(slm(*arguments, "--apply", url(upstream)))
    assert outcomes(rows) == [
        ("readonly", "unchanged"),
        ("ada", "created"),
        ("bob", "created"),
        ("carol", "skipped"),
    ]
    tables = "SELECT (SELECT count(*) FROM organizations), (SELECT count(*) FROM teams)"
    assert databases[Population.SLM].sql(tables) == "0|0"


def test_the_configuration(slm: Callable[..., Result], autobot: ProvisionedDatabase) -> None:
    typed = json.dumps(
        {
            "security_config": {
                "allowed_users": {
                    "ada": {"role": "admin", "password_hash": HASH},
                    "bob": {"role": "editor", "password_hash": HASH, "email": "bob@x.y"},
                }
            }
        }
    )
    arguments = ["import", "--population", "autobot", "--from", "config", "--apply", "--json", "-"]
    rows, _ = told(slm(*arguments, typed=typed))
    assert rows[1]["reason"] == "There is no role 'editor' here: it has the role user instead."
    stored = autobot.sql(
        "SELECT username, email, is_platform_admin, roles.name FROM users"
        " LEFT JOIN user_roles ON user_id = users.id LEFT JOIN roles ON roles.id = role_id"
        " ORDER BY username"
    )
    assert stored.splitlines() == ["ada|ada@autobot.local|t|", "bob|bob@x.y|f|user"]


COLUMNS = (
    "id, username, email, password_hash, display_name, avatar_url, bio, is_active, is_verified,"
    " is_platform_admin, preferences, org_id, last_login_at, email_verified_at, created_at"
)


@pytest.mark.parametrize("output", ["ndjson", "csv"])
def test_what_is_exported_with_hashes_is_imported_as_it_was(
    slm: Callable[..., Result], autobot: ProvisionedDatabase, output: str
) -> None:
    autobot.sql(
        f"""
        INSERT INTO organizations (id, name, slug) VALUES ('{ORG}', 'C', 'c');
        INSERT INTO users (id, username, email, password_hash, display_name, avatar_url, bio,
                           is_active, is_verified, is_platform_admin, preferences, org_id,
                           last_login_at, email_verified_at, created_at)
        VALUES
            ('{ADA}', 'ada', 'ada@x.y', '{HASH}', '=HYPERLINK("x")', '/a.png', E'two\nlines, "ö"',
             false, true, true, '{{"=a": ["\\u2028", 1]}}', '{ORG}',
             '2026-01-01 00:00:00.000001+00', '2026-01-02 00:00+00', '2025-01-01 00:00+00'),
            ('{BOB}', '-bob', 'bob@x.y', NULL, '''=1', NULL, E'a\rb', true, false, false, '{{}}',
             NULL, NULL, NULL, '2025-01-02 00:00+00');
        INSERT INTO roles (name, priority) VALUES ('a; b', 1), ('["x"]', 2);
        INSERT INTO user_roles SELECT '{ADA}', id, NULL FROM roles WHERE name <> 'admin';
        INSERT INTO user_roles SELECT '{BOB}', id, NULL FROM roles WHERE name = '["x"]'
        """
    )
    export = ["export", "--population", "autobot", "--format", output]
    done = slm(*export, "--with-hashes")
    assert done.exit_code == 0
    rows = f"SELECT {COLUMNS} FROM users ORDER BY id"
    roles = "SELECT user_id, role_id FROM user_roles ORDER BY user_id, role_id"
    before = autobot.sql(rows), autobot.sql(roles)
    autobot.sql("DELETE FROM users")
    imported = ["import", "--population", "autobot", "--from", output, "--apply", "-"]
    assert slm(*imported, typed=done.stdout_bytes).exit_code == 0
    assert (autobot.sql(rows), autobot.sql(roles)) == before
    assert slm(*export, "--with-hashes").stdout_bytes == done.stdout_bytes
    without = slm(*export)
    assert "ada" in without.stdout
    assert "password_hash" not in without.stdout
    assert HASH not in without.stdout


def test_for_a_spreadsheet_an_export_says_that_it_is_utf_8(
    slm: Callable[..., Result], bring: Callable[..., Any]
) -> None:
    bring(person("ada", display_name="Åda"))
    export = ["export", "--population", "autobot", "--format"]
    plain = slm(*export, "csv").stdout_bytes
    assert slm(*export, "csv", "--excel").stdout_bytes == b"\xef\xbb\xbf" + plain
    assert plain.startswith(b"id,")
    audit = slm("audit", "export", "--population", "autobot", "--excel").stdout_bytes
    assert audit.startswith(b"\xef\xbb\xbfid,")
    for refused in (
        slm(*export, "ndjson", "--excel"),
        slm("audit", "export", "--population", "autobot", "--format", "ndjson", "--excel"),
    ):
        assert (refused.exit_code, refused.stdout) == (2, "")
        assert "--format csv" in refused.stderr


def test_a_cell_of_an_export_is_no_formula(
    slm: Callable[..., Result], bring: Callable[..., Any]
) -> None:
    bring(person("ada", display_name="=1+1", bio="@x"), person("-eve", email="eve@x.y"))
    done = slm("export", "--population", "autobot", "--format", "csv")
    header, *lines = done.stdout.splitlines()
    assert header.startswith("id,username,email,display_name,")
    assert any(",'=1+1,,'@x," in line for line in lines)
    assert any(",'-eve,eve@x.y," in line for line in lines)


def test_one_time_passwords_and_deleted_users_are_not_exported(
    slm: Callable[..., Result], bring: Callable[..., Any], autobot: ProvisionedDatabase
) -> None:
    bring(person("ada"), person("bob"), person("carol"))
    autobot.sql(
        "INSERT INTO user_credentials (user_id, must_change_password)"
        " SELECT id, true FROM users WHERE username = 'ada';"
        "UPDATE users SET deleted_at = now() WHERE username = 'bob'"
    )
    done = slm("export", "--population", "autobot", "--format", "ndjson", "--with-hashes")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["username"]: row["password_hash"] for row in rows} == {"ada": None, "carol": HASH}


def peak_memory(command: list[str], database: ProvisionedDatabase) -> int:
    """Peak of a run's memory, in KiB."""
    program = (
        "import resource, sys; from slm_server.cli import app\n"
        "try: app()\n"
        "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command],
        env=database.environment(database.service),
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stderr.splitlines()[-1])


def test_a_hundred_thousand_rows_are_never_in_memory_at_once(
    autobot: ProvisionedDatabase, tmp_path: Path
) -> None:
    """As Python objects they would take some 150 MiB."""

    def needed(count: int) -> int:
        path = tmp_path / f"{count}.csv"
        with path.open("w") as file:
            file.write("username,email,password_hash,bio\n")
            for number in range(count):
                file.write(f"person_{number},person_{number}@x.y,{HASH},{number:0400}\n")
        arguments = ["import", "--population", "autobot", "--from", "csv", str(path)]
        return peak_memory(arguments, autobot)

    assert needed(100_000) - needed(importer.CHUNK) < 40 * 1024
