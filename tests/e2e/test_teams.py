"""Teams and organizations of application users."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.e2e.browsing import Desk
from tests.e2e.screens import ORGANIZATIONS, TEAMS
from tests.lab.people import People
from tests.lab.site import unique


def team_called(people: People, name: str) -> dict[str, object]:
    found: dict[str, object] = people.answer("GET", f"/api/autobot-teams?search={name}")["teams"][0]
    return found


def test_create_edit_and_delete_a_team(admin: Desk, people: People) -> None:
    organization = people.organization()
    name = unique("team")
    admin.tab("Teams").click()
    with admin.few_clicks(4):
        admin.button("Create team").click()
        form = admin.dialog("Create a team")
        form.get_by_label("Name").fill(name)
        form.get_by_label("Description").fill("Those at the quay")
        form.get_by_role("combobox", name="Organization").click()
        form.get_by_role("combobox", name="Organization").fill(organization["name"])
        expect(admin.choices).to_have_count(1)
        admin.page.keyboard.press("ArrowDown")
        admin.page.keyboard.press("Enter")
        form.get_by_role("button", name="Create").click()
        # Its members come next.
        expect(admin.dialog(name)).to_contain_text("Those at the quay")
    admin.dialog(name).get_by_role("button", name="Close").click()
    expect(admin.row(name)).to_contain_text("Those at the quay")
    team = team_called(people, name)
    people.removes_path(f"/api/autobot-teams/{team['id']}")
    assert team["org_id"] == organization["id"]

    with admin.few_clicks():
        admin.button(f"Actions for {name}").click()
        admin.page.get_by_role("menuitem", name="Edit…").click()
        form = admin.dialog("Edit the team")
        form.get_by_label("Description").fill("Those on the ships")
        form.get_by_role("button", name="Save").click()
        expect(admin.row(name)).to_contain_text("Those on the ships")

    with admin.few_clicks():
        admin.button(f"Actions for {name}").click()
        admin.page.get_by_role("menuitem", name="Delete…").click()
        question = admin.dialog("Delete the team")
        expect(question.get_by_role("button", name="Delete")).to_be_disabled()
        question.get_by_label(f"Type {name} to confirm").fill(name)
        question.get_by_role("button", name="Delete").click()
        # As long as it is open, nothing behind it counts.
        expect(question).to_have_count(0)
        expect(admin.row(name)).to_have_count(0)
    assert people.answer("GET", f"/api/autobot-teams?search={name}")["teams"] == []


def test_members_join_change_their_role_and_leave(admin: Desk, people: People) -> None:
    organization = people.organization()
    team = people.team(organization_id=organization["id"])
    account = people.create("autobot", org_id=organization["id"])
    outsider = people.create("autobot", org_id=people.organization()["id"])
    members = f"/api/autobot-teams/{team['id']}/members"
    admin.open(f"{TEAMS}?q={team['name']}")
    admin.page.get_by_role("link", name=team["name"], exact=True).click()
    drawer = admin.dialog(team["name"])
    # Who is of another organization is not offered.
    choose = drawer.get_by_label("User to add")
    choose.fill(outsider.username)
    expect(drawer.get_by_text("Nothing is found").first).to_be_visible()
    choose.fill(account.username)
    admin.choices.first.click()
    drawer.get_by_role("button", name="Add").click()
    expect(drawer.get_by_role("region", name="Members")).to_contain_text(account.username)
    for action, role in [("Make admin", "admin"), ("Make owner", "owner")]:
        drawer.get_by_role("button", name=f"Change {account.username}").click()
        admin.page.get_by_role("menuitem", name=action).click()
        expect(drawer.get_by_role("row").filter(has_text=account.username)).to_contain_text(role)
        assert people.answer("GET", members)["members"][0]["role"] == role
    heir = people.create("autobot", org_id=organization["id"])
    people.answer("POST", members, {"user_id": heir.id})

    def remove() -> None:
        drawer.get_by_role("button", name=f"Change {account.username}").click()
        admin.page.get_by_role("menuitem", name="Remove from the team").click()

    # The last owner stays, or is followed by another member.
    admin.watch.expects(409)
    remove()
    choice = admin.dialog("Choose a new owner")
    expect(choice).to_contain_text(team["name"])
    assert admin.axe() == []
    choice.get_by_role("button", name="Cancel").click()
    expect(drawer.get_by_role("alert")).to_contain_text("owner")
    assert len(people.answer("GET", members)["members"]) == 2
    remove()
    admin.hand_over(team["name"])
    admin.says("They have left the team.")
    [left] = people.answer("GET", members)["members"]
    assert (left["user_id"], left["role"]) == (heir.id, "owner")


def test_an_organization_is_created_edited_deactivated_and_deleted(
    admin: Desk, people: People
) -> None:
    name = unique("organization")
    admin.tab("Organizations").click()
    with admin.few_clicks():
        admin.button("Create organization").click()
        form = admin.dialog("Create an organization")
        form.get_by_label("Name").fill(name)
        form.get_by_label("Most users").fill("7")
        form.get_by_role("button", name="Create").click()
        expect(admin.row(name)).to_contain_text("7")
    [made] = people.answer("GET", f"/api/organizations?search={name}")["organizations"]
    people.removes_path(f"/api/organizations/{made['id']}")
    assert made["max_users"] == 7
    member = people.create("autobot", org_id=made["id"])
    assert people.log_in(member).status_code == 200

    def act(action: str) -> None:
        admin.button(f"Actions for {name}").click()
        admin.page.get_by_role("menuitem", name=action).click()

    with admin.few_clicks():
        act("Edit…")
        form = admin.dialog("Edit the organization")
        form.get_by_label("Most users").fill("9")
        form.get_by_role("button", name="Save").click()
        expect(admin.row(name)).to_contain_text("9")

    with admin.few_clicks():
        act("Deactivate…")
        question = admin.dialog("Deactivate the organization")
        question.get_by_label(f"Type {name} to confirm").fill(name)
        question.get_by_role("button", name="Deactivate").click()
        expect(admin.row(name)).to_contain_text("Inactive")
    assert people.log_in(member).status_code == 401
    with admin.few_clicks():
        act("Activate")
        expect(admin.row(name)).not_to_contain_text("Inactive")
    assert people.log_in(member).status_code == 200

    # It has a user: the API keeps it, and says why.
    admin.watch.expects(409)
    act("Delete…")
    question = admin.dialog("Delete the organization")
    question.get_by_label(f"Type {name} to confirm").fill(name)
    question.get_by_role("button", name="Delete").click()
    expect(question.get_by_role("alert")).to_be_visible()
    people.answer("DELETE", member.path)
    question.get_by_role("button", name="Delete").click()
    expect(question).to_have_count(0)
    expect(admin.row(name)).to_have_count(0)
    assert people.api.get(f"/api/organizations/{made['id']}").status_code == 404


def test_from_an_organization_to_its_users(admin: Desk, people: People) -> None:
    organization = people.organization()
    inside = people.create("autobot", org_id=organization["id"])
    outside = people.create("autobot")
    admin.open(f"{ORGANIZATIONS}?organization={organization['id']}")
    admin.dialog(organization["name"]).get_by_role("link", name="Its users").click()
    expect(admin.row(inside.email)).to_be_visible()
    expect(admin.row(outside.email)).to_have_count(0)
