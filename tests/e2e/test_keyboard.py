"""Without a mouse: everything is reached, operated, and left where it began."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.e2e.browsing import Desk
from tests.lab.people import People
from tests.lab.site import unique

# Whether the focus can be seen: an outline that has a width and a colour.
HAS_OUTLINE = """(element) => {
  const style = getComputedStyle(element)
  return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
}"""


def press(desk: Desk, *keys: str) -> None:
    for key in keys:
        desk.page.keyboard.press(key)


def tab_to(desk: Desk, wanted: Locator, key: str = "Tab") -> None:
    """Press the tab key until it is reached; the focus is visible all the way."""
    for _ in range(60):
        if wanted.evaluate("(element) => element === document.activeElement"):
            return
        press(desk, key)
        focused = desk.page.locator(":focus")
        if focused.count():
            assert focused.evaluate(HAS_OUTLINE), focused.evaluate("(e) => e.outerHTML")
    raise AssertionError(f"not reached by {key}: {wanted}")


def test_log_in_create_look_and_close(desk: Desk, people: People) -> None:
    me = people.administrator()
    desk.open("/login")
    tab_to(desk, desk.page.get_by_label("User name or e-mail address"))
    desk.page.keyboard.type(me.username)
    tab_to(desk, desk.page.get_by_label("Password"))
    desk.page.keyboard.type(me.password)
    press(desk, "Enter")
    desk.is_at("slm")

    name = unique("keyboard")
    people.removes("slm", name)
    add = desk.button("Add administrator")
    tab_to(desk, add)
    press(desk, "Enter")
    form = desk.dialog("Add administrator")
    tab_to(desk, form.get_by_label("User name"))
    desk.page.keyboard.type(name)
    tab_to(desk, form.get_by_label("E-mail address"))
    desk.page.keyboard.type(f"{name}@example.com")
    press(desk, "Enter")
    given = desk.dialog(f"One-time password of {name}")
    expect(given).to_be_visible()
    tab_to(desk, given.get_by_role("button", name="I have passed it on"))
    press(desk, "Enter")
    expect(given).to_have_count(0)
    expect(add).to_be_focused()

    opener = desk.link(name)
    tab_to(desk, opener)
    press(desk, "Enter")
    drawer = desk.dialog(name)
    expect(drawer).to_be_visible()
    # The focus stays in the drawer.
    for _ in range(30):
        press(desk, "Tab")
        assert drawer.evaluate("(element) => element.contains(document.activeElement)")
    press(desk, "Escape")
    expect(drawer).to_have_count(0)
    expect(opener).to_be_focused()


def test_a_menu_is_operated_with_arrows_and_gives_the_focus_back(
    admin: Desk, people: People
) -> None:
    account = people.create("slm")
    admin.go_to("slm")
    menu = admin.button(f"Actions on {account.username}")
    tab_to(admin, menu)
    press(admin, "Enter", "Escape")
    expect(menu).to_be_focused()
    press(admin, "Enter")
    expect(admin.page.get_by_role("menuitem", name="Edit…")).to_be_focused()
    press(admin, "ArrowDown")
    expect(admin.page.get_by_role("menuitem", name="Disable…")).to_be_focused()
    press(admin, "Enter")
    expect(admin.dialog(f"Disable {account.username}?")).to_be_visible()
    press(admin, "Escape")
    expect(menu).to_be_focused()


def test_the_skip_link_leads_past_the_tabs(admin: Desk) -> None:
    admin.page.reload()
    admin.is_at("slm")
    press(admin, "Tab")
    skip = admin.page.get_by_role("link", name="Skip to the content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    press(admin, "Enter")
    expect(admin.page.get_by_role("main")).to_be_focused()
