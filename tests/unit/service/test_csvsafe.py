"""Cells that a spreadsheet must not run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from user_management.csvsafe import original_cell, safe_cell

FORMULA_STARTS = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b\u207c")


@pytest.mark.parametrize("start", FORMULA_STARTS)
def test_the_beginning_of_a_formula_is_quoted(start: str) -> None:
    assert safe_cell(f'{start}HYPERLINK("https://x.y")') == f'\'{start}HYPERLINK("https://x.y")'


@pytest.mark.parametrize("text", ["", "ada", "o'neill", "'tis", "a=b", "a\tb", "1-2", " =1"])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert safe_cell(text) == text


@given(st.text(alphabet=st.one_of(st.sampled_from([*FORMULA_STARTS, "'"]), st.characters())))
def test_no_cell_begins_a_formula_and_every_one_is_read_back(text: str) -> None:
    cell = safe_cell(text)
    assert not cell.startswith(FORMULA_STARTS)
    assert original_cell(cell) == text
