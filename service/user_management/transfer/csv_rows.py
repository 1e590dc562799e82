"""Users in a CSV file.

A quote that is forgotten makes one cell of many rows. So a quote is looked for its end, however
far away that is: lines after a guess would be rows that somebody wrote into their bio. What it
takes with it is lost, and the report says which lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import BinaryIO, Final

from user_management.csvsafe import original_cell
from user_management.schemas.fields import LONG_TEXT_LENGTH, TEXT_LENGTH
from user_management.transfer.candidates import InvalidRow, InvalidValueError, Row, read_row
from user_management.transfer.column_readers import COLUMNS, PREFERENCES_LENGTH
from user_management.transfer.lines import (
    MAX_LINE,
    LineCount,
    Lines,
    LineTooLongError,
    SourceError,
)

# The first one wins when a header has none of them.
_SEPARATORS: Final = (",", ";", "\t", "|")
_EMPTY: Final = "".join(_SEPARATORS) + " \r\n"
# What spreadsheets write to say which one it is.
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([^\r\n]?)"?[\r\n]*', re.IGNORECASE)
# In names of columns these make no difference.
_FILLERS: Final = re.compile(r"[\s_-]+")
_BY_NAME: Final = {_FILLERS.sub("", column): column for column in COLUMNS}
_QUOTED: Final = re.compile(r'[^"]*+(?:""[^"]*+)*+')
# To other programs that is the end of a row.
_BROKEN: Final = "outside quotes a carriage return stands in the middle of the line"
_QUOTES: Final = 3  # that are told of one row
# Columns that may hold line breaks, and how long they are.
_LINE_BREAKS: Final = {
    "display_name": TEXT_LENGTH,
    "bio": LONG_TEXT_LENGTH,
    "preferences": PREFERENCES_LENGTH,
}


@dataclass(frozen=True, slots=True)
class _Quote:
    """Lines in which a quote is opened and closed."""

    opened: int
    closed: int

    def __str__(self) -> str:
        return f"the quote opened in line {self.opened} closes in line {self.closed}"


@dataclass(slots=True)
class _Record:
    """One row of a table: its lines, its cells, and those of them that take several lines.

    `fault` says why there are no more cells; `length` counts characters where there are quotes.
    """

    first: int
    last: int
    cells: list[str] = field(default_factory=list)
    long: dict[int, _Quote] = field(default_factory=dict)
    fault: str | None = None
    length: int = 0

    @property
    def size(self) -> int:
        return self.last - self.first + 1

    @property
    def range(self) -> str:
        return f"{self.first}-{self.last}"

    @property
    def place(self) -> str:
        return f"line {self.first}" if self.size == 1 else f"lines {self.range}"


class _Records:
    """Lines put together to rows. Blanks may stand around a quoted cell."""

    def __init__(self, lines: Lines, separator: str) -> None:
        blanks = "[ \t]*+" if separator != "\t" else " *+"
        self._lines = lines
        self._separator = separator
        self._opening = re.compile(f'{blanks}"')
        self._closing = re.compile(f'"{blanks}({re.escape(separator)}|[\r\n]*\\Z)')

    def __iter__(self) -> Iterator[_Record]:
        return self

    def __next__(self) -> _Record:
        try:
            line = next(self._lines)
        except LineTooLongError as error:
            number = self._lines.number
            return self._too_long(_Record(number, number), is_open=error.quotes % 2 == 1)
        number = self._lines.number
        record = _Record(number, number)
        if '"' in line:
            return self._quoted(record, line)
        text = _without_end(line)
        record.cells = text.split(self._separator)
        return _faulty(record, _BROKEN) if "\r" in text else record

    def _quoted(self, record: _Record, line: str) -> _Record:
        at, record.length = 0, len(line)
        while True:
            opening = self._opening.match(line, at)
            if opening is None:
                end = line.find(self._separator, at)
                cell = _without_end(line[at:]) if end < 0 else line[at:end]
                if "\r" in cell:
                    return _faulty(record, _BROKEN)
                record.cells.append(cell)
                if end < 0:
                    return record
                at = end + 1
                continue
            opened, at, pieces = record.last, opening.end(), []
            while True:
                inside = _QUOTED.match(line, at)
                assert inside is not None  # noqa: S101  it matches nothing, too
                pieces.append(inside.group())
                if inside.end() < len(line):
                    break
                following = self._following(record, opened)
                if following is None:
                    return record
                line, at = following, 0
            quote = _Quote(opened, record.last)
            if record.last > opened:
                record.long[len(record.cells)] = quote
            closing = self._closing.match(line, inside.end())
            if closing is None:
                return _faulty(record, f"{quote} before the end of its cell")
            record.cells.append("".join(pieces).replace('""', '"'))
            if closing.group(1) != self._separator:
                return record
            at = closing.end()

    def _following(self, record: _Record, opened: int) -> str | None:
        """The next line of a quote that is open. None: the record has a fault instead."""
        try:
            line = next(self._lines)
        except StopIteration:
            _faulty(record, _never_closed(opened))
            return None
        except LineTooLongError as error:
            record.last = self._lines.number
            self._too_long(record, is_open=error.quotes % 2 == 0, opened=opened)
            return None
        record.last = self._lines.number
        record.length += len(line)
        if record.length > MAX_LINE:
            self._too_long(record, is_open=line.count('"') % 2 == 0, opened=opened)
            return None
        return line

    def _too_long(self, record: _Record, *, is_open: bool, opened: int | None = None) -> _Record:
        """Go to the end of a row that is not kept. Every `"` opens or closes; two are none."""
        while is_open:
            try:
                quotes = next(self._lines).count('"')
            except StopIteration:
                return _faulty(record, _never_closed(opened or record.first))
            except LineTooLongError as error:
                quotes = error.quotes
            record.last = self._lines.number
            is_open = quotes % 2 == 0
        fault = f"the row is longer than {MAX_LINE} characters"
        if opened:
            fault += f", from the quote opened in line {opened}"
        return _faulty(record, fault)


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")


def _never_closed(opened: int) -> str:
    return f"the quote opened in line {opened} is never closed"


def _faulty(record: _Record, fault: str) -> _Record:
    record.fault = f"It is not CSV: {fault}."
    return record


def csv_rows(stream: BinaryIO, count: LineCount | None = None) -> Iterator[Row]:
    """Rows below a header of names out of COLUMNS. An empty cell is an absent value.

    Raises SourceError when the header cannot be used.
    """
    count = count if count is not None else LineCount()
    lines = Lines(stream)
    separator = _separator(lines, count)
    records = _Records(lines, separator)
    columns = _header(records, count)
    for record in records:
        row = _row(record, columns, separator)
        if row is None:
            count.empty += record.size
            continue
        if isinstance(row, InvalidRow) and row.rows > 1:
            count.lost += record.size
        else:
            count.rows += record.size
        yield row


def _separator(lines: Lines, count: LineCount) -> str:
    """What stands between the cells: what the first line says, or fits the names of columns."""
    try:
        first = next(lines)
        while not first.strip(_EMPTY):
            count.empty += 1
            first = next(lines)
    except StopIteration:
        raise SourceError("The source is empty: the first line names the columns.") from None
    except LineTooLongError as error:
        raise SourceError(f"The first line cannot be read as CSV: {error}.") from None
    if said := _SEPARATOR_LINE.fullmatch(first):
        count.header += 1
        separator = said.group(1)
        if not separator or separator.isalnum() or separator in " \"'_":
            raise SourceError("The first line says sep= and no separator that can be used.")
        return separator
    lines.put_back(first)
    return max(_SEPARATORS, key=lambda each: sum(map(_is_known, first.split(each))))


def _is_known(cell: str) -> bool:
    return _squeezed(cell.strip().strip('"')) in _BY_NAME


def _squeezed(name: str) -> str:
    return _FILLERS.sub("", name).lower()


def _header(records: _Records, count: LineCount) -> list[str]:
    try:
        record = next(records)
    except StopIteration:
        raise SourceError("The source is empty: no line names the columns.") from None
    count.header += record.size
    if record.fault:
        fault = record.fault.removeprefix("It is not CSV: ")
        raise SourceError(f"The first line cannot be read as CSV: {fault}")
    names = [cell.strip() for cell in record.cells]
    while names and not names[-1]:
        names.pop()
    unknown = [name for name in names if _squeezed(name) not in _BY_NAME]
    # Bytes that are not UTF-8 have become lone surrogates.
    if not "".join(unknown).isprintable():
        raise SourceError("The first line is not text in UTF-8. Save the file as CSV in UTF-8.")
    if unknown:
        raise SourceError(
            "The first line must name the columns, with commas, semicolons or tabs between them. "
            f"Unknown: {', '.join(map(ascii, unknown))}. Known: {', '.join(COLUMNS)}."
        )
    columns = [_BY_NAME[_squeezed(name)] for name in names]
    if len(set(columns)) != len(columns):
        raise SourceError("The first line names a column twice.")
    if "username" not in columns:
        raise SourceError("The first line names no column username.")
    return columns


def _row(record: _Record, columns: list[str], separator: str) -> Row | None:
    """None: it is empty. A spreadsheet's empty rows are separators only."""
    values = {
        column: original_cell(cell)
        for column, cell in zip(columns, record.cells, strict=False)
        if cell and not cell.isspace()
    }
    username = values.get("username", "")
    if record.fault:
        return _lost(record, username, record.fault)
    has_more = any(map(str.strip, record.cells[len(columns) :]))
    if not values and not has_more:
        return None
    if len(record.cells) < len(columns) or has_more:
        return _lost(
            record,
            username,
            f"It has {len(record.cells)} cells, the header has {len(columns)}.{_quotes(record)}",
        )
    try:
        remarks = tuple(_remarks(record, columns, values, separator))
    except InvalidValueError as error:
        return _lost(record, username, str(error))
    row = read_row(record.place, values, remarks=remarks)
    if isinstance(row, InvalidRow) and record.size > 1:
        return _lost(record, row.username, row.reason + _quotes(record))
    return row


