"""Import and export of users through the API."""

import asyncio
import csv
import io
import json
import os
import resource
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from typer.testing import CliRunner

from slm_server.api.transfer import FILES
from slm_server.cli import app as command
from slm_server.imports import process
from tests.support.applications import Databases, RunSite, Site
from tests.support.database_server import ProvisionedDatabase
from tests.support.web_server import served
from user_management.permissions import Permission
from user_management.population import Population
from user_management.services.user_search import UserFilter

AUTOBOT, SLM = Population.AUTOBOT, Population.SLM
CSV = {"Content-Type": "text/csv"}
HASH = "$2b$04$" + "a" * 53
HEADER = "username,email,password_hash,display_name,roles\n"
USERS = "SELECT count(*) FROM users"
LIMIT = FILES["/api/slm-users/import"].limit
SCRIPT = "<script>alert(1)</script>"
# Several chunks: the first is written while the others are still to come.
MANY = 50_000


def rows(number: int, start: int = 0) -> str:
    return HEADER + "".join(
        f"user{each},user{each}@x.y,,User {each},readonly\n"
        for each in range(start, start + number)
    )


async def send(
    client: httpx2.AsyncClient, content: Any, population: Population = AUTOBOT, **parameters: Any
) -> httpx2.Response:
    return await client.post(
        f"/api/{population}-users/import",
        params={"format": "csv"} | parameters,
        content=content,
        headers=CSV,
    )


