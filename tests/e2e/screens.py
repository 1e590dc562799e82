"""Every screen of the admin UI, and the way to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import expect

from tests.e2e.browsing import Desk
from tests.lab.people import Account

USERS = "/settings/admin/users/autobot"
TEAMS = "/settings/admin/teams"
ORGANIZATIONS = "/settings/admin/organizations"


@dataclass(frozen=True)
class Cast:
    """Who and what the screens show."""

    user: Account
    team_id: str
    team: str
    organization_id: str
    organization: str


Way = Callable[[Desk, Cast], None]


def administrators(desk: Desk, _: Cast) -> None:
    desk.open("/settings/admin/users")
    desk.is_at("slm")


def users(desk: Desk, cast: Cast) -> None:
    desk.open(f"{USERS}?q={cast.user.username}")
    desk.is_at("autobot")
    expect(desk.button(f"Actions on {cast.user.username}")).to_be_visible()


def nobody_found(desk: Desk, _: Cast) -> None:
    desk.open(f"{USERS}?q=zzzzzzzzzz")
    desk.says("No users match.")


def details(desk: Desk, cast: Cast) -> None:
    desk.open(f"{USERS}?q={cast.user.username}&user={cast.user.id}")
    expect(desk.dialog(cast.user.username)).to_contain_text(cast.user.email)


def section(name: str) -> Way:
    def way(desk: Desk, cast: Cast) -> None:
        details(desk, cast)
        desk.page.get_by_role("tab", name=name).click()
        expect(desk.page.get_by_role("tabpanel")).not_to_contain_text("Loading")

    return way


def create(desk: Desk, cast: Cast) -> None:
    users(desk, cast)
    desk.button("Add user").click()
    expect(desk.dialog("Add user").get_by_role("checkbox", name="readonly")).to_be_visible()
    desk.dialog("Add user").get_by_label("One that I type").check()


def dialog(action: str, title: str) -> Way:
    def way(desk: Desk, cast: Cast) -> None:
        users(desk, cast)
        desk.act(cast.user, action)
        expect(desk.dialog(title.format(cast.user.username))).to_be_visible()
        expect(desk.dialog()).not_to_contain_text("Loading")

    return way


def menu(desk: Desk, cast: Cast) -> None:
    users(desk, cast)
    desk.button(f"Actions on {cast.user.username}").click()
    expect(desk.page.get_by_role("menuitem").first).to_be_visible()


def selection(desk: Desk, cast: Cast) -> None:
    users(desk, cast)
    desk.page.get_by_label(f"Choose {cast.user.username}").check()
    expect(desk.page.get_by_label("Selection")).to_be_visible()


def bulk(desk: Desk, cast: Cast) -> None:
    selection(desk, cast)
    desk.button("Actions on all of them").click()
    desk.page.get_by_role("menuitem", name="Add to a team…").click()
    desk.dialog().get_by_label("Team").click()
    expect(desk.choices.first).to_be_visible()


def teams(desk: Desk, cast: Cast) -> None:
    desk.open(TEAMS)
    expect(desk.button(f"Actions for {cast.team}")).to_be_visible()


def team(desk: Desk, cast: Cast) -> None:
    desk.open(f"{TEAMS}?team={cast.team_id}")
    expect(desk.dialog(cast.team)).to_contain_text(cast.user.username)


def create_team(desk: Desk, cast: Cast) -> None:
    teams(desk, cast)
    desk.button("Create team").click()
    expect(desk.dialog("Create a team")).to_be_visible()


def delete_team(desk: Desk, cast: Cast) -> None:
    teams(desk, cast)
    desk.button(f"Actions for {cast.team}").click()
    desk.page.get_by_role("menuitem", name="Delete…").click()
    expect(desk.dialog("Delete the team")).to_be_visible()


def organizations(desk: Desk, cast: Cast) -> None:
    desk.open(ORGANIZATIONS)
    expect(desk.page.get_by_role("link", name=cast.organization)).to_be_visible()


def organization(desk: Desk, cast: Cast) -> None:
    desk.open(f"{ORGANIZATIONS}?organization={cast.organization_id}")
    expect(desk.dialog(cast.organization)).to_contain_text("Subscription")


def create_organization(desk: Desk, cast: Cast) -> None:
    organizations(desk, cast)
    desk.button("Create organization").click()
    expect(desk.dialog("Create an organization")).to_be_visible()


def audit(desk: Desk, _: Cast) -> None:
    desk.open("/settings/admin/audit")
    events = desk.page.get_by_role("region", name="Events", exact=True)
    events.get_by_role("button", expanded=False).first.click()
    expect(desk.button("Copy the id of the event").first).to_be_visible()


def audit_filters(desk: Desk, _: Cast) -> None:
    desk.open("/settings/admin/audit?population=autobot")
    expect(desk.page.get_by_role("region", name="Events", exact=True)).to_be_visible()
    outcome = desk.page.get_by_label("Outcome")
    # Open from the beginning where there is room.
    if not outcome.is_visible():
        desk.page.get_by_text("Filters", exact=True).click()
    expect(outcome).to_be_visible()


def account(desk: Desk, _: Cast) -> None:
    desk.open("/settings/account")
    expect(
        desk.page.get_by_role("region", name="Sessions").get_by_role("row").nth(1)
    ).to_be_visible()


def nothing_here(desk: Desk, _: Cast) -> None:
    desk.open("/settings/nothing/here")
    expect(desk.heading("There is nothing here")).to_be_visible()


SCREENS: dict[str, Way] = {
    "administrators": administrators,
    "users": users,
    "nobody found": nobody_found,
    "details": details,
    "sessions": section("Sessions"),
    "roles": section("Roles"),
    "teams of a user": section("Teams"),
    "audit trail": section("Audit"),
    "create": create,
    "edit": dialog("Edit…", "Edit {}"),
    "disable": dialog("Disable…", "Disable {}?"),
    "reset": dialog("Reset password…", "Reset the password of {}?"),
    "assign roles": dialog("Roles…", "Roles of {}"),
    "assign teams": dialog("Teams…", "Teams of {}"),
    "delete": dialog("Delete…", "Delete {}?"),
    "menu": menu,
    "selection": selection,
    "bulk": bulk,
    "teams": teams,
    "team": team,
    "create a team": create_team,
    "delete a team": delete_team,
    "organizations": organizations,
    "organization": organization,
    "create an organization": create_organization,
    "audit": audit,
    "audit filters": audit_filters,
    "account": account,
    "nothing here": nothing_here,
}
