"""A first run that is killed beside AutoBot: nobody notices, and the next one completes it."""

from __future__ import annotations

import time

import pytest

from tests.lab.site import HOSTS, Figure, ansible, ansible_process, must, wait_until
from tests.lived_in.deploying import accept_what_is_proposed
from tests.lived_in.living import (
    everybody_is_answered,
    lost_by_machines,
    lost_by_people,
    wait_for_answers,
)

pytestmark = pytest.mark.usefixtures("lived_in")

KILLED_AT = (
    # Written, and the server goes on with the one that it has.
    "changed: [slm] => (item=pg_hba.conf)",
    # Nobody writes to AutoBot's users, and the copy of them is whole.
    "TASK [adoption : Put the copy in the place of what serves]",
)


def test_a_first_run_that_is_killed_twice_costs_nobody_an_answer(figure: Figure) -> None:
    accept_what_is_proposed()
    since = time.time()
    run_until(KILLED_AT[0])
    killed = time.time()
    wait_until(lambda: everybody_is_answered(killed), "AutoBot is at work after the killed run")
    run_until(KILLED_AT[1])
    run = ansible("site.yml")
    assert run.status == 0, run.tail()
    assert all(run.changed[name] for name in HOSTS), run.tail()
    asked = wait_for_answers(since, time.time())
    # While no run goes on that would end the fence, a program that writes is told so.
    lost = [it for it in lost_by_machines(asked) if it.kind != "activity"]
    figure("first run killed twice, then completed", f"{len(asked)} questions, {len(lost)} lost")
    assert lost == []
    assert [it for it in lost_by_people(asked) if ":8443" not in it.target] == []
    written = sum(it.said == "ok" for it in asked if it.kind == "activity")
    count = "SELECT count(*) FROM terminal_activities"
    rows = must("redis", "psql", "-XAtq", "-d", "autobot_users", "-c", count, user="postgres")
    assert int(rows) > written


def run_until(wanted: str) -> None:
    """A run that is killed at a line of its output."""
    said = []
    with ansible_process("site.yml") as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith(wanted):
                break
    assert said[-1].startswith(wanted), "".join(said[-60:])
