"""What administrators do to people, three clicks at most from the list, and what comes of it."""

from __future__ import annotations

import csv
import io
import json

import pytest
from playwright.sync_api import Download, expect

from tests.e2e.browsing import NOUNS, Desk
from tests.lab.people import Account, People, Population
from tests.lab.site import unique

BOTH = pytest.mark.parametrize("population", ["slm", "autobot"])
NEW_PASSWORD = "granite-lantern-12-otter"


def session_lives(people: People, account: Account, token: str) -> bool:
    """Whether somebody's session goes on, as their own service sees it."""
    is_slm = account.population == "slm"
    with people.site.client() if is_slm else people.site.backend_client() as client:
        answer = client.get(
            "/api/slm-auth/me" if is_slm else "/api/auth/me",
            headers={"Authorization": f"Bearer {token}"},
        )
    assert answer.status_code in {200, 401}
    return answer.status_code == 200


def begin_session(people: People, account: Account, password: str | None = None) -> str:
    """Log somebody in elsewhere; their token."""
    answer = people.log_in(account, password)
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["access_token" if account.population == "slm" else "token"]
    return token


@BOTH
def test_find(admin: Desk, people: People, population: Population) -> None:
    others = [people.create(population) for _ in range(3)]
    wanted = others[1]
    admin.go_to(population)
    with admin.few_clicks():
        admin.page.get_by_role("searchbox", name="Search by name or e-mail").click()
        admin.page.keyboard.type(wanted.username[-8:])
        expect(admin.row(others[0].username)).to_have_count(0)
    expect(admin.row(wanted.username)).to_be_visible()
    expect(admin.page.get_by_role("row")).to_have_count(2)
    # What was asked for is in the address: a reload shows the same.
    admin.page.reload()
    expect(admin.row(wanted.username)).to_be_visible()
    expect(admin.page.get_by_role("row")).to_have_count(2)
    admin.search(unique("nobody"))
    admin.says(f"No {NOUNS[population]}s match.")
    admin.button("Clear all filters").click()
    expect(admin.row(others[0].username)).to_be_visible()


@BOTH
def test_create(admin: Desk, people: People, population: Population) -> None:
    name = unique("created")
    people.removes(population, name)
    admin.go_to(population)
    with admin.few_clicks():
        admin.button(f"Add {NOUNS[population]}").click()
        form = admin.dialog(f"Add {NOUNS[population]}")
        form.get_by_label("User name").fill(name)
        form.get_by_label("E-mail address").fill(f"{name}@example.com")
        form.get_by_label("Display name").fill("Zoë Ωmega")
        form.get_by_role("button", name="Create").click()
        given = admin.dialog(f"One-time password of {name}")
        expect(given).to_be_visible()
    one_time = given.get_by_label("One-time password", exact=True).input_value()
    given.get_by_role("button", name="I have passed it on").click()
    expect(admin.row(name)).to_contain_text("Zoë Ωmega")
    found = people.find(population, name)
    assert found is not None
    assert found["email"] == f"{name}@example.com"
    account = Account(population, found["id"], name, found["email"], one_time)
    answer = people.log_in(account)
    assert must_choose_a_password(answer.status_code, answer.json())


def must_choose_a_password(status: int, answer: dict[str, object]) -> bool:
    """Whether a login worked, with a password that serves to choose another one only."""
    return status == 200 and answer["must_change_password"] is True


@BOTH
def test_create_keeps_what_was_typed_when_it_is_refused(
    admin: Desk, people: People, population: Population
) -> None:
    taken = people.create(population)
    name = unique("created")
    people.removes(population, name)
    admin.watch.expects(409)
    admin.go_to(population)
    admin.button(f"Add {NOUNS[population]}").click()
    form = admin.dialog(f"Add {NOUNS[population]}")
    form.get_by_label("User name").fill(taken.username)
    form.get_by_label("E-mail address").fill(f"{name}@example.com")
    form.get_by_role("button", name="Create").click()
    expect(form.get_by_label("User name")).to_have_attribute("aria-invalid", "true")
    expect(form.get_by_label("E-mail address")).to_have_value(f"{name}@example.com")
    form.get_by_label("User name").fill(name)
    form.get_by_role("button", name="Create").click()
    expect(admin.dialog(f"One-time password of {name}")).to_be_visible()


