"""Reading the audit logs: by the API, at AutoBot's own address, and with `slm audit`."""

import asyncio
import csv
import io
import json
import tracemalloc
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.pool import QueuePool
from typer.testing import CliRunner, Result

from slm_server.audit_export import export
from slm_server.cli import app
from tests.support.applications import Databases, RunSite, Site
from tests.support.database_server import ProvisionedDatabase
from user_management.population import Population
from user_management.schemas.audit import actions_of, category_of
from user_management.services.audit_chain import seal
from user_management.services.audit_reading import CHUNK, AuditFilter
from user_management.transfer.exporter import ExportFormat

LOGS = "/api/audit-logs"
SECURITY = "/api/security/audit-logs"
MARTA = "7b0e4c5e-0000-4000-8000-000000000001"
THING = "7b0e4c5e-0000-4000-8000-000000000002"


def add_row(database: ProvisionedDatabase, created_at: str = "now()", **columns: str) -> str:
    """Add an event past the API; its id. Values are SQL."""
    columns = {
        "id": f"'{uuid4()}'",
        "action": "'logout'",
        "resource_type": "'session'",
        "created_at": created_at,
    } | columns
    database.sql(
        f"INSERT INTO audit_logs ({', '.join(columns)}) VALUES ({', '.join(columns.values())})"
    )
    return columns["id"].strip("'")


def add_rows(database: ProvisionedDatabase, number: int, created_at: str = "now()") -> None:
    database.sql(
        "INSERT INTO audit_logs (action, resource_type, created_at, user_agent, details)"
        f" SELECT 'logout', 'session', {created_at}, repeat('agent ', 20), '{{\"n\": 1}}'"
        f" FROM generate_series(1, {number})"
    )


