"""The functions of migration 0004: what is done with passwords by whoever may not read them."""

from collections.abc import Callable
from typing import Any

import pytest

from user_management.security.hashing import DIGEST_LENGTH, is_hash

ADA, EVE, NOBODY = (f"00000000-0000-0000-0000-00000000000{digit}" for digit in (1, 2, 3))
SALT = "abcdefghijklmnopqrstu" + "u"
DIGEST = "ABCDEFGHIJKLMNOPQRSTUVWXYZ./012"
FIRST, SECOND, THIRD, FOURTH = (f"$2b$0{cost}${SALT}{DIGEST}" for cost in (4, 5, 6, 7))
EVES = f"$2b$08${SALT}{DIGEST}"
USERS = f"""
    INSERT INTO users (id, username, email, password_hash, updated_at)
    VALUES ('{ADA}', 'ada', 'ada@x', '{FIRST}', '2026-01-01'),
           ('{EVE}', 'eve', 'eve@x', '{EVES}', '2026-01-01');
"""
HISTORY = f"""
    INSERT INTO password_history (user_id, password_hash, created_at)
    VALUES ('{ADA}', '{SECOND}', '2025-03-01'), ('{ADA}', '{THIRD}', '2025-02-01'),
           ('{ADA}', '{FOURTH}', '2025-01-01'), ('{EVE}', '{EVES}', '2025-04-01');
"""
OUT = ["is_active = false", "deleted_at = now()", "is_active = false, deleted_at = now()"]
# What those have who do not know Ada's hash.
GUESSES = (None, "", FIRST[:-DIGEST_LENGTH], f"{FIRST} ", FIRST.swapcase(), "%", EVES)

Ask = Callable[..., str]


@pytest.fixture(
    params=[
        ("slm_database", "slm_service"),
        ("autobot_database", "autobot_user_admin"),
        ("autobot_database", "slm_service"),
        ("autobot_database", "autobot_backend"),
    ],
    ids=lambda param: f"{param[0].partition('_')[0]}-{param[1]}",
)
def role(request: pytest.FixtureRequest) -> tuple[Any, str]:
    """A database with two users, and a role that may call the functions there."""
    fixture, name = request.param
    database = request.getfixturevalue(fixture)
    database.sql(USERS)
    return database, name


@pytest.fixture
def sql(role: tuple[Any, str]) -> Callable[[str], str]:
    """Run statements as the owner."""
    database, _ = role
    return lambda statements: str(database.sql(statements))


@pytest.fixture
def ask(role: tuple[Any, str]) -> Ask:
    """What a function answers to the role: `ask(name, argument, …)`."""
    database, name = role

    def call(function: str, *arguments: object) -> str:
        given = ", ".join(map(literal, arguments))
        return str(database.sql(f"SELECT {function}({given})", user=name))

    return call


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return f"ARRAY[{', '.join(map(literal, value))}]::text[]"
    return "'" + str(value).replace("'", "''") + "'"


def rest(sql: Callable[[str], str]) -> str:
    """All that the functions may change."""
    return sql(
        "SELECT id, password_hash, last_login_at, updated_at FROM users ORDER BY id;"
        "SELECT * FROM password_history ORDER BY id; SELECT * FROM user_credentials"
    )


# Reading


@pytest.mark.parametrize(
    "stored",
    [
        *(FIRST, f"$2a$12${SALT}{DIGEST}", f"$2y$12${SALT}{DIGEST}"),
        *(f"bcrypt-sha384$$2b$12${SALT}{DIGEST}", f"$2b$12${SALT[:-1]}.{DIGEST}"),
        *("hash", "", "x", f"$2x$12${SALT}{DIGEST}", f"$2b$1${SALT}{DIGEST}"),
        *(f"$2b$12${SALT[:-1]}a{DIGEST}", f"$2b$12${SALT}{DIGEST[:-1]}", f"{FIRST}x"),
        *(f"{FIRST}\n", f"\n{FIRST}", f" {FIRST}", f"{FIRST[:-1]}-", f"{FIRST[:-1]}é"),
        *(f"sha384${FIRST}", f"bcrypt-sha384${FIRST}", "bcrypt-sha384$" * 2 + FIRST),
        *("$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHQ$aGFzaGhhc2g", "pbkdf2_sha256$1$a$b"),
    ],
)
def test_a_setting_is_what_stands_before_the_digest_of_a_known_form(
    autobot_database: Any, stored: str
) -> None:
    """Of what is no hash nothing is told: it may be a password."""
    autobot_database.sql(USERS + f"UPDATE users SET password_hash = {literal(stored)}")
    setting = autobot_database.sql(f"SELECT password_setting('{ADA}')", user="autobot_backend")
    assert setting == (stored[:-DIGEST_LENGTH] if is_hash(stored) else "")


