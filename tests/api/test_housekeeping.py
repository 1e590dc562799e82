"""`slm housekeeping`: what is old goes, what is not stays."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from slm_server.cli import app
from tests.support.applications import Databases, Site
from tests.support.database_server import ProvisionedDatabase
from user_management.models import RateLimit
from user_management.population import Population
from user_management.services import HousekeepingService, housekeeping

TABLES = (
    *("auth_sessions", "rate_limits", "known_devices"),
    *("idempotency_records", "password_history", "users"),
)
KEPT = timedelta(days=90)
ADA = "00000000-0000-0000-0000-000000000001"
USERS = f"""
    INSERT INTO users (id, username, email) VALUES ('{ADA}', 'ada', 'ada@autobot.local');
    INSERT INTO users (username, email) VALUES ('bob', 'bob@autobot.local');
"""
# Near enough to each limit to tell one side from the other.
MOMENT = "interval '1 minute'"


@pytest.fixture(params=Population)
def database(request: pytest.FixtureRequest, databases: Databases) -> ProvisionedDatabase:
    """Either database, with two users."""
    found = databases[request.param]
    found.sql(USERS)
    return found


@pytest.fixture
def slm(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run a command against both databases; the finished run."""
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, arguments)


@pytest.fixture
def command(slm: Callable[..., Result]) -> Callable[..., Result]:
    """Clear away what is old; the finished run."""
    return partial(slm, "housekeeping")


