"""`slm admin create`: the first administrator of a population."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from slm_server.cli import app
from tests.support.applications import Databases, Site
from user_management.population import Population
from user_management.schemas.users import UserCreate
from user_management.services import OPERATOR, AdministratorService, RequestContext
from user_management.services.administrators import FirstAdministrator


@pytest.fixture(params=Population)
def population(request: pytest.FixtureRequest) -> Population:
    population: Population = request.param
    return population


@pytest.fixture
def command(
    databases: Databases, population: Population, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    """Run the command against the population's database only; the finished run."""
    database = databases[population]
    for name, value in database.environment(database.service).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("BCRYPT_COST", "4")

    def run(
        *arguments: str,
        username: str = "captain",
        email: str = "captain@autobot.local",
        typed: str | None = None,
    ) -> Result:
        command = ["admin", "create", "--population", population]
        return CliRunner().invoke(
            app, [*command, "--username", username, "--email", email, *arguments], input=typed
        )

    return run


def report(done: Result) -> dict[str, Any]:
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_creates_one_with_a_one_time_password(
    command: Callable[..., Result], databases: Databases, population: Population
) -> None:
    first = report(command("--json"))
    assert (first["outcome"], first["username"]) == ("created", "captain")
    assert len(first["password"]) >= 20
    left = datetime.fromisoformat(first["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=71, minutes=59) < left <= timedelta(hours=72)
    row = databases[population].sql(
        "SELECT is_platform_admin, is_active, must_change_password, username "
        "FROM users JOIN user_credentials ON user_id = id"
    )
    assert row == "t|t|t|captain"
    audit = databases[population].sql("SELECT action, user_id, ip_address FROM audit_logs")
    assert audit == "user_created||"
    everything = databases[population].sql("SELECT users, audit_logs FROM users, audit_logs")
    assert first["password"] not in everything


def test_it_creates_once(
    command: Callable[..., Result], databases: Databases, population: Population
) -> None:
    report(command("--json"))
    again = report(command("--json", username="another", email="another@autobot.local"))
    assert again == {"outcome": "exists", "username": "captain"}
    assert databases[population].sql("SELECT count(*) FROM users") == "1"


async def test_it_creates_once_when_run_many_times_at_once(
    site: Site, population: Population
) -> None:
    """All have looked, and found nobody, before the first of them may write."""
    database = site.resources.databases[population]

    async def ensure(number: int) -> FirstAdministrator:
        async with database.session() as session:
            service = AdministratorService(
                session, RequestContext(authority=OPERATOR), site.resources.hasher
            )
            name = f"captain_{number}"
            return await service.ensure_first(
                UserCreate(username=name, email=f"{name}@autobot.local")
            )

    async with database.session() as session:
        await session.execute(text("LOCK TABLE users IN SHARE MODE"))
        callers = [asyncio.create_task(ensure(number)) for number in range(4)]
        await site.waiting(population, 4)
    outcomes = [await caller for caller in callers]
    assert sorted(each.outcome for each in outcomes) == ["created", *["exists"] * 3]
    assert len({each.username for each in outcomes}) == 1


def test_people_read_a_sentence(command: Callable[..., Result]) -> None:
    done = command()
    assert "One-time password: " in done.stdout
    assert "must be changed at the first login, before " in done.stdout
    assert command().stdout.strip().endswith("have an administrator already: captain.")


def test_an_administrator_whose_password_expired_unused_gets_another(
    command: Callable[..., Result], databases: Databases, population: Population
) -> None:
    first = report(command("--json"))
    databases[population].sql("UPDATE user_credentials SET one_time_expires_at = now()")
    second = report(command("--json", username="another", email="another@autobot.local"))
    assert (second["outcome"], second["username"]) == ("renewed", "captain")
    assert second["password"] != first["password"]
    assert databases[population].sql("SELECT count(*) FROM users") == "1"
    actions = databases[population].sql("SELECT action FROM audit_logs ORDER BY created_at")
    assert actions.split() == ["user_created", "password_reset_requested"]
    assert report(command("--json")) == {"outcome": "exists", "username": "captain"}


def test_a_password_that_the_caller_has_kept_replaces_an_unused_one(
    command: Callable[..., Result], databases: Databases, population: Population
) -> None:
    report(command("--json"))
    stored = "SELECT password_hash FROM users"
    before = databases[population].sql(stored)
    done = report(command("--json", "--password-stdin", typed="granite-otter-quilt-52\n"))
    assert (done["outcome"], done["username"]) == ("renewed", "captain")
    assert "password" not in done, "the caller has it; nobody else need read it"
    assert databases[population].sql(stored) != before
    refused = command("--json", "--password-stdin", typed="captain-1\n")
    assert (refused.exit_code, refused.stdout) == (1, "")


@pytest.mark.parametrize(
    ("change", "state"),
    [
        (None, "unused"),
        ("UPDATE user_credentials SET one_time_expires_at = now()", "expired"),
        ("UPDATE user_credentials SET must_change_password = false", "established"),
        ("UPDATE users SET is_active = false", "missing"),
        (
            "INSERT INTO users (username, email, is_platform_admin) VALUES ('b', 'b', true)",
            "established",
        ),
    ],
)
def test_the_status_tells_who_can_enter(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, change: str | None, state: str
) -> None:
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("BCRYPT_COST", "4")
    arguments = ["--population", "slm", "--username", "captain", "--email", "c@autobot.local"]
    assert CliRunner().invoke(app, ["admin", "create", *arguments]).exit_code == 0
    if change is not None:
        databases[Population.SLM].sql(change)
    found = report(CliRunner().invoke(app, ["admin", "status", "--json"]))
    username = None if state == "missing" else "captain"
    assert found == {
        "slm": {"state": state, "username": username},
        "autobot": {"state": "missing", "username": None},
    }


def test_a_changed_password_is_never_renewed(
    command: Callable[..., Result], databases: Databases, population: Population
) -> None:
    report(command("--json"))
    databases[population].sql(
        "UPDATE user_credentials SET one_time_expires_at = now(), must_change_password = false"
    )
    assert report(command("--json")) == {"outcome": "exists", "username": "captain"}


def test_a_name_that_is_taken(
    command: Callable[..., Result], databases: Databases, population: Population
) -> None:
    databases[population].sql("INSERT INTO users (username, email) VALUES ('captain', 'c@x.y')")
    done = command("--json")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "This username is taken." in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"username": "a b"}, "--username"), ({"email": "nowhere"}, "--email")],
)
def test_bad_arguments_are_named(
    command: Callable[..., Result], arguments: dict[str, str], named: str
) -> None:
    done = command("--json", **arguments)
    assert done.exit_code == 1
    assert named in done.stderr


