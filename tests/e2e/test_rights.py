"""What those see who may not do everything; the API refuses what is not offered to them."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import NOUNS, Desk
from tests.lab.people import PASSWORD, People, Population
from tests.lab.site import unique

BOTH = pytest.mark.parametrize("population", ["slm", "autobot"])


def new_user() -> dict[str, str]:
    name = unique("forced")
    return {"username": name, "email": f"{name}@example.com", "password": PASSWORD}


@BOTH
def test_a_reader_sees_people_and_changes_nobody(
    desk: Desk, people: People, population: Population
) -> None:
    someone = people.create(population)
    desk.begin_as(people.reader())
    desk.go_to(population)
    expect(desk.row(someone.email)).to_be_visible()
    expect(desk.button(f"Add {NOUNS[population]}")).to_have_count(0)
    expect(desk.page.get_by_role("link", name="Import")).to_have_count(0)
    expect(desk.button(f"Actions on {someone.username}")).to_have_count(0)
    expect(desk.page.get_by_role("checkbox")).to_have_count(0)
    desk.link(someone.username).click()
    drawer = desk.dialog(someone.username)
    expect(drawer).to_be_visible()
    names = drawer.get_by_role("button").all_inner_texts()
    assert not [name for name in names if name in {"Edit…", "Delete…", "End", "Actions"}]
    desk.watch.expects(403)
    assert desk.ask_api("PATCH", someone.path, {"display_name": "x"}) == 403
    assert desk.ask_api("DELETE", someone.path) == 403
    assert desk.ask_api("POST", f"{someone.path}/reset-password") == 403
    assert desk.ask_api("DELETE", f"{someone.path}/sessions") == 403
    assert desk.ask_api("POST", f"/api/{population}-users", new_user()) == 403
    assert desk.ask_api("GET", someone.path) == 200


def test_a_reader_sees_teams_and_changes_none(desk: Desk, people: People) -> None:
    team = people.team()
    desk.begin_as(people.reader(), f"/settings/admin/teams?q={team['name']}")
    expect(desk.row(team["name"])).to_be_visible()
    expect(desk.button("Create team")).to_have_count(0)
    expect(desk.tab("Organizations")).to_have_count(0)
    expect(desk.tab("Audit")).to_have_count(0)
    desk.watch.expects(403)
    path = f"/api/autobot-teams/{team['id']}"
    assert desk.ask_api("PATCH", path, {"name": "x"}) == 403
    assert desk.ask_api("POST", "/api/autobot-teams", {"name": unique("forced")}) == 403
    assert desk.ask_api("GET", "/api/audit-logs") == 403


def test_somebody_without_a_role_has_their_own_account_only(desk: Desk, people: People) -> None:
    someone = people.create("autobot")
    me = people.nobody()
    desk.watch.expects(403)
    desk.begin_as(me)
    expect(desk.alert).to_contain_text("Not permitted")
    tabs = desk.page.get_by_role("navigation", name="User management").get_by_role("link")
    expect(tabs).to_have_count(0)
    for path in ("/api/slm-users", "/api/autobot-users", someone.path, "/api/autobot-teams"):
        assert desk.ask_api("GET", path) == 403
    desk.account_button(me).click()
    desk.page.get_by_role("menuitem", name="My account").click()
    expect(desk.heading("My account")).to_be_visible()
    expect(desk.page.get_by_role("region", name="Sessions").get_by_role("row")).to_have_count(2)
    desk.page.get_by_label("Current password").fill(me.password)
    desk.page.get_by_label("New password", exact=True).fill("granite-lantern-12-otter")
    desk.page.get_by_label("New password, again").fill("granite-lantern-12-otter")
    desk.button("Change password").click()
    desk.says("The password is changed")
    assert people.log_in(me, "granite-lantern-12-otter").status_code == 200


def test_an_administrator_of_one_organization_sees_no_other(desk: Desk, people: People) -> None:
    mine, other = people.organization(), people.organization()
    shared = unique("both")
    inside = people.create("autobot", username=f"{shared}_in", org_id=mine["id"])
    outside = people.create("autobot", username=f"{shared}_out", org_id=other["id"])
    desk.begin_as(people.limited(mine["id"]), f"/settings/admin/users/autobot?q={shared}")
    expect(desk.row(inside.email)).to_be_visible()
    expect(desk.row(outside.email)).to_have_count(0)
    expect(desk.tab("SLM Administrators")).to_have_count(0)
    expect(desk.page.get_by_role("link", name="Import")).to_have_count(0)
    desk.act(inside, "Disable…")
    desk.dialog().get_by_role("button", name="Disable").click()
    desk.says(f"{inside.username} is disabled")
    assert people.answer("GET", inside.path)["is_active"] is False
    desk.watch.expects(403, 404)
    assert desk.ask_api("GET", "/api/slm-users") == 403
    assert desk.ask_api("PATCH", outside.path, {"is_active": False}) == 404
    assert people.answer("GET", outside.path)["is_active"] is True


def test_an_administrator_of_one_organization_begins_with_its_users(
    desk: Desk, people: People
) -> None:
    mine = people.organization()
    inside = people.create("autobot", org_id=mine["id"])
    desk.begin_as(people.limited(mine["id"]))
    expect(desk.row(inside.email)).to_be_visible()