@BOTH
def test_edit(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    admin.go_to(population)
    with admin.few_clicks():
        admin.act(account, "Edit…")
        form = admin.dialog(f"Edit {account.username}")
        form.get_by_label("Display name").fill("Marta of the harbour")
        form.get_by_label("About").fill("Ships, mostly.")
        form.get_by_role("button", name="Save").click()
        admin.says(f"{account.username} is saved.")
    expect(admin.row(account.username)).to_contain_text("Marta of the harbour")
    found = people.answer("GET", account.path)
    assert (found["display_name"], found["bio"]) == ("Marta of the harbour", "Ships, mostly.")


def test_ones_own_address_takes_the_password(desk: Desk, people: People) -> None:
    me = people.administrator()
    desk.begin_as(me, f"/settings/admin/users?q={me.username}")
    desk.act(me, "Edit…")
    form = desk.dialog(f"Edit {me.username}")
    password = form.get_by_label("Current password")
    save = form.get_by_role("button", name="Save")
    expect(form.get_by_label("Display name")).to_be_visible()
    expect(password).to_have_count(0)
    form.get_by_label("E-mail address").fill(f"new.{me.email}")
    password.fill("wrong-wrong-wrong")
    desk.watch.expects(403)
    save.click()
    expect(form).to_contain_text("The current password is not correct.")
    expect(password).to_be_focused()
    expect(password).to_have_value("")
    password.fill(me.password)
    save.click()
    desk.says(f"{me.username} is saved.")
    assert people.answer("GET", me.path)["email"] == f"new.{me.email}"


@BOTH
def test_disable_and_enable(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    token = begin_session(people, account)
    admin.go_to(population)
    with admin.few_clicks():
        admin.act(account, "Disable…")
        admin.dialog().get_by_role("button", name="Disable").click()
        admin.says(f"{account.username} is disabled")
    expect(admin.row(account.username)).to_contain_text("Disabled")
    assert not session_lives(people, account, token)
    assert people.log_in(account).status_code == 401
    with admin.few_clicks():
        admin.act(account, "Enable")
        admin.says(f"{account.username} is enabled.")
    expect(admin.row(account.username)).to_contain_text("Active")
    assert people.log_in(account).status_code == 200


@BOTH
def test_force_logout(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    tokens = [begin_session(people, account) for _ in range(2)]
    assert all(session_lives(people, account, token) for token in tokens)
    admin.go_to(population)
    with admin.few_clicks():
        admin.act(account, "End sessions…")
        admin.dialog().get_by_role("button", name="End sessions").click()
        admin.says(f"{account.username} is logged out everywhere.")
    assert not any(session_lives(people, account, token) for token in tokens)
    assert people.log_in(account).status_code == 200


@BOTH
def test_reset_the_password(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    token = begin_session(people, account)
    admin.go_to(population)
    with admin.few_clicks():
        admin.act(account, "Reset password…")
        admin.dialog().get_by_role("button", name="Reset password").click()
        given = admin.dialog(f"One-time password of {account.username}")
        expect(given).to_be_visible()
    one_time = given.get_by_label("One-time password", exact=True).input_value()
    # A stray Escape does not lose it.
    admin.page.keyboard.press("Escape")
    expect(given).to_be_visible()
    given.get_by_role("button", name="I have passed it on").click()
    assert not session_lives(people, account, token)
    assert people.log_in(account).status_code == 401
    answer = people.log_in(account, one_time)
    assert must_choose_a_password(answer.status_code, answer.json())


@BOTH
def test_unlock(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    people.lock(account)
    admin.go_to(population)
    with admin.few_clicks():
        admin.act(account, "Unlock")
        admin.says(f"{account.username} is unlocked")
    assert people.log_in(account).status_code == 200


@BOTH
def test_assign_a_role(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    admin.go_to(population)
    with admin.few_clicks():
        admin.act(account, "Roles…")
        admin.dialog().get_by_role("checkbox", name="readonly").click()
        admin.page.keyboard.press("Enter")
        admin.says(f"The roles of {account.username} are saved.")
    expect(admin.row(account.username)).to_contain_text("readonly")
    assert [r["name"] for r in people.answer("GET", account.path)["roles"]] == ["readonly"]
    admin.act(account, "Roles…")
    admin.dialog().get_by_role("checkbox", name="readonly").click()
    admin.dialog().get_by_role("button", name="Save").click()
    expect(admin.row(account.username)).not_to_contain_text("readonly")
    assert people.answer("GET", account.path)["roles"] == []


def test_put_somebody_into_a_team(admin: Desk, people: People) -> None:
    team = people.team()
    account = people.create("autobot")
    admin.go_to("autobot")
    with admin.few_clicks():
        admin.act(account, "Teams…")
        admin.dialog().get_by_label("Add to a team").click()
        admin.page.keyboard.type(team["name"])
        expect(admin.choices).to_have_count(1)
        admin.page.keyboard.press("ArrowDown")
        admin.page.keyboard.press("Enter")
        admin.page.keyboard.press("Enter")
        admin.says(f"{account.username} is in the team.")
    members = people.answer("GET", f"/api/autobot-teams/{team['id']}/members")["members"]
    assert [(m["user_id"], m["role"]) for m in members] == [(account.id, "member")]
    admin.dialog().get_by_label(f"Role in {team['name']}").select_option("Admin")
    admin.says(f"{account.username} is admin of the team.")
    admin.dialog().get_by_role("button", name=f"Remove from {team['name']}").click()
    admin.says(f"{account.username} is out of the team.")
    members = people.answer("GET", f"/api/autobot-teams/{team['id']}/members")["members"]
    assert members == []


def text_of(download: Download) -> str:
    return download.path().read_text()


@BOTH
def test_export(admin: Desk, people: People, population: Population) -> None:
    shared = unique("export")
    wanted = [
        people.create(population, username=f"{shared}_{n}", display_name=f'=1+{n}, "x"')
        for n in range(2)
    ]
    people.create(population)
    admin.go_to(population)
    admin.search(shared)
    expect(admin.page.get_by_role("row")).to_have_count(3)
    with admin.few_clicks(), admin.page.expect_download() as saved:
        admin.button("Export").click()
        admin.page.get_by_role("menuitem", name="CSV, for spreadsheets").click()
    assert saved.value.suggested_filename.startswith(f"{population}-users-")
    rows = list(csv.DictReader(io.StringIO(text_of(saved.value))))
    assert {row["username"] for row in rows} == {account.username for account in wanted}
    with admin.page.expect_download() as saved:
        admin.button("Export").click()
        admin.page.get_by_role("menuitem", name="NDJSON, for programs").click()
    names = [json.loads(line).get("username") for line in text_of(saved.value).splitlines()]
    assert {account.username for account in wanted} <= set(names)
    assert "$2b$" not in text_of(saved.value)


@BOTH
def test_delete_is_confirmed_by_name(admin: Desk, people: People, population: Population) -> None:
    account = people.create(population)
    admin.go_to(population)
    with admin.few_clicks():
        admin.act(account, "Delete…")
        question = admin.dialog(f"Delete {account.username}?")
        go = question.get_by_role("button", name="Delete")
        expect(go).to_be_disabled()
        name = question.get_by_label(f"Type {account.username} to confirm")
        name.fill(account.username[:-1])
        expect(go).to_be_disabled()
        name.fill(account.username)
        go.click()
        admin.says(f"{account.username} is deleted.")
    expect(admin.row(account.email)).to_have_count(0)
    assert people.api.get(account.path).status_code == 404
    assert people.log_in(account).status_code == 401


def test_delete_who_owns_a_team_once_somebody_else_does(admin: Desk, people: People) -> None:
    organization = people.organization()
    owner, heir = (people.create("autobot", org_id=organization["id"]) for _ in range(2))
    team = people.team(organization_id=organization["id"], owner_id=owner.id)
    admin.watch.expects(409)
    admin.go_to("autobot")
    admin.act(owner, "Delete…")
    question = admin.dialog(f"Delete {owner.username}?")
    question.get_by_label(f"Type {owner.username} to confirm").fill(owner.username)
    question.get_by_role("button", name="Delete").click()
    admin.hand_over(team["name"])
    admin.says(f"{owner.username} is deleted.")
    [left] = people.answer("GET", f"/api/autobot-teams/{team['id']}/members")["members"]
    assert (left["user_id"], left["role"]) == (heir.id, "owner")


@BOTH
def test_many_at_once_of_whom_one_fails(
    admin: Desk, people: People, population: Population
) -> None:
    shared = unique("many")
    chosen = [people.create(population, username=f"{shared}_{n}") for n in range(4)]
    admin.go_to(population)
    admin.search(shared)
    expect(admin.page.get_by_role("row")).to_have_count(5)
    for account in chosen[:3]:
        admin.page.get_by_label(f"Choose {account.username}").check()
    gone, *others = chosen[:3]
    assert people.api.delete(gone.path).status_code == 204
    admin.watch.expects(404)
    admin.button("Actions on all of them").click()
    admin.page.get_by_role("menuitem", name="Disable…").click()
    dialog = admin.dialog(f"Disable: 3 {NOUNS[population]}s")
    dialog.get_by_role("button", name="Disable").click()
    expect(dialog).to_contain_text("2 done, 1 failed")
    expect(dialog.get_by_label("Who failed, and why")).to_contain_text(gone.username)
    dialog.get_by_role("button", name="Close").last.click()
    # Who failed stays chosen.
    expect(admin.page.get_by_label("Selection")).to_contain_text(f"1 {NOUNS[population]} chosen")
    assert [people.answer("GET", each.path)["is_active"] for each in others] == [False, False]
    assert people.answer("GET", chosen[3].path)["is_active"] is True


def test_delete_many_is_confirmed_by_their_number(admin: Desk, people: People) -> None:
    shared = unique("many")
    chosen = [people.create("autobot", username=f"{shared}_{n}") for n in range(3)]
    admin.go_to("autobot")
    admin.search(shared)
    expect(admin.page.get_by_role("row")).to_have_count(4)
    admin.page.get_by_label("Choose all on this page").check()
    admin.button("Actions on all of them").click()
    admin.page.get_by_role("menuitem", name="Delete…").click()
    dialog = admin.dialog("Delete: 3 users")
    expect(dialog.get_by_role("button", name="Delete")).to_be_disabled()
    dialog.get_by_label("Type delete 3 users to confirm").fill("delete 3 users")
    dialog.get_by_role("button", name="Delete").click()
    admin.says("Delete: 3 of 3 done.")
    admin.says("No users match.")
    assert {people.api.get(account.path).status_code for account in chosen} == {404}


@BOTH
@pytest.mark.parametrize("column", ["User name", "E-mail", "Last login", "Created"])
def test_sort(admin: Desk, people: People, population: Population, column: str) -> None:
    shared = unique("sort")
    accounts = [
        people.create(population, username=f"{shared}_{n}", email=f"{9 - n}{shared}@example.com")
        for n in (2, 0, 1)
    ]
    by_login = [accounts[1], accounts[2], accounts[0]]
    for account in by_login:
        begin_session(people, account)
    ascending = {
        "User name": [accounts[1], accounts[2], accounts[0]],
        "E-mail": [accounts[0], accounts[2], accounts[1]],
        "Last login": by_login,
        "Created": accounts,
    }[column]
    admin.go_to(population)
    admin.search(shared)
    rows = admin.page.get_by_role("row").filter(has_text=shared)
    expect(rows).to_have_count(3)
    heading = admin.page.get_by_role("columnheader", name=column)
    for direction, wanted in [("ascending", ascending), ("descending", ascending[::-1])]:
        while heading.get_attribute("aria-sort") != direction:
            heading.get_by_role("button").click()
            expect(rows).to_have_count(3)
        for place, account in enumerate(wanted):
            expect(rows.nth(place)).to_contain_text(account.username)


@BOTH
def test_filters_stay_in_the_address(admin: Desk, people: People, population: Population) -> None:
    shared = unique("filter")
    active = people.create(population, username=f"{shared}_a")
    disabled = people.create(population, username=f"{shared}_b")
    people.update(disabled, is_active=False)
    admin.go_to(population)
    admin.search(shared)
    expect(admin.row(active.username)).to_be_visible()
    admin.page.get_by_label("Status").select_option("Disabled")
    expect(admin.row(active.username)).to_have_count(0)
    expect(admin.row(disabled.username)).to_be_visible()
    admin.page.reload()
    expect(admin.row(disabled.username)).to_be_visible()
    expect(admin.row(active.username)).to_have_count(0)
    admin.page.go_back()
    expect(admin.row(active.username)).to_be_visible()