async def listed(client: httpx2.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await client.get(LOGS, params=query)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["logs"]
    return found


async def ids(client: httpx2.AsyncClient, **query: Any) -> list[str]:
    return [row["id"] for row in await listed(client, **query)]


# The list


async def test_a_row_as_it_is_shown(admin: httpx2.AsyncClient, site: Site) -> None:
    administrator = site.databases[Population.SLM].sql("SELECT id FROM users")
    [login, _] = await listed(admin)
    assert login == {
        "id": login["id"],
        "created_at": login["created_at"],
        "action": "login_success",
        "outcome": "success",
        "actor": {
            "population": "slm",
            "user_id": administrator,
            "username": site.administrator,
        },
        "resource_type": "session",
        "resource_id": login["resource_id"],
        "org_id": None,
        "ip_address": "203.0.113.7",
        "user_agent": "pytest",
        "details": {},
        "seq": None,
    }
    async with site.resources.session(Population.SLM) as session:
        await seal(session)
    assert [row["seq"] for row in await listed(admin)] == [2, 1]
    one = await admin.get(f"{LOGS}/{login['id']}")
    assert (one.status_code, one.json()) == (200, login | {"seq": 2})


async def test_the_actor_of_the_other_population(admin: httpx2.AsyncClient, site: Site) -> None:
    await admin.post(
        "/api/autobot-users", json={"username": "marta", "email": "marta@autobot.local"}
    )
    [row] = await listed(admin, population="autobot")
    assert row["action"] == "user_created"
    assert row["actor"]["population"] == "slm"
    assert row["actor"]["username"] == site.administrator
    actor = row["actor"]["user_id"]
    assert await ids(admin, population="autobot", actor=actor) == [row["id"]]


@pytest.mark.parametrize(
    ("details", "actor"),
    [
        ("{}", None),
        ("[1]", None),
        ('{"actor": "ada"}', None),
        (
            '{"actor": {"username": "ada", "user_id": 7}}',
            {"population": None, "user_id": None, "username": "ada"},
        ),
    ],
)
async def test_what_other_programs_have_written(
    admin: httpx2.AsyncClient, site: Site, details: str, actor: dict[str, Any] | None
) -> None:
    row = add_row(site.databases[Population.AUTOBOT], details=f"'{details}'")
    [found] = await listed(admin, population="autobot")
    assert (found["id"], found["actor"]) == (row, actor)


FILTERS = {
    "action": ("password_changed", {"action": "'password_changed'"}),
    "outcome": ("failure", {"outcome": "'failure'"}),
    "resource_type": ("team", {"resource_type": "'team'"}),
    "resource_id": (THING, {"resource_id": f"'{THING}'"}),
    "ip_address": ("2001:db8::1", {"ip_address": "'2001:db8::1'"}),
    "actor": (MARTA, {"user_id": f"'{MARTA}'"}),
}


@pytest.mark.parametrize("name", FILTERS)
async def test_each_filter(admin: httpx2.AsyncClient, site: Site, name: str) -> None:
    database = site.databases[Population.SLM]
    database.sql(f"INSERT INTO users (id, username, email) VALUES ('{MARTA}', 'marta', 'm@x')")
    value, columns = FILTERS[name]
    meant = add_row(database, **columns)
    add_row(database)
    assert await ids(admin, **{name: value}) == [meant]


async def test_filters_together_and_several_actions(admin: httpx2.AsyncClient, site: Site) -> None:
    database = site.databases[Population.SLM]
    first = add_row(database, "now() - interval '1 minute'", action="'a'")
    second = add_row(database, action="'b'")
    add_row(database, action="'c'")
    add_row(database, action="'b'", outcome="'failure'")
    found = await ids(admin, action=["a", "b"], outcome="success")
    assert found == [second, first]
    assert await ids(admin, action=["a", "b"], outcome="success", resource_type="user") == []


async def test_any_number_of_actions_is_one_statement(
    admin: httpx2.AsyncClient, statements: list[str]
) -> None:
    for number in (0, 1, 2, 100):
        await ids(admin, action=["a"] * number)
    asked = {each for each in statements if "FROM audit_logs" in each}
    assert len(asked) == 2  # with actions and without


async def test_since_is_included_and_until_is_not(admin: httpx2.AsyncClient, site: Site) -> None:
    database = site.databases[Population.SLM]
    rows = [add_row(database, f"'2026-01-01T00:00:0{second}Z'") for second in range(3)]
    since, until = "2026-01-01T01:00:01+01:00", "2026-01-01T00:00:02Z"
    assert await ids(admin, since=since, until=until) == [rows[1]]
    assert await ids(admin, until=until) == [rows[1], rows[0]]


@pytest.mark.parametrize("path", [LOGS, f"{LOGS}/export", "/api/security/audit-logs"])
@pytest.mark.parametrize(
    "since",
    [
        *("2026-01-01T06:00:00+01:00", "2026-01-01T06:00:00%2B01:00", "2026-01-01 06:00:00+01:00"),
        *("2026-01-01T06:00+01:00", "2026-01-01T06:00:00.000+0100"),
    ],
)
async def test_the_plus_of_a_time_zone_needs_no_escape(
    admin: httpx2.AsyncClient, site: Site, path: str, since: str
) -> None:
    """In a query it is a blank, unless one knows to write %2B."""
    database = site.databases[Population.SLM]
    before, after = (add_row(database, f"'2026-01-01T0{hour}:00:00Z'") for hour in (4, 6))
    response = await admin.get(f"{path}?since={since}&until=2026-01-02T00:00:00Z")
    assert response.status_code == 200, response.text
    assert after in response.text
    assert before not in response.text


@pytest.mark.parametrize(
    "since",
    [
        "2026-01-01 06:00:00",
        "2026-01-01T06:00:00 x",
        "2026-01-01T06:00:00  01:00",
        "2026-01-01 01:00",
    ],
)
async def test_a_blank_is_no_plus_where_no_time_zone_follows(
    admin: httpx2.AsyncClient, since: str
) -> None:
    response = await admin.get(LOGS, params={"since": since})
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("Prüfprogramm/1.0 (Ελλάδα; 王小明)".encode(), "Prüfprogramm/1.0 (Ελλάδα; 王小明)"),
        ("Prüfprogramm/1.0".encode("latin-1"), "Prüfprogramm/1.0"),
        (b"curl/8.0", "curl/8.0"),
        ("ü".encode() * 600, "ü" * 500),
        (b"\xc3", "\u00c3"),
    ],
)
async def test_a_user_agent_in_utf_8_is_shown_as_it_is(
    admin: httpx2.AsyncClient, site: Site, sent: bytes, shown: str
) -> None:
    await site.add_user(Population.SLM, "marta")
    body = {"username": "marta", "password": site.password}
    login = await site.client.post("/api/slm-auth/login", json=body, headers={b"User-Agent": sent})
    assert login.status_code == 200, login.text
    [row] = (await admin.get(LOGS, params={"action": "login_success", "limit": "1"})).json()["logs"]
    assert row["user_agent"] == shown
    sessions = await site.client.get(
        "/api/slm-auth/sessions", headers=site.bearer(login.json()["access_token"])
    )
    assert sessions.json()["sessions"][0]["user_agent"] == shown


