"""Ours beside AutoBot's, by one run: nobody loses anything, and a reboot keeps it so."""

from __future__ import annotations

import time
from collections import Counter

from deploying import Deployment
from lab import HOSTS, Figure, ansible, execute, wait_for_start, wait_until
from living import answers, everybody_is_answered, open_ports

# AutoBot's fleet manager has it on the loopback only.
OPENED = {("slm", 8000)}


def test_one_run_deploys_and_nobody_loses_an_answer(deployment: Deployment, figure: Figure) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    asked = Counter(it.target for it in deployment.answers)
    lost = [it for it in deployment.answers if it.said != "ok"]
    figure(
        "first run beside AutoBot",
        f"{deployment.run.seconds:.0f} s, {asked.total()} questions, {len(lost)} lost",
    )
    # Once a second, but for how slow the machine is.
    assert min(asked.values()) > 20, asked
    assert lost == []


def test_what_others_have_in_postgresql_goes_on(deployment: Deployment) -> None:
    """Their cluster runs as it ran, and their databases are whose and what they were."""
    before, after = deployment.others
    assert before["5433"].endswith("|C")
    assert before["5432"].splitlines() == ["reports|C|slm_app", "slm|en_US.UTF-8|slm_app"]
    assert after == before


def test_a_second_run_changes_nothing(deployment: Deployment) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    since = time.time()
    run = ansible("site.yml")
    assert run.status == 0, run.tail()
    assert run.changed == dict.fromkeys(("localhost", *HOSTS), 0), run.tail()
    end = time.time()
    wait_until(lambda: everybody_is_answered(end), "AutoBot is at work after the second run")
    assert [it for it in answers(since) if it.said != "ok"] == []


def test_after_a_reboot_the_same_ports_are_open(deployment: Deployment) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    for name in HOSTS:
        execute(["podman", "restart", "--time", "10", name])
    for name in HOSTS:
        wait_for_start(name)
    now = time.time()
    wait_until(lambda: everybody_is_answered(now), "AutoBot is at work after the reboot")
    found = open_ports(deployment.ports, deployment.addresses)
    assert found == deployment.open_before | OPENED