def told(response: httpx2.Response) -> tuple[Any, ...]:
    """The rows of a report, and what is in its last line."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/x-ndjson"
    *rows, last = map(json.loads, response.text.splitlines())
    return rows, last


def refused(response: httpx2.Response, status: int, code: str) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert (response.status_code, body["status"], body["code"]) == (status, status, code), body
    found: str = body["detail"]
    return found


@asynccontextmanager
async def watching(site: Site) -> AsyncIterator[Any]:
    """A client that sees answers while they come."""
    async with (
        served(site.app) as url,
        httpx2.AsyncClient(base_url=url, headers=site.client.headers, timeout=600) as client,
    ):
        yield client


@pytest.fixture
async def logged_in(site: Site) -> Site:
    """The application, with the administrator as its client."""
    site.client.headers.update(await site.administrate())
    return site


@pytest.fixture
def autobot(databases: Databases) -> ProvisionedDatabase:
    return databases[AUTOBOT]


async def test_a_dry_run_tells_what_would_be_done_and_writes_nothing(
    admin: httpx2.AsyncClient, autobot: ProvisionedDatabase
) -> None:
    autobot.sql("INSERT INTO users (username, email) VALUES ('bob', 'bob@x.y')")
    content = HEADER + f"ada,ada@x.y,{HASH},,\nbob,bob@x.y,{HASH},Bob,\na b,,,,\n"
    report, last = told(await send(admin, content))
    assert [(row["place"], row["name"], row["outcome"]) for row in report] == [
        ("line 2", "ada", "created"),
        ("line 3", "bob", "merged"),
        ("line 4", "a b", "invalid"),
    ]
    assert last["summary"]["applied"] is False
    assert autobot.sql(f"{USERS} WHERE password_hash IS NOT NULL") == "0"
    assert autobot.sql("SELECT count(*) FROM audit_logs WHERE action LIKE 'user%'") == "0"


@pytest.mark.parametrize("population", Population)
async def test_who_is_imported_can_log_in_and_the_log_names_who_did_it(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    hashed = site.resources.hasher
    content = HEADER + f"ada,ada@x.y,{await hashed.hash(site.password)},Ada,readonly\n"
    _, last = told(await send(admin, content, population, apply="true"))
    assert last["summary"]["counts"]["user"]["created"] == 1
    administrator = site.databases[SLM].sql(
        f"SELECT id FROM users WHERE username = '{site.administrator}'"
    )
    [one, whole] = [
        row for row in site.audit(population, "user_created") if "import" in row["details"]
    ]
    assert one["details"]["username"] == "ada"
    assert whole["details"]["counts"]["created"] == 1
    for event in (one, whole):
        assert (event["ip_address"], event["user_agent"]) == ("203.0.113.7", "pytest")
        if population is SLM:
            assert event["user_id"] == administrator
        else:
            assert event["user_id"] is None
            assert event["details"]["actor"] == {
                "population": "slm",
                "user_id": administrator,
                "username": site.administrator,
            }
    assigned = site.databases[population].sql(
        "SELECT assigned_by FROM user_roles JOIN users ON users.id = user_id WHERE username = 'ada'"
    )
    assert assigned == (administrator if population is SLM else "")
    if population is SLM:
        await site.login("ada")


async def test_what_is_filled_is_an_event_too(
    admin: httpx2.AsyncClient, site: Site, autobot: ProvisionedDatabase
) -> None:
    autobot.sql("INSERT INTO users (username, email) VALUES ('ada', 'ada@x.y')")
    told(await send(admin, HEADER + "ada,ada@x.y,,Ada,\n", apply="true"))
    [event] = site.audit(AUTOBOT, "user_updated")
    assert event["details"]["actor"]["username"] == site.administrator


@pytest.mark.parametrize("kind", ["csv", "ndjson", "config"])
async def test_the_report_is_that_of_the_command(
    admin: httpx2.AsyncClient,
    autobot: ProvisionedDatabase,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    tmp_path: Path,
) -> None:
    content = {
        "csv": HEADER
        + f"ada,ada@x.y,{HASH},{SCRIPT},none\nADA,,,,\n\xff,,,,\nbob\n,,,,\n eve ,,,,\n"
        + 'carol,,,"open\nfred,,,,\n',
        "ndjson": '{"username": "ada"}\n[]\n{"username": "a b"}\n{"unknown": 1}\n',
        "config": json.dumps(
            {"security_config": {"allowed_users": {"ada": {"role": "admin"}, "bob": 3}}}
        ),
    }[kind].encode("latin-1")
    for name, value in autobot.environment(autobot.service).items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "users"
    file.write_bytes(content)
    arguments = ["import", "--population", "autobot", "--from", kind, "--json", str(file)]
    for apply in ("false", "true"):
        by_command = await asyncio.to_thread(CliRunner().invoke, command, arguments)
        by_api = await send(admin, content, format=kind, apply=apply)
        assert told(by_api)[1]["summary"]["applied"] is (apply == "true")
        assert by_api.text.replace('"applied": true', '"applied": false') == by_command.stdout


@pytest.mark.parametrize("population", Population)
@pytest.mark.parametrize(
    ("caller", "detail"),
    [
        ({"permissions": [Permission.USERS_CREATE]}, "This needs the permission admin:users."),
        ({"roles": ["admin"]}, "This is for platform administrators only."),
        ({"roles": ["admin"], "org_id": True}, None),
    ],
)
async def test_platform_administrators_only(
    site: Site, population: Population, caller: dict[str, Any], detail: str | None
) -> None:
    if "org_id" in caller:
        caller = caller | {"org_id": site.add_organization("acme")}
    await site.add_user(SLM, "caller", **caller)
    site.client.headers.update(await site.login("caller"))
    answer = await send(site.client, HEADER + "ada,,,,\n", population, apply="true")
    said = refused(answer, 403, "permission_denied")
    assert detail in (said, None)
    assert site.databases[population].sql(f"{USERS} WHERE username = 'ada'") == "0"


async def test_nobody_imports_without_logging_in(site: Site, autobot: ProvisionedDatabase) -> None:
    refused(await send(site.client, HEADER + "ada,,,,\n", apply="true"), 401, "not_authenticated")
    assert autobot.sql(USERS) == "0"


@pytest.mark.parametrize(
    ("kind", "content", "detail"),
    [
        ("csv", b"", "The file is empty."),
        ("ndjson", b"", "The file is empty."),
        ("csv", b"username,password\nada,x\n", "Unknown: 'password'."),
        ("csv", "Name\n".encode("utf-16"), "Unknown: 'Name'."),
        ("csv", b"\0" * 100, "not text in UTF-8"),
        ("csv", b"x" * 2**22, "longer than 262144 characters"),
        ("config", b"{}", "security_config.allowed_users"),
        ("config", b"a: [" * 9000, "neither YAML nor JSON"),
    ],
)
async def test_a_file_that_cannot_be_used_is_a_problem(
    admin: httpx2.AsyncClient, site: Site, kind: str, content: bytes, detail: str
) -> None:
    answer = await send(admin, content, format=kind, apply="true")
    assert detail in refused(answer, 422, "unusable_file")
    assert site.audit(AUTOBOT) == []


async def test_hostile_rows_are_lost_alone(
    admin: httpx2.AsyncClient, autobot: ProvisionedDatabase
) -> None:
    long, quoted = b"x" * 2**20, b"x\n" * 2**17
    content = (
        HEADER.encode()
        + b"ada,ada@x.y,,Ada,\n"
        + b"nul,,,a\0b,\n"
        + b"bad\xff\xfe,,,,\n"
        + b"long,,,%b,\n" % long
        + b"bob,bob@x.y,,'=1+1,\n"
        + b'quoted,,,"%b",\n' % quoted
    )
    report, _ = told(await send(admin, content, apply="true"))
    outcomes = {row["name"]: row["outcome"] for row in report}
    assert {"ada", "bob"} == {name for name, outcome in outcomes.items() if outcome == "created"}
    assert set(outcomes.values()) == {"created", "invalid"}
    assert autobot.sql("SELECT display_name FROM users ORDER BY username") == "Ada\n=1+1"


async def test_scripts_are_data(admin: httpx2.AsyncClient) -> None:
    content = HEADER + f"ada,ada@x.y,,{SCRIPT},\n{SCRIPT},x@x.y,,,\n{SCRIPT} x,,,,\n"
    report, _ = told(await send(admin, content, apply="true"))
    assert [row["name"] for row in report] == ["ada", SCRIPT, f"{SCRIPT} x"]
    shown = await admin.get("/api/autobot-users/export")
    # Whoever came in the same instant has no order.
    (ada,) = (row for row in rows_of(shown) if row["username"] == "ada")
    assert ada["display_name"] == SCRIPT


@pytest.mark.parametrize("media_type", ["text/plain", "multipart/form-data", "", "text/html"])
async def test_other_types_are_refused(admin: httpx2.AsyncClient, media_type: str) -> None:
    answer = await admin.post(
        "/api/slm-users/import",
        params={"format": "csv"},
        content=HEADER,
        headers={"Content-Type": media_type},
    )
    detail = refused(answer, 415, "unsupported_media_type")
    assert detail.startswith("Send the request body as text/csv or application/x-ndjson or")


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [("GET", "import", "POST"), ("PATCH", "import", "POST"), ("DELETE", "export", "GET, HEAD")],
)
async def test_no_user_is_at_these_addresses(
    admin: httpx2.AsyncClient, method: str, address: str, allowed: str
) -> None:
    answer = await admin.request(method, f"/api/slm-users/{address}")
    refused(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize("kind", ["xls", "slm-table"])
async def test_other_formats_are_refused(admin: httpx2.AsyncClient, kind: str) -> None:
    refused(await send(admin, HEADER, format=kind), 422, "validation_error")


async def test_a_file_has_a_limit_of_its_own(admin: httpx2.AsyncClient) -> None:
    too_large = "The request body is too large. Send at most 64 MiB."
    claimed = await admin.post(
        "/api/slm-users/import",
        params={"format": "csv"},
        content=HEADER,
        headers=CSV | {"Content-Length": str(2**31)},
    )
    assert refused(claimed, 413, "body_too_large") == too_large

    async def pieces() -> AsyncIterator[bytes]:
        yield HEADER.encode()
        for _ in range(LIMIT // 2**20):
            yield b"x" * 2**20

    sent = await send(admin, pieces(), SLM, apply="true")
    assert refused(sent, 413, "body_too_large") == too_large
    # More than other routes take.
    report, _ = told(await send(admin, rows(3000), SLM))
    assert len(report) == 3000
    other = await admin.post("/api/slm-users", content=b"x" * (64 * 1024 + 1), headers=CSV)
    assert refused(other, 413, "body_too_large").endswith("64 KiB.")


async def test_without_room_for_the_file_it_is_said(
    admin: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Writing to it always fails as if the disk were full.
    full = await asyncio.to_thread(Path("/dev/full").open, "r+b")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **_: full)
    answer = await send(admin, HEADER)
    assert "no room for the file" in refused(answer, 503, "storage_full")
    assert full.closed
    assert answer.headers["retry-after"] == "60"


async def test_without_a_database_it_is_said(
    proxied: dict[Population, Any], run_site: RunSite
) -> None:
    await proxied[SLM].proxy.start()
    async with run_site(proxied) as site:
        site.client.headers.update(await site.administrate())
        answer = await send(site.client, HEADER + "ada,,,,\n", apply="true")
        assert "autobot users" in refused(answer, 503, "database_unavailable")
        assert answer.headers["retry-after"] == "1"
        refused(await site.client.get("/api/autobot-users/export"), 503, "database_unavailable")


async def test_a_database_that_goes_away_in_the_middle_ends_the_report(
    proxied: dict[Population, Any], run_site: RunSite
) -> None:
    for each in proxied.values():
        await each.proxy.start()
    async with run_site(proxied) as site:
        site.client.headers.update(await site.administrate())
        async with watching(site) as client, streaming(client) as report:
            first = await anext(report)
            assert json.loads(first)["outcome"] == "created"
            await proxied[AUTOBOT].proxy.stop()
            others = [line async for line in report]
    problem = json.loads(others[-1])["problem"]
    assert (problem["status"], problem["code"]) == (503, "database_unavailable")
    assert int(proxied[AUTOBOT].sql(USERS)) == len(others)


@asynccontextmanager
async def streaming(client: httpx2.AsyncClient, content: str | None = None) -> AsyncIterator[Any]:
    """The lines of a report as they come, of an import that goes on for a while."""
    async with client.stream(
        "POST",
        "/api/autobot-users/import",
        params={"format": "csv", "apply": "true"},
        content=content or rows(MANY),
        headers=CSV,
    ) as response:
        assert response.status_code == 200, await response.aread()
        yield response.aiter_lines()


@asynccontextmanager
async def users_locked(database: ProvisionedDatabase) -> AsyncIterator[None]:
    """Meanwhile no import gets to its first row."""
    owner = database.owner
    connection = await asyncpg.connect(
        host=owner.hosts[0], user=owner.user, database=owner.database
    )
    async with connection.transaction():
        await connection.execute("LOCK TABLE users")
        yield
    await connection.close()


async def free(client: httpx2.AsyncClient) -> Any:
    """Wait until nothing is imported; an import's report."""
    for _ in range(600):
        answer = await send(client, HEADER + "last,,,,\n")
        if answer.status_code != 409:
            return told(answer)
        await asyncio.sleep(0.1)
    raise AssertionError("An import goes on and on.")


