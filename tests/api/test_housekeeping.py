"""`slm housekeeping`: what is old goes, what is not stays."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from slm_server.cli import app
from user_management.models import RateLimit
from user_management.population import Population
from user_management.services import HousekeepingService, housekeeping

TABLES = (
    *("auth_sessions", "rate_limits", "known_devices"),
    *("idempotency_records", "password_history"),
)
ADA = "00000000-0000-0000-0000-000000000001"
USERS = f"""
    INSERT INTO users (id, username, email) VALUES ('{ADA}', 'ada', 'ada@autobot.local');
    INSERT INTO users (username, email) VALUES ('bob', 'bob@autobot.local');
"""
# Near enough to each limit to tell one side from the other.
MOMENT = "interval '1 minute'"


@pytest.fixture(params=Population)
def database(request, databases):
    """Either database, with two users."""
    found = databases[request.param]
    found.sql(USERS)
    return found


@pytest.fixture
def command(databases, monkeypatch):
    """Run the command against both databases; the finished run."""
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)
    return lambda *arguments: CliRunner().invoke(app, ["housekeeping", *arguments])


def report(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def count(database, table):
    return int(database.sql(f"SELECT count(*) FROM {table}"))


def add_sessions(database, expires, ended="NULL", number=1):
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
def test_sessions_go_30_days_after_their_end(command, database, expires, ended, left):
    add_sessions(database, expires, ended)
    removed = report(command("--json"))
    assert removed[database.population]["auth_sessions"] == 1 - left
    assert (count(database, "auth_sessions"), count(database, "refresh_tokens")) == (left, left)


@pytest.mark.parametrize(("sign", "left"), [("+", 1), ("-", 0)])
def test_failures_go_when_they_count_no_more(command, database, sign, left):
    database.sql(
        "INSERT INTO rate_limits (scope, key, blocked_until, expires_at)"
        f" VALUES ('account', 'x', now() + interval '1 day', now() {sign} {MOMENT})"
    )
    assert report(command("--json"))[database.population]["rate_limits"] == 1 - left
    assert count(database, "rate_limits") == left


@pytest.mark.parametrize(("sign", "left"), [("+", 1), ("-", 0)])
def test_browsers_go_a_month_after_the_last_login(command, database, sign, left):
    database.sql(
        "INSERT INTO known_devices (device, user_id, last_login_at)"
        f" VALUES ('x', '{ADA}', now() - interval '30 days' {sign} {MOMENT})"
    )
    assert report(command("--json"))[database.population]["known_devices"] == 1 - left
    assert count(database, "known_devices") == left


@pytest.mark.parametrize(("sign", "left"), [("+", 1), ("-", 0)])
def test_requests_go_after_a_day(command, database, sign, left):
    database.sql(
        "INSERT INTO idempotency_records (caller_id, key, request_hash, resource_id, created_at)"
        f" VALUES ('{ADA}', 'k', 'x', '{ADA}', now() - interval '24 hours' {sign} {MOMENT})"
    )
    assert report(command("--json"))[database.population]["idempotency_records"] == 1 - left
    assert count(database, "idempotency_records") == left


def test_of_former_passwords_each_user_keeps_the_newest_24(command, database):
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


def test_many_rows_go_batch_by_batch(command, database, monkeypatch, statements):
    monkeypatch.setattr(housekeeping, "BATCH", 10)
    add_sessions(database, "now() - interval '31 days'", number=25)
    add_sessions(database, "now()", number=3)
    assert report(command("--json"))[database.population]["auth_sessions"] == 25
    assert count(database, "auth_sessions") == 3
    # Three that find something and one that does not; one for the other database.
    assert sum("DELETE FROM auth_sessions" in statement for statement in statements) == 5
    assert statements.count("COMMIT") == 5


def test_the_next_run_finds_nothing(command, database):
    add_sessions(database, "now() - interval '31 days'")
    assert report(command("--json"))[database.population]["auth_sessions"] == 1
    nothing = dict.fromkeys(TABLES, 0)
    assert report(command("--json")) == {"slm": nothing, "autobot": nothing}


async def test_a_row_in_use_is_neither_removed_nor_waited_for(site):
    database = site.resources.databases[Population.SLM]
    expired = datetime.now(UTC) - timedelta(minutes=1)
    async with database.session() as session:
        session.add(RateLimit(scope="account", key=b"x", expires_at=expired))
    async with database.session() as user:
        await user.execute(update(RateLimit).values(failures=2))
        async with database.session() as session:
            assert (await HousekeepingService(session).run())["rate_limits"] == 0
    async with database.session() as session:
        assert (await HousekeepingService(session).run())["rate_limits"] == 1


def test_people_read_one_line_for_each_database(command, database):
    add_sessions(database, "now() - interval '31 days'")
    lines = command().stdout.splitlines()
    nothing = ", ".join(f"{table} 0" for table in TABLES[1:])
    assert sorted(lines) == sorted(
        f"{population}: removed auth_sessions {int(population is database.population)}, {nothing}"
        for population in Population
    )


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_database_that_is_away_does_not_keep_the_other_waiting(
    command, database, monkeypatch, tmp_path, form
):
    add_sessions(database, "now() - interval '31 days'")
    away = next(population for population in Population if population is not database.population)
    monkeypatch.setenv(f"{away.upper()}_POSTGRES_HOST", str(tmp_path))
    done = command(*form)
    assert done.exit_code == 1
    assert count(database, "auth_sessions") == 0
    assert database.population in done.stdout
    assert away not in done.stdout
    assert f"The database of the {away} users is unavailable" in done.stderr


def test_a_missing_setting_is_named(command, monkeypatch):
    monkeypatch.delenv("AUTOBOT_POSTGRES_HOST")
    done = command()
    assert done.exit_code == 1
    assert "AUTOBOT_POSTGRES_HOST is not set" in done.stderr
    assert "slm: removed" in done.stdout
