"""Readers of users' files: what they accept, and that nothing in a file stops them."""

import csv
import io
import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.imported_rows import taken
from user_management.transfer.candidates import NO_ADDRESS, NO_BCRYPT, Candidate, InvalidRow, Row
from user_management.transfer.column_readers import COLUMNS
from user_management.transfer.csv_rows import csv_rows
from user_management.transfer.lines import MAX_LINE, SourceError
from user_management.transfer.sources import config_rows, ndjson_rows, sqlite_rows

HASH = "$2b$12$abcdefghijklmnopqrstuOabcdefghijklmnopqrstuvwxyz01234"
BAD_UTF8 = b"\xff\xfe"


def read_csv(content: bytes | str) -> list[Row]:
    content = content if isinstance(content, bytes) else content.encode()
    return list(csv_rows(io.BytesIO(content)))


def row_with(**values: object) -> Row:
    """The single row of a file with these values."""
    (row,) = ndjson_rows(io.BytesIO(json.dumps({"username": "ada"} | values).encode()))
    return row


def one(**values: object) -> Candidate:
    """The single user of a file with these values."""
    (user,) = taken([row_with(**values)])
    return user


def reason(row: Row) -> str:
    assert isinstance(row, InvalidRow), row
    return row.reason


def test_csv_has_every_column() -> None:
    values = {
        "id": "00000000-0000-0000-0000-00000000000a",
        "username": "Ada",
        "email": "Ada@Example.org",
        "password_hash": HASH,
        "display_name": "Ada, Countess",
        "avatar_url": "https://example.org/ada.png",
        "bio": "two\nlines",
        "is_active": "false",
        "is_verified": "TRUE",
        "is_platform_admin": "1",
        "preferences": '{"theme": "dark"}',
        "roles": "readonly; user",
        "org_id": "00000000-0000-0000-0000-00000000000b",
        "last_login_at": "2026-02-05T10:00:00",
        "email_verified_at": "2026-02-05T10:00:00+02:00",
        "created_at": "2025-12-24 08:30:00Z",
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, values)
    writer.writeheader()
    writer.writerow(values)
    assert tuple(values) == COLUMNS
    assert read_csv(text.getvalue()) == [
        Candidate(
            place="lines 2-3",
            username="ada",
            email="ada@example.org",
            id=UUID(values["id"]),
            org_id=UUID(values["org_id"]),
            password_hash=HASH,
            display_name="Ada, Countess",
            avatar_url=values["avatar_url"],
            bio="two\nlines",
            is_active=False,
            is_verified=True,
            is_platform_admin=True,
            preferences='{"theme": "dark"}',
            last_login_at=datetime(2026, 2, 5, 10, tzinfo=UTC),
            email_verified_at=datetime(2026, 2, 5, 8, tzinfo=UTC),
            created_at=datetime(2025, 12, 24, 8, 30, tzinfo=UTC),
            roles=("readonly", "user"),
        )
    ]


def test_what_is_absent_has_autobots_defaults() -> None:
    (row,) = read_csv("username,email,is_active\nAda,,\n")
    assert row == Candidate(
        place="line 2",
        username="ada",
        email="ada@autobot.local",
        has_made_up_email=True,
        display_name="Ada",
    )


def test_a_byte_order_mark_blank_lines_and_quoted_cells() -> None:
    rows = read_csv(b"\xef\xbb\xbfusername,bio\r\n\r\nada,'=1+1\r\nbob,'tis\r\n")
    assert [(row.username, row.bio) for row in taken(rows)] == [("ada", "=1+1"), ("bob", "'tis")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("username,password,Mail\n", "Unknown: 'password', 'Mail'. Known: id, username,"),
        ("email\n", "no column username"),
        ("username,email,username\n", "a column twice"),
        ('"username\n', "cannot be read as CSV"),
        (b"PK\3\4\xff\xfe", r"not text in UTF-8"),
        ("x" * 2 * MAX_LINE, "longer than 262144 characters"),
    ],
)
def test_a_header_that_cannot_be_used(content: bytes | str, message: str) -> None:
    with pytest.raises(SourceError) as refused:
        read_csv(content)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"eve", "It has 1 cells, the header has 2."),
        (b"eve,eve@x.y,more", "It has 3 cells, the header has 2."),
        (b'eve,"open"x', "It is not CSV"),
        (b'"eve, with a quote', "It is not CSV"),
        (b"eve\xff,eve@x.y", "username: It is not valid Unicode (UTF-8)."),
        (b"eve\0,eve@x.y", "username: It holds a NUL character."),
        (b"eve" * 100 + b",eve@x.y", "username: It has more than 100 characters."),
        (b"eve," + b"x" * 2 * MAX_LINE, "the row is longer than 262144 characters"),
        (b",eve@x.y", "username: It is missing."),
        (b"eve,nowhere", "email: Give an e-mail address of the form name@domain."),
    ],
)
def test_a_bad_row_costs_only_itself(line: bytes, message: str) -> None:
    rows = read_csv(b"username,email\nada,ada@x.y\n" + line + b"\nbob,bob@x.y\n")
    # What begins with an open quote runs to the end.
    good = ["ada"] if line.startswith(b'"') else ["ada", "bob"]
    assert [row.username for row in rows if isinstance(row, Candidate)] == good
    (bad,) = (row for row in rows if isinstance(row, InvalidRow))
    assert message in bad.reason