@pytest.mark.parametrize(
    "query",
    [
        {"since": "2026-01-01T00:00:00"},
        {"since": "1767225600"},
        {"until": "0001-01-01T00:00:00+14:00"},
        {"until": "2026-13-01T00:00:00Z"},
        {"actor": "ada"},
        {"action": "a\0b"},
        {"population": "both"},
        {"limit": "0"},
        {"limit": "1001"},
    ],
    ids=str,
)
async def test_a_query_that_is_not_valid(admin: httpx2.AsyncClient, query: dict[str, str]) -> None:
    response = await admin.get(LOGS, params=query)
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")


async def test_pages_go_through_equal_times(admin: httpx2.AsyncClient, site: Site) -> None:
    database = site.databases[Population.SLM]
    database.sql("DELETE FROM audit_logs")
    add_rows(database, 25, "'2026-01-01T00:00:00Z'")
    expected = database.sql("SELECT id FROM audit_logs ORDER BY id DESC").splitlines()
    found, query = [], {"limit": "7"}
    for _ in range(4):
        page = (await admin.get(LOGS, params=query)).json()
        found += [row["id"] for row in page["logs"]]
        # What comes meanwhile is newer.
        add_row(database)
        query["cursor"] = page["next_cursor"]
    assert found == expected
    assert page["next_cursor"] is None


@pytest.mark.parametrize("damage", [lambda it: "x" * len(it), lambda it: it[:-4], lambda _: ""])
async def test_a_forged_cursor(
    admin: httpx2.AsyncClient, site: Site, damage: Callable[[Any], Any]
) -> None:
    add_rows(site.databases[Population.SLM], 2)
    cursor = (await admin.get(LOGS, params={"limit": 1})).json()["next_cursor"]
    assert (await admin.get(LOGS, params={"cursor": cursor})).status_code == 200
    response = await admin.get(LOGS, params={"cursor": damage(cursor)})
    assert (response.status_code, response.json()["code"]) == (422, "validation_error")


async def test_an_event_that_is_not_there(admin: httpx2.AsyncClient) -> None:
    response = await admin.get(f"{LOGS}/{uuid4()}")
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


# Who may read