async def test_an_import_ends_when_its_client_goes_away(
    logged_in: Site, autobot: ProvisionedDatabase
) -> None:
    async with watching(logged_in) as client:
        async with streaming(client) as report:
            await anext(report)
        await free(client)
        done = int(autobot.sql(USERS))
        # Whole chunks, each with its events.
        assert done in range(10_000, MANY, 10_000)
        assert autobot.sql("SELECT count(*) FROM audit_logs WHERE action = 'user_created'") == str(
            done
        )
        # It goes on when it is repeated.
        async with streaming(client) as report:
            lines = [json.loads(line) async for line in report]
    counts = lines[-1]["summary"]["counts"]["user"]
    assert (counts["created"], counts["unchanged"]) == (MANY - done, done)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[asyncio.subprocess.Process]:
    """The processes that import."""
    noted = []
    start = process._Worker.start

    async def noting(job: Any) -> Any:
        worker = await start(job)
        noted.append(worker._process)
        return worker

    monkeypatch.setattr(process._Worker, "start", noting)
    return noted


async def test_an_import_ends_before_its_first_row_when_its_client_goes_away(
    logged_in: Site, autobot: ProvisionedDatabase, started: list[asyncio.subprocess.Process]
) -> None:
    async with watching(logged_in) as client, users_locked(autobot):
        asked = asyncio.create_task(
            client.post("/api/autobot-users/import?format=csv", content=rows(1), headers=CSV)
        )
        async with asyncio.timeout(600):
            while not started:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            asked.cancel()
            assert await started[0].wait() == -signal.SIGKILL