def test_whose_setting(ask: Ask, sql: Callable[[str], str]) -> None:
    assert ask("password_setting", ADA) == FIRST[:-DIGEST_LENGTH]
    assert ask("password_setting", EVE) == EVES[:-DIGEST_LENGTH]
    sql("UPDATE users SET password_hash = NULL")
    for whose in (ADA, NOBODY, None):
        assert ask("password_setting", whose) == ""
    nulls = "SELECT password_setting(id) IS NULL FROM users"
    assert sql(nulls) == "t\nt"


@pytest.mark.parametrize("out", ["is_active = true", *OUT])
def test_the_hash_matches_and_nothing_else_does(
    ask: Ask, sql: Callable[[str], str], out: str
) -> None:
    """Whether the user may log in is another question: the same is done for both."""
    sql(f"UPDATE users SET {out}")
    assert ask("password_matches", ADA, FIRST) == "t"
    for guess in GUESSES:
        assert ask("password_matches", ADA, guess) == "f"
    for whose in (NOBODY, None):
        assert ask("password_matches", whose, FIRST) == "f"


def test_nobody_without_a_password_matches(ask: Ask, sql: Callable[[str], str]) -> None:
    sql("UPDATE users SET password_hash = NULL")
    for guess in (None, "", FIRST):
        assert ask("password_matches", ADA, guess) == "f"


def test_settings_of_earlier_passwords_newest_first(ask: Ask, sql: Callable[[str], str]) -> None:
    sql(HISTORY)
    expected = [each[:-DIGEST_LENGTH] for each in (SECOND, THIRD, FOURTH)]
    for newest in range(5):
        assert ask("earlier_password_settings", ADA, newest).split() == expected[:newest]
    assert ask("earlier_password_settings", NOBODY, 5) == ""
    sql("UPDATE password_history SET password_hash = 'hush'")
    assert ask("earlier_password_settings", ADA, 5) == ""
    assert sql(f"SELECT count(*) FROM earlier_password_settings('{ADA}', 5)") == "3"


@pytest.mark.parametrize(
    ("newest", "hashes", "expected"),
    [
        (5, [SECOND], "t"),
        (5, [FOURTH], "t"),
        (5, ["x", None, THIRD], "t"),
        (3, [FOURTH], "t"),
        (2, [FOURTH], "f"),
        (0, [SECOND], "f"),
        (5, [FIRST], "f"),
        (5, [EVES], "f"),
        (5, [None], "f"),
        (5, [], "f"),
        (5, None, "f"),
    ],
)
def test_an_earlier_password(
    ask: Ask, sql: Callable[[str], str], newest: int, hashes: list[str] | None, expected: str
) -> None:
    sql(HISTORY)
    assert ask("is_earlier_password", ADA, newest, hashes) == expected
    assert ask("is_earlier_password", NOBODY, newest, hashes) == "f"


# Noting a login


@pytest.mark.parametrize(
    ("moment", "noted"),
    [
        ("now", "now() - interval '10 s' AND now() + interval '10 s'"),
        ("2026-02-03", "now() - interval '70 s' AND now() - interval '50 s'"),
        ("200000-01-01", "now() + interval '50 s' AND now() + interval '70 s'"),
        ("-infinity", "now() - interval '70 s' AND now() - interval '50 s'"),
    ],
)
def test_a_login_is_noted_and_is_no_change(
    ask: Ask, sql: Callable[[str], str], moment: str, noted: str
) -> None:
    """Hosts have not quite one clock, and nobody puts a login where nobody could read it."""
    for new_hash, left in ((None, FIRST), (SECOND, SECOND)):
        assert ask("note_login", ADA, FIRST, new_hash, moment) == "t"
        assert (
            sql(
                f"SELECT password_hash, last_login_at BETWEEN {noted},"
                f" updated_at = '2026-01-01' FROM users WHERE id = '{ADA}'"
            )
            == f"{left}|t|t"
        )
    assert (
        sql(
            f"SELECT password_hash, last_login_at FROM users WHERE id = '{EVE}';"
            "SELECT count(*) FROM password_history; SELECT count(*) FROM user_credentials"
        )
        == f"{EVES}|\n0\n0"
    )


