"""Text that would be a script if anybody took it for one: it is shown as text, wherever it is."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import Desk
from tests.e2e.screens import ORGANIZATIONS, TEAMS, USERS
from tests.lab.people import Account, People
from tests.lab.site import unique


def hostile(mark: str) -> str:
    """Markup, and what templates, attributes and scripts end with; told apart by the mark."""
    return (
        f'{mark}<img src=x onerror="hit=1;alert(1)"><script>hit=2</script>'
        f"'\"></textarea><svg onload=hit=3>{{{{constructor.constructor('hit=4')()}}}}"
    )


@pytest.fixture
def names() -> dict[str, str]:
    """What everything is called."""
    return {what: hostile(unique(what)) for what in ("display", "bio", "team", "about", "org")}


@pytest.fixture
def target(people: People, names: dict[str, str]) -> Account:
    """A user all of whose fields are hostile, in a team, an organization and a role that are."""
    organization = people.organization(
        name=names["org"], slug=unique("org").replace("_", "-"), description=names["about"]
    )
    team = people.team(
        name=names["team"], description=names["about"], organization_id=organization["id"]
    )
    name = unique("hostile")
    user = people.create(
        "autobot",
        username=name,
        email=f"'{{alert`1`}}'{name}@example.com",
        org_id=organization["id"],
    )
    people.update(
        user,
        display_name=names["display"],
        bio=names["bio"],
        avatar_url='https://evil.example/"onerror=hit=5//.png',
    )
    people.answer("POST", f"/api/autobot-teams/{team['id']}/members", {"user_id": user.id})
    return user


def is_text(desk: Desk, text: str) -> None:
    """Wait until it is on the screen, letter by letter."""
    expect(desk.page.get_by_text(text).first).to_be_visible()


def nothing_ran(desk: Desk) -> None:
    assert desk.page.evaluate("typeof hit") == "undefined"
    assert desk.page.locator("img, svg[onload], main script, [role=dialog] script").count() == 0


def test_in_the_list_and_in_the_drawer(
    desk: Desk, people: People, target: Account, names: dict[str, str]
) -> None:
    desk.begin_as(people.administrator(), f"{USERS}?q={target.username}")
    expect(desk.row(target.email)).to_contain_text(names["display"])
    desk.link(target.username).click()
    drawer = desk.dialog(target.username)
    for text in (names["display"], names["bio"], "evil.example", names["org"], target.email):
        expect(drawer).to_contain_text(text)
    drawer.get_by_role("tab", name="Teams").click()
    expect(drawer).to_contain_text(names["team"])
    drawer.get_by_role("tab", name="Audit").click()
    events = drawer.get_by_role("region", name="Events").get_by_role("button", expanded=False)
    expect(events.first).to_be_visible()
    for _ in range(events.count()):
        events.first.click()
    # The audit trail has it as JSON.
    expect(drawer).to_contain_text(names["display"].partition("<")[0])
    nothing_ran(desk)


def test_in_forms_and_choices(
    desk: Desk, people: People, target: Account, names: dict[str, str]
) -> None:
    desk.begin_as(people.administrator(), f"{USERS}?q={target.username}")
    desk.act(target, "Edit…")
    form = desk.dialog(f"Edit {target.username}")
    expect(form.get_by_label("Display name")).to_have_value(names["display"])
    expect(form.get_by_label("About")).to_have_value(names["bio"])
    expect(form.get_by_role("combobox", name="Organization")).to_have_value(names["org"])
    form.get_by_role("combobox", name="Organization").fill(names["org"][:20])
    expect(desk.choices).to_have_count(1)
    expect(desk.choices).to_contain_text(names["org"])
    nothing_ran(desk)


def test_in_a_conflict(desk: Desk, people: People, target: Account) -> None:
    desk.begin_as(people.administrator(), f"{USERS}?q={target.username}")
    desk.act(target, "Edit…")
    form = desk.dialog(f"Edit {target.username}")
    mine, theirs = hostile("mine"), hostile("theirs")
    form.get_by_label("Display name").fill(mine)
    people.update(target, display_name=theirs)
    desk.watch.expects(412)
    form.get_by_role("button", name="Save").click()
    expect(form).to_contain_text(mine)
    expect(form).to_contain_text(theirs)
    nothing_ran(desk)


def test_in_teams_and_organizations(
    desk: Desk, people: People, target: Account, names: dict[str, str]
) -> None:
    mark = names["team"].partition("<")[0]
    desk.begin_as(people.administrator(), f"{TEAMS}?q={mark}")
    for text in (names["team"], names["about"], names["org"]):
        is_text(desk, text)
    desk.page.get_by_role("link", name=names["team"], exact=True).click()
    expect(desk.dialog()).to_contain_text(names["display"])
    nothing_ran(desk)
    desk.open(f"{TEAMS}?q={mark}")
    desk.button(f"Actions for {names['team']}").click()
    desk.page.get_by_role("menuitem", name="Delete…").click()
    expect(desk.dialog()).to_contain_text(names["team"])
    nothing_ran(desk)
    desk.open(f"{ORGANIZATIONS}?q={names['org'].partition('<')[0]}")
    desk.page.get_by_role("link", name=names["org"]).click()
    expect(desk.dialog(names["org"])).to_contain_text(names["about"])
    assert target.email in people.answer("GET", target.path)["email"]
    nothing_ran(desk)


def test_what_a_browser_calls_itself(desk: Desk, people: People) -> None:
    """The user agent of a login comes to the sessions and to the audit trail."""
    me, someone = people.administrator(), people.create("slm")
    program = hostile(unique("program"))
    with people.site.client() as client:
        login = client.post(
            "/api/slm-auth/login",
            json={"username": someone.username, "password": someone.password},
            headers={"User-Agent": program},
        )
    assert login.status_code == 200
    desk.begin_as(me, f"/settings/admin/users?q={someone.username}")
    desk.link(someone.username).click()
    drawer = desk.dialog(someone.username)
    drawer.get_by_role("tab", name="Sessions").click()
    expect(drawer).to_contain_text(program)
    drawer.get_by_role("tab", name="Audit").click()
    drawer.get_by_label("Show").select_option("Done by this person, among fleet administrators")
    drawer.get_by_role("button", name="login_success").first.click()
    expect(drawer).to_contain_text(program)
    nothing_ran(desk)
    desk.open("/settings/admin/audit?population=slm&action=login_success")
    events = desk.page.get_by_role("region", name="Events", exact=True)
    for _ in range(3):
        events.get_by_role("button", expanded=False).first.click()
    expect(events).to_contain_text(program)
    nothing_ran(desk)


def test_in_the_name_of_a_role(desk: Desk, people: People) -> None:
    role = people.own_role("autobot", name=hostile(unique("role"))[:100], description=hostile("d"))
    someone = people.create("autobot", role_ids=[role["id"]])
    desk.begin_as(people.administrator(), f"{USERS}?q={someone.username}")
    expect(desk.row(someone.email)).to_contain_text(role["name"])
    desk.act(someone, "Roles…")
    dialog = desk.dialog(f"Roles of {someone.username}")
    expect(dialog).to_contain_text(role["name"])
    expect(dialog).to_contain_text(role["description"])
    nothing_ran(desk)
