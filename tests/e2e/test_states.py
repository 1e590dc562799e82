"""When something is away: the network, the application users' database, or there is nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import expect

from tests.e2e.browsing import HEADINGS, TABS, Desk
from tests.lab.people import People
from tests.lab.site import must, unique

START = "/settings/admin/users"


@contextmanager
def autobot_users_away() -> Iterator[None]:
    """PostgreSQL on redis is stopped."""
    # The cluster's own unit too: stopping the general one does not wait for it.
    must("redis", "systemctl", "stop", "postgresql", "postgresql@*")
    try:
        yield
    finally:
        must("redis", "systemctl", "start", "postgresql")


def test_offline_it_says_so_and_goes_on_with_what_was_typed(admin: Desk, people: People) -> None:
    name = unique("offline")
    people.removes("slm", name)
    admin.button("Add administrator").click()
    form = admin.dialog("Add administrator")
    form.get_by_label("User name").fill(name)
    form.get_by_label("E-mail address").fill(f"{name}@example.com")
    admin.watch.expects("net::ERR_INTERNET_DISCONNECTED")
    admin.context.set_offline(True)
    form.get_by_role("button", name="Create").click()
    expect(form.get_by_role("alert")).to_contain_text("Offline")
    expect(form.get_by_label("User name")).to_have_value(name)
    admin.context.set_offline(False)
    form.get_by_role("button", name="Create").click()
    expect(admin.dialog(f"One-time password of {name}")).to_be_visible()


def test_a_list_that_could_not_be_read_is_read_by_try_again(admin: Desk) -> None:
    admin.watch.expects("net::ERR_INTERNET_DISCONNECTED")
    admin.context.set_offline(True)
    admin.search(unique("nobody"))
    expect(admin.alert).to_contain_text("Offline")
    admin.context.set_offline(False)
    admin.button("Try again").click()
    admin.says("No administrators match.")
    expect(admin.alert).to_have_count(0)


def test_an_outage_of_autobot_users_concerns_their_tab_only(desk: Desk, people: People) -> None:
    me = people.administrator()
    someone = people.create("autobot")
    desk.begin_as(me)
    desk.is_at("slm")
    desk.watch.expects(503)
    with autobot_users_away():
        desk.tab(TABS["autobot"]).click()
        expect(desk.heading(HEADINGS["autobot"])).to_be_visible()
        expect(desk.alert.first).to_contain_text("The database cannot be reached")
        desk.tab(TABS["slm"]).click()
        expect(desk.row(me.email)).to_be_visible()
        expect(desk.alert).to_have_count(0)
        desk.tab(TABS["autobot"]).click()
        expect(desk.alert.first).to_contain_text("The database cannot be reached")
    # The service looks for it again every few seconds; nobody reloads the page.
    for _ in range(20):
        if desk.row(someone.email).count() == 1:
            break
        if desk.button("Try again").count():
            desk.button("Try again").first.click()
        desk.page.wait_for_timeout(500)
    expect(desk.row(someone.email)).to_be_visible()
    expect(desk.alert).to_have_count(0)


def test_nobody_is_there_yet(desk: Desk, people: People) -> None:
    """An organization of its own, for its administrator: nothing else is empty in the lab."""
    mine = people.organization()
    desk.begin_as(people.limited(mine["id"]), f"{START}/autobot")
    desk.says("There are no users yet.")
    expect(desk.button("Add user")).to_be_visible()
    desk.open("/settings/admin/teams")
    desk.says("There are no teams yet.")
