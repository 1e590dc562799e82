"""A first run on the lived-in lab, while AutoBot's programs work."""

from __future__ import annotations

import time
from dataclasses import dataclass

from lab import Run, ansible, must, wait_until
from living import (
    CHANGED,
    Answer,
    addresses,
    answers,
    assess,
    everybody_is_answered,
    forget_answers,
    listening,
    make_anew,
    open_ports,
)


@dataclass
class Deployment:
    """The first run on hosts on which AutoBot lives, and what others saw of it."""

    run: Run
    answers: list[Answer]
    ports: set[int]
    # Open to somebody else at the site before the run.
    open_before: set[tuple[str, int]]
    addresses: dict[str, str]


def free_the_ports() -> None:
    """What no answer of the inventory does: the ports that AutoBot has are left to the site."""
    for name, site in (("slm", "autobot-slm"), ("backend", "autobot-backend")):
        must(name, "touch", CHANGED)
        must(name, "rm", f"/etc/nginx/sites-enabled/{site}")
        must(name, "systemctl", "reload", "nginx")
    must("slm", "systemctl", "disable", "--now", "autobot-slm-backend")


def deploy() -> Deployment:
    """Deploy by one run with what was proposed, while AutoBot's programs work."""
    make_anew()
    forget_answers()
    where = addresses()
    ports = listening()
    open_before = open_ports(ports, where)
    free_the_ports()
    assert assess() == []
    since = time.time()
    wait_until(lambda: everybody_is_answered(since), "AutoBot is at work again")
    since = time.time()
    run = ansible("site.yml")
    end = time.time()
    wait_until(lambda: everybody_is_answered(end), "AutoBot is at work after the run")
    return Deployment(run, answers(since), ports, open_before, where)
