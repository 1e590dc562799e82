"""The lines of a file, whatever program saved it, and the account of them."""

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

# Characters. What is longer is no user, and must not fill the memory.
MAX_LINE: Final = 2**18

_HEAD: Final = 4096  # bytes that the encoding is told from
_MARKS: Final = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
_LINE_END: Final = re.compile(r"\r\n?|\n")
# `surrogateescape` for UTF-16, whose bad bytes may be ASCII.
_ESCAPED: Final = "user_management.escaped"


class SourceError(Exception):
    """Nothing can be read from the source. The message says what to do, and no secret."""


class LineTooLongError(Exception):
    """A line is longer than MAX_LINE, and left out. `quotes` is how many `"` it has."""

    def __init__(self, quotes: int) -> None:
        super().__init__(f"the line is longer than {MAX_LINE} characters")
        self.quotes = quotes


@dataclass(slots=True)
class LineCount:
    """What the lines of a file were. A line is lost when it cannot be told which row it is."""

    header: int = 0
    empty: int = 0
    rows: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        """All lines of the file."""
        return self.header + self.empty + self.rows + self.lost


class Lines:
    """The lines of a stream with their ends, in UTF-8 or UTF-16, without a byte order mark.

    Lines end with LF or CR LF; with CR if the first one does. Bytes that are no text stay in them
    as lone surrogates, so that only their row is lost. No generator: after the error for a line
    that is too long, the next line can be read.
    """

    def __init__(self, stream: BinaryIO) -> None:
        head = stream.read(_HEAD)
        encoding, mark = _encoding(head)
        first_end = _LINE_END.search(head[mark:].decode(encoding, "replace"))
        self._text = io.TextIOWrapper(
            io.BufferedReader(_Continued(head[mark:], stream, is_over=len(head) < _HEAD)),
            encoding,
            "surrogateescape" if encoding == "utf-8" else _ESCAPED,
            newline="" if first_end and first_end.group() == "\r" else "\n",
        )
        self._returned: str | None = None
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._returned is not None:
            line, self._returned = self._returned, None
            self.number += 1
            return line
        line = self._text.readline(MAX_LINE)
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == MAX_LINE and not line.endswith(("\n", "\r")):
            quotes = 0
            while line:
                quotes += line.count('"')
                line = "" if line.endswith(("\n", "\r")) else self._text.readline(MAX_LINE)
            raise LineTooLongError(quotes)
        return line

    def put_back(self, line: str) -> None:
        """Give the last line again."""
        self._returned = line
        self.number -= 1

    @property
    def place(self) -> str:
        """Where the last line stands."""
        return f"line {self.number}"


class _Continued(io.RawIOBase):
    """A stream whose beginning was read already. A terminal's end is asked for once."""

    def __init__(self, head: bytes, rest: BinaryIO, *, is_over: bool) -> None:
        super().__init__()
        self._head = head
        self._rest = rest
        self._is_over = is_over

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        piece = self._head[: len(buffer)]
        self._head = self._head[len(buffer) :]
        if not piece and not self._is_over:
            piece = self._rest.read(len(buffer))
            self._is_over = len(piece) < len(buffer)
        buffer[: len(piece)] = piece
        return len(piece)


def _encoding(head: bytes) -> tuple[str, int]:
    """The encoding of a file that begins like this, and the length of its byte order mark."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    # The first character is of ASCII: of its two bytes one is zero.
    match [byte == 0 for byte in head[:2]]:
        case [True, False]:
            return "utf-16-be", 0
        case [False, True]:
            return "utf-16-le", 0
    return "utf-8", 0


def _escaped(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)  # noqa: S101
    bad = error.object[error.start : error.end]
    return "".join(chr(0xDC00 | byte) for byte in bad), error.end


codecs.register_error(_ESCAPED, _escaped)