@pytest.mark.parametrize("stored", ["!", "x", FIRST[:-1]])
def test_what_is_no_hash_is_known_to_nobody(
    ask: Ask, sql: Callable[[str], str], stored: str
) -> None:
    sql(f"UPDATE users SET password_hash = '{stored}'")
    before = rest(sql)
    assert ask("note_login", ADA, stored, None, "now") == "f"
    assert ask("note_login", ADA, stored, SECOND, "now") == "f"
    assert ask("change_password", ADA, stored, SECOND, 5) == "f"
    assert rest(sql) == before


@pytest.mark.parametrize("new_hash", ["!", "", FIRST[:-1]])
def test_what_is_no_hash_takes_the_place_of_none(
    ask: Ask, sql: Callable[[str], str], new_hash: str
) -> None:
    before = rest(sql)
    assert ask("note_login", ADA, FIRST, new_hash, "now") == "f"
    assert ask("change_password", ADA, FIRST, new_hash, 5) == "f"
    assert rest(sql) == before


def test_without_the_hash_nothing_is_noted(ask: Ask, sql: Callable[[str], str]) -> None:
    before = rest(sql)
    for guess in GUESSES:
        assert ask("note_login", ADA, guess, EVES, "2026-02-03") == "f"
    assert ask("note_login", NOBODY, FIRST, EVES, "2026-02-03") == "f"
    assert rest(sql) == before


@pytest.mark.parametrize("out", OUT)
def test_no_login_of_a_user_who_is_out_is_noted(
    ask: Ask, sql: Callable[[str], str], out: str
) -> None:
    sql(f"UPDATE users SET {out}")
    before = rest(sql)
    assert ask("note_login", ADA, FIRST, SECOND, "2026-02-03") == "f"
    assert rest(sql) == before


# Changing the password


def test_a_password_is_replaced_and_remembered(ask: Ask, sql: Callable[[str], str]) -> None:
    sql(
        "INSERT INTO user_credentials (user_id, must_change_password, one_time_expires_at,"
        f" password_changed_at) VALUES ('{ADA}', true, now(), '2025-01-01'),"
        f" ('{EVE}', true, now(), '2025-01-01')"
    )
    assert ask("change_password", ADA, FIRST, SECOND, 5) == "t"
    recently = "between now() - interval '1 minute' and now()"
    assert (
        sql(
            f"SELECT password_hash, updated_at {recently} FROM users ORDER BY id;"
            f"SELECT user_id, password_hash, created_at {recently} FROM password_history"
        )
        == f"{SECOND}|t\n{EVES}|f\n{ADA}|{FIRST}|t"
    )
    assert sql(
        f"SELECT must_change_password, one_time_expires_at, password_changed_at {recently}"
        " FROM user_credentials ORDER BY user_id"
    ).startswith("f||t\nt|2")


def test_a_change_without_anything_special_before(ask: Ask, sql: Callable[[str], str]) -> None:
    assert ask("change_password", ADA, FIRST, SECOND, 5) == "t"
    assert (
        sql(
            "SELECT user_id, must_change_password, one_time_expires_at,"
            " password_changed_at <= now() FROM user_credentials"
        )
        == f"{ADA}|f||t"
    )


@pytest.mark.parametrize(
    ("remembered", "left"),
    [(5, [FIRST, SECOND, THIRD, FOURTH]), (3, [FIRST, SECOND, THIRD]), (1, [FIRST]), (0, [])],
)
def test_the_history_is_as_long_as_is_said(
    ask: Ask, sql: Callable[[str], str], remembered: int, left: list[str]
) -> None:
    sql(HISTORY)
    assert ask("change_password", ADA, FIRST, f"$2b$09${SALT}{DIGEST}", remembered) == "t"
    history = "SELECT password_hash FROM password_history WHERE user_id = '{}' ORDER BY {}"
    assert sql(history.format(ADA, "created_at DESC")).split() == left
    assert sql(history.format(EVE, "id")) == EVES


