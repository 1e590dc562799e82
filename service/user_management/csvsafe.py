"""Text for CSV files that people open in a spreadsheet.

A spreadsheet takes a cell that begins with one of `= + - @`, in any width, for a formula and runs
it. Some do after a tab or the end of a line, too. An apostrophe before it makes it text.
"""

import unicodedata
from typing import Final

# Spreadsheets take a file for UTF-8 that begins with it, and else for what their system writes.
BYTE_ORDER_MARK: Final = "\ufeff"

_FORMULA_STARTS: Final = frozenset("=+-@")
_LAYOUT: Final = frozenset("\t\r\n")
_QUOTE: Final = "'"


def safe_cell(value: str) -> str:
    """Return `value` as a spreadsheet shows it and never runs it.

    What would begin a formula gets an apostrophe in front. So does text that already has
    apostrophes in front of such a beginning: `original_cell` can then always tell which one was
    added.
    """
    return _QUOTE + value if _is_formula(value) else value


def original_cell(cell: str) -> str:
    """Return the value that `safe_cell` made `cell` from."""
    return cell[1:] if cell.startswith(_QUOTE) and _is_formula(cell) else cell


def _is_formula(text: str) -> bool:
    first = text.lstrip(_QUOTE)[:1]
    # Full-width forms are `=` for a spreadsheet, as for NFKC.
    return first in _LAYOUT or unicodedata.normalize("NFKC", first)[:1] in _FORMULA_STARTS
