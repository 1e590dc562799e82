"""`slm doctor --takeover`: what still uses what AutoBot had before."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from slm_server.cli import app
from tests.support.applications import Databases, Site
from tests.support.database_server import PostgresServer
from user_management.population import Population

CLEAN = {
    "slm logins": ("ok", "none by /api/auth/login in 8 days"),
    "slm old databases": ("ok", "none"),
    "slm other roles": ("ok", "none is connected"),
    "autobot old databases": ("ok", "none"),
    "autobot former database": ("ok", "none was moved here"),
    "autobot other roles": ("ok", "none is connected"),
}


@pytest.fixture
def environment(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Databases:
    """Settings of both databases, as the deployed service has them."""
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)
    return databases


async def examine() -> tuple[int, dict[str, Any]]:
    """The status of the command, and what it says by the name of the check."""
    done = await asyncio.to_thread(CliRunner().invoke, app, ["doctor", "--takeover", "--json"])
    assert done.stdout, done.exception
    return done.exit_code, {check["check"]: check for check in json.loads(done.stdout)}


def differing(checks: dict[str, Any]) -> dict[str, Any]:
    """Those that are not as on a site which nothing old uses."""
    assert checks.keys() == CLEAN.keys()
    return {
        name: check
        for name, check in checks.items()
        if (check["state"], check["found"]) != CLEAN[name]
    }


@pytest.fixture
def old(postgres: PostgresServer) -> Iterator[str]:
    """A database that a take-over has left, and AutoBot's role that owns it."""
    postgres.sql("CREATE ROLE slm_app LOGIN")
    postgres.sql("CREATE DATABASE autobot_users_before_takeover OWNER slm_app")
    yield "autobot_users_before_takeover"
    postgres.drop_database("autobot_users_before_takeover")
    postgres.sql("DROP OWNED BY slm_app; DROP ROLE slm_app")


@contextlib.asynccontextmanager
async def session(postgres: PostgresServer, database: str) -> AsyncIterator[None]:
    """AutoBot's role, connected meanwhile."""
    connection = await asyncpg.connect(
        host=str(postgres.directory), database=database, user="slm_app"
    )
    try:
        yield
    finally:
        await connection.close()


@pytest.mark.usefixtures("environment")
async def test_a_site_that_nothing_old_uses() -> None:
    status, checks = await examine()
    assert status == 0
    assert differing(checks) == {}


async def test_who_logs_in_as_autobots_programs_do(site: Site, environment: Databases) -> None:
    await site.add_user(Population.SLM, "admin", is_admin=True)
    await site.add_user(Population.SLM, "ada")
    for path, name in (("slm-auth", "ada"), ("auth", "admin"), ("auth", "admin")):
        body = {"username": name, "password": site.password}
        assert (await site.client.post(f"/api/{path}/login", json=body)).status_code == 200
    status, checks = await examine()
    assert status == 0
    found = differing(checks)
    assert found.keys() == {"slm logins"}
    assert found["slm logins"]["state"] == "warning"
    assert found["slm logins"]["found"].startswith("by /api/auth/login in 8 days: admin (2, the ")
    assert "ada" not in found["slm logins"]["found"]

    environment[Population.SLM].sql(
        "UPDATE audit_logs SET created_at = created_at - interval '8 days 1 minute'"
    )
    assert differing((await examine())[1]) == {}


@pytest.mark.usefixtures("environment")
async def test_an_old_database_is_kept_and_must_not_be_in_use(
    postgres: PostgresServer, old: str
) -> None:
    """Tests have one cluster: each population's has it."""
    status, checks = await examine()
    assert status == 0
    assert differing(checks).keys() == {"slm old databases", "autobot old databases"}
    assert checks["slm old databases"]["found"] == f"kept, without a session: {old}"
    async with session(postgres, old):
        status, checks = await examine()
    assert status == 1
    assert checks["slm old databases"]["state"] == "failed"
    assert checks["slm old databases"]["found"] == f"in use: {old} (slm_app)"
    assert "playbooks/adopt.yml" in checks["slm old databases"]["advice"]


@pytest.mark.parametrize(
    ("note", "found"),
    [
        (
            '{"from": "192.0.2.19:5432/people", "at": 1796000000, "users": 7}',
            "192.0.2.19:5432/people, until 2026-11-30; who is refused there since, "
            "playbooks/takeover_confirm.yml says",
        ),
        *((note, "none was moved here") for note in ("AutoBot's users", "[1]", '{"from": "x"}')),
    ],
)
async def test_where_the_database_was_is_named_though_nobody_can_have_a_session_there(
    postgres: PostgresServer, environment: Databases, note: str, found: str
) -> None:
    """A service with the old address is refused, because the source has another name by now."""
    database = environment[Population.AUTOBOT].name
    quoted = note.replace("'", "''")
    postgres.sql(f"COMMENT ON DATABASE {database} IS '{quoted}'")
    try:
        status, checks = await examine()
    finally:
        postgres.sql(f"COMMENT ON DATABASE {database} IS NULL")
    assert status == 0
    assert checks["autobot former database"]["found"] == found


async def test_autobots_own_role_in_a_database_of_ours(
    postgres: PostgresServer, environment: Databases, old: str
) -> None:
    assert old
    database = environment[Population.AUTOBOT].name
    postgres.sql(f"GRANT CONNECT ON DATABASE {database} TO slm_app")
    try:
        async with session(postgres, database):
            status, checks = await examine()
    finally:
        postgres.sql(f"REVOKE CONNECT ON DATABASE {database} FROM slm_app")
    assert status == 0
    assert checks["autobot other roles"]["state"] == "warning"
    assert checks["autobot other roles"]["found"] == "connected: slm_app"
    assert checks["slm other roles"]["state"] == "ok"


@pytest.mark.usefixtures("environment")
async def test_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOBOT_POSTGRES_HOST", "/nowhere")
    status, checks = await examine()
    assert status == 1
    assert checks["autobot database"]["state"] == "failed"
    assert checks["slm other roles"]["state"] == "ok"