@given(st.lists(st.binary(max_size=40), max_size=6))
@example([b'"' + b"x\n" * 140_000])
@example([b"\xc3", b"\x80,", b'""'])
def test_whatever_stands_in_a_csv_file_it_is_read_to_its_end(lines: list[bytes]) -> None:
    rows = read_csv(b"\n".join([b"username,email,preferences,created_at,roles", *lines, b""]))
    for row in rows:
        assert isinstance(row, Candidate | InvalidRow)
        if isinstance(row, Candidate):
            assert row.username.isprintable()
            f"{row}".encode()


@given(st.lists(st.binary(max_size=40), max_size=6))
@example([b'{"username": "\\ud800"}', b'{"username": "a", "preferences": {"x": NaN}}'])
@example([b"[" * 60_000, b'{"username": ' + b"1" * 10_000 + b"}"])
def test_whatever_stands_in_an_ndjson_file_it_is_read_to_its_end(lines: list[bytes]) -> None:
    for row in ndjson_rows(io.BytesIO(b"\n".join(lines))):
        assert isinstance(row, Candidate | InvalidRow)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)


@given(
    st.dictionaries(
        st.sampled_from(COLUMNS), VALUES | st.lists(VALUES, max_size=2), min_size=1, max_size=4
    )
)
def test_a_value_of_any_type_is_judged(values: dict[str, object]) -> None:
    (row,) = ndjson_rows(io.BytesIO(json.dumps(values).encode()))
    if isinstance(row, Candidate):
        f"{row}".encode()
        json.loads(row.preferences)
    else:
        assert reason(row).partition(":")[0] in COLUMNS


def test_ndjson_names_what_it_does_not_know() -> None:
    content = b'{"username": "ada", "password": "x"}\n[]\n\n{"username": "bob"}\nnonsense\n'
    first, second, bob, last = ndjson_rows(io.BytesIO(content))
    assert (first.place, first.username) == ("line 1", "ada")
    assert reason(first).startswith("Unknown: 'password'. Known: id, username, ")
    assert (second.place, reason(second)) == ("line 2", "It is not a JSON object.")
    assert (bob.place, bob.username) == ("line 4", "bob")
    assert (last.place, reason(last)) == ("line 5", "It is not JSON.")


@pytest.mark.parametrize("name", ["j.r-r", "o_o", "jörg", "a", "x" * 100, "a+b"])
def test_names_that_only_autobot_gave_are_carried_over(name: str) -> None:
    row = one(username=name.upper())
    assert (row.username, row.email) == (name, f"{name}@autobot.local")


@pytest.mark.parametrize(
    "name",
    [
        *("", "two words", "ta\tb", "zero\u200bwidth", "\u202eadmin", "a\nb", "x" * 101, 7),
        # In lower case it has 101 characters.
        "İ" + "x" * 99,
    ],
)
def test_names_that_nobody_could_tell_apart_are_refused(name: int | str) -> None:
    assert reason(row_with(username=name)).startswith("username: ")


def test_a_name_with_an_at_is_an_address_of_ones_own() -> None:
    assert one(username="Ada@Example.org").email == "ada@example.org"
    assert one(username="ada@example.org", email="ADA@example.org").email == "ada@example.org"
    assert reason(row_with(username="ada@example.org", email="eve@example.org"))
    assert reason(row_with(username="ada@@x"))


@pytest.mark.parametrize("ident", ["2a", "2b", "2y"])
def test_bcrypt_hashes_are_carried_over_as_they_are(ident: str) -> None:
    stored = HASH.replace("2b", ident)
    assert one(password_hash=stored).password_hash == stored
    assert one(password_hash=f"bcrypt-sha384${stored}").password_hash == f"bcrypt-sha384${stored}"


