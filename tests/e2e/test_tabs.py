"""Several tabs of one person, and sessions that end under somebody's work."""

from __future__ import annotations

import time

import pytest
from playwright.sync_api import Page, Request, expect

from tests.e2e.browsing import ACCESS_COOKIE, HEADINGS, TABS, Desk
from tests.lab.people import People
from tests.lab.site import Figure

REFRESH = "/api/slm-auth/browser/refresh"
# Clicks a link at a moment of the clock, in milliseconds, so that several tabs do at once.
CLICK_AT = """([name, moment]) => {
  const link = [...document.querySelectorAll('nav a')].find((each) => each.textContent === name)
  setTimeout(() => link.click(), moment - Date.now())
}"""


@pytest.mark.alone
def test_a_logout_in_one_tab_ends_the_others(desk: Desk, people: People, figure: Figure) -> None:
    me = people.administrator()
    desk.begin_as(me)
    other = desk.another_tab()
    other.open("/settings/admin/users")
    other.is_at("slm")
    desk.log_out(me)
    expect(desk.button("Log in")).to_be_visible()
    start = time.monotonic()
    expect(other.button("Log in")).to_be_visible(timeout=1000)
    seconds = time.monotonic() - start
    figure("a tab ends after a logout in another", f"{seconds * 1000:.0f} ms")
    expect(other.page.get_by_text(me.username)).to_have_count(0)


@pytest.mark.alone
def test_a_session_that_an_administrator_ended_is_noticed_at_the_next_action(
    desk: Desk, people: People, figure: Figure
) -> None:
    me = people.administrator()
    desk.begin_as(me)
    desk.is_at("slm")
    people.answer("DELETE", f"{me.path}/sessions")
    desk.watch.expects(401)
    start = time.monotonic()
    desk.tab(TABS["autobot"]).click()
    expect(desk.dialog("Your session has ended")).to_be_visible(timeout=1000)
    figure(
        "a tab notices that its session was ended", f"{(time.monotonic() - start) * 1000:.0f} ms"
    )


def test_five_tabs_whose_access_has_expired_refresh_once(desk: Desk, people: People) -> None:
    desk.begin_as(people.administrator())
    tabs = [desk, *(desk.another_tab() for _ in range(4))]
    for tab in tabs:
        tab.open("/settings/admin/users")
        tab.is_at("slm")
    refreshes: list[Request] = []
    desk.context.on(
        "request", lambda request: refreshes.append(request) if REFRESH in request.url else None
    )
    desk.context.clear_cookies(name=ACCESS_COOKIE)
    desk.watch.expects(401)
    moment = time.time() * 1000 + 1500
    for tab in tabs:
        tab.page.evaluate(CLICK_AT, [TABS["autobot"], moment])
    for tab in tabs:
        expect(tab.heading(HEADINGS["autobot"])).to_be_visible()
        expect(tab.page.get_by_role("row").nth(1)).to_be_visible()
    assert len(refreshes) == 1
    assert ACCESS_COOKIE in {cookie["name"] for cookie in desk.context.cookies()}


def test_nothing_typed_is_lost_when_the_session_ends_over_a_form(
    desk: Desk, people: People
) -> None:
    me = people.administrator()
    someone = people.create("autobot")
    desk.begin_as(me, "/settings/admin/users/autobot")
    desk.act(someone, "Edit…")
    form = desk.dialog(f"Edit {someone.username}")
    form.get_by_label("Display name").fill("Typed before the session ended")
    people.answer("DELETE", f"{me.path}/sessions")
    desk.watch.expects(401)
    form.get_by_role("button", name="Save").click()
    lost = desk.dialog("Your session has ended")
    expect(lost).to_be_visible()
    # It stays until there is a session again.
    desk.page.keyboard.press("Escape")
    expect(lost).to_be_visible()
    expect(lost.get_by_label("User name or e-mail address")).to_have_value(me.username)
    lost.get_by_label("Password").fill(me.password)
    lost.get_by_role("button", name="Log in").click()
    expect(lost).to_have_count(0)
    expect(form.get_by_label("Display name")).to_have_value("Typed before the session ended")
    form.get_by_role("button", name="Save").click()
    desk.says(f"{someone.username} is saved.")
    saved = people.answer("GET", someone.path)
    assert saved["display_name"] == "Typed before the session ended"


def test_somebody_elses_login_shows_nothing_of_the_person_before(
    desk: Desk, people: People
) -> None:
    me, other = people.administrator(), people.nobody()
    someone = people.create("slm")
    desk.begin_as(me)
    expect(desk.row(someone.email)).to_be_visible()
    people.answer("DELETE", f"{me.path}/sessions")
    desk.watch.expects(401, 403)
    desk.tab(TABS["autobot"]).click()
    lost = desk.dialog("Your session has ended")
    lost.get_by_label("User name or e-mail address").fill(other.username)
    lost.get_by_label("Password").fill(other.password)
    lost.get_by_role("button", name="Log in").click()
    expect(desk.account_button(other)).to_be_visible()
    expect(desk.alert).to_contain_text("Not permitted")
    expect(desk.page.get_by_text(someone.email)).to_have_count(0)
    page: Page = desk.page
    page.go_back()
    expect(page.get_by_text(someone.email)).to_have_count(0)
