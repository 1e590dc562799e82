"""The import of users: a dry run first, then for real."""

from __future__ import annotations

import csv
import io
import json

import bcrypt
import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import HEADINGS, Desk
from tests.lab.people import PASSWORD, Account, People, Population
from tests.lab.site import unique

BOTH = pytest.mark.parametrize("population", ["slm", "autobot"])


def csv_of(*rows: dict[str, str]) -> bytes:
    """A file of users."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["username", "email", "display_name", "password_hash"])
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def row(name: str, **more: str) -> dict[str, str]:
    return {"username": name, "email": f"{name}@example.com", "display_name": name, **more}


def choose(desk: Desk, population: Population, name: str, content: bytes) -> None:
    """From the list to the wizard, and give it a file."""
    desk.go_to(population)
    desk.page.get_by_role("link", name="Import").click()
    expect(desk.heading(f"Import {HEADINGS[population]}")).to_be_visible()
    desk.page.get_by_label("File", exact=True).set_input_files(
        {"name": name, "mimeType": "text/csv", "buffer": content}
    )


@BOTH
def test_a_dry_run_then_the_import_then_they_log_in(
    admin: Desk, people: People, population: Population
) -> None:
    known = people.create(population)
    names = [unique("imported") for _ in range(2)]
    for name in names:
        people.removes(population, name)
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    content = csv_of(
        *(row(name, password_hash=hashed) for name in names),
        row(known.username, email=known.email),
        row("a b", email="no-address"),
    )
    choose(admin, population, "people.csv", content)
    counts = admin.page.get_by_role("region", name="Counts")
    users = counts.get_by_role("row").filter(has=admin.page.get_by_role("rowheader", name="user"))
    expect(counts).to_contain_text("Would be done")
    created, *_, invalid = users.get_by_role("cell").all_inner_texts()
    assert (created, invalid) == ("2", "1")
    expect(admin.page.get_by_role("region", name="Rows")).to_contain_text("a b")
    # Nothing has happened yet.
    assert [people.find(population, name) for name in names] == [None, None]

    go = admin.page.get_by_role("button", name="Import 2 users")
    expect(go).to_be_disabled()
    admin.page.get_by_label("to confirm").fill("people.csv")
    go.click()
    expect(admin.heading("4. What was done")).to_be_visible()
    expect(admin.page.get_by_role("region", name="Counts").last).to_contain_text("Done")
    for name in names:
        found = people.find(population, name)
        assert found is not None
        account = Account(population, found["id"], name, found["email"], PASSWORD)
        assert people.log_in(account).status_code == 200
    with admin.page.expect_download() as saved:
        admin.page.get_by_role("link", name="Download the whole report").last.click()
    lines = [json.loads(line) for line in saved.value.path().read_text().splitlines()]
    assert lines[-1]["summary"]["applied"] is True
    admin.page.get_by_role("link", name=f"To {HEADINGS[population]}").click()
    admin.search(names[0])
    expect(admin.row(names[0])).to_be_visible()


def test_hostile_rows_are_shown_as_text(admin: Desk) -> None:
    name = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    choose(admin, "autobot", "<b>people.csv", csv_of(row("x", username=name, display_name=name)))
    expect(admin.page.get_by_role("region", name="Rows")).to_contain_text(name)
    assert admin.page.locator("img, main script, main b").count() == 0


def test_a_file_that_is_none_is_refused_with_a_reason(admin: Desk) -> None:
    admin.watch.expects(422)
    choose(admin, "autobot", "people.csv", b"no,such,columns\n1,2,3\n")
    expect(admin.alert).to_be_visible()
    expect(admin.page.get_by_text("Nothing was imported.")).to_be_visible()
