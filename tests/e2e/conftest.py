"""Judges the admin UI as people use it: Chromium, through nginx and TLS, in the lab."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.e2e.browsing import AXE, Desk, NewDesk
from tests.e2e.watch import Watch
from tests.lab.fixtures import (
    administrator,
    api,
    close_connections,
    figure,
    people,
    refuse_to_judge_less,
    site,
)
from tests.lab.people import People
from tests.lab.site import Site

__all__ = ["administrator", "api", "close_connections", "figure", "people", "site"]

HERE = Path(__file__).parent
# A run of the whole directory that collects fewer tests than this proves less than it says.
FEWEST_TESTS = 135

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
# Milliseconds: ten times as long as a person would wait for anything. A machine may be slow.
PATIENCE = 50_000


# Before any is left out by its marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse to judge without a lab, with fewer tests than there are, or without axe-core."""
    refuse_to_judge_less(config, items, HERE, FEWEST_TESTS)
    if not AXE.is_file() and not config.option.collectonly:
        pytest.exit(f"There is no {AXE}. Run `scripts/bootstrap test` first.", 1)


def public_key_of(url: httpx2.URL, ca: Path) -> str:
    """The hash of the public key that a server shows to who trusts the CA and nobody else."""
    context = ssl.create_default_context(cafile=str(ca))
    with (
        socket.create_connection((url.host, url.port or 443), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=url.host) as connection,
    ):
        certificate = x509.load_der_x509_certificate(connection.getpeercert(True) or b"")
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as started:
        expect.set_options(timeout=PATIENCE)
        yield started


@pytest.fixture(scope="session")
def browser(playwright: Playwright, site: Site) -> Iterator[Browser]:
    """Chromium, which accepts one certificate that the system does not know: the lab's."""
    url = httpx2.URL(site.slm_url)
    trust = []
    if url.scheme == "https":
        trust = [f"--ignore-certificate-errors-spki-list={public_key_of(url, site.ca)}"]
    started = playwright.chromium.launch(
        executable_path=CHROMIUM, args=[*FLAGS, *trust], headless=True
    )
    yield started
    started.close()


@pytest.fixture
def new_desk(browser: Browser, people: People) -> Iterator[NewDesk]:
    """Make browser windows; each is judged at the end of the test: `new_desk()`.

    They are closed before the people are removed: a page that reads on would be told 401.
    """
    desks: list[Desk] = []

    def open_one(**options: Any) -> Desk:
        settings = {
            "locale": "en-GB",
            "timezone_id": "Europe/Riga",
            "viewport": {"width": 1280, "height": 900},
            "reduced_motion": "reduce",
            **options,
        }
        context = browser.new_context(**settings)
        context.set_default_timeout(PATIENCE)
        watch = Watch(context, people.site.slm_url)
        desks.append(Desk(context.new_page(), watch))
        return desks[-1]

    yield open_one
    for desk in desks:
        desk.context.close()
    for desk in desks:
        desk.watch.judge()


@pytest.fixture
def desk(new_desk: NewDesk) -> Desk:
    """The browser window of the person whom the test is about."""
    return new_desk()


@pytest.fixture
def admin(desk: Desk, people: People) -> Desk:
    """The window of an administrator, who is logged in and sees the administrators."""
    desk.begin_as(people.administrator())
    desk.is_at("slm")
    return desk