async def test_an_import_gives_way_to_others_and_cannot_fill_the_memory(
    logged_in: Site, started: list[asyncio.subprocess.Process]
) -> None:
    async with watching(logged_in) as client, streaming(client) as report:
        await anext(report)
        assert os.getpriority(os.PRIO_PROCESS, started[0].pid) == 10
        limit, _ = resource.prlimit(started[0].pid, resource.RLIMIT_AS)
        assert limit == 2 * 2**30


async def test_an_import_whose_process_is_ended_says_so(
    logged_in: Site, started: list[asyncio.subprocess.Process]
) -> None:
    async with watching(logged_in) as client, streaming(client) as report:
        await anext(report)
        started[0].terminate()
        lines = [json.loads(line) async for line in report]
    assert lines[-1]["problem"]["code"] == "internal_error"
    assert "goes on" in lines[-1]["problem"]["detail"]


async def test_one_import_at_a_time(
    admin: httpx2.AsyncClient, autobot: ProvisionedDatabase
) -> None:
    count = "SELECT count(*) FROM pg_locks WHERE relation = 'lock_import'::regclass AND granted"
    async with asyncio.timeout(600), users_locked(autobot):
        first = asyncio.create_task(send(admin, HEADER + "ada,,,,\n"))
        while await asyncio.to_thread(autobot.sql, count) == "0":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        refused(await send(admin, HEADER + "bob,,,,\n"), 409, "import_running")
        # Of the other users, there is none.
        told(await send(admin, HEADER + "bob,,,,\n", SLM))
    told(await first)
    await free(admin)


