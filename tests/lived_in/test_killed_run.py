"""A first run that is killed beside AutoBot: nobody notices, and the next one completes it."""

from __future__ import annotations

import time

import pytest

from deploying import accept_what_is_proposed
from lab import HOSTS, Figure, ansible, ansible_process, wait_until
from living import answers, everybody_is_answered

pytestmark = pytest.mark.usefixtures("lived_in")

# Written, and the server goes on with the one that it has.
KILLED_AT = "changed: [slm] => (item=pg_hba.conf)"


def test_a_first_run_that_is_killed_costs_nobody_an_answer(figure: Figure) -> None:
    accept_what_is_proposed()
    since = time.time()
    said = []
    with ansible_process("site.yml") as process:
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if line.startswith(KILLED_AT):
                break
    assert said[-1].startswith(KILLED_AT), "".join(said[-60:])
    killed = time.time()
    wait_until(lambda: everybody_is_answered(killed), "AutoBot is at work after the killed run")
    run = ansible("site.yml")
    assert run.status == 0, run.tail()
    assert all(run.changed[name] for name in HOSTS), run.tail()
    end = time.time()
    wait_until(lambda: everybody_is_answered(end), "AutoBot is at work after the next run")
    asked = answers(since)
    lost = [it for it in asked if it.said != "ok"]
    figure("first run killed, then completed", f"{len(asked)} questions, {len(lost)} lost")
    assert lost == []
