"""Task 8.2 of the plan, step 5: the SLM admin UI."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.e2e.browsing import Desk
from tests.lab.people import PASSWORD, People
from tests.lab.site import unique


def test_the_plans_way_through_the_user_management(desk: Desk, people: People) -> None:
    me = people.administrator()
    known = people.create("autobot")
    # 1, 2: open the browser, log in as SLM admin.
    desk.open("/login")
    desk.log_in(me)
    # 3: Settings -> User Management.
    desk.is_at("slm")
    assert desk.page.url == desk.address("/settings/admin/users")
    # 4: two tabs.
    tabs = desk.page.get_by_role("navigation", name="User management").get_by_role("link")
    assert tabs.all_inner_texts()[:2] == ["SLM Administrators", "AutoBot Users"]
    # 5: the SLM admin appears in the first tab.
    expect(desk.row(me.email)).to_be_visible()
    expect(desk.row(known.email)).to_have_count(0)
    # 6: AutoBot users appear in the second.
    desk.go_to("autobot")
    expect(desk.row(known.email)).to_be_visible()
    expect(desk.row(me.email)).to_have_count(0)
    # 7: create a new AutoBot user.
    name = unique("testuser")
    people.removes("autobot", name)
    desk.button("Add user").click()
    form = desk.dialog("Add user")
    form.get_by_label("User name").fill(name)
    form.get_by_label("E-mail address").fill(f"{name}@autobot.local")
    form.get_by_label("One that I type").check()
    form.get_by_label("New password", exact=True).fill(PASSWORD)
    form.get_by_label("New password, again").fill(PASSWORD)
    form.get_by_role("button", name="Create").click()
    # 8: it appears in the list.
    desk.says(f"{name} is created.")
    expect(desk.row(f"{name}@autobot.local")).to_be_visible()
