"""CSV as people and programs make it: no line of a file goes without a word."""

import csv
import io
import re
from collections.abc import Iterable
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.imported_rows import taken
from user_management.csvsafe import safe_cell
from user_management.transfer.candidates import Candidate, InvalidRow, Row
from user_management.transfer.csv_rows import csv_rows
from user_management.transfer.lines import MAX_LINE, LineCount, SourceError

HEADER = "username,display_name\n"
# A person each, as in lines 3 to 11 of a file.
ROWS = "".join(f"r{number},ok\n" for number in range(4, 11))


def read(content: bytes | str) -> tuple[list[Row], LineCount]:
    count = LineCount()
    content = content if isinstance(content, bytes) else content.encode()
    return list(csv_rows(io.BytesIO(content), count)), count


def names(rows: Iterable[Row]) -> list[str]:
    return [row.username for row in rows if isinstance(row, Candidate)]


def only_invalid(rows: Iterable[Row]) -> InvalidRow:
    (bad,) = (row for row in rows if isinstance(row, InvalidRow))
    return bad


def test_a_quote_that_is_never_closed_is_named_with_what_it_took() -> None:
    lost = "".join(f"r{number},ok\n" for number in range(58))
    rows, count = read(f'{HEADER}q1,ok\nq2,"unclosed\n{lost}')
    assert names(rows) == ["q1"]
    bad = only_invalid(rows)
    assert (bad.place, bad.username, bad.rows) == ("lines 3-61", "q2", 59)
    assert bad.reason == (
        "It is not CSV: the quote opened in line 3 is never closed. Lines 3-61 are lost."
    )
    assert (count.header, count.rows, count.lost, count.total) == (1, 1, 59, 61)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        # It opens another cell, for who wrote it.
        ('r11,"closed"\n', "before the end of its cell"),
        # It closes the cell well, which has a length that its column allows.
        ('r11,closed"\n', "display_name: It holds lines that look like rows"),
        ('r11,closed",more\n', "It has 3 cells, the header has 2."),
    ],
)
def test_a_quote_that_is_closed_by_a_later_one_is_named_with_what_it_took(
    end: str, reason: str
) -> None:
    rows, count = read(f'{HEADER}q1,ok\nq2,"unclosed\n{ROWS}{end}q3,ok\n')
    assert names(rows) == ["q1", "q3"]
    bad = only_invalid(rows)
    assert (bad.place, bad.username, bad.rows) == ("lines 3-11", "q2", 9)
    assert reason in bad.reason
    assert "he quote opened in line 3 closes in line 11" in bad.reason
    assert bad.reason.endswith(" Lines 3-11 are lost.")
    assert (count.rows, count.lost, count.total) == (2, 9, 12)


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("email", "a\nb", "email: A line break cannot be in it: the quote opened in line 2 closes"),
        ("bio", "x\n" * 300, "bio: It has more than 500 characters: the quote opened in line 2"),
        ("display_name", "x\n" * 150, "display_name: It has more than 255 characters"),
        ("preferences", '{"a":\n1', "preferences: It is not JSON. The quote opened in line 2"),
        ("bio", "x\n" * MAX_LINE, "longer than 262144 characters, from the quote opened in line 2"),
        ("bio", "x\n" + "y" * 2 * MAX_LINE, "from the quote opened in line 2"),
    ],
)
def test_a_cell_that_its_column_does_not_take_swallows_no_line_silently(
    column: str, text: str, reason: str
) -> None:
    cell = '"' + text.replace('"', '""') + '"'
    rows, count = read(f"username,{column}\nada,{cell}\nbob,\n")
    assert names(rows) == ["bob"]
    bad = only_invalid(rows)
    assert reason in bad.reason
    size = text.count("\n") + 1
    assert (bad.place, bad.rows) == (f"lines 2-{size + 1}", size)
    assert f"Lines 2-{size + 1} are lost." in bad.reason
    assert (count.lost, count.total) == (size, size + 2)


