"""What is one user's name is no other user's address: the database decides it, for everybody."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from user_management.population import Population

UPSTREAM = (Path(__file__).parent / "upstream.sql").read_text()
INSERT = "INSERT INTO users (username, email) VALUES ('{}', '{}')"
SEC = "\N{FULLWIDTH LATIN SMALL LETTER S}ec"
WORDS = "SELECT word FROM taken_words ORDER BY word"
# A user whose name is the address that they had, one with a strange address, and two in letters
# that are not today's.
SPECIAL = f"""
    INSERT INTO users (username, email) VALUES
        ('own@example.org', 'own@example.org'), ('odd', 'nowhere'),
        ('{SEC}', 'sec@x.y'), ('Upper', 'Upper@X.y'), ('plain', 'plain@x.y');
    UPDATE users SET email = 'new@example.org' WHERE username = 'own@example.org';
"""

Connect = Callable[[], Any]


@pytest.fixture(params=["slm_database", "autobot_database"])
def database(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
async def connect(autobot_database: Any) -> AsyncIterator[Connect]:
    """Connections of the service's role."""
    made: list[asyncpg.Connection] = []

    async def connect() -> asyncpg.Connection:
        made.append(await asyncpg.connect(**autobot_database.service.connect_arguments()))
        return made[-1]

    yield connect
    for connection in made:
        await connection.close()


def refused(database: Any, statement: str) -> str | None:
    """As what the word was refused, None when the statement was carried out (and undone)."""
    said = ""
    try:
        database.sql(f"BEGIN; {statement}; ROLLBACK", user="slm_service")
    except AssertionError as error:
        said = str(error)
    found = re.search(r"Another user has this (\w+) as a name or address", said)
    assert found or not said, said
    return found and found[1]


def test_a_name_is_no_other_users_address(database: Any) -> None:
    database.sql(SPECIAL, user="slm_service")
    tried = {
        INSERT.format("eve", "own@example.org"): "email",
        INSERT.format("nowhere", "eve@x.y"): "username",
        INSERT.format("new@example.org", "eve@x.y"): "username",
        INSERT.format("plain@x.y", "eve@x.y"): "username",
        INSERT.format("eve", "plain"): "email",
        # People cannot tell these apart.
        INSERT.format("sec", "eve@x.y"): "username",
        INSERT.format("SEC", "eve@x.y"): "username",
        INSERT.format("\N{FULLWIDTH LATIN SMALL LETTER P}lain", "eve@x.y"): "username",
        INSERT.format("upper", "eve@x.y"): "username",
        INSERT.format("eve", "upper@x.y"): "email",
        "UPDATE users SET email = 'own@example.org' WHERE username = 'plain'": "email",
        "UPDATE users SET username = 'nowhere' WHERE username = 'plain'": "username",
        "UPDATE users SET username = 'plain@x.y' WHERE username = 'odd'": "username",
        "INSERT INTO users (username, email) VALUES ('a@x.y', 'b@x.y'), ('c', 'a@x.y')": "email",
    }
    assert {each: refused(database, each) for each in tried} == tried


def test_what_is_nobodys_is_free(database: Any) -> None:
    database.sql(SPECIAL, user="slm_service")
    free = [
        INSERT.format("eve", "eve@x.y"),
        # A user's own address is a good name, in one step or in two.
        INSERT.format("eve@x.y", "eve@x.y"),
        "UPDATE users SET username = email WHERE username = 'plain'",
        "UPDATE users SET email = username WHERE username = 'own@example.org'",
        "UPDATE users SET username = 'other' WHERE username = 'own@example.org'",
        # Names of deleted users are free, and taken when they come back.
        "UPDATE users SET deleted_at = now() WHERE username = 'own@example.org';"
        + INSERT.format("eve", "own@example.org"),
        "DELETE FROM users WHERE username = 'own@example.org';"
        + INSERT.format("eve", "own@example.org"),
        "UPDATE users SET deleted_at = now() WHERE username = 'own@example.org';"
        "UPDATE users SET deleted_at = NULL WHERE username = 'own@example.org'",
    ]
    assert {each: refused(database, each) for each in free} == dict.fromkeys(free)


def test_who_comes_back_finds_the_name_taken(database: Any) -> None:
    database.sql(SPECIAL, user="slm_service")
    database.sql(
        "UPDATE users SET deleted_at = now() WHERE username = 'own@example.org';"
        + INSERT.format("eve", "own@example.org"),
        user="slm_service",
    )
    back = "UPDATE users SET deleted_at = NULL WHERE username = 'own@example.org'"
    assert refused(database, back) == "username"


def test_only_unusual_words_are_kept(database: Any) -> None:
    database.sql(SPECIAL, user="slm_service")
    assert database.sql(WORDS).splitlines() == [
        *("nowhere", "own@example.org", "sec", "upper", "upper@x.y")
    ]
    database.sql(
        "UPDATE users SET username = 'own' WHERE username = 'own@example.org';"
        "UPDATE users SET deleted_at = now() WHERE username = 'odd';"
        "DELETE FROM users WHERE username = 'Upper'",
        user="slm_service",
    )
    assert database.sql(WORDS) == "sec"