def _remarks(
    record: _Record, columns: list[str], values: dict[str, str], separator: str
) -> Iterator[str]:
    """What is to be said of cells with line breaks. Raises InvalidValueError for those refused."""
    for index, quote in record.long.items():
        if index >= len(columns):
            continue
        column, text = columns[index], values.get(columns[index], "").strip()
        if "\n" not in text and "\r" not in text:
            continue
        longest = _LINE_BREAKS.get(column)
        if longest is None:
            raise InvalidValueError(f"{column}: A line break cannot be in it: {quote}.")
        if len(text) > longest:
            raise InvalidValueError(f"{column}: It has more than {longest} characters: {quote}.")
        if column != "preferences" and _holds_rows(text, len(columns), separator):
            remark = f"{column}: It holds lines that look like rows: {quote}."
            if column == "display_name":
                raise InvalidValueError(remark)
            yield remark


def _holds_rows(text: str, cells: int, separator: str) -> bool:
    """Whether lines after the first have as many cells as a row."""
    return any(line.count(separator) == cells - 1 for line in text.splitlines()[1:])


def _lost(record: _Record, username: str, reason: str) -> InvalidRow:
    """All lines of a record are lost: each may be a row."""
    if record.size > 1:
        reason += f" Lines {record.range} are lost."
    return InvalidRow(record.place, username, reason, rows=record.size)


def _quotes(record: _Record) -> str:
    """What is to be said of cells that take several lines; of the first ones, if they are many."""
    return "".join(f" T{str(quote)[1:]}." for quote in islice(record.long.values(), _QUOTES))