def test_what_somebody_wrote_into_a_long_cell_is_never_a_row() -> None:
    """An end that is guessed would make an administrator of the attacker's text."""
    bio = "x\n" * MAX_LINE + "eve,true\n" + "y" * 2 * MAX_LINE + '""\neve,true\n'
    rows, _ = read(f'username,bio,is_platform_admin\nada,"{bio}",\nbob,,\n')
    assert names(rows) == ["bob"]


def test_lines_in_a_bio_that_may_be_rows_are_named() -> None:
    rows, count = read(f'username,bio\nq2,"unclosed\n{ROWS}end"\n')
    (q2,) = taken(rows)
    assert q2.place == "lines 2-10"
    assert q2.remarks == (
        "bio: It holds lines that look like rows: the quote opened in line 2 closes in line 10.",
    )
    assert (count.rows, count.lost, count.total) == (9, 0, 10)
    rows, _ = read('username,bio\nq2,"Roses are red,\nviolets are blue."\n')
    (poet,) = taken(rows)
    assert (poet.place, poet.remarks) == ("lines 2-3", ())


TEXT = st.text(st.sampled_from("a1,\";\n\r\t 'é=\0"), max_size=12)


@given(st.lists(TEXT | st.binary(max_size=12), max_size=12))
@example(['"', "a"])
@example(['a,"b', 'c,d"', 'e,"f"g', ',"', "h,i"])
@example(["a,b\rc", "", ",,", '"\n', '"'])
def test_every_line_of_a_file_is_in_the_report_once_and_the_counts_add_up(
    pieces: list[str | bytes],
) -> None:
    lines = [piece if isinstance(piece, bytes) else piece.encode() for piece in pieces]
    content = b"username,bio\n" + b"\n".join(lines)
    rows, count = read(content)
    physical = content.split(b"\n")
    if not physical[-1]:
        physical.pop()
    assert count.total == len(physical)
    told = [number for row in rows for number in lines_of(row)]
    assert len(told) == len(set(told)) == count.rows + count.lost
    silent = set(range(2, len(physical) + 1)) - set(told)
    assert len(silent) == count.empty
    for number in silent:
        # Nothing but separators, blanks and quotes around them.
        line = physical[number - 1].decode("latin-1")
        assert not line.strip(', \t\v\f\r\0"\x1c\x1d\x1e\x1f\x85\xa0')
    lost = sum(row.rows for row in rows if isinstance(row, InvalidRow) and row.rows > 1)
    assert lost == count.lost
    assert all(row.reason for row in rows if isinstance(row, InvalidRow))


def lines_of(row: Row) -> range:
    place = re.fullmatch(r"lines? (\d+)(?:-(\d+))?", row.place)
    assert place is not None, row
    first, last = place.groups()
    return range(int(first), int(last or first) + 1)


