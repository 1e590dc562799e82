"""The file that the admin UI offers to fill in has the columns that an import knows."""

from pathlib import Path

from user_management.transfer.column_readers import COLUMNS

TEMPLATE = (
    Path(__file__).parents[3] / "service" / "admin_ui" / "src" / "views" / "transfer/template.csv"
)


def test_names_all_columns() -> None:
    assert TEMPLATE.read_text(encoding="utf-8") == ",".join(COLUMNS) + "\n"