@pytest.mark.parametrize(
    "path", [LOGS, f"{LOGS}/export", f"{LOGS}/{THING}", SECURITY, f"{SECURITY}/{THING}"]
)
async def test_who_lacks_the_permission(site: Site, path: str) -> None:
    await site.add_user(Population.SLM, "ada", permissions=["users:read", "admin:access"])
    headers = await site.login("ada")
    assert (await site.client.get(path)).status_code == 401
    response = await site.client.get(path, headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("population", Population)
async def test_who_has_it(site: Site, population: Population) -> None:
    await site.add_user(Population.SLM, "ada", permissions=["audit:read"])
    headers = await site.login("ada")
    response = await site.client.get(LOGS, params={"population": population}, headers=headers)
    assert response.status_code == 200


@pytest.fixture
async def limited(site: Site) -> tuple[httpx2.AsyncClient, UUID, UUID]:
    """A client of somebody who is limited to one of two organizations; that one, the other."""
    mine, other = site.add_organization("mine"), site.add_organization("other")
    await site.add_user(Population.SLM, "ada", permissions=["audit:read"], org_id=mine)
    site.client.headers.update(await site.login("ada"))
    return site.client, mine, other


async def test_a_limited_administrator_sees_one_organization(
    site: Site, limited: tuple[httpx2.AsyncClient, UUID, UUID]
) -> None:
    client, mine, other = limited
    database = site.databases[Population.AUTOBOT]
    await site.add_user(Population.AUTOBOT, "marta", org_id=mine)
    await site.add_user(Population.AUTOBOT, "otto", org_id=other)
    ours = add_row(database, org_id=f"'{mine}'", user_id=_user("marta"))
    theirs = add_row(database, org_id=f"'{other}'", user_id=_user("otto"))
    nobodys = add_row(database)
    async with site.resources.session(Population.AUTOBOT) as session:
        await seal(session)
    rows = await listed(client, population="autobot", action="logout")
    assert [(row["id"], row["actor"]["username"]) for row in rows] == [(ours, "marta")]
    # The chain is everybody's.
    assert rows[0]["seq"] is None
    for row in (theirs, nobodys):
        response = await client.get(f"{LOGS}/{row}", params={"population": "autobot"})
        assert response.status_code == 404
    response = await client.get(f"{LOGS}/{ours}", params={"population": "autobot"})
    assert response.status_code == 200
    written = (
        await client.get(f"{LOGS}/export", params={"population": "autobot", "format": "ndjson"})
    ).text
    assert ours in written
    assert theirs not in written
    assert nobodys not in written
    [exported] = site.audit(Population.AUTOBOT, "audit_exported")
    assert UUID(exported["org_id"]) == mine


@pytest.mark.parametrize("path", [LOGS, f"{LOGS}/export", f"{LOGS}/{THING}", SECURITY])
async def test_a_limited_administrator_has_no_business_with_the_fleet(
    limited: tuple[httpx2.AsyncClient, UUID, UUID], path: str
) -> None:
    client, _, _ = limited
    response = await client.get(path)
    assert (response.status_code, response.json()["code"]) == (403, "permission_denied")


def _user(username: str) -> str:
    return f"(SELECT id FROM users WHERE username = '{username}')"


# Nobody changes it


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_there_is_no_way_to_change_it(
    admin: httpx2.AsyncClient, site: Site, method: str
) -> None:
    row = site.audit(Population.SLM)[0]["id"]
    for path in (LOGS, f"{LOGS}/{row}", SECURITY, f"{SECURITY}/{row}"):
        assert (await admin.request(method, path)).status_code == 405


@pytest.mark.parametrize("population", Population)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_logs SET outcome = 'x'",
        "DELETE FROM audit_logs",
        "UPDATE audit_seals SET hash = ''",
        "DELETE FROM audit_seals",
        "DELETE FROM audit_anchors",
        "UPDATE audit_anchors SET seq = seq - 1",
    ],
)
def test_the_service_can_only_add(
    databases: Databases, population: Population, statement: str
) -> None:
    database = databases[population]
    database.sql("INSERT INTO audit_anchors VALUES ('slm', 2, 'x')")
    with pytest.raises(AssertionError, match=r"permission denied|only moves forward"):
        database.sql(statement, user="slm_service")


# The export


async def test_an_export_is_an_event(admin: httpx2.AsyncClient, site: Site) -> None:
    response = await admin.get(
        f"{LOGS}/export", params={"action": ["a", "b"], "since": "2026-01-01T00:00:00Z"}
    )
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == 'attachment; filename="audit-slm.csv"'
    [row] = site.audit(Population.SLM, "audit_exported")
    assert row["resource_type"] == "audit_log"
    assert row["user_id"] is not None
    assert row["details"] == {
        "format": "csv",
        "filter": {"actions": ["a", "b"], "since": "2026-01-01 00:00:00+00:00"},
    }
    # An empty table still has its heading.
    assert len(list(csv.reader(io.StringIO(response.text)))) == 1


async def test_both_forms_tell_the_same(admin: httpx2.AsyncClient, site: Site) -> None:
    add_row(
        site.databases[Population.SLM],
        details="""'{"text": "a, \\"b\\"\\n€"}'""",
        ip_address="'203.0.113.9'",
    )
    query = {"action": ["logout", "login_success"]}
    lines = (await admin.get(f"{LOGS}/export", params=query | {"format": "ndjson"})).text
    events = [json.loads(line) for line in lines.splitlines()]
    assert events == await listed(admin, **query)
    table = (await admin.get(f"{LOGS}/export", params=query)).text
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert len(rows) == len(events) == 2
    for row, event in zip(rows, events, strict=True):
        assert json.loads(row.pop("details")) == event.pop("details")
        actor = event.pop("actor") or {}
        event |= {f"actor_{name}": actor.get(name) for name in ("population", "user_id")}
        event["actor_username"] = actor.get("username")
        assert row == {name: value or "" for name, value in event.items()}


