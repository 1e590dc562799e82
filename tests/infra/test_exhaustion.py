"""Connections that somebody opens and does not use: everybody else goes on."""

from __future__ import annotations

import time

import pytest

from tests.infra.attackers import SLOW_CLIENTS, STARTUPS, attacker
from tests.lab.people import People
from tests.lab.site import Administrator, Figure, Site, must, on, superuser

# An attack takes all that the machine has.
pytestmark = pytest.mark.alone

ROOT, NOBODY = 0, 65534
# As systemd makes users for services: who has taken over one has no smaller share.
SERVICE = 61200


@pytest.mark.parametrize(
    ("name", "user", "role"),
    [("backend", ROOT, "autobot_backend"), ("slm", NOBODY, "slm_service")],
)
def test_half_open_logins_keep_nobody_out(
    site: Site,
    administrator: Administrator,
    people: People,
    figure: Figure,
    name: str,
    user: int,
    role: str,
) -> None:
    """Also not those who come from the attacker's own host, and who have no connection yet."""
    somebody = people.create("autobot")
    redis = site.addresses["redis"]
    with attacker(name, STARTUPS, redis, role, "autobot_users", "150", user=user) as attack:
        attack.wait_for(10)
        must("backend", "systemctl", "restart", "autobot-auth.service")
        must("slm", "systemctl", "restart", "autobot-slm-users.service")
        slowest = everything_goes_on(site, administrator, somebody.username, somebody.password)
        assert attack.held() >= 10
    figure(f"half-open logins from {name}: slowest login", f"{slowest:.1f} s")


def test_who_has_taken_over_the_backend_keeps_only_the_backend_out(
    site: Site, administrator: Administrator, figure: Figure
) -> None:
    redis = site.addresses["redis"]
    with attacker(
        "backend", STARTUPS, redis, "autobot_backend", "autobot_users", "150", user=SERVICE
    ) as attack:
        attack.wait_for(30)
        # Those who have not logged in are in no view of the server.
        used = must("redis", *("ss", "-Htn", "state", "established", "sport = :5432")).count("\n")
        ((slots,),) = superuser("redis", "postgres", "SHOW max_connections")
        assert used < int(slots) - 20
        slowest = everything_goes_on(site, administrator)
        assert attack.held() >= 30
    figure("slots of redis under attack", f"{used} of {slots}; slowest login {slowest:.1f} s")


def everything_goes_on(site: Site, administrator: Administrator, *somebody: str) -> float:
    """Logins, doctor, a backup, an operator; the seconds of the slowest login."""
    slowest = 0.0
    for _ in range(5):
        start = time.monotonic()
        with site.client() as client:
            login = administrator.login(client)
            assert login.status_code == 200, login.text
        if somebody:
            with site.backend_client() as client:
                login = client.post(
                    "/api/auth/login",
                    json=dict(zip(("username", "password"), somebody, strict=True)),
                )
                assert login.status_code == 200, login.text
        slowest = max(slowest, time.monotonic() - start)
    doctor = on("slm", "slm", "doctor")
    assert doctor.status == 0, doctor.text
    assert superuser("redis", "autobot_users", "SELECT 'in'") == [["in"]]
    must("redis", "systemctl", "start", "autobot-backup-incr.service")
    return slowest


@pytest.mark.parametrize("who", ["outsider", "backend"])
def test_two_thousand_slow_clients_take_nothing_away(
    site: Site, administrator: Administrator, figure: Figure, who: str
) -> None:
    slowest = 0.0
    with attacker(who, SLOW_CLIENTS, site.addresses["slm"], "443", "8000", "400") as attack:
        attack.wait_for(1500)
        for _ in range(10):
            start = time.monotonic()
            with site.client() as client:
                login = administrator.login(client)
                assert login.status_code == 200, login.text
            slowest = max(slowest, time.monotonic() - start)
        held = attack.held()
        assert held > 1000
    figure(f"{held} slow clients: slowest login", f"{slowest:.1f} s")
