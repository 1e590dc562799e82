"""Text for CSV files that people open in a spreadsheet.

A spreadsheet takes a cell that begins with one of `= + - @`, a tab or a carriage return for a
formula and runs it. An apostrophe before it makes it text.
"""

from typing import Final

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
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
    return text.lstrip(_QUOTE).startswith(_FORMULA_STARTS)
