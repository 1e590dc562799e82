"""What a person does in the admin UI, in words of the screen."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.e2e.watch import Watch, clicks
from tests.lab.people import Account, Population
from tests.lab.site import ROOT

TABS: dict[Population, str] = {"slm": "SLM Administrators", "autobot": "AutoBot Users"}
HEADINGS: dict[Population, str] = {
    "slm": "SLM Fleet Administrators",
    "autobot": "AutoBot Application Users",
}
NOUNS: dict[Population, str] = {"slm": "administrator", "autobot": "user"}
ACCESS_COOKIE = "__Host-slm-access"
AXE = ROOT / "service/admin_ui/node_modules/axe-core/axe.min.js"
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

POPUP = "data-reka-popper-con"

PAGES = "/user-management"


class Desk:
    """A browser window of somebody, on one page of the site."""

    def __init__(self, page: Page, watch: Watch) -> None:
        self.page = page
        self.watch = watch

    @property
    def context(self) -> BrowserContext:
        return self.page.context

    def another_tab(self) -> Desk:
        """A tab beside it, with the same cookies."""
        return Desk(self.context.new_page(), self.watch)

    def address(self, path: str) -> str:
        """Where a page of the admin UI is."""
        return f"{self.watch.origin}{PAGES}{path}"

    def open(self, path: str) -> None:
        """Go to a page of the admin UI."""
        self.page.goto(self.address(path))

    # What is on the screen.

    def heading(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("heading", name=name)

    def tab(self, name: str) -> Locator:
        return self.page.get_by_role("navigation", name="User management").get_by_role(
            "link", name=name, exact=True
        )

    def button(self, name: str | re.Pattern[str]) -> Locator:
        return self.page.get_by_role("button", name=name, exact=isinstance(name, str))

    def link(self, name: str) -> Locator:
        return self.page.get_by_role("link", name=name, exact=True)

    def dialog(self, name: str | re.Pattern[str] | None = None) -> Locator:
        return self.page.get_by_role("dialog", name=name)

    @property
    def choices(self) -> Locator:
        """What the open list of a box that searches offers."""
        return self.page.get_by_role("listbox", name="Choices").get_by_role("option")

    def row(self, text: str) -> Locator:
        return self.page.get_by_role("row").filter(has_text=text)

    def says(self, text: str | re.Pattern[str]) -> None:
        """Wait until it is announced."""
        expect(self.page.get_by_role("status").filter(has_text=text).first).to_be_visible()

    # Logging in and out.

    def log_in(self, account: Account, password: str | None = None) -> None:
        """Fill the form that is on the screen, and send it."""
        self.page.get_by_label("User name or e-mail address").fill(account.username)
        self.page.get_by_label("Password").fill(password or account.password)
        self.button("Log in").click()

    def begin_as(self, account: Account, path: str = "/settings/admin/users") -> None:
        """Log in, and go to an address of the site."""
        self.open(f"/login?next={quote(path)}")
        self.log_in(account)
        self.page.wait_for_url(lambda url: "/login" not in url)

    def account_button(self, account: Account) -> Locator:
        return self.button(f"Account of {account.username}")

    def log_out(self, account: Account) -> None:
        self.account_button(account).click()
        self.page.get_by_role("menuitem", name="Log out").click()

    # What it says of a fault, and what the API answers to this person.

    @property
    def alert(self) -> Locator:
        return self.page.get_by_role("alert")

    def ask_api(self, method: str, path: str, body: Any = None) -> int:
        """The status of a request as a script of the page would send it."""
        status: int = self.page.evaluate(
            """([method, path, body]) => fetch(path, {
              method,
              headers: { 'X-CSRF': '1', 'Content-Type': 'application/json' },
              body: body && JSON.stringify(body),
            }).then((answer) => answer.status)""",
            [method, path, body],
        )
        return status

    # The lists of users.

    def go_to(self, population: Population) -> None:
        """Click the population's tab, and see those who are there now."""
        self.tab(TABS[population]).click()
        expect(self.heading(HEADINGS[population])).to_be_visible()
        self.page.reload()
        self.is_at(population)

    def is_at(self, population: Population) -> None:
        """Wait until the population's list is there."""
        expect(self.heading(HEADINGS[population])).to_be_visible()
        expect(self.page.get_by_role("row").nth(1)).to_be_visible()

    def search(self, text: str) -> None:
        self.page.get_by_role("searchbox", name="Search by name or e-mail").fill(text)

    def act(self, account: Account, action: str) -> None:
        """Choose an action from the menu of a user's row."""
        self.button(f"Actions on {account.username}").click()
        self.page.get_by_role("menuitem", name=action, exact=True).click()

    def actions_on(self, account: Account) -> list[str]:
        """What the menu of a user's row offers."""
        self.button(f"Actions on {account.username}").click()
        items = self.page.get_by_role("menuitem")
        expect(items.first).to_be_visible()
        names = items.all_inner_texts()
        self.page.keyboard.press("Escape")
        return names

    def hand_over(self, team: str) -> None:
        """In the dialog that asks for an owner, take the only one there is, by the keyboard."""
        choice = self.dialog("Choose a new owner")
        expect(choice).to_contain_text(team)
        expect(choice.get_by_label("New owner")).to_be_focused()
        self.page.keyboard.press("ArrowDown")
        expect(self.choices).to_have_count(1)
        # To the choice, take it, send the form.
        for key in ("ArrowDown", "Enter", "Enter"):
            self.page.keyboard.press(key)

    @contextmanager
    def few_clicks(self, most: int = 3) -> Iterator[None]:
        """AssertionError when it takes somebody more clicks than that."""
        before = clicks(self.page)
        yield
        taken = clicks(self.page) - before
        assert 0 < taken <= most, f"{taken} clicks"

    # What is wrong with it for people who cannot see it, or point.

    def axe(self) -> list[str]:
        """Faults that axe-core finds in the page as it stands, each in a line."""
        # Through the debugger: the page's policy lets no script in, and none is loosened for this.
        session = self.context.new_cdp_session(self.page)
        session.send("Runtime.evaluate", {"expression": AXE.read_text()})
        run = f"axe.run(document, {{runOnly: {json.dumps(AXE_RULES)}}})"
        answer = session.send(
            "Runtime.evaluate",
            {
                "expression": f"{run}.then((found) => found.violations)",
                "awaitPromise": True,
                "returnByValue": True,
            },
        )
        session.detach()
        assert "exceptionDetails" not in answer, answer
        violations: list[dict[str, Any]] = answer["result"]["value"]
        return [
            f"{fault['impact']} {fault['id']}: {node['html']} {node['failureSummary']}"
            for fault in violations
            for node in fault["nodes"]
            # A menu lies over the page, in no part of it.
            if not (fault["id"] == "region" and POPUP in node["html"])
        ]


# Opens a browser window of its own: `new_desk(color_scheme="dark")`, with Playwright's options.
NewDesk = Callable[..., Desk]