async def test_a_spreadsheet_runs_nothing_of_it(admin: httpx2.AsyncClient, site: Site) -> None:
    database = site.databases[Population.SLM]
    for start in "=+-@\t\r":
        add_row(database, user_agent=f"E'{start.encode('unicode_escape').decode()}cmd|x'")
    response = await admin.get(f"{LOGS}/export", params={"action": "logout"})
    rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
    assert len(rows) == 6
    assert {row["user_agent"][:1] for row in rows} == {"'"}
    cells = [cell for row in rows for cell in row.values()]
    assert [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))] == []


async def test_a_large_export_needs_little(admin: httpx2.AsyncClient, site: Site) -> None:
    database = site.resources.databases[Population.SLM]
    add_rows(site.databases[Population.SLM], 20_000, "'2026-01-01T00:00:00Z'")
    whole = await admin.get(f"{LOGS}/export", params={"action": "logout"})
    assert whole.text.count("\n") == 20_000 + 1

    pool = database._engine.pool
    assert isinstance(pool, QueuePool)
    pieces, size, rows = 0, 0, 0
    tracemalloc.start()
    async for piece in export(
        database.session, AuditFilter(actions=["logout"]), ExportFormat.NDJSON
    ):
        pieces, size, rows = pieces + 1, size + len(piece), rows + piece.count("\n")
        # However slow the reader is, nobody else waits for a connection.
        assert pool.checkedout() == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (pieces, rows) == (20_000 // CHUNK, 20_000)
    assert size > 7_000_000 > peak


async def test_a_database_that_is_away_is_told_before_the_first_byte(
    run_site: RunSite, proxied: dict[Population, Any]
) -> None:
    await proxied[Population.SLM].proxy.start()
    async with run_site(proxied) as site:
        headers = await site.administrate()
        response = await site.client.get(
            f"{LOGS}/export", params={"population": "autobot"}, headers=headers
        )
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")


@pytest.mark.deadlines
async def test_a_query_that_takes_too_long_is_told_before_the_first_byte(
    admin: httpx2.AsyncClient, site: Site
) -> None:
    database = site.resources.databases[Population.SLM]
    # As the owner: nothing else keeps a reader waiting.
    lock = "BEGIN; LOCK TABLE audit_seals; SELECT pg_sleep(4); COMMIT"
    holding = asyncio.create_task(asyncio.to_thread(site.databases[Population.SLM].sql, lock))
    async with database.session() as session:
        while not await session.scalar(
            text("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted")
        ):
            pass
    response = await admin.get(f"{LOGS}/export")
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    await holding


# AutoBot's own address


async def test_a_row_in_the_form_that_autobot_had(admin: httpx2.AsyncClient, site: Site) -> None:
    await site.try_login(site.administrator, "wrong")
    response = await admin.get(SECURITY, params={"success": "false"})
    [row] = site.audit(Population.SLM, "login_failed")
    expected = {
        "log_id": row["id"],
        "timestamp": response.json()["logs"][0]["timestamp"],
        "user_id": None,
        "username": None,
        "ip_address": "203.0.113.7",
        "user_agent": "pytest",
        "category": "authentication",
        "action": "login_failed",
        "resource_type": "user",
        "resource_id": row["resource_id"],
        "success": False,
        "error_message": "invalid_password",
        "extra_data": row["details"],
    }
    assert response.json() == {"logs": [expected], "total": 1, "page": 1, "per_page": 50}
    one = await admin.get(f"{SECURITY}/{row['id']}")
    assert (one.status_code, one.json()) == (200, expected)
    assert (await admin.get(f"{SECURITY}/{uuid4()}")).status_code == 404


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        ({"category": "authentication"}, ["login_success", "logout"]),
        ({"category": "configuration"}, ["team_created", "user_created"]),
        ({"category": "deployment"}, []),
        ({"username": "CAPT"}, ["login_success"]),
        ({"username": "eni"}, ["team_created"]),
        ({"username": "a%n"}, []),
        ({"action": "Created"}, ["team_created", "user_created"]),
        ({"success": "false"}, ["logout"]),
        ({"success": "true", "until": "2026-01-02T00:00:00Z"}, ["team_created"]),
        ({"since": "2027-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}, []),
    ],
    ids=str,
)
async def test_the_filters_that_autobot_had(
    admin: httpx2.AsyncClient, site: Site, query: dict[str, str], actions: list[Any] | list[str]
) -> None:
    database = site.databases[Population.SLM]
    add_row(database, outcome="'failure'")
    foreign = """'{"actor": {"population": "autobot", "user_id": "x", "username": "Zenia"}}'"""
    add_row(database, "'2026-01-01T00:00:00Z'", action="'team_created'", details=foreign)
    answer = (await admin.get(SECURITY, params=query)).json()
    assert sorted(row["action"] for row in answer["logs"]) == actions
    assert answer["total"] == len(answer["logs"])


async def test_the_pages_that_autobot_had(admin: httpx2.AsyncClient, site: Site) -> None:
    add_rows(site.databases[Population.SLM], 5)
    found = []
    for page in (1, 2, 3, 4):
        answer = (
            await admin.get(SECURITY, params={"page": page, "per_page": 2, "action": "logout"})
        ).json()
        assert (answer["total"], answer["page"], answer["per_page"]) == (5, page, 2)
        found += [row["log_id"] for row in answer["logs"]]
    assert len(found) == len(set(found)) == 5
    for query in ({"per_page": 201}, {"page": 0}):
        assert (await admin.get(SECURITY, params=query)).status_code == 422


def test_every_action_has_one_category() -> None:
    categories = ("authentication", "authorization", "security", "configuration")
    assert [category_of(action) for name in categories for action in actions_of(name)] == [
        name for name in categories for _ in actions_of(name)
    ]
    assert {category_of(action) for action in ("role_assigned", "team_member_added")} == {
        "authorization"
    }
    assert category_of("what_nobody_knows") == "configuration"


# The command


@pytest.fixture
def command(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `slm audit`; the finished run."""
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["audit", *arguments])

    return run


def test_the_command_lists(command: Callable[..., Result], databases: Databases) -> None:
    first = add_row(databases[Population.SLM], "'2026-01-01T00:00:00Z'", action="'a'")
    second = add_row(databases[Population.SLM], "'2026-01-02T00:00:00Z'", action="'b'")
    done = command("list", "-p", "slm", "--json")
    assert [row["id"] for row in json.loads(done.stdout)] == [second, first]
    done = command("list", "-p", "slm", "--json", "--limit", "1")
    assert [row["id"] for row in json.loads(done.stdout)] == [second]
    for arguments in (
        ("--action", "a", "--action", "x"),
        ("--until", "2026-01-02T00:00:00Z"),
        ("--since", "2025-12-31T00:00:00Z", "--action", "a", "--outcome", "success"),
    ):
        done = command("list", "-p", "slm", "--json", *arguments)
        assert [row["id"] for row in json.loads(done.stdout)] == [first]
    assert json.loads(command("list", "-p", "autobot", "--json").stdout) == []
    assert command("list", "-p", "slm", "--since", "yesterday").exit_code == 2


def test_the_table_shows_text_as_it_is(
    command: Callable[..., Result], databases: Databases
) -> None:
    add_row(
        databases[Population.SLM],
        action="'[red]a[/red]'",
        ip_address="E'1\\x1b[31m\\n2'",
        details="""'{"actor": {"username": "zenia"}}'""",
    )
    done = command("list", "-p", "slm")
    assert done.exit_code == 0, done.output
    assert "[red]a[/red]" in done.stdout
    assert "1�[31m�2" in done.stdout
    assert "\x1b" not in done.stdout
    assert "zenia" in done.stdout


def test_the_command_exports(command: Callable[..., Result], databases: Databases) -> None:
    database = databases[Population.AUTOBOT]
    row = add_row(database)
    done = command("export", "-p", "autobot", "--format", "ndjson")
    assert done.exit_code == 0, done.output
    actions = [json.loads(line)["action"] for line in done.stdout.splitlines()]
    assert actions == ["audit_exported", "logout"]
    done = command("export", "-p", "autobot", "--action", "logout")
    assert [line["id"] for line in csv.DictReader(io.StringIO(done.stdout))] == [row]


@pytest.mark.parametrize("subcommand", ["list", "export"])
def test_the_command_without_a_database(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, subcommand: str
) -> None:
    monkeypatch.setenv("SLM_POSTGRES_HOST", "/nowhere")
    done = command(subcommand, "-p", "slm")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "slm users is unavailable" in done.stderr
