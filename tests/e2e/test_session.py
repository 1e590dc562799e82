"""Log in, be made to choose a password, log out, and what is left on the screen then."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import HEADINGS, Desk
from tests.lab.people import PASSWORD, People

START = "/settings/admin/users"


def test_somebody_logs_in_and_out(desk: Desk, people: People) -> None:
    account = people.administrator()
    desk.open("/")
    expect(desk.page).to_have_url(re.compile(r"/login\?next=/settings/admin/users$"))
    desk.log_in(account)
    expect(desk.page).to_have_url(desk.address(START))
    desk.is_at("slm")
    assert desk.page.evaluate("document.cookie") == ""
    desk.log_out(account)
    expect(desk.page).to_have_url(desk.address("/login"))
    desk.says("You have logged out.")
    # It opens nothing: by it a browser is known again.
    assert [cookie["name"] for cookie in desk.context.cookies()] == ["__Host-slm-device"]
    # The router remembers how far a page was scrolled, and nobody anything else.
    kept = desk.page.evaluate("[...Object.keys(localStorage), ...Object.keys(sessionStorage)]")
    assert set(kept) <= {"vue-router:scroll"}


@pytest.mark.parametrize("wrong", ["password", "name"])
def test_a_wrong_login_says_the_same_whatever_was_wrong(
    desk: Desk, people: People, wrong: str
) -> None:
    account = people.administrator()
    desk.watch.expects(401)
    desk.open("/login")
    username = desk.page.get_by_label("User name or e-mail address")
    password = desk.page.get_by_label("Password")
    username.fill(account.username if wrong == "password" else f"{account.username}x")
    password.fill("not-the-password" if wrong == "password" else account.password)
    desk.button("Log in").click()
    expect(desk.page.get_by_role("alert")).to_have_text(
        "It did not work. Incorrect username or password."
    )
    expect(username).to_have_value(re.compile(account.username))
    expect(password).to_have_value("")
    expect(password).to_be_focused()


def test_a_one_time_password_leads_to_ones_own(desk: Desk, people: People) -> None:
    account = people.create("slm", is_admin=True, must_change_password=True)
    desk.open("/login")
    desk.log_in(account)
    expect(desk.heading("Choose your own password")).to_be_visible()
    # Nothing else is open to them meanwhile.
    desk.watch.expects(403)
    desk.open(START)
    expect(desk.heading("Choose your own password")).to_be_visible()
    desk.page.get_by_label("One-time password").fill(account.password)
    desk.page.get_by_label("New password", exact=True).fill("granite-lantern-12-otter")
    desk.page.get_by_label("New password, again").fill("granite-lantern-12-otte")
    desk.button("Change password").click()
    expect(desk.page.get_by_text("The two are not the same.")).to_be_visible()
    desk.page.get_by_label("New password, again").fill("granite-lantern-12-otter")
    desk.button("Change password").click()
    desk.says("The password is changed.")
    desk.is_at("slm")
    assert people.log_in(account, PASSWORD).status_code == 401
    assert people.log_in(account, "granite-lantern-12-otter").status_code == 200


@pytest.mark.parametrize(
    "next_page",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/%09/evil.example/",
        "\\\\evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/login",
    ],
)
def test_a_login_leads_to_pages_of_this_site_only(
    desk: Desk, people: People, next_page: str
) -> None:
    desk.open(f"/login?next={next_page}")
    desk.log_in(people.administrator())
    expect(desk.page).to_have_url(desk.address(START))
    desk.is_at("slm")


def test_a_login_leads_back_to_where_somebody_wanted_to_go(desk: Desk, people: People) -> None:
    desk.open("/settings/admin/users/autobot?q=harbour")
    desk.log_in(people.administrator())
    expect(desk.page).to_have_url(desk.address("/settings/admin/users/autobot?q=harbour"))
    expect(desk.heading(HEADINGS["autobot"])).to_be_visible()


def test_the_back_button_shows_nothing_after_a_logout(desk: Desk, people: People) -> None:
    account = people.administrator()
    desk.begin_as(account)
    desk.open("/settings/account")
    expect(desk.heading("My account")).to_be_visible()
    desk.log_out(account)
    desk.says("You have logged out.")
    desk.page.go_back()
    expect(desk.button("Log in")).to_be_visible()
    expect(desk.page.get_by_text(account.username)).to_have_count(0)


def test_passwords_are_masked_and_password_managers_are_welcome(desk: Desk, people: People) -> None:
    account = people.create("slm", is_admin=True, must_change_password=True)
    desk.open("/login")
    name = desk.page.get_by_label("User name or e-mail address")
    password = desk.page.get_by_label("Password")
    # Typed where it can be copied, and pasted where it belongs.
    name.fill(account.password)
    name.press("ControlOrMeta+a")
    name.press("ControlOrMeta+x")
    password.press("ControlOrMeta+v")
    expect(password).to_have_value(account.password)
    name.fill(account.username)
    wanted = {"Password": "current-password"}
    assert described(desk, wanted) == wanted
    desk.button("Log in").click()
    expect(desk.heading("Choose your own password")).to_be_visible()
    wanted = {
        "One-time password": "current-password",
        "New password": "new-password",
        "New password, again": "new-password",
    }
    assert described(desk, wanted) == wanted


def described(desk: Desk, labels: Iterable[str]) -> dict[str, str | None]:
    """What each masked field of these labels tells a password manager."""
    found = {}
    for label in labels:
        field = desk.page.get_by_label(label, exact=True)
        expect(field).to_have_attribute("type", "password")
        found[label] = field.get_attribute("autocomplete")
    return found
