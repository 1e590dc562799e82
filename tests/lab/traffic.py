"""People at work while the site changes under them: 3.5 requests a second, 50 with FULL=1.

The rate does not wait for the answers: a service that stands still for a second has as many
requests to answer after it, as it would have with people.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx2

from tests.lab.people import Account
from tests.lab.site import Site, wait_until
from tests.support.budgets import budget

# Requests a second. Hashing a password takes a core for a fifth of a second: logins are few.
RATES = budget(
    small={
        "SLM login": 0.125,
        "SLM me": 0.75,
        "SLM list of administrators": 0.5,
        "SLM list of users": 0.5,
        "backend login": 0.125,
        "backend me": 1.5,
    },
    full={
        "SLM login": 1.0,
        "SLM me": 9.0,
        "SLM list of administrators": 7.0,
        "SLM list of users": 7.0,
        "backend login": 1.0,
        "backend me": 25.0,
    },
)
RATE = sum(RATES.values())


@dataclass
class Traffic:
    """What the requests were answered so far. A failure is whatever is not 200."""

    asked: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0

    def note(self, what: str, seconds: float, failure: str = "") -> None:
        self.asked[what] += 1
        self.slowest = max(self.slowest, seconds)
        if failure:
            self.failures.append(f"{time.strftime('%T')} {what} after {seconds:.2f} s: {failure}")

    @property
    def summary(self) -> str:
        return (
            f"{self.asked.total()} requests, {len(self.failures)} failed, "
            f"slowest {self.slowest:.1f} s"
        )

    def judge(self) -> None:
        """Every kind of request was made, and none failed."""
        assert set(self.asked) == set(RATES)
        assert not self.failures, "\n".join([self.summary, *self.failures[:20]])


class _People:
    """One administrator and one user, with the token of before and that of the last login."""

    def __init__(self, site: Site, administrator: Account, user: Account) -> None:
        self._site = site
        self._accounts = {"SLM": administrator, "backend": user}
        self._tokens: dict[str, list[str]] = {"SLM": [], "backend": []}
        self._clients = {
            "SLM": self._client(site.slm_url),
            "backend": self._client(site.backend_url),
        }

    def _client(self, url: str) -> httpx2.AsyncClient:
        context = ssl.create_default_context(cafile=str(self._site.ca))
        return httpx2.AsyncClient(base_url=url, verify=context, trust_env=False, timeout=30)

    async def login(self, service: str) -> httpx2.Response:
        account = self._accounts[service]
        # A new connection, as of somebody who has just opened the page.
        async with self._client(str(self._clients[service].base_url)) as client:
            answer = await client.post(
                "/api/slm-auth/login" if service == "SLM" else "/api/auth/login",
                json={"username": account.username, "password": account.password},
            )
        if answer.status_code == 200:
            body = answer.json()
            self._tokens[service][1:] = [
                body["access_token"] if service == "SLM" else body["token"]
            ]
        return answer

    async def first_logins(self) -> None:
        for service in self._tokens:
            for _ in range(2):
                answer = await self.login(service)
                assert answer.status_code == 200, answer.text

    async def send(self, what: str, number: int) -> httpx2.Response:
        service, _, kind = what.partition(" ")
        if kind == "login":
            return await self.login(service)
        path = {
            "SLM me": "/api/slm-auth/me",
            "SLM list of administrators": "/api/slm-users?limit=20",
            "SLM list of users": "/api/autobot-users?limit=20",
            "backend me": "/api/auth/me",
        }[what]
        # In turn the session of before and the newest one.
        token = self._tokens[service][number % 2]
        return await self._clients[service].get(path, headers={"Authorization": f"Bearer {token}"})

    async def close(self) -> None:
        for client in self._clients.values():
            await client.aclose()


async def _one(people: _People, traffic: Traffic, what: str, number: int) -> None:
    start = time.monotonic()
    failure = ""
    try:
        answer = await people.send(what, number)
        if answer.status_code != 200:
            failure = f"{answer.status_code} {answer.text[:200]}"
    except (httpx2.HTTPError, OSError) as error:
        failure = repr(error)
    traffic.note(what, time.monotonic() - start, failure)


async def _stream(
    people: _People, traffic: Traffic, what: str, ended: threading.Event, group: asyncio.TaskGroup
) -> None:
    start, number = time.monotonic(), 0
    while not ended.is_set():
        group.create_task(_one(people, traffic, what, number))
        number += 1
        await asyncio.sleep(max(0.0, start + number / RATES[what] - time.monotonic()))


async def _work(
    site: Site, accounts: tuple[Account, Account], traffic: Traffic, ended: threading.Event
) -> None:
    people = _People(site, *accounts)
    try:
        await people.first_logins()
        async with asyncio.TaskGroup() as group:
            for what in RATES:
                group.create_task(_stream(people, traffic, what, ended, group))
    finally:
        await people.close()


@contextlib.contextmanager
def traffic(site: Site, administrator: Account, user: Account) -> Iterator[Traffic]:
    """Send requests meanwhile; all that were sent have been answered at the end.

    The controller is a machine of its own. Here it shares the processors with the site: what it
    runs meanwhile comes after that.
    """
    seen, ended = Traffic(), threading.Event()
    worker = threading.Thread(
        target=lambda: asyncio.run(_work(site, (administrator, user), seen, ended))
    )
    worker.start()
    # Of this thread and what it starts, not of the one that sends.
    usual = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)
    try:
        wait_until(lambda: seen.asked.total() > RATE or not worker.is_alive(), "the traffic flows")
        yield seen
    finally:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), usual)
        ended.set()
        worker.join()