def test_a_missing_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOBOT_POSTGRES_HOST", raising=False)
    done = CliRunner().invoke(
        app,
        [
            *("admin", "create", "--population", "autobot"),
            *("--username", "captain", "--email", "c@x.y"),
        ],
    )
    assert done.exit_code == 1
    assert "AUTOBOT_POSTGRES_HOST is not set" in done.stderr


def test_a_database_that_is_away(
    command: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    population: Population,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(f"{population.upper()}_POSTGRES_HOST", str(tmp_path))
    done = command("--json")
    assert done.exit_code == 1
    assert f"The database of the {population} users is unavailable" in done.stderr


async def test_the_first_login_and_an_expired_password(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = site.databases[Population.SLM]
    for name, value in database.environment(database.service).items():
        monkeypatch.setenv(name, value)
    arguments = [
        *("admin", "create", "--json", "--population", "slm"),
        *("--username", "captain", "--email", "captain@autobot.local"),
    ]
    done = await asyncio.to_thread(CliRunner().invoke, app, arguments, env={"BCRYPT_COST": "4"})
    password = report(done)["password"]
    login = await site.try_login("captain", password)
    assert (login.status_code, login.json()["must_change_password"]) == (200, True)
    changed = await site.client.post(
        "/api/slm-auth/change-password",
        json={"current_password": password, "new_password": "granite-otter-quilt-52"},
        headers={"Authorization": f"Bearer {login.json()['access_token']}"},
    )
    assert changed.status_code == 204
    assert (await site.try_login("captain", "granite-otter-quilt-52")).status_code == 200
    assert (await site.try_login("captain", password)).status_code == 401


async def test_an_expired_one_time_password_opens_nothing(site: Site) -> None:
    user_id = await site.add_user(Population.SLM, "captain")
    site.give_one_time_password(user_id, "-1 second")
    assert (await site.try_login("captain")).status_code == 401