@pytest.mark.parametrize("population", list(Population))
def test_who_clashes_already_stays_and_is_mended_one_by_one(
    provisioned: Callable[..., Any], population: Population
) -> None:
    database = provisioned(population)
    database.sql(UPSTREAM)
    database.sql(
        "INSERT INTO users (id, username, email, is_active, is_verified, mfa_enabled,"
        " is_platform_admin, preferences) SELECT gen_random_uuid(), username, email, true, false,"
        " false, false, '{}' FROM (VALUES ('a@x.y', 'one@x.y'), ('two', 'a@x.y'),"
        " ('ﬁn', 'fin1@x.y'), ('fin', 'fin2@x.y')) AS people (username, email)"
    )
    rows = "SELECT username, email FROM users ORDER BY 1"
    before = database.sql(rows)
    database.migrate()
    assert database.sql(rows) == before
    assert database.sql(WORDS).splitlines() == ["a@x.y", "fin"]
    # What does not touch the words is as before; nobody else gets them.
    database.sql(
        "UPDATE users SET last_login_at = now(), username = username, email = email;"
        "UPDATE users SET email = 'uno@x.y' WHERE username = 'a@x.y'",
        user="slm_service",
    )
    assert refused(database, INSERT.format("eve", "fin")) == "email"
    database.sql(
        "UPDATE users SET email = 'two@x.y' WHERE username = 'two';"
        "UPDATE users SET username = 'finn' WHERE username = 'ﬁn'",
        user="slm_service",
    )
    assert database.sql(WORDS) == "a@x.y"
    assert refused(database, INSERT.format("eve", "a@x.y")) == "email"
    database.migrate("base")
    assert database.sql("SELECT to_regclass('taken_words'), to_regproc('word_form')") == "|"


@pytest.mark.parametrize("first", ["who writes the name", "who writes the address"])
async def test_two_at_once_do_not_both_get_the_word(
    autobot_database: Any, connect: Connect, first: str
) -> None:
    autobot_database.sql(INSERT.format("own@example.org", "own@example.org"))
    naming, addressing = await connect(), await connect()
    # Its user gives the address up, and keeps the name.
    name = "UPDATE users SET email = 'new@example.org' WHERE username = 'own@example.org'"
    address = INSERT.format("eve", "own@example.org")
    if first == "who writes the name":
        async with naming.transaction():
            await naming.execute(name)
            waiting = asyncio.create_task(addressing.execute(address))
            await is_waiting(autobot_database)
        with pytest.raises(asyncpg.UniqueViolationError):
            await waiting
        return
    # The address is free as an address, and not yet anybody's name.
    await naming.execute("UPDATE users SET username = 'own', email = 'new@example.org'")
    async with addressing.transaction():
        await addressing.execute(address)
        waiting = asyncio.create_task(
            naming.execute("UPDATE users SET username = 'own@example.org' WHERE username = 'own'")
        )
        await is_waiting(autobot_database)
    with pytest.raises(asyncpg.UniqueViolationError) as caught:
        await waiting
    assert caught.value.constraint_name == "taken_words_username"


async def is_waiting(database: Any) -> None:
    """Until somebody waits for a lock."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
    async with asyncio.timeout(600):
        while await asyncio.to_thread(database.sql, waiting, "postgres") == "0":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_writers_of_plain_names_do_not_wait_for_each_other(connect: Connect) -> None:
    one, two = await connect(), await connect()
    await two.execute("SET lock_timeout = '1s'")
    async with one.transaction():
        await one.execute(INSERT.format("one", "one@x.y"))
        await two.execute(INSERT.format("two", "two@x.y"))
        await two.execute("UPDATE users SET deleted_at = now() WHERE username = 'two'")


async def test_who_logs_in_waits_for_nobody(autobot_database: Any, connect: Connect) -> None:
    autobot_database.sql(SPECIAL)
    naming, entering = await connect(), await connect()
    await entering.execute("SET lock_timeout = '1s'")
    async with naming.transaction():
        await naming.execute(INSERT.format("b@x.y", "c@x.y"))
        await entering.execute("UPDATE users SET last_login_at = now()")


def test_who_is_limited_to_an_organization_gets_nobody_elses_word(autobot_database: Any) -> None:
    org_id = "00000000-0000-0000-0000-000000000001"
    autobot_database.sql(
        f"INSERT INTO organizations (id, name, slug) VALUES ('{org_id}', 'One', 'one');{SPECIAL}"
    )
    tenant = (
        f"SET LOCAL ROLE slm_tenant; SET LOCAL user_management.org_id = '{org_id}';"
        "INSERT INTO users (org_id, username, email) VALUES ('{}', '{}', '{}')"
    )
    assert refused(autobot_database, tenant.format(org_id, "eve", "own@example.org")) == "email"
    assert refused(autobot_database, tenant.format(org_id, "eve", "eve@x.y")) is None


@pytest.mark.parametrize("role", ["slm_service", "autobot_backend"])
def test_nobody_but_the_owner_writes_the_words(autobot_database: Any, role: str) -> None:
    for statement in (
        "DELETE FROM taken_words",
        "INSERT INTO taken_words SELECT id, 'x' FROM users",
        "BEGIN; LOCK TABLE taken_words IN EXCLUSIVE MODE",
        "SELECT refuse_word('email')",
    ):
        with pytest.raises(AssertionError, match="permission denied"):
            autobot_database.sql(statement, user=role)
