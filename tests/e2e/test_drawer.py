"""Everything about one user in one place: sessions, roles, teams and what happened to them."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.browsing import Desk
from tests.e2e.screens import USERS
from tests.lab.people import Account, People, Population

BOTH = pytest.mark.parametrize("population", ["slm", "autobot"])


def open_drawer(desk: Desk, account: Account, section: str) -> Locator:
    """Open a section of the drawer, two clicks from the list."""
    with desk.few_clicks():
        desk.link(account.username).click()
        drawer = desk.dialog(account.username)
        drawer.get_by_role("tab", name=section).click()
    return drawer


@BOTH
def test_end_one_session_of_two(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    for _ in range(2):
        assert people.log_in(account).status_code == 200
    admin.go_to(population)
    drawer = open_drawer(admin, account, "Sessions")
    table = drawer.get_by_role("region", name="Sessions")
    expect(table.get_by_role("row")).to_have_count(3)
    table.get_by_role("button", name="End").first.click()
    expect(table.get_by_role("row")).to_have_count(2)
    assert len(people.answer("GET", f"{account.path}/sessions")["sessions"]) == 1


@BOTH
def test_give_and_take_a_role(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    admin.go_to(population)
    drawer = open_drawer(admin, account, "Roles")
    drawer.get_by_label("Role to add").fill("readonly")
    admin.choices.filter(has_text="readonly").first.click()
    drawer.get_by_role("button", name="Add").click()
    drawer.get_by_role("button", name="Remove the role readonly").click()
    expect(drawer).to_contain_text("No roles.")
    assert people.answer("GET", account.path)["roles"] == []


def test_the_teams_of_a_user(admin: Desk, people: People) -> None:
    team = people.team()
    account = people.create("autobot")
    admin.go_to("autobot")
    drawer = open_drawer(admin, account, "Teams")
    drawer.get_by_label("Team to join").fill(team["name"])
    admin.choices.first.click()
    drawer.get_by_role("button", name="Add").click()
    expect(drawer.get_by_role("region", name="Teams of the user")).to_contain_text(team["name"])
    members = people.answer("GET", f"/api/autobot-teams/{team['id']}/members")["members"]
    assert [member["user_id"] for member in members] == [account.id]


@BOTH
def test_what_happened_to_a_user(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    people.update(account, display_name="Renamed for the trail")
    admin.go_to(population)
    drawer = open_drawer(admin, account, "Audit")
    events = drawer.get_by_role("region", name="Events")
    expect(events).to_contain_text("user_created")
    events.get_by_role("button", name="user_updated").click()
    expect(events).to_contain_text("Renamed for the trail")


def test_ones_own_page_leads_to_ones_own_password(desk: Desk, people: People) -> None:
    me = people.administrator()
    desk.begin_as(me, f"/settings/admin/users?q={me.username}")
    offered = desk.actions_on(me)
    assert "Edit…" in offered
    assert not {"Reset password…", "Unlock"} & set(offered)
    desk.link(me.username).click()
    drawer = desk.dialog(me.username)
    drawer.get_by_role("link", name="Change your password").click()
    expect(desk.heading("Change password")).to_be_visible()


def test_the_drawer_is_in_the_address(desk: Desk, people: People) -> None:
    account = people.create("autobot")
    desk.begin_as(people.administrator(), f"{USERS}?user={account.id}")
    drawer = desk.dialog(account.username)
    expect(drawer).to_contain_text(account.email)
    drawer.get_by_role("button", name="Close").click()
    expect(drawer).to_have_count(0)
    assert "user=" not in desk.page.url
    desk.page.go_back()
    expect(drawer).to_be_visible()
