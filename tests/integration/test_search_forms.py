"""What searches compare users by is the same in all databases, and outlives a dump."""

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

FUNCTIONS = ("search_form(text)", "user_search_form(varchar, varchar, varchar)")
FORMS = {
    "ΟΔΟΣ": "οδοσ",
    "TITLE": "title",
    "II İı": "ii ii",
    "JOSÉ GROẞ": "jose gross",
    "ÆRØ Œuvre Łódź": "aero oeuvre lodz",
    "Йод": "иод",
    "王明": "王王王明明明",
    "กา": "กกกาาา",
    "ﾀ": "タタタ",
    "100%_\\": "100%_\\",
}


@pytest.fixture(params=["LOCALE 'C'", "LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE 'tr'"])
def other_database(request: pytest.FixtureRequest, autobot_database: Any) -> Iterator[str]:
    """The name of an empty database with another locale on the same server."""
    server = autobot_database.server
    server.sql(f"CREATE DATABASE other TEMPLATE template0 ENCODING 'UTF8' {request.param}")
    yield "other"
    server.drop_database("other")


def test_a_form_depends_on_no_locale(autobot_database: Any, other_database: str) -> None:
    for function in FUNCTIONS:
        definition = autobot_database.sql(f"SELECT pg_get_functiondef('{function}'::regprocedure)")
        autobot_database.server.sql(definition, database=other_database)
    for name, form in FORMS.items():
        for sql in (
            autobot_database.sql,
            lambda query: autobot_database.server.sql(query, database=other_database),
        ):
            assert sql(f"SELECT search_form('{name}')") == form
            fields = sql(f"SELECT user_search_form('A@x', '{name}', NULL)")
            assert fields == f"a@x\n{form}"


def test_a_dump_brings_the_indexes_back(autobot_database: Any, other_database: str) -> None:
    autobot_database.sql(
        "INSERT INTO users (username, email, display_name) VALUES ('wang', 'wang@x', '王小明')"
    )
    server = autobot_database.server
    connect = (f"--host={server.directory}", "--username=postgres")
    dump = subprocess.run(
        [server.bin / "pg_dump", *connect, autobot_database.name],
        capture_output=True,
        text=True,
        check=True,
    )
    server.psql(dump.stdout, database=other_database)
    restored = server.sql(
        "SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = 'users'::regclass",
        database=other_database,
    )
    assert restored == autobot_database.sql(
        "SELECT count(*) FROM pg_index WHERE indrelid = 'users'::regclass"
    )


@pytest.mark.parametrize("term", ["小", "小明", "王小明", "ένη", "nok"])
def test_parts_of_names_have_their_index(autobot_database: Any, term: str) -> None:
    autobot_database.sql(
        "INSERT INTO users (username, email, display_name)"
        " SELECT 'u' || n, n || '@x', chr(20000 + n) || chr(30000 + n)"
        " FROM generate_series(1, 3000) n"
    )
    autobot_database.sql("VACUUM ANALYZE users")
    form = autobot_database.sql(f"SELECT search_form('{term}')")
    plan = autobot_database.sql(
        "SET enable_seqscan = off; EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT id FROM users"
        f" WHERE user_search_form(email, username, display_name) LIKE '%{form}%'"
    )
    [line] = [line for line in plan.splitlines() if "Bitmap Index Scan on ix_users_search" in line]
    assert "ix_users_search_form " in line
    assert "rows=0 " in line or "rows=1 " in line