@pytest.mark.parametrize(
    "stored", ["5e884898da28" * 5, "$2x$" + HASH[4:], HASH[:-1], HASH[:-1] + "\n."]
)
def test_of_other_hashes_the_user_is_left_without_a_password(stored: str) -> None:
    row = one(password_hash=stored)
    assert (row.password_hash, row.notes) == (None, (NO_BCRYPT,))


@pytest.mark.parametrize("address", ["javascript:alert(1)", "https://example.org/\nada.png"])
def test_an_avatar_that_is_no_address_is_left_out(address: str) -> None:
    row = one(avatar_url=address)
    assert (row.avatar_url, row.notes) == (None, (NO_ADDRESS,))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("id", "7"),
        ("email", "a@b@c"),
        ("is_active", "perhaps"),
        ("is_active", 2),
        ("created_at", "yesterday"),
        ("created_at", "0001-01-01T00:00:00+14:00"),
        ("created_at", "1969-12-31T23:59:59Z"),
        ("created_at", "1970-01-01T00:59:59+01:00"),
        ("created_at", "0001-01-01T00:00:00"),
        ("created_at", "1900-01-01"),
        ("created_at", "9999-12-31T23:59:59.999999Z"),
        ("created_at", "infinity"),
        ("created_at", "-infinity"),
        ("last_login_at", "0044-03-15 00:00:00+00 BC"),
        ("last_login_at", "1970-01-01T00:00:00.000001+00:01"),
        ("last_login_at", "1900-01-02"),
        ("last_login_at", "9999-12-31T23:59:59-01:00"),
        ("email_verified_at", "294276-12-31 23:59:59+00"),
        ("preferences", "[]"),
        ("preferences", '{"a": 1, "a": 2}'),
        ("preferences", {"a": "\0"}),
        ("preferences", {"a": "x" * 65_536}),
        ("bio", "x" * 501),
        ("roles", 7),
    ],
)
def test_a_value_that_cannot_be_used_is_named(
    column: str, value: dict[str, str] | int | str
) -> None:
    assert reason(row_with(**{column: value})).startswith(f"{column}: ")


@pytest.mark.parametrize("column", ["last_login_at", "email_verified_at"])
@pytest.mark.parametrize(
    "never",
    [
        *("0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00Z"),
        *("1900-01-01", "1900-01-01T00:00:00+02:00", "-infinity"),
        *("1970-01-01T00:00:00Z", "1970-01-01", "1970-01-01T01:00:00+01:00"),
    ],
)
def test_a_time_that_stands_for_never_is_left_empty_and_told(column: str, never: str) -> None:
    row = one(**{column: never})
    assert getattr(row, column) is None
    assert row.remarks == (f"{column}: It is left empty, because {never} stands for never.",)


def test_times_from_1970_until_tomorrow_are_taken() -> None:
    soon = datetime.now(UTC) + timedelta(hours=23)
    row = one(created_at="1970-01-01T00:00:00Z", last_login_at=soon.isoformat())
    assert (row.created_at, row.last_login_at) == (datetime(1970, 1, 1, tzinfo=UTC), soon)
    assert row.remarks == ()
    late = datetime.now(UTC) + timedelta(hours=25)
    assert reason(row_with(created_at=late.isoformat())) == (
        "created_at: It is more than a day in the future."
    )


def test_blanks_around_values_are_left_out_in_every_format() -> None:
    row = one(username=" Ada\n", email="\tada@x.y", created_at=" 2026-01-01 ", is_active=" true")
    assert (row.username, row.email, row.is_active) == ("ada", "ada@x.y", True)
    assert row.remarks == ("Blanks around username, email, created_at, is_active are left out.",)
    config = {"security_config": {"allowed_users": {" Ada": {"email": "ada@x.y "}}}}
    (ada,) = taken(config_rows(io.BytesIO(json.dumps(config).encode())))
    assert (ada.username, ada.email) == ("ada", "ada@x.y")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a; b;", ("a", "b")),
        ('["a;b", "c"]', ("a;b", "c")),
        ("[a]; b", ("[a]", "b")),
        ("[]", ()),
    ],
)
def test_roles_in_text(text: str, names: tuple[Any, ...] | tuple[str, ...]) -> None:
    assert one(roles=text).roles == names


def test_of_two_members_of_one_name_none_is_taken() -> None:
    content = b'{"username": "ada", "bio": "a", "bio": "b"}\n{"username": "bob"}\n'
    ada, bob = ndjson_rows(io.BytesIO(content))
    assert (ada.place, reason(ada)) == ("line 1", "'bio' stands there twice.")
    assert bob.username == "bob"


CONFIG = f"""
security_config:
  allowed_users:
    Ada:
      password_hash: {HASH}
      role: admin
      email: ada@example.org
      created_at: 2026-02-05 10:00:00
      last_login: "2026-02-06T11:00:00"
    bob: {{password_hash: "{"5e" * 32}", role: editor}}
    42: {{role: user}}
    carol: just text
"""


