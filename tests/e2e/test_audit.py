"""The audit log: found by what, who and when, and saved."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from tests.e2e.browsing import HEADINGS, Desk
from tests.lab.people import People

AUDIT = "/settings/admin/audit"


def test_events_are_found_by_what_happened_to_whom(admin: Desk, people: People) -> None:
    someone, other = people.create("autobot"), people.create("autobot")
    people.update(someone, display_name="First")
    people.update(other, display_name="Second")
    admin.tab("Audit").click()
    admin.page.get_by_label("Log of").select_option(HEADINGS["autobot"])
    events = admin.page.get_by_role("region", name="Events", exact=True)
    expect(events).to_contain_text("user_updated")
    admin.page.get_by_label("Action", exact=True).fill("user_updated")
    admin.page.keyboard.press("Enter")
    admin.page.get_by_label("Its id").fill(someone.id)
    admin.page.keyboard.press("Enter")
    expect(events.get_by_role("row")).to_have_count(2)
    events.get_by_role("button", name="user_updated").click()
    expect(events).to_contain_text("First")
    # The filters are in the address.
    admin.page.reload()
    expect(events.get_by_role("row")).to_have_count(2)
    admin.button("Clear filters").click()
    expect(events).to_contain_text("user_created")


def test_refused_logins_are_found_by_their_outcome(admin: Desk, people: People) -> None:
    someone = people.create("slm")
    assert people.log_in(someone, "not-the-password").status_code == 401
    admin.open(f"{AUDIT}?population=slm")
    admin.page.get_by_label("Outcome").select_option("failure")
    events = admin.page.get_by_role("region", name="Events", exact=True)
    expect(events.get_by_text("success")).to_have_count(0)
    expect(events).to_contain_text("login_failed")


def test_events_are_saved(admin: Desk, people: People) -> None:
    someone = people.create("autobot")
    people.update(someone, display_name="Saved")
    admin.open(f"{AUDIT}?population=autobot&resource_id={someone.id}")
    events = admin.page.get_by_role("region", name="Events", exact=True)
    expect(events).to_contain_text("user_updated")
    with admin.few_clicks(), admin.page.expect_download() as saved:
        admin.button("Export these events").click()
        admin.page.get_by_role("menuitem", name="NDJSON, for programs").click()
    lines = [json.loads(line) for line in saved.value.path().read_text().splitlines()]
    assert {line["action"] for line in lines if "action" in line} >= {
        "user_created",
        "user_updated",
    }
