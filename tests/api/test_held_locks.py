"""Whoever has the password of the backend's role may hold locks as long as they like: roles change
and audit rows are sealed all the same.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import pytest

from slm_server.background import audit_sealer
from tests.support.applications import Databases, RunSite, Site
from tests.support.database_server import ProvisionedDatabase
from user_management.population import Population
from user_management.services.locks import TableLock, lock_exclusive

AUTOBOT = Population.AUTOBOT
ROLES = "/api/autobot-roles"
USERS = "/api/autobot-users"
# Of releases that took advisory locks: roles, first administrator, sealer, import, migrations.
KEYS = (
    0x726F6C656E616D65,
    0x736C6D61646D696E,
    0x41554449545345,
    0x494D504F5254,
    0x757365725F6D676D,
)
MODES = (
    *("ACCESS EXCLUSIVE", "EXCLUSIVE", "SHARE ROW EXCLUSIVE", "SHARE", "SHARE UPDATE EXCLUSIVE"),
    *("ROW EXCLUSIVE", "ROW SHARE", "ACCESS SHARE"),
)


async def hold_all(connection: Any, wishes: Iterable[str]) -> list[str]:
    """Those of the wishes that the server grants, in one transaction that stays open."""
    held = []
    for wish in wishes:
        # What is refused, or held by somebody else for the moment.
        with suppress(asyncpg.InsufficientPrivilegeError, asyncpg.LockNotAvailableError):
            async with connection.transaction():
                await connection.execute(wish)
            held.append(wish)
    return held


@asynccontextmanager
async def everything_held(database: ProvisionedDatabase) -> AsyncIterator[Any]:
    """As the backend's role: every lock that it can get."""
    tables = database.sql(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind = 'r' ORDER BY 1"
    ).splitlines()
    connections = []
    try:
        for wishes in (
            # Rows first: nobody gets those of a table that somebody else has locked.
            [f"SELECT FROM {table} FOR UPDATE NOWAIT" for table in tables],
            [f"LOCK TABLE {table} IN {mode} MODE NOWAIT" for table in tables for mode in MODES],
            [f"SELECT pg_advisory_xact_lock({key})" for key in KEYS],
        ):
            connection = await asyncpg.connect(**database.backend.connect_arguments())
            connections.append(connection)
            await connection.transaction().start()
            assert await hold_all(connection, wishes)
        yield
    finally:
        for connection in connections:
            connection.terminate()


async def person_with_session(site: Site, name: str, role: str) -> UUID:
    user_id = await site.add_user(AUTOBOT, name, roles=[role])
    site.databases[AUTOBOT].sql(
        "INSERT INTO auth_sessions (user_id, expires_at)"
        f" VALUES ('{user_id}', now() + interval '1 hour')"
    )
    return user_id


async def change_roles(admin: httpx2.AsyncClient, holder: object, role_id: object) -> list[int]:
    """Create, change, give, take and delete roles; the statuses."""
    made = await admin.post(ROLES, json={"name": "guard", "permissions": ["users:read"]})
    guard = made.json().get("id")
    return [
        made.status_code,
        (await admin.patch(f"{ROLES}/{guard}", json={"name": "guards"})).status_code,
        (await admin.post(f"{USERS}/{holder}/roles", json={"role_id": guard})).status_code,
        (await admin.delete(f"{USERS}/{holder}/roles/{role_id}")).status_code,
        (await admin.delete(f"{ROLES}/{guard}")).status_code,
    ]


@pytest.fixture
def autobot(databases: Databases) -> ProvisionedDatabase:
    """The database, where the role may take advisory locks, as before the deployment forbade it."""
    database = databases[AUTOBOT]
    database.server.sql(
        "GRANT EXECUTE ON FUNCTION pg_advisory_xact_lock(bigint) TO autobot_backend",
        database=database.name,
    )
    return database


async def test_roles_change_and_rows_are_sealed(
    run_site: RunSite, databases: Databases, autobot: ProvisionedDatabase
) -> None:
    async with run_site(databases, seals=True) as site:
        site.client.headers.update(await site.administrate())
        role_id = site.add_role(AUTOBOT, "watch", ["users:read"])
        holder = await person_with_session(site, "marta", "watch")
        async with everything_held(autobot):
            assert await change_roles(site.client, holder, role_id) == [201, 200, 201, 204, 204]
            await sealed_all(autobot)
        ended = "SELECT count(*) FROM auth_sessions WHERE ended_at IS NOT NULL"
        assert autobot.sql(ended) == "1"


async def sealed_all(database: ProvisionedDatabase) -> None:
    """Wait until every row is sealed."""
    for _ in range(600):
        missing = database.sql(
            "SELECT count(*) FROM audit_logs WHERE id NOT IN (SELECT audit_id FROM audit_seals)"
        )
        if missing == "0":
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"{missing} rows are not sealed.")


async def test_transactions_of_the_backend_that_keep_nobody_waiting_go_on(
    run_site: RunSite, databases: Databases
) -> None:
    database = databases[AUTOBOT]
    async with run_site(databases, seals=True) as site:
        await site.administrate()
        connection = await asyncpg.connect(**database.backend.connect_arguments())
        async with connection.transaction():
            await connection.execute("LOCK TABLE rate_limits IN ACCESS EXCLUSIVE MODE")
            await asyncio.sleep(2)
            assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


async def test_a_sealer_that_is_locked_out_says_so(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(audit_sealer, "LOCKED_OUT", 0)
    database, other = (site.resources.databases[each] for each in Population)
    sealer = audit_sealer.Sealer(database, other)
    async with database.session() as holder:
        await lock_exclusive(holder, TableLock.SEALING)
        await sealer.seal()
        assert caplog.records == []
        await sealer.seal()
    [record] = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "slm users has not been sealed" in record.getMessage()
