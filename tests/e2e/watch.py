"""What a browser must not do in a test: errors, violations of the policy, requests elsewhere."""

from __future__ import annotations

import re

from playwright.sync_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, WebError

# In each page from its beginning. What it counts survives until the next page is loaded.
PRELUDE = """
document.addEventListener('securitypolicyviolation', (event) =>
  console.error('policy violated:', event.violatedDirective, event.blockedURI, event.sample),
)
globalThis.clicks = 0
document.addEventListener('pointerdown', (event) => {
  // A list of the browser's own opens, and takes another click that no page sees.
  if (event.isTrusted) globalThis.clicks += event.target.closest('select') ? 2 : 1
}, { capture: true })
"""
FAILED_REQUEST = re.compile(
    r"^Failed to load resource: (?:the server responded with a status of (\d+)|(net::\w+))"
)


class Watch:
    """Notes what goes wrong in any page of a context; what a test provokes, it says beforehand."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.origin = origin
        self.faults: list[str] = []
        self._expected: set[int | str] = set()
        self._seen: set[int | str] = set()
        context.add_init_script(PRELUDE)
        context.on("console", self._console)
        context.on("weberror", self._exception)
        context.on("request", self._request)
        context.on("dialog", self._dialog)

    def expects(self, *answers: int | str) -> None:
        """Say which statuses, or errors of the network, are part of the test. They have to come."""
        self._expected.update(answers)

    def judge(self) -> None:
        """AssertionError unless all went as it should."""
        missing = self._expected - self._seen
        assert not self.faults, "\n".join(self.faults)
        assert not missing, f"expected and not seen: {missing}"

    def _console(self, message: ConsoleMessage) -> None:
        if message.type not in {"error", "warning"}:
            return
        if failed := FAILED_REQUEST.match(message.text):
            answer = int(failed[1]) if failed[1] else failed[2]
            self._seen.add(answer)
            if answer in self._expected:
                return
        where = message.location.get("url", "")
        self.faults.append(f"{message.type} on the console: {message.text} ({where})")

    def _exception(self, error: WebError) -> None:
        self.faults.append(f"uncaught: {error.error}")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", f"blob:{self.origin}/")):
            self.faults.append(f"a request that leaves the origin: {request.url}")

    def _dialog(self, dialog: Dialog) -> None:
        self.faults.append(f"a dialog of the browser: {dialog.type} {dialog.message}")
        dialog.dismiss()


def clicks(page: Page) -> int:
    """How often somebody has clicked since the page was loaded."""
    count: int = page.evaluate("clicks")
    return count