def test_autobots_configuration() -> None:
    ada, bob, number, carol = config_rows(io.BytesIO(CONFIG.encode()))
    assert ada == Candidate(
        place="allowed_users.Ada",
        username="ada",
        key="Ada",
        email="ada@example.org",
        password_hash=HASH,
        display_name="Ada",
        is_platform_admin=True,
        created_at=datetime(2026, 2, 5, 10, tzinfo=UTC),
        last_login_at=datetime(2026, 2, 6, 11, tzinfo=UTC),
    )
    assert isinstance(bob, Candidate)
    assert (bob.email, bob.roles, bob.password_hash) == ("bob@autobot.local", ("editor",), None)
    assert bob.is_platform_admin is False
    assert "quote the name" in reason(number)
    assert carol.username == "carol"
    assert "members below it" in reason(carol)


def test_settings_in_json_with_tabs() -> None:
    users = {"security_config": {"allowed_users": {"ada": {"role": "user"}}}}
    (row,) = taken(config_rows(io.BytesIO(json.dumps(users, indent="\t").encode())))
    assert (row.username, row.roles) == ("ada", ("user",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", "Line 1 is neither YAML nor JSON"),
        ("password_hash: 'secret\n", "is neither YAML nor JSON"),
        ("\x01", "is neither YAML nor JSON"),
        ("[" * 5000, "is neither YAML nor JSON"),
        ("security_config: {}", "no security_config.allowed_users"),
        ("- a", "no security_config.allowed_users"),
        (
            "security_config:\n  allowed_users:\n    ada: {role: user}\n    'ada': {role: admin}\n",
            "The key 'ada' stands in line 3 and again in line 4.",
        ),
        ("a: {b: 1, b: 2}\nsecurity_config: {}", "The key 'b' stands in line 1 and again in"),
        ('{"security_config": {"allowed_users": {"ada": {}, "ada": {}}}}', "The key 'ada' stands"),
        ("!!python/object/apply:os.getcwd []", "is neither YAML nor JSON"),
    ],
)
def test_a_configuration_that_cannot_be_used(content: str, message: str) -> None:
    with pytest.raises(SourceError) as refused:
        list(config_rows(io.BytesIO(content.encode())))
    assert message in str(refused.value)
    assert "secret" not in str(refused.value)


def test_the_fleets_table_in_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "slm #1.db"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE users (id INTEGER PRIMARY KEY, username, password_hash, is_active,"
            " is_admin, created_at, last_login)"
        )
        database.executemany(
            "INSERT INTO users VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (1, "admin", HASH, 1, 1, "2026-02-05 10:00:00.000123", None),
                (2, b"\xff", HASH, 1, 0, "2026-02-05 10:00:00", None),
            ],
        )
        database.execute("UPDATE users SET username = CAST(username AS TEXT)")
    admin, broken = sqlite_rows(path)
    assert admin == Candidate(
        place="id 1",
        username="admin",
        key="admin",
        email="admin@autobot.local",
        has_made_up_email=True,
        password_hash=HASH,
        display_name="admin",
        is_platform_admin=True,
        created_at=datetime(2026, 2, 5, 10, 0, 0, 123, tzinfo=UTC),
    )
    assert (broken.place, reason(broken)) == (
        "id 2",
        "username: It is not valid Unicode (UTF-8).",
    )


def test_a_date_in_a_configuration_that_is_none_costs_its_row() -> None:
    content = """
base: &base {role: user, email: ada@x.y}
security_config:
  allowed_users:
    ada: {<<: *base, role: admin, last_login: 0001-01-01}
    bob: {created_at: 2026-13-45 10:00:00}
    eve: {last_login: 1900-01-01 00:00:00}
"""
    ada, bob, eve = config_rows(io.BytesIO(content.encode()))
    assert isinstance(ada, Candidate)
    assert isinstance(eve, Candidate)
    assert (ada.is_platform_admin, ada.email, ada.last_login_at) == (True, "ada@x.y", None)
    assert "stands for never" in ada.remarks[0]
    assert reason(bob) == "created_at: It is not a time as in ISO 8601."
    assert "1900-01-01 00:00:00 stands for never" in eve.remarks[0]


def test_no_sqlite_file_is_made_or_misread(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is no SQLite file of the fleet manager"):
        list(sqlite_rows(tmp_path / "absent.db"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "text").write_text("username\n" * 1000)
    with pytest.raises(SourceError, match="is no SQLite file of the fleet manager"):
        list(sqlite_rows(tmp_path / "text"))