@given(
    st.lists(
        st.text(st.sampled_from("ab1,\";\n\r\t| 'é=\uff1d"), max_size=20), min_size=1, max_size=5
    ),
    st.sampled_from(",;\t|"),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
@example([" '\r", "\r", "'=", " =1"], ",", "\n", csv.QUOTE_MINIMAL, "utf-8")
def test_what_a_program_has_written_is_read_as_it_was(
    bios: list[str], separator: str, end: str, quoting: Literal[0, 1], encoding: str
) -> None:
    text = io.StringIO()
    # A writer quotes CR and LF only where both end its lines.
    writer = csv.writer(text, delimiter=separator, quoting=quoting)
    writer.writerow(["username", "bio", "email"])
    writer.writerows((f"user{n}", safe_cell(bio), f"{n}@x.y") for n, bio in enumerate(bios))
    content = "".join(
        line.removesuffix("\r\n") + end if line.endswith("\r\n") else line
        for line in text.getvalue().splitlines(keepends=True)
    )
    rows, _ = read(content.encode(encoding))
    assert names(rows) == [f"user{n}" for n in range(len(bios))]
    assert [row.bio or "" for row in taken(rows)] == [as_written(bio, end) for bio in bios]


def as_written(bio: str, end: str) -> str:
    return bio.strip() if end == "\r\n" else bio.replace("\r\n", "\n").strip()


@pytest.mark.parametrize(
    "content",
    [
        "username,bio,\nada,x,\nbob,y\n,,\n , ,\n",
        "username,bio,,,\nada,x\n\nbob,y,,,\n",
        "\n,,\nusername,bio\nada,x,\nbob,y\n",
        "username;bio\nada;x\nbob;y\n",
        "username\tbio\nada\tx\nbob\ty\n",
        "username|bio\nada|x\nbob|y\n",
        "sep=;\nusername;bio\nada;x\nbob;y\n",
        "sep=\t\r\nusername\tbio\r\nada\tx\r\nbob\ty\r\n",
        '"SEP=^"\nusername^bio\nada^x\nbob^y\n',
        " UserName , BIO \nada,x\nbob,y\n",
        '"User Name"; "Bio"\nada;"x"\nbob; "y" \n',
        "username,bio\rada,x\rbob,y\r",
        "username,bio\rada,x\rbob,y",
        "username,bio\r\nada,x\r\nbob,y",
        "username,bio\n ada , x\n\u00a0bob\t,y \n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
def test_what_spreadsheets_make_of_a_table(content: str, encoding: str) -> None:
    rows, count = read(content.encode(encoding))
    assert [(row.username, row.bio) for row in taken(rows)] == [("ada", "x"), ("bob", "y")]
    lines = content.splitlines()
    assert count.total == len(lines)
    assert count.rows == 2


@pytest.mark.parametrize(
    ("header", "column"),
    [("Display Name", "display_name"), ("E-Mail", "email"), (" IS_ACTIVE", "is_active")],
)
def test_the_name_of_a_column_is_read_as_people_write_it(header: str, column: str) -> None:
    ((row,), _) = read(f"USERNAME,{header}\nada,\n")
    assert row.username == "ada"
    with pytest.raises(SourceError, match="a column twice"):
        read(f"username,{header},{column}\n")


@pytest.mark.parametrize("line", ["sep=", "sep=a", 'sep="', "sep='"])
def test_a_separator_that_cannot_be_one_is_refused(line: str) -> None:
    with pytest.raises(SourceError, match="says sep= and no separator"):
        read(f"{line}\nusername{line[4:]}bio\n")


def test_another_separator_is_asked_for_in_the_message() -> None:
    with pytest.raises(SourceError, match=r"with commas, semicolons or tabs.* 'username:bio'"):
        read("username:bio\nada:x\n")


def test_blanks_that_are_left_out_are_told() -> None:
    rows, _ = read('username,email,bio\n ada ,"ada@x.y ", \nbob,bob@x.y,x y\n')
    ada, bob = taken(rows)
    assert (ada.username, ada.email, ada.bio) == ("ada", "ada@x.y", None)
    assert ada.remarks == ("Blanks around username, email are left out.",)
    assert bob.remarks == ()


@pytest.mark.parametrize("content", [b"ad\xd8", b"a\0d\0\x00\xd8b\0\n\0"])
def test_utf_16_that_is_none_costs_its_row(content: bytes) -> None:
    start = "username\n".encode("utf-16-le")
    rows, _ = read(b"\xff\xfe" + start + content)
    assert only_invalid(rows).reason == "username: It is not valid Unicode (UTF-8)."


@pytest.mark.parametrize("size", [10, 4096, 20_000])
def test_the_end_of_a_terminal_is_typed_once(size: int) -> None:
    """Whoever asks a terminal again after its end waits for more."""

    class Terminal(io.BytesIO):
        is_over = False

        def read(self, size: int | None = -1, /) -> bytes:
            assert not self.is_over
            assert size is not None
            piece = super().read(size)
            self.is_over = len(piece) < size
            return piece

    rows = list(csv_rows(Terminal(b"username\n" + b"a" * size + b"\nbob\n")))
    assert rows[-1].username == "bob"


def test_of_very_many_quotes_the_first_are_told() -> None:
    ((bad,), _) = read("username\n" + '"x\n",' * 20_000)
    assert isinstance(bad, InvalidRow)
    assert len(bad.reason) < 400
