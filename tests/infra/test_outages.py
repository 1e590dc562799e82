"""The database of the AutoBot users is away; fleet administrators do not notice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import httpx2
import pytest

from tests.lab.site import Administrator, Figure, Site, bearer, must, wait_until

# They measure how soon an answer comes.
pytestmark = pytest.mark.alone

UNIT = "autobot-slm-users.service"
# A table of its own, so that the host's firewall stays as it is. Nothing is refused: packets of
# existing connections vanish too.
CUT = """
table inet tests_cut {
    chain input {
        type filter hook input priority -200; policy accept;
        tcp dport 5432 iifname "eth0" drop
    }
    chain output {
        type filter hook output priority -200; policy accept;
        tcp sport 5432 oifname "eth0" drop
    }
}
"""


@contextmanager
def stopped() -> Iterator[None]:
    """PostgreSQL on redis is stopped."""
    # The cluster's own unit too: stopping the general one does not wait for it.
    must("redis", "systemctl", "stop", "postgresql", "postgresql@*")
    try:
        yield
    finally:
        must("redis", "systemctl", "start", "postgresql")


@contextmanager
def silent() -> Iterator[None]:
    """PostgreSQL on redis runs, but no packet comes through."""
    must("redis", "nft", "-f", "-", stdin=CUT)
    try:
        yield
    finally:
        must("redis", "nft", "delete", "table", "inet", "tests_cut")


@pytest.mark.parametrize("outage", [stopped, silent])
def test_an_outage_of_autobot_users_is_contained_and_heals(
    site: Site,
    administrator: Administrator,
    figure: Figure,
    outage: Callable[[], AbstractContextManager[None]],
) -> None:
    pid = must("slm", "systemctl", "show", "--property=MainPID", UNIT)
    with site.client() as client:
        headers = bearer(administrator.login(client))
        answered = client.get("/api/autobot-users", headers=headers)
        assert answered.status_code == 200, answered.text
        slowest = 0.0
        with outage():
            for _ in range(3):
                start = time.monotonic()
                refused = client.get("/api/autobot-users", headers=headers)
                seconds = time.monotonic() - start
                slowest = max(slowest, seconds)
                assert refused.status_code == 503, refused.text
                assert refused.headers["content-type"].startswith("application/problem+json")
                assert refused.json()["detail"]
                assert int(refused.headers["retry-after"]) >= 1
                assert seconds < 3

                start = time.monotonic()
                login = administrator.login(client)
                assert login.status_code == 200, login.text
                assert time.monotonic() - start < 3
            assert client.get("/api/slm-users", headers=headers).status_code == 200
            assert client.get("/health/live").status_code == 200
            ready = client.get("/health/ready")
            assert ready.status_code == 503
            assert "autobot" in ready.text

        def healed() -> bool:
            return client.get("/api/autobot-users", headers=headers).status_code == 200

        seconds = wait_until(healed, "the AutoBot users are back", 15)
    figure(
        f"autobot_users {outage.__name__}", f"503 within {slowest:.2f} s, healed in {seconds:.1f} s"
    )
    assert must("slm", "systemctl", "show", "--property=MainPID", UNIT) == pid


def test_the_service_starts_while_autobot_users_is_away(
    site: Site, administrator: Administrator
) -> None:
    with silent(), site.client() as client:
        must("slm", "systemctl", "restart", UNIT)
        login = administrator.login(client)
        assert login.status_code == 200, login.text
        assert client.get("/api/autobot-users", headers=bearer(login)).status_code == 503

    def ready() -> bool:
        try:
            with site.client() as again:
                return again.get("/health/ready").status_code == 200
        except httpx2.HTTPError:
            return False

    wait_until(ready, "the service is ready again", 15)
