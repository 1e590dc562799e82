"""What is known of the sessions that were there before it was noted who had just logged in."""

from typing import Any

import pytest

ADA = "00000000-0000-0000-0000-000000000001"
SESSION = (
    f"INSERT INTO auth_sessions (user_id, expires_at) VALUES ('{ADA}', now() + interval '1 h')"
)
NOTED = "SELECT count(*), count(authenticated_at) FROM auth_sessions"


@pytest.fixture(params=["slm_database", "autobot_database"])
def database(request: pytest.FixtureRequest) -> Any:
    """Either database, with a user."""
    made = request.getfixturevalue(request.param)
    made.sql(f"INSERT INTO users (id, username, email) VALUES ('{ADA}', 'ada', 'ada@x')")
    return made


def alembic(database: Any, *arguments: str) -> None:
    done = database.alembic("-n", database.population, "-x", "lose_rows=true", *arguments)
    assert done.returncode == 0, done.stderr + done.stdout


def test_sessions_of_before_go_on_and_have_proved_nothing(database: Any) -> None:
    alembic(database, "downgrade", "0005")
    database.sql(SESSION, user="slm_service")
    alembic(database, "upgrade", "head")
    assert database.sql(NOTED) == "1|0"


def test_sessions_that_the_release_before_begins_have_just_proved_it(database: Any) -> None:
    """It names the columns that it knows."""
    database.sql(SESSION, user="slm_service")
    assert database.sql(NOTED) == "1|1"
    assert database.sql("SELECT authenticated_at <= now() FROM auth_sessions") == "t"


def test_a_release_goes_back_without_asking(database: Any) -> None:
    """What goes is made again by the next login."""
    database.sql(f"{SESSION}; INSERT INTO known_devices (device, user_id) VALUES ('x', '{ADA}')")
    alembic(database, "downgrade", "0009")
    done = database.alembic("-n", database.population, "downgrade", "-1")
    assert done.returncode == 0, done.stderr + done.stdout
    assert database.sql("SELECT count(*) FROM auth_sessions") == "1"
