"""Moments beyond Python's calendar, as AutoBot or a person wrote them: nothing breaks on one."""

import csv
import io
import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from typer.testing import CliRunner

from slm_server.cli import app
from tests.support.applications import Databases, Site
from user_management.population import Population

PATH = "/api/autobot-users"
# What the database has → what is shown of it.
MOMENTS = {
    "infinity": "9999-12-30T00:00:00Z",
    "294276-12-31 23:59:59.999999+00": "9999-12-30T00:00:00Z",
    "9999-12-31 23:59:59.999999+00": "9999-12-30T00:00:00Z",
    "0001-01-01 00:00:00+00": "0001-01-02T00:00:00Z",
    "0044-03-15 BC": "0001-01-02T00:00:00Z",
    "-infinity": "0001-01-02T00:00:00Z",
}
COLUMNS = ("created_at", "updated_at", "last_login_at", "email_verified_at")


@pytest.fixture
def strange(site: Site) -> dict[str, str]:
    """A user for each column and moment, and the name of each → the moment."""
    users = {}
    for column in COLUMNS:
        for number, moment in enumerate(MOMENTS):
            users[f"{column.replace('_', '-')}-{number}"] = moment
            site.databases[Population.AUTOBOT].sql(
                f"INSERT INTO users (username, email, {column}) VALUES"
                f" ('{column.replace('_', '-')}-{number}', '{column}{number}@x', '{moment}')"
            )
    return users


async def walk(client: httpx2.AsyncClient, sort: str) -> AsyncIterator[str]:
    """All names in an order, three a page."""
    params: dict[str, str | int | None] = {"limit": 3, "sort": sort}
    while params.get("cursor", "") is not None:
        response = await client.get(PATH, params=params)
        assert response.status_code == 200, response.text
        for user in response.json()["users"]:
            yield user["username"]
        params["cursor"] = response.json()["next_cursor"]


@pytest.mark.parametrize("sort", ["created_at", "last_login_at"])
async def test_pages_lead_through_all_of_them_once(
    admin: httpx2.AsyncClient, site: Site, strange: dict[str, str], sort: str
) -> None:
    place = {"last_login_at": "coalesce(last_login_at, '-infinity')"}.get(sort, sort)
    expected = site.databases[Population.AUTOBOT].sql(
        f"SELECT username FROM users WHERE deleted_at IS NULL ORDER BY {place}, id"
    )
    found = [name async for name in walk(admin, sort)]
    assert found == expected.splitlines()
    assert set(strange) <= set(found)
    assert [name async for name in walk(admin, f"-{sort}")] == found[::-1]


async def test_each_is_shown_changed_and_deleted(
    admin: httpx2.AsyncClient, strange: dict[str, str]
) -> None:
    users = (await admin.get(PATH, params={"limit": 100})).json()["users"]
    for user in users:
        if user["username"] not in strange:
            continue
        path = f"{PATH}/{user['id']}"
        shown = await admin.get(path)
        assert shown.status_code == 200
        column = user["username"].rsplit("-", 1)[0].replace("-", "_")
        if column in user:
            assert shown.json()[column] == user[column] == MOMENTS[strange[user["username"]]]
        # The version that was shown is the one that is there.
        same = {"If-Match": shown.headers["ETag"]}
        changed = await admin.patch(path, json={"display_name": "x"}, headers=same)
        assert changed.status_code == 200, changed.text
        assert (await admin.delete(path)).status_code == 204


async def test_exports_leave_the_moment_out(
    admin: httpx2.AsyncClient, strange: dict[str, str]
) -> None:
    answer = await admin.get(f"{PATH}/export")
    assert answer.status_code == 200
    rows = {row["username"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    lines = (await admin.get(f"{PATH}/export", params={"format": "ndjson"})).text.splitlines()
    objects = {each["username"]: each for each in map(json.loads, lines)}
    assert set(rows) == set(objects) >= set(strange)
    for name in strange:
        column = name.rsplit("-", 1)[0].replace("-", "_")
        if column in rows[name]:
            assert (rows[name][column], objects[name][column]) == ("", None)


def test_the_command_shows_them(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, strange: dict[str, str]
) -> None:
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)
    for arguments in (["list", "--json"], ["list"], ["show", next(iter(strange))]):
        done = CliRunner().invoke(app, ["users", arguments[0], "-p", "autobot", *arguments[1:]])
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize("moment", MOMENTS)
async def test_an_event_breaks_neither_list_nor_export(
    admin: httpx2.AsyncClient, site: Site, moment: str
) -> None:
    site.databases[Population.SLM].sql(
        "INSERT INTO audit_logs (action, resource_type, created_at)"
        f" VALUES ('strange', 'session', '{moment}')"
    )
    params = {"limit": 1}
    found = []
    while params.get("cursor", "") is not None:
        answer = (await admin.get("/api/audit-logs", params=params)).json()
        found += [(log["action"], log["created_at"]) for log in answer["logs"]]
        params["cursor"] = answer["next_cursor"]
    assert [event for event in found if event[0] == "strange"] == [("strange", MOMENTS[moment])]
    for form in ("csv", "ndjson"):
        export = await admin.get("/api/audit-logs/export", params={"format": form})
        assert export.text.count("strange") == 1
    assert (await admin.get("/api/security/audit-logs")).status_code == 200


async def test_who_has_such_moments_logs_in_and_stays(site: Site) -> None:
    await site.administrate()
    site.databases[Population.SLM].sql(
        "UPDATE users SET created_at = '-infinity', last_login_at = 'infinity',"
        " updated_at = '0044-03-15 BC'"
    )
    headers = await site.login(site.administrator)
    answer = await site.client.get("/api/slm-auth/me", headers=headers)
    assert answer.status_code == 200, answer.text