def report(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def count(database: ProvisionedDatabase, table: str) -> int:
    return int(database.sql(f"SELECT count(*) FROM {table}"))


def add_sessions(
    database: ProvisionedDatabase, expires: str, ended: str = "NULL", number: int = 1
) -> None:
    """Sessions with a refresh token each."""
    database.sql(
        "WITH made AS (INSERT INTO auth_sessions (user_id, expires_at, ended_at)"
        f" SELECT '{ADA}', {expires}, {ended} FROM generate_series(1, {number}) RETURNING id)"
        " INSERT INTO refresh_tokens (token_hash, session_id) SELECT uuid_send(id), id FROM made"
    )


@pytest.mark.parametrize(
    ("expires", "ended", "left"),
    [
        (f"now() - interval '30 days' + {MOMENT}", "NULL", 1),
        (f"now() - interval '30 days' - {MOMENT}", "NULL", 0),
        ("now()", f"now() - interval '30 days' + {MOMENT}", 1),
        ("now()", f"now() - interval '30 days' - {MOMENT}", 0),
        (f"now() - interval '30 days' - {MOMENT}", "now()", 0),
        ("now() + interval '1 hour'", "NULL", 1),
    ],
)
def test_sessions_go_30_days_after_their_end(
    command: Callable[..., Result],
    database: ProvisionedDatabase,
    expires: str,
    ended: str,
    left: int,
) -> None:
    add_sessions(database, expires, ended)
    removed = report(command("--json"))
    assert removed[database.population]["auth_sessions"] == 1 - left
    assert (count(database, "auth_sessions"), count(database, "refresh_tokens")) == (left, left)


@pytest.mark.parametrize(("sign", "left"), [("+", 1), ("-", 0)])
def test_failures_go_when_they_count_no_more(
    command: Callable[..., Result], database: ProvisionedDatabase, sign: str, left: int
) -> None:
    database.sql(
        "INSERT INTO rate_limits (scope, key, blocked_until, expires_at)"
        f" VALUES ('account', 'x', now() + interval '1 day', now() {sign} {MOMENT})"
    )
    assert report(command("--json"))[database.population]["rate_limits"] == 1 - left
    assert count(database, "rate_limits") == left


@pytest.mark.parametrize(("sign", "left"), [("+", 1), ("-", 0)])
def test_browsers_go_a_month_after_the_last_login(
    command: Callable[..., Result], database: ProvisionedDatabase, sign: str, left: int
) -> None:
    database.sql(
        "INSERT INTO known_devices (device, user_id, last_login_at)"
        f" VALUES ('x', '{ADA}', now() - interval '30 days' {sign} {MOMENT})"
    )
    assert report(command("--json"))[database.population]["known_devices"] == 1 - left
    assert count(database, "known_devices") == left


@pytest.mark.parametrize(("sign", "left"), [("+", 1), ("-", 0)])
def test_requests_go_after_a_day(
    command: Callable[..., Result], database: ProvisionedDatabase, sign: str, left: int
) -> None:
    database.sql(
        "INSERT INTO idempotency_records (caller_id, key, request_hash, resource_id, created_at)"
        f" VALUES ('{ADA}', 'k', 'x', '{ADA}', now() - interval '24 hours' {sign} {MOMENT})"
    )
    assert report(command("--json"))[database.population]["idempotency_records"] == 1 - left
    assert count(database, "idempotency_records") == left


def test_of_former_passwords_each_user_keeps_the_newest_24(
    command: Callable[..., Result], database: ProvisionedDatabase
) -> None:
    database.sql(
        "INSERT INTO password_history (user_id, password_hash, created_at)"
        " SELECT users.id, n, now() - n * interval '1 year'"
        " FROM users, generate_series(1, 26) n WHERE username = 'ada' OR n <= 24"
    )
    assert report(command("--json"))[database.population]["password_history"] == 2
    kept = (
        "SELECT username, count(*), max(h.password_hash::int)"
        " FROM password_history h JOIN users ON users.id = user_id GROUP BY 1 ORDER BY 1"
    )
    assert database.sql(kept).splitlines() == ["ada|24|24", "bob|24|24"]


DELETED = (
    "UPDATE users SET username = 'ada', email = 'ada@autobot.local', display_name = 'Ada',"
    " bio = 'b', avatar_url = 'https://x/a', preferences = '{{\"x\": 1}}', password_hash = 'h',"
    f" last_login_at = now(), deleted_at = now() - interval '{{days}} days' WHERE id = '{ADA}';"
    f"INSERT INTO password_history (user_id, password_hash) VALUES ('{ADA}', 'h');"
    f"INSERT INTO user_credentials (user_id) VALUES ('{ADA}')"
)
ERASED = f"deleted-{ADA}|{ADA}@deleted.invalid|||" + "|{}||t"
KNOWN = (
    "SELECT username, email, display_name, bio, avatar_url, preferences, password_hash,"
    f" deleted_at IS NOT NULL FROM users WHERE id = '{ADA}'"
)


@pytest.mark.parametrize(("days", "is_erased"), [(89, False), (91, True)])
def test_of_a_deleted_user_only_the_id_stays_after_90_days(
    command: Callable[..., Result], database: ProvisionedDatabase, days: int, is_erased: bool
) -> None:
    database.sql(DELETED.format(days=days))
    add_sessions(database, "now()")
    before = database.sql(KNOWN)
    assert report(command("--json"))[database.population]["users"] == is_erased
    assert database.sql(KNOWN) == (ERASED if is_erased else before)
    for table in ("password_history", "user_credentials", "auth_sessions"):
        assert count(database, table) == (not is_erased)
    events = "SELECT resource_id, details FROM audit_logs WHERE action = 'user_erased'"
    assert database.sql(events) == (f"{ADA}|{{}}" if is_erased else "")
    assert report(command("--json"))[database.population]["users"] == 0


def test_how_long_is_a_setting(
    command: Callable[..., Result], database: ProvisionedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DELETED_USERS_KEPT_DAYS", "7")
    database.sql(DELETED.format(days=8))
    assert report(command("--json"))[database.population]["users"] == 1


def test_a_user_who_is_not_deleted_is_never_erased(
    command: Callable[..., Result], database: ProvisionedDatabase
) -> None:
    database.sql("UPDATE users SET created_at = now() - interval '9 years'")
    assert report(command("--json"))[database.population]["users"] == 0


@pytest.fixture
def purge(slm: Callable[..., Result], database: ProvisionedDatabase) -> Callable[[str], Result]:
    """Erase a deleted user by hand; the finished run."""
    return partial(slm, "users", "purge", "-p", database.population, "--yes")


def test_who_asks_for_it_is_erased_at_once(
    purge: Callable[[str], Result], database: ProvisionedDatabase
) -> None:
    assert "There is no user eve, nor was there one" in purge("eve").stderr
    assert "ada is not deleted. Delete the user first" in purge("ada").stderr
    database.sql(DELETED.format(days=0))
    assert purge("ADA@autobot.local").stdout == f"Erased: {ADA}.\n"
    assert database.sql(KNOWN) == ERASED
    # Twice changes nothing, and the name is anybody's again.
    assert purge(ADA).exit_code == 0
    database.sql("INSERT INTO users (username, email) VALUES ('ada', 'ada@autobot.local')")


def test_several_who_had_the_name_are_told_apart_by_their_ids(
    purge: Callable[[str], Result], database: ProvisionedDatabase
) -> None:
    database.sql(DELETED.format(days=0))
    database.sql("INSERT INTO users (username, email, deleted_at) VALUES ('ada', 'ada2@x', now())")
    done = purge("ada")
    assert done.exit_code == 1
    assert ADA in done.stderr
    assert database.sql("SELECT count(*) FROM users WHERE username = 'ada'") == "2"


def test_many_rows_go_batch_by_batch(
    command: Callable[..., Result],
    database: ProvisionedDatabase,
    monkeypatch: pytest.MonkeyPatch,
    statements: list[str],
) -> None:
    monkeypatch.setattr(housekeeping, "BATCH", 10)
    add_sessions(database, "now() - interval '31 days'", number=25)
    add_sessions(database, "now()", number=3)
    assert report(command("--json"))[database.population]["auth_sessions"] == 25
    assert count(database, "auth_sessions") == 3
    # Three that find something and one that does not; one for the other database.
    assert sum("DELETE FROM auth_sessions" in statement for statement in statements) == 5
    assert statements.count("COMMIT") == 5


def test_the_next_run_finds_nothing(
    command: Callable[..., Result], database: ProvisionedDatabase
) -> None:
    add_sessions(database, "now() - interval '31 days'")
    assert report(command("--json"))[database.population]["auth_sessions"] == 1
    nothing = dict.fromkeys(TABLES, 0)
    assert report(command("--json")) == {"slm": nothing, "autobot": nothing}


async def test_a_row_in_use_is_neither_removed_nor_waited_for(site: Site) -> None:
    database = site.resources.databases[Population.SLM]
    expired = datetime.now(UTC) - timedelta(minutes=1)
    async with database.session() as session:
        session.add(RateLimit(scope="account", key=b"x", expires_at=expired))
    async with database.session() as user:
        await user.execute(update(RateLimit).values(failures=2))
        async with database.session() as session:
            assert (await HousekeepingService(session, KEPT).run())["rate_limits"] == 0
    async with database.session() as session:
        assert (await HousekeepingService(session, KEPT).run())["rate_limits"] == 1


def test_people_read_one_line_for_each_database(
    command: Callable[..., Result], database: ProvisionedDatabase
) -> None:
    add_sessions(database, "now() - interval '31 days'")
    lines = command().stdout.splitlines()
    nothing = ", ".join(f"{table} 0" for table in TABLES[1:])
    assert sorted(lines) == sorted(
        f"{population}: removed auth_sessions {int(population is database.population)}, {nothing}"
        for population in Population
    )


@pytest.mark.parametrize(("age", "told"), [("4 minutes", False), ("6 minutes", True)])
def test_rows_of_the_audit_log_that_nobody_seals_are_told(
    command: Callable[..., Result], database: ProvisionedDatabase, age: str, told: bool
) -> None:
    database.sql(
        "INSERT INTO audit_logs (action, resource_type, created_at)"
        f" VALUES ('logout', 'session', now() - interval '{age}')"
    )
    done = command()
    assert done.exit_code == int(told)
    said = f"{database.population}: 1 rows of the audit log have no seal" in done.stderr
    assert said is told
    database.sql(
        "INSERT INTO audit_seals (seq, audit_id, hash) SELECT 1, id, '\\x00' FROM audit_logs"
    )
    assert command().exit_code == 0


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_database_that_is_away_does_not_keep_the_other_waiting(
    command: Callable[..., Result],
    database: ProvisionedDatabase,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    form: list[Any] | list[str],
) -> None:
    add_sessions(database, "now() - interval '31 days'")
    away = next(population for population in Population if population is not database.population)
    monkeypatch.setenv(f"{away.upper()}_POSTGRES_HOST", str(tmp_path))
    done = command(*form)
    assert done.exit_code == 1
    assert count(database, "auth_sessions") == 0
    assert database.population in done.stdout
    assert away not in done.stdout
    assert f"The database of the {away} users is unavailable" in done.stderr


def test_a_missing_setting_is_named(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AUTOBOT_POSTGRES_HOST")
    done = command()
    assert done.exit_code == 1
    assert "AUTOBOT_POSTGRES_HOST is not set" in done.stderr
    assert "slm: removed" in done.stdout