def rows_of(response: httpx2.Response) -> list[dict[str, str]]:
    """The rows of an exported CSV."""
    assert response.status_code == 200, response.text
    return list(csv.DictReader(io.StringIO(response.text)))


def names(response: httpx2.Response) -> list[str]:
    return [row["username"] for row in rows_of(response)]


@pytest.mark.parametrize("population", Population)
async def test_an_export_is_what_an_import_reads_without_hashes(
    admin: httpx2.AsyncClient, site: Site, population: Population
) -> None:
    await site.add_user(population, "marta", roles=["readonly", "user"])
    site.databases[population].sql(
        "UPDATE users SET bio = '=HYPERLINK(1)', preferences = '{\"theme\": \"dark\"}'"
        " WHERE username = 'marta'"
    )
    before = site.databases[population].sql("SELECT json_agg(users ORDER BY id) FROM users")
    for form, media_type in (("csv", "text/csv"), ("ndjson", "application/x-ndjson")):
        answer = await admin.get(f"/api/{population}-users/export", params={"format": form})
        assert answer.headers["content-type"].startswith(media_type)
        assert (
            answer.headers["content-disposition"]
            == f'attachment; filename="users-{population}.{form}"'
        )
        assert "$2b$" not in answer.text
        assert "password" not in answer.text
        report, _ = told(await send(admin, answer.text, population, format=form, apply="true"))
        assert {row["outcome"] for row in report} == {"unchanged"}
    assert site.databases[population].sql("SELECT json_agg(users ORDER BY id) FROM users") == before
    [marta] = [
        row
        for row in rows_of(await admin.get(f"/api/{population}-users/export"))
        if row["username"] == "marta"
    ]
    assert marta["bio"] == "'=HYPERLINK(1)"
    assert marta["roles"] == "user;readonly"


@pytest.mark.parametrize("path", ["autobot-users/export", "audit-logs/export"])
async def test_an_export_for_a_spreadsheet_says_that_it_is_utf_8(
    admin: httpx2.AsyncClient, path: str
) -> None:
    plain = await admin.get(f"/api/{path}", params={"format": "csv"})
    excel = await admin.get(f"/api/{path}", params={"format": "csv", "excel": "true"})
    assert not plain.content.startswith(b"\xef\xbb\xbf")
    assert excel.content.startswith(b"\xef\xbb\xbfid,")
    other = await admin.get(f"/api/{path}", params={"format": "ndjson", "excel": "true"})
    detail = refused(other, 422, "validation_error")
    assert detail == "It goes with format=csv only."


