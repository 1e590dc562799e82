"""Two administrators edit one user."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.browsing import Desk, NewDesk
from tests.lab.people import Account, People, Population

BOTH = pytest.mark.parametrize("population", ["slm", "autobot"])


def edit(desk: Desk, account: Account) -> Locator:
    """Open the form of a user."""
    desk.act(account, "Edit…")
    form = desk.dialog(f"Edit {account.username}")
    expect(form.get_by_label("Display name")).to_be_visible()
    return form


def save(form: Locator, **values: str) -> None:
    for label, value in values.items():
        form.get_by_label(label.replace("_", " ")).fill(value)
    form.get_by_role("button", name="Save").click()


@BOTH
@pytest.mark.parametrize(("choice", "wanted"), [("yours", "Second"), ("as it is now", "First")])
def test_the_second_to_save_sees_both_and_chooses(
    new_desk: NewDesk, people: People, population: Population, choice: str, wanted: str
) -> None:
    account = people.create(population, display_name="Before")
    first, second = new_desk(), new_desk()
    forms = []
    for desk in (first, second):
        desk.begin_as(people.administrator())
        desk.go_to(population)
        forms.append(edit(desk, account))
    email = f"new.{account.email}"
    save(forms[0], Display_name="First", **{"E-mail_address": email})
    first.says(f"{account.username} is saved.")

    second.watch.expects(412)
    save(forms[1], Display_name="Second", About="Only the second wrote this.")
    conflict = second.dialog(f"Edit {account.username}")
    expect(conflict).to_contain_text("Somebody else has changed this")
    row = conflict.get_by_role("row").filter(has_text="Display name")
    expect(row).to_contain_text("First")
    expect(row).to_contain_text("Second")
    expect(row).to_contain_text("changed by both")
    # Nothing is overwritten unasked.
    assert people.answer("GET", account.path)["display_name"] == "First"
    conflict.get_by_label(f"Display name, {choice}").check()
    conflict.get_by_role("button", name="Save the chosen values").click()
    second.says(f"{account.username} is saved.")
    saved = people.answer("GET", account.path)
    assert saved["display_name"] == wanted
    assert saved["email"] == email
    assert saved["bio"] == "Only the second wrote this."
    expect(second.row(account.username)).to_contain_text(wanted)


def test_a_third_who_is_faster_again_is_not_overwritten_either(desk: Desk, people: People) -> None:
    account = people.create("autobot", display_name="Before")
    desk.begin_as(people.administrator(), "/settings/admin/users/autobot")
    form = edit(desk, account)
    people.update(account, display_name="First")
    desk.watch.expects(412)
    save(form, Display_name="Mine")
    form.get_by_label("Display name, yours").check()
    people.update(account, display_name="Third")
    form.get_by_role("button", name="Save the chosen values").click()
    expect(form.get_by_role("row").filter(has_text="Display name")).to_contain_text("Third")
    assert people.answer("GET", account.path)["display_name"] == "Third"
    form.get_by_label("Display name, yours").check()
    form.get_by_role("button", name="Save the chosen values").click()
    desk.says(f"{account.username} is saved.")
    assert people.answer("GET", account.path)["display_name"] == "Mine"