def test_without_the_hash_nothing_is_changed(ask: Ask, sql: Callable[[str], str]) -> None:
    sql(HISTORY)
    before = rest(sql)
    for guess in GUESSES:
        assert ask("change_password", ADA, guess, EVES, 0) == "f"
    assert ask("change_password", NOBODY, FIRST, EVES, 0) == "f"
    assert rest(sql) == before


def test_who_has_no_password_is_given_none(ask: Ask, sql: Callable[[str], str]) -> None:
    sql("UPDATE users SET password_hash = NULL")
    before = rest(sql)
    for guess in (None, "", FIRST):
        assert ask("change_password", ADA, guess, SECOND, 5) == "f"
        assert ask("note_login", ADA, guess, SECOND, "2026-02-03") == "f"
    assert rest(sql) == before


@pytest.mark.parametrize("out", OUT)
def test_a_user_who_is_out_changes_nothing(ask: Ask, sql: Callable[[str], str], out: str) -> None:
    sql(f"UPDATE users SET {out}")
    before = rest(sql)
    assert ask("change_password", ADA, FIRST, SECOND, 5) == "f"
    assert rest(sql) == before


# Whose rights, and where they look


DECOYS = f"""
    CREATE TABLE users (id uuid, password_hash text, is_active boolean, deleted_at timestamptz,
        last_login_at timestamptz, updated_at timestamptz);
    INSERT INTO users VALUES ('{ADA}', 'mine', true);
    CREATE TABLE password_history (id uuid, user_id uuid, password_hash text,
        created_at timestamptz);
    INSERT INTO password_history VALUES ('{ADA}', '{ADA}', 'mine');
"""
TELLTALES = """
    CREATE FUNCTION setting_of_password_hash(hash text) RETURNS text LANGUAGE sql AS 'SELECT hash';
    CREATE FUNCTION left(hash text, length integer) RETURNS text LANGUAGE sql AS 'SELECT hash';
    CREATE FUNCTION equal(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';
    CREATE OPERATOR = (LEFTARG = text, RIGHTARG = text, FUNCTION = equal);
"""


@pytest.mark.parametrize("where", ["mine", "pg_temp"])
def test_no_search_path_leads_the_functions_astray(autobot_database: Any, where: str) -> None:
    """Not even with a schema of one's own, or temporary tables, which the role cannot have."""
    database = autobot_database
    database.sql(USERS + HISTORY)
    database.server.sql(
        f"CREATE SCHEMA mine AUTHORIZATION autobot_backend;"
        f"GRANT TEMPORARY ON DATABASE {database.name} TO autobot_backend",
        database=database.name,
    )
    decoys = (
        DECOYS.replace("CREATE TABLE", "CREATE TEMPORARY TABLE")
        if where == "pg_temp"
        else (DECOYS + TELLTALES)
    )
    answers = database.sql(
        f"""
        SET search_path = mine, public;
        {decoys}
        SET search_path = {where}, pg_catalog, public;
        SELECT public.password_setting('{ADA}');
        SELECT public.password_matches('{ADA}', 'mine');
        SELECT public.earlier_password_settings('{ADA}', 1);
        SELECT public.is_earlier_password('{ADA}', 5, ARRAY['mine']);
        SELECT public.note_login('{ADA}', 'mine', 'new', now());
        SELECT public.change_password('{ADA}', 'mine', 'new', 0);
        """,
        user="autobot_backend",
    )
    assert answers.split() == [FIRST[:-DIGEST_LENGTH], "f", SECOND[:-DIGEST_LENGTH], "f", "f", "f"]
    assert database.sql(f"SELECT password_hash FROM users WHERE id = '{ADA}'") == FIRST


@pytest.mark.parametrize("fixture", ["slm_database", "autobot_database"])
def test_the_functions_run_as_the_owner_of_the_tables_on_one_path(
    request: pytest.FixtureRequest, fixture: str
) -> None:
    database = request.getfixturevalue(fixture)
    rows = database.sql(
        "SELECT DISTINCT proowner = relowner, proconfig FROM pg_proc, pg_class"
        " WHERE prosecdef AND pg_class.oid = 'users'::regclass;"
        "SELECT count(*) FROM pg_proc WHERE prosecdef"
    )
    assert rows == 't|{"search_path=public, pg_temp"}\n11'