async def test_an_export_has_the_filters_of_the_list(
    admin: httpx2.AsyncClient, site: Site, autobot: ProvisionedDatabase
) -> None:
    organization = site.add_organization("acme")
    await site.add_user(AUTOBOT, "ada", roles=["readonly"], org_id=organization)
    await site.add_user(AUTOBOT, "bob")
    await site.add_user(AUTOBOT, "adam")
    autobot.sql(
        "UPDATE users SET is_active = false WHERE username = 'bob';"
        "UPDATE users SET last_login_at = '2026-01-01Z' WHERE username = 'ada';"
        f"INSERT INTO teams (id, org_id, name) VALUES ('{organization}', '{organization}', 'T');"
        "INSERT INTO team_memberships (team_id, user_id, role) "
        f"SELECT '{organization}', id, 'member' FROM users WHERE username = 'ada'"
    )
    wanted: list[tuple[dict[str, str], list[str]]] = [
        ({}, ["ada", "bob", "adam"]),
        ({"search": "ada"}, ["ada", "adam"]),
        ({"search": "ad"}, ["ada", "adam"]),
        ({"is_active": "false"}, ["bob"]),
        ({"role": "readonly"}, ["ada"]),
        ({"org_id": str(organization)}, ["ada"]),
        ({"team_id": str(organization)}, ["ada"]),
        ({"last_login_before": "2026-01-02T00:00:00Z"}, ["ada"]),
        ({"last_login_after": "2026-01-02T00:00:00Z"}, []),
    ]
    tried = {name for parameters, _ in wanted for name in parameters}
    assert tried == {field.name for field in fields(UserFilter)}
    for parameters, expected in wanted:
        answer = await admin.get("/api/autobot-users/export", params=parameters)
        assert names(answer) == expected, parameters
        listed = (await admin.get("/api/autobot-users", params=parameters)).json()["users"]
        assert sorted(expected) == sorted(user["username"] for user in listed)
        event = site.audit(AUTOBOT, "users_exported")[-1]
        assert event["details"]["format"] == "csv"
        assert event["details"]["filter"].keys() == parameters.keys()
        assert event["details"]["actor"]["username"] == site.administrator


async def test_an_export_goes_through_all_users(
    admin: httpx2.AsyncClient, autobot: ProvisionedDatabase
) -> None:
    autobot.sql(
        "INSERT INTO users (username, email, created_at)"
        " SELECT 'u' || n, n || '@x.y', now() + (n / 7) * interval '1 second'"
        " FROM generate_series(1, 2000) n"
    )
    exported = names(await admin.get("/api/autobot-users/export"))
    assert len(exported) == len(set(exported)) == 2000
    rare = await admin.get("/api/autobot-users/export", params={"search": "u1999"})
    assert names(rare) == ["u1999"]


async def test_a_limited_administrator_exports_their_organization(site: Site) -> None:
    mine, other = site.add_organization("mine"), site.add_organization("other")
    await site.add_user(AUTOBOT, "ada", org_id=mine)
    await site.add_user(AUTOBOT, "bob", org_id=other)
    await site.add_user(AUTOBOT, "carol")
    await site.add_user(SLM, "caller", roles=["admin"], org_id=mine)
    site.client.headers.update(await site.login("caller"))
    assert names(await site.client.get("/api/autobot-users/export")) == ["ada"]
    theirs = await site.client.get("/api/autobot-users/export", params={"org_id": str(other)})
    assert names(theirs) == []
    refused(await site.client.get("/api/slm-users/export"), 403, "permission_denied")
    assert {row["org_id"] for row in site.audit(AUTOBOT, "users_exported")} == {str(mine)}


async def test_an_export_needs_the_permission_to_read(site: Site) -> None:
    await site.add_user(SLM, "caller", permissions=[Permission.USERS_CREATE])
    site.client.headers.update(await site.login("caller"))
    answer = await site.client.get("/api/slm-users/export")
    assert refused(answer, 403, "permission_denied") == "This needs the permission users:read."
    assert site.audit(SLM, "users_exported") == []
