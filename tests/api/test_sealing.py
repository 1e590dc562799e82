"""The server seals and anchors the audit logs in the background; `slm audit verify` checks them."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession
from typer.testing import CliRunner, Result

from slm_server.background import audit_sealer, periodic
from slm_server.cli import app
from tests.support.applications import Databases, RunSite, Site
from tests.support.database_server import ProvisionedDatabase
from user_management.errors import DatabaseUnavailable
from user_management.population import Population
from user_management.services import audit_chain


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds become a hundredth."""
    monkeypatch.setattr(audit_sealer, "INTERVAL", 0.01)
    monkeypatch.setattr(periodic, "MAX_INTERVAL", 0.1)


@pytest.fixture
def command(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `slm audit verify`; the finished run."""
    for database in databases.values():
        for name, value in database.environment(database.service).items():
            monkeypatch.setenv(name, value)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["audit", "verify", *arguments])

    return run


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens in the background."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail("It does not happen.")


def sealed(databases: Databases, population: Population) -> int:
    return int(databases[population].sql("SELECT count(*) FROM audit_seals"))


def anchored(databases: Databases, population: Population) -> int:
    """The anchored link of a population's chain, which is in the other database."""
    [other] = set(Population) - {population}
    return int(
        databases[other].sql(
            f"SELECT coalesce(sum(seq), 0) FROM audit_anchors WHERE population = '{population}'"
        )
    )


def add_row(database: ProvisionedDatabase) -> None:
    database.sql("INSERT INTO audit_logs (action, resource_type) VALUES ('logout', 'session')")


def heads(caplog: pytest.LogCaptureFixture, population: Population) -> list[logging.LogRecord]:
    """The lines in the journal about a population's chain."""
    lines = [record for record in caplog.records if record.name == "user_management.audit"]
    assert {record.getMessage() for record in lines} <= {"audit head"}
    return [record for record in lines if vars(record)["population"] == population]


def last_told(caplog: pytest.LogCaptureFixture, population: Population) -> int:
    told = [vars(record)["seq"] for record in heads(caplog, population)]
    return told[-1] if told else 0


async def test_both_logs_are_sealed_and_anchored(
    run_site: RunSite,
    databases: Databases,
    command: Callable[..., Result],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def is_told(population: Population, seq: int) -> bool:
        return last_told(caplog, population) == seq

    async with run_site(databases, seals=True) as site:
        await site.administrate()
        await site.add_user(Population.AUTOBOT, "ada")
        await until(lambda: anchored(databases, Population.SLM) == 2)
        await site.try_login("nobody")
        for population, rows in ((Population.SLM, 3), (Population.AUTOBOT, 1)):
            await until(partial(is_told, population, rows))
            assert anchored(databases, population) == rows
    head = {"seq": 3, "hash": vars(heads(caplog, Population.SLM)[-1])["hash"]}
    report = json.loads((await asyncio.to_thread(command, "--json")).stdout)
    assert report["slm"]["head"] == report["slm"]["anchor"] == head


async def test_several_workers_at_once(
    run_site: RunSite,
    databases: Databases,
    command: Callable[..., Result],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with run_site(databases, seals=True), run_site(databases, seals=True) as site:
        await asyncio.gather(*(site.try_login(f"nobody_{number}") for number in range(30)))
        await until(lambda: anchored(databases, Population.SLM) == 30)
    numbers = [vars(record)["seq"] for record in heads(caplog, Population.SLM)]
    assert numbers
    assert len(numbers) == len(set(numbers))
    done = await asyncio.to_thread(command)
    assert done.exit_code == 0, done.output


async def test_one_seals_while_the_others_go_on(
    site: Site, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second comes when the first knows where the chain ends, and has not yet gone on."""
    add_row(databases[Population.SLM])
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def read_head_and_wait(session: AsyncSession) -> audit_chain.Head:
        head = await read_head(session)
        arrived.set()
        await go_on.wait()
        return head

    async def seal_once() -> audit_chain.Sealed | None:
        async with site.resources.databases[Population.SLM].session() as session:
            return await audit_chain.seal(session)

    read_head = audit_chain.read_head
    monkeypatch.setattr(audit_chain, "read_head", read_head_and_wait)
    first = asyncio.create_task(seal_once())
    await arrived.wait()
    monkeypatch.setattr(audit_chain, "read_head", read_head)
    second = await seal_once()
    go_on.set()
    sealed_by_first = await first
    assert sealed_by_first is not None
    assert sealed_by_first.rows == 1
    assert second is None


async def test_a_database_that_is_away_stops_only_its_own(
    run_site: RunSite, databases: Databases, proxied: dict[Population, Any]
) -> None:
    autobot = proxied[Population.AUTOBOT].proxy
    await proxied[Population.SLM].proxy.start()
    async with run_site(proxied, seals=True) as site:
        await site.administrate()
        await until(lambda: sealed(databases, Population.SLM) == 2)
        assert anchored(databases, Population.SLM) == 0
        add_row(databases[Population.AUTOBOT])
        await autobot.start()
        # The circuit of the sealer is not that of the requests.
        await site.resources.databases[Population.AUTOBOT].schema()
        await until(lambda: anchored(databases, Population.SLM) == 2)
        await until(lambda: anchored(databases, Population.AUTOBOT) == 1)


@pytest.mark.alone
@pytest.mark.deadlines
async def test_the_server_stops_while_a_database_says_nothing(
    run_site: RunSite, proxied: dict[Population, Any]
) -> None:
    for database in proxied.values():
        await database.proxy.start()
    async with run_site(proxied, seals=True) as site:
        await site.add_user(Population.SLM, "ada")
        await until(lambda: sealed(proxied, Population.SLM) == 1)
        for database in proxied.values():
            database.proxy.freeze()
        await asyncio.sleep(0.1)
        started = time.monotonic()
    assert time.monotonic() - started < 3
    assert [task for task in asyncio.all_tasks() if "repeat" in repr(task)] == []


async def test_a_database_without_the_tables_is_tried_again(
    run_site: RunSite, databases: Databases, caplog: pytest.LogCaptureFixture
) -> None:
    databases[Population.SLM].sql("ALTER TABLE audit_seals RENAME TO elsewhere")
    async with run_site(databases, seals=True) as site:
        await site.add_user(Population.SLM, "ada")
        await until(lambda: "Sealing the audit log failed" in caplog.text)
        databases[Population.SLM].sql("ALTER TABLE elsewhere RENAME TO audit_seals")
        await until(lambda: anchored(databases, Population.SLM) == 1)


async def test_a_contradicted_anchor_is_told_once_and_kept(
    run_site: RunSite,
    databases: Databases,
    command: Callable[..., Result],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def is_sealed(rows: int) -> bool:
        return sealed(databases, Population.SLM) == rows

    databases[Population.AUTOBOT].sql("INSERT INTO audit_anchors VALUES ('slm', 2, sha256('x'))")
    async with run_site(databases, seals=True) as site:
        for number in range(4):
            await site.try_login("nobody")
            await until(partial(is_sealed, number + 1))
            await asyncio.sleep(0.1)
    told = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.name for record in told] == ["user_management.audit"]
    assert "run slm audit verify" in told[0].getMessage()
    assert anchored(databases, Population.SLM) == 2
    done = await asyncio.to_thread(command, "--population", "slm")
    assert done.exit_code == 1
    assert "anchor_mismatch: link 2" in done.output


async def test_a_backlog_is_sealed_at_once(site: Site, databases: Databases) -> None:
    databases[Population.SLM].sql(
        "INSERT INTO audit_logs (action, resource_type)"
        " SELECT 'logout', 'session' FROM generate_series(1, 2500)"
    )
    database, other = (site.resources.databases[each] for each in Population)
    await audit_sealer.Sealer(database, other).seal()
    assert sealed(databases, Population.SLM) == 2500


async def test_failures_are_repeated_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "MAX_INTERVAL", 60.0)
    pauses: list[float] = []
    outcomes = [DatabaseUnavailable(Population.SLM)] * 8 + [None, ValueError("?"), None]

    async def action() -> None:
        outcome = outcomes[len(pauses)]
        if outcome is not None:
            raise outcome

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == len(outcomes):
            raise asyncio.CancelledError

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with pytest.raises(asyncio.CancelledError):
        await periodic.repeat("It", 1.0, action)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60, 1, 60, 1]


def test_an_intact_log_is_status_0(command: Callable[..., Result]) -> None:
    done = command()
    assert done.exit_code == 0, done.output
    assert [line.split(":")[:2] for line in done.stdout.splitlines()] == [
        ["slm", " intact"],
        ["autobot", " intact"],
    ]


def test_findings_are_told_and_status_1(
    command: Callable[..., Result], databases: Databases
) -> None:
    databases[Population.SLM].sql(
        "INSERT INTO audit_logs (action, resource_type, created_at)"
        " SELECT 'logout', 'session', now() - interval '1 day' FROM generate_series(1, 25)"
    )
    done = command()
    assert done.exit_code == 1
    assert done.stdout.startswith("slm: NOT INTACT: 0 links")
    assert done.stdout.count("unsealed: no link, row ") == 20
    assert "and 5 more: 25 unsealed in all" in done.stdout
    assert "docs/audit.md" in done.stderr
    done = command("--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert (report["slm"]["intact"], report["autobot"]["intact"]) == (False, True)
    assert report["slm"]["counts"] == {"unsealed": 25}
    assert len(report["slm"]["findings"]) == 20
    assert command("--population", "autobot").exit_code == 0


def test_a_missing_database_is_no_traceback(
    command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOBOT_POSTGRES_HOST", "/nowhere")
    done = command("--population", "slm")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "autobot users is unavailable" in done.stderr
