"""The chain over the audit log: what it finds when the owner of a database edits the log."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg as driver
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, text
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from tests.support.applications import Databases
from user_management.database import Database
from user_management.models import AuditLog
from user_management.population import Population
from user_management.services.audit_chain import (
    BATCH,
    EMPTY,
    Anchoring,
    anchor,
    canonical,
    content_columns,
    link,
    read_head,
    seal,
)
from user_management.services.audit_verification import SHOWN, Verification, verify

ROOT = Path(__file__).parents[2]
OTHER = {Population.SLM: Population.AUTOBOT, Population.AUTOBOT: Population.SLM}
LONG_AGO = "now() - interval '10 minutes'"


async def rows_sealed(session: AsyncSession, **options: Any) -> int:
    """Seal one batch, which nobody else is doing; the number of rows."""
    batch = await seal(session, **options)
    assert batch is not None
    return batch.rows


class Chain:
    """The audit log of one population, its chain, and the owner of the database."""

    def __init__(
        self, population: Population, databases: Databases, connected: dict[Population, Database]
    ) -> None:
        self.population = population
        self.database = connected[population]
        self.other = connected[OTHER[population]]
        self.sql = databases[population].sql
        self.other_sql = databases[OTHER[population]].sql

    def add(self, rows: int = 1, created_at: str = "now()", **columns: str) -> None:
        """Add rows as the service does; values are SQL."""
        names = "".join(f", {name}" for name in columns)
        values = "".join(f", {value}" for value in columns.values())
        self.sql(
            f"INSERT INTO audit_logs (action, resource_type, created_at{names}) "
            f"SELECT 'login_success', 'session', {created_at} + i * interval '1 ms'{values} "
            f"FROM generate_series(1, {rows}) AS i"
        )

    async def seal(self, **options: Any) -> int:
        """Seal one batch; the number of rows."""
        async with self.database.session() as session:
            return await rows_sealed(session, **options)

    async def anchor(self) -> Anchoring:
        async with self.database.session() as session, self.other.session() as other:
            return await anchor(session, other, await read_head(session))

    async def verify(self) -> Verification:
        async with self.database.session() as session, self.other.session() as other:
            return await verify(session, other)

    async def found(self) -> list[tuple[str, int | None]]:
        """What is wrong, as (kind, number of the link)."""
        result = await self.verify()
        assert result.counts.total() == len(result.findings)
        return [(str(finding.kind), finding.seq) for finding in result.findings]

    async def is_gapless(self, rows: int) -> bool:
        numbers = self.sql("SELECT count(*), min(seq), max(seq) FROM audit_seals")
        return numbers == f"{rows}|1|{rows}" and (await self.verify()).is_intact


@pytest.fixture
async def chain_of(databases: Databases) -> AsyncIterator[Callable[[Population], Chain]]:
    """The empty log of either population."""
    connected = {each: Database(each, databases[each].service) for each in Population}
    yield lambda population: Chain(population, databases, connected)
    for database in connected.values():
        await database.dispose()


@pytest.fixture
def chain(chain_of: Callable[[Population], Chain]) -> Chain:
    """An empty log."""
    return chain_of(Population.SLM)


@pytest.fixture
async def sealed(chain: Chain) -> Chain:
    """Ten rows, ten minutes old, sealed and anchored."""
    chain.add(10, LONG_AGO)
    assert await chain.seal() == 10
    chain.sql(f"UPDATE audit_seals SET sealed_at = {LONG_AGO}")
    assert await chain.anchor() is Anchoring.MOVED
    assert await chain.found() == []
    return chain


# The form


def test_the_form_of_a_row_is_this() -> None:
    row = {
        "id": "0b1c2d3e-0000-4000-8000-000000000001",
        "org_id": None,
        "user_id": None,
        "action": "login_failed",
        "resource_type": "user",
        "resource_id": None,
        "outcome": "failure",
        "details": '{"reason": "Straße \\u0001 \\"x\\""}',
        "ip_address": "2001:db8::1",
        "user_agent": 'a"b\\c\n\x7f\x1f€',
        "created_at": "2026-11-23T11:38:00.000100Z",
    }
    assert set(row) == {column.name for column in AuditLog.__table__.columns}
    assert [column.name for column in content_columns()] == list(AuditLog.__table__.columns.keys())
    assert canonical(row).decode() == (
        '{"action":"login_failed","created_at":"2026-11-23T11:38:00.000100Z",'
        '"details":"{\\"reason\\": \\"Straße \\\\u0001 \\\\\\"x\\\\\\"\\"}",'
        '"id":"0b1c2d3e-0000-4000-8000-000000000001","ip_address":"2001:db8::1","org_id":null,'
        '"outcome":"failure","resource_id":null,"resource_type":"user",'
        '"user_agent":"a\\"b\\\\c\\n\x7f\\u001f€","user_id":null}'
    )
    expected = "06772e2a161e1dd9cc75abf9eb271e915105a2b5862c3457011124389a8b7f3d"
    assert link(EMPTY.hash, row).hex() == expected


async def test_the_query_in_the_guide_comes_to_the_same(sealed: Chain) -> None:
    [query] = re.findall(r"```sql\n(.*?)```", (ROOT / "docs/audit.md").read_text(), re.DOTALL)
    sealed.add(
        details="""'{"text": "€ \\u0001 \\" \\\\", "number": 1.500}'""",
        user_agent="E'a\"b\\\\c\\n\\x7f\\x1f€'",
        ip_address="'203.0.113.7'",
    )
    await sealed.seal()
    assert sealed.sql(query) == ""
    sealed.sql("UPDATE audit_logs SET outcome = 'x' WHERE ip_address IS NOT NULL")
    assert sealed.sql(query).startswith("11|")


# What the owner of the database may do, and what is then found


def row_at(seq: int) -> str:
    return f"id = (SELECT audit_id FROM audit_seals WHERE seq = {seq})"


CHANGES = {
    "id": st.uuids().map(lambda value: f"'{value}'"),
    "org_id": st.sampled_from(["NULL", "(SELECT id FROM organizations)"]),
    "user_id": st.sampled_from(["NULL", "(SELECT id FROM users)"]),
    "action": st.sampled_from(["'logout'", "'login_successful'", "'Login_success'", "''"]),
    "resource_type": st.sampled_from(["'user'", "'Session'", "''"]),
    "resource_id": st.sampled_from(["NULL", "gen_random_uuid()"]),
    "outcome": st.sampled_from(["'failure'", "'success '", "''"]),
    "details": st.sampled_from(
        ["'{}'", "'null'", """'{"n": 1.50}'""", """'{"n": 1.5000000000000000001}'""", "'[]'"]
    ),
    "ip_address": st.sampled_from(["NULL", "'null'", "'203.0.113.70'", "''"]),
    "user_agent": st.sampled_from(["NULL", "'null'", "''", "'pytest '"]),
    "created_at": st.sampled_from(
        [
            *("created_at + interval '1 microsecond'", "created_at - interval '1 year'"),
            *("'infinity'", "'-infinity'", "'0044-03-15 BC'", "'20000-01-01'"),
            # The same day and time of the other era.
            "(created_at::text || ' BC')::timestamptz",
        ]
    ),
}


def literals(*values: str) -> list[str]:
    """NULL, and each value as SQL has it."""
    return ["NULL", *("'" + value.replace("'", "''") + "'" for value in values)]


# What is easily taken for one another in each column, as SQL.
TEXTS = literals(
    *("", " ", "null", "NULL", "Null", "a", "A", "a ", "\u00e9", "e\u0301", "\U0001f600"),
    *(
        '","outcome":"',
        '"',
        "\\",
        '\\"',
        "\\u0000",
        "\\n",
        "\n",
        "\r\n",
        "\x1f",
        "\x7f",
        "'",
    ),
)
MOMENTS = [
    *("'infinity'", "'-infinity'", "'294276-12-31 23:59:59.999999+00'", "'4714-11-24 00:00+00 BC'"),
    *(
        f"make_timestamptz({year}, {month}, {day}, 1, 1, {second}, '{zone}')"
        for year in (-4000, -2026, -10, -1, 1, 10, 2026, 12026, 20261)
        for month in (1, 11)
        for day in (1, 11)
        for second in ("0", "1", "1.000001", "10")
        for zone in ("UTC", "Asia/Tokyo")
    ),
]
DETAILS = literals(
    *(
        "null",
        "true",
        "false",
        "0",
        "1",
        "10",
        "1.5",
        "1.5000000000000000001",
        "1e300",
        "-1",
    ),
    *('""', '"null"', '"1"', '"a"', '"true"', "[]", "[null]", "[[]]", "[1]", '["1"]', "{}"),
    *('{"":null}', '{"a":1}', '{"a":"1"}', '{"a":[1]}', '{"a":{"b":1}}', '{"a":1,"b":1}'),
    *(r'{"a\":1,\"b":1}', r'"a\"b"', r'"a\\b"', '["a","b"]', '["a,b"]'),
)
UUIDS = literals(*(str(uuid.UUID(int=number)) for number in (0, 1, 16, 2**127)))
VALUES = {
    **dict.fromkeys(["id", "org_id", "user_id", "resource_id"], UUIDS),
    **dict.fromkeys(["action", "resource_type", "outcome", "ip_address", "user_agent"], TEXTS),
    "details": DETAILS,
    "created_at": MOMENTS,
}


@pytest.mark.parametrize("name", sorted(VALUES))
async def test_no_two_values_of_a_column_have_one_form(databases: Databases, name: str) -> None:
    """The form is injective: rows that differ have different bytes, and so different hashes."""
    form = next(each for each in content_columns() if each.name == name).element
    column = AuditLog.__table__.c[name]
    dialect = asyncpg.dialect()  # type: ignore[no-untyped-call]
    kind = column.type.compile(dialect)
    said = str(form.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
    values = ", ".join(f"(({value})::{kind})" for value in VALUES[name])
    connection = await driver.connect(**databases[Population.SLM].service.connect_arguments())
    try:
        rows = await connection.fetch(
            f"SELECT {said.replace(str(column), 'value')} AS form,"
            f" dense_rank() OVER (ORDER BY value) AS number FROM (VALUES {values}) tried (value)"
        )
    finally:
        await connection.close()
    numbers: dict[bytes, set[int]] = {}
    for row in rows:
        numbers.setdefault(canonical({name: row["form"]}), set()).add(row["number"])
    assert len(rows) == len(VALUES[name])
    assert [(form, alike) for form, alike in numbers.items() if len(alike) > 1] == []


def test_every_value_is_tried() -> None:
    assert set(VALUES) == {column.name for column in AuditLog.__table__.columns}


def test_every_column_is_tried() -> None:
    assert set(CHANGES) == {column.name for column in AuditLog.__table__.columns}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    change=st.sampled_from(sorted(CHANGES)).flatmap(
        lambda name: st.tuples(st.just(name), CHANGES[name])
    ),
    seq=st.integers(1, 6),
)
async def test_one_changed_column_is_found(
    altered: Chain, change: tuple[str, str], seq: int
) -> None:
    column, value = change
    altered.sql(f"UPDATE audit_logs SET {column} = {value} WHERE {row_at(seq)}")
    changed = altered.sql(
        "SELECT count(*) FROM copy LEFT JOIN audit_logs l USING (id)"
        " WHERE copy::text IS DISTINCT FROM l::text"
    )
    found = [finding for finding in await altered.found() if finding[0] != "unsealed"]
    kind = "row_missing" if column == "id" else "altered"
    assert found == ([(kind, seq)] if changed == "1" else [])
    altered.sql("DELETE FROM audit_logs; INSERT INTO audit_logs TABLE copy")
    assert await altered.found() == []


@pytest.fixture
async def altered(chain_of: Callable[[Population], Chain]) -> Chain:
    """Six sealed rows, half of them with all columns, and a copy of them."""
    chain = chain_of(Population.AUTOBOT)
    chain.sql("INSERT INTO users (username, email) VALUES ('ada', 'a@b')")
    chain.sql("INSERT INTO organizations (name, slug) VALUES ('A', 'a')")
    chain.add(3, LONG_AGO)
    chain.add(
        3,
        LONG_AGO,
        user_id="(SELECT id FROM users)",
        org_id="(SELECT id FROM organizations)",
        resource_id="gen_random_uuid()",
        details="""'{"n": 1.5}'::jsonb""",
        ip_address="'203.0.113.7'",
        user_agent="'pytest'",
    )
    await chain.seal()
    await chain.anchor()
    chain.sql("CREATE TABLE copy AS TABLE audit_logs")
    return chain


async def test_a_row_that_is_hidden_in_the_other_era(sealed: Chain) -> None:
    sealed.sql(
        f"UPDATE audit_logs SET created_at = (created_at::text || ' BC')::timestamptz"
        f" WHERE {row_at(4)}"
    )
    assert await sealed.found() == [("altered", 4)]


async def test_a_removed_row(sealed: Chain) -> None:
    sealed.sql(f"DELETE FROM audit_logs WHERE {row_at(4)}")
    assert await sealed.found() == [("row_missing", 4)]


@pytest.mark.parametrize("seq", [1, 4])
async def test_a_removed_seal(sealed: Chain, seq: int) -> None:
    sealed.sql(f"DELETE FROM audit_seals WHERE seq = {seq}")
    assert await sealed.found() == [("seal_missing", seq), ("unsealed", None)]


async def test_a_removed_row_with_its_seal(sealed: Chain) -> None:
    sealed.sql(f"DELETE FROM audit_logs WHERE {row_at(4)}; DELETE FROM audit_seals WHERE seq = 4")
    assert await sealed.found() == [("seal_missing", 4)]


async def test_a_removed_row_with_the_links_numbered_anew(sealed: Chain) -> None:
    sealed.sql(
        f"DELETE FROM audit_logs WHERE {row_at(4)}; DELETE FROM audit_seals WHERE seq = 4;"
        "UPDATE audit_seals SET seq = -seq WHERE seq > 4;"
        "UPDATE audit_seals SET seq = -seq - 1 WHERE seq < 0"
    )
    assert await sealed.found() == [("altered", 4), ("cut_off", 10)]


async def test_a_changed_hash(sealed: Chain) -> None:
    sealed.sql("UPDATE audit_seals SET hash = sha256('x') WHERE seq = 4")
    assert await sealed.found() == [("altered", 4), ("altered", 5)]


async def test_two_rows_that_change_places(sealed: Chain) -> None:
    sealed.sql(
        "BEGIN; CREATE TEMP TABLE t AS TABLE audit_seals; DELETE FROM audit_seals;"
        "INSERT INTO audit_seals SELECT CASE seq WHEN 4 THEN 5 WHEN 5 THEN 4 ELSE seq END,"
        " audit_id, hash, sealed_at FROM t; COMMIT"
    )
    assert {seq for _, seq in await sealed.found()} >= {4, 5}


async def test_a_row_that_pretends_to_be_old(sealed: Chain) -> None:
    sealed.add(created_at="now() - interval '1 day'")
    assert await sealed.seal() == 0
    assert await sealed.found() == [("unsealed", None)]


async def test_a_row_outside_the_calendar(sealed: Chain) -> None:
    for moment in ("-infinity", "0044-03-15 BC"):
        sealed.sql(
            "INSERT INTO audit_logs (action, resource_type, created_at)"
            f" VALUES ('login_success', 'session', '{moment}')"
        )
    assert await sealed.seal() == 0
    assert await sealed.found() == [("unsealed", None)] * 2


async def test_a_forged_seal_in_front_of_the_chain(sealed: Chain) -> None:
    sealed.add(created_at="now() - interval '1 day'")
    sealed.sql(
        "INSERT INTO audit_seals (seq, audit_id, hash) SELECT -7, id, sha256('x')"
        " FROM audit_logs ORDER BY created_at LIMIT 1"
    )
    assert ("seal_missing", 1) in await sealed.found()


async def test_a_cut_tail(sealed: Chain) -> None:
    sealed.sql(
        "DELETE FROM audit_logs WHERE id IN (SELECT audit_id FROM audit_seals WHERE seq > 7);"
        "DELETE FROM audit_seals WHERE seq > 7"
    )
    assert await sealed.found() == [("cut_off", 10)]


async def test_a_cut_tail_over_which_others_have_grown(sealed: Chain) -> None:
    sealed.sql(
        "DELETE FROM audit_logs WHERE id IN (SELECT audit_id FROM audit_seals WHERE seq > 7);"
        "DELETE FROM audit_seals WHERE seq > 7"
    )
    sealed.add(5)
    await sealed.seal()
    assert await sealed.anchor() is Anchoring.CONTRADICTED
    assert await sealed.found() == [("anchor_mismatch", 10)]


async def test_a_chain_computed_anew(sealed: Chain) -> None:
    sealed.sql(
        f"UPDATE audit_logs SET outcome = 'failure' WHERE {row_at(4)};DELETE FROM audit_seals"
    )
    assert await sealed.seal() == 10
    assert await sealed.anchor() is Anchoring.CONTRADICTED
    assert await sealed.found() == [("anchor_mismatch", 10)]


async def test_an_emptied_log(sealed: Chain) -> None:
    sealed.sql("DELETE FROM audit_logs; DELETE FROM audit_seals")
    assert await sealed.found() == [("cut_off", 10)]
    assert await sealed.anchor() is Anchoring.CONTRADICTED


async def test_a_removed_anchor(sealed: Chain) -> None:
    sealed.other_sql("DELETE FROM audit_anchors")
    assert await sealed.found() == [("anchor_missing", None)]


async def test_another_anchor(sealed: Chain) -> None:
    sealed.other_sql(
        "ALTER TABLE audit_anchors DISABLE TRIGGER ALL;UPDATE audit_anchors SET hash = sha256('x')"
    )
    assert await sealed.found() == [("anchor_mismatch", 10)]


async def test_lost_seals_of_the_end_are_made_again(sealed: Chain) -> None:
    sealed.sql("DELETE FROM audit_seals WHERE seq > 7")
    assert await sealed.seal() == 3
    assert await sealed.found() == []


async def test_of_many_findings_the_first_are_shown_and_all_counted(chain: Chain) -> None:
    chain.add(SHOWN + 5, LONG_AGO)
    await chain.seal()
    chain.sql("DELETE FROM audit_logs")
    result = await chain.verify()
    assert [finding.seq for finding in result.findings] == list(range(1, SHOWN + 1))
    assert result.counts == {"row_missing": SHOWN + 5}


# Sealing


async def test_all_is_sealed_in_batches(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("user_management.services.audit_verification._PAGE", 700)
    chain.add(2 * BATCH + 3, LONG_AGO)
    assert [await chain.seal() for _ in range(4)] == [BATCH, BATCH, 3, 0]
    assert await chain.is_gapless(2 * BATCH + 3)


async def test_two_sealers_at_once(chain: Chain) -> None:
    chain.add(50)
    async with chain.database.session() as first, chain.database.session() as second:
        assert await rows_sealed(first) == 50
        assert await seal(second) is None
        await first.commit()
        assert await rows_sealed(second) == 0
    assert await chain.is_gapless(50)


async def test_many_sealers_and_many_writers(chain: Chain) -> None:
    async def write(number: int) -> None:
        async with chain.database.session() as session:
            await session.execute(
                insert(AuditLog).values(action=f"a{number}", resource_type="session")
            )
            # Some commit late.
            await asyncio.sleep(number % 7 / 100)

    async def seal_meanwhile() -> None:
        while not written.is_set():
            async with chain.database.session() as session:
                await seal(session)
            await asyncio.sleep(0.001)

    written = asyncio.Event()
    sealers = [asyncio.create_task(seal_meanwhile()) for _ in range(3)]
    for start in range(0, 200, 7):
        await asyncio.gather(*(write(number) for number in range(start, min(start + 7, 200))))
    written.set()
    await asyncio.gather(*sealers)
    await chain.seal()
    assert await chain.is_gapless(200)


async def test_a_row_committed_late_is_sealed(chain: Chain) -> None:
    async with chain.database.session() as late:
        await late.execute(insert(AuditLog).values(action="late", resource_type="session"))
        chain.add(3)
        assert await chain.seal() == 3
    assert await chain.seal(lookback=timedelta(minutes=1)) == 1
    assert await chain.is_gapless(4)


async def test_what_lies_further_back_waits_for_the_long_look(chain: Chain) -> None:
    chain.add()
    await chain.seal()
    chain.add(created_at="now() - interval '30 minutes'")
    assert await chain.seal(lookback=timedelta(minutes=1)) == 0
    assert await chain.seal() == 1


async def test_a_clock_that_was_set_back(chain: Chain) -> None:
    chain.add(created_at="now() + interval '3 days'")
    await chain.seal()
    chain.add()
    assert await chain.seal() == 1


async def test_without_the_last_row_the_past_is_not_opened(sealed: Chain) -> None:
    sealed.sql(f"DELETE FROM audit_logs WHERE {row_at(10)}")
    sealed.add(created_at="now() - interval '1 day'")
    assert await sealed.seal() == 0


async def test_writers_do_not_wait_for_the_sealer(chain: Chain) -> None:
    chain.add(5)
    async with chain.database.session() as sealer, chain.database.session() as writer:
        assert await rows_sealed(sealer) == 5
        await writer.execute(text("SET LOCAL lock_timeout = '100ms'"))
        await writer.execute(insert(AuditLog).values(action="a", resource_type="session"))
    assert await chain.seal() == 1
    assert await chain.is_gapless(6)


async def test_an_anchor_moves_forward_only(sealed: Chain) -> None:
    assert await sealed.anchor() is Anchoring.UNCHANGED
    async with sealed.database.session() as session:
        before = await read_head(session)
    sealed.add()
    await sealed.seal()
    assert await sealed.anchor() is Anchoring.MOVED
    async with sealed.database.session() as session, sealed.other.session() as other:
        assert await anchor(session, other, before) is Anchoring.UNCHANGED
    assert sealed.other_sql("SELECT seq FROM audit_anchors") == "11"
