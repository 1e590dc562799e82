"""A first run on the lived-in lab, while AutoBot's programs work."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.lab.site import HOSTS, Run, must
from tests.lived_in.evening import typed
from tests.lived_in.living import (
    CHANGED,
    Answer,
    State,
    addresses,
    assess,
    forget_answers,
    listening,
    make_anew,
    open_ports,
    state,
    wait_for_answers,
)

# What somebody else's cluster says of itself, and the databases of AutoBot's that are not adopted.
OTHERS = {
    "5433": "SELECT pg_postmaster_start_time(), datcollate FROM pg_database"
    " WHERE datname = 'postgres'",
    "5432": "SELECT datname, datcollate, pg_get_userbyid(datdba) FROM pg_database"
    " WHERE datname IN ('slm', 'reports') ORDER BY 1",
}


@dataclass
class Deployment:
    """The first run on hosts on which AutoBot lives, and what others saw of it."""

    # What it would change, and the hosts after that was said.
    shown: Run
    unchanged: dict[str, State]
    run: Run
    answers: list[Answer]
    # What is of others in PostgreSQL, before the run and after it.
    others: tuple[dict[str, str], dict[str, str]]
    ports: set[int]
    # Open to somebody else at the site before the run.
    open_before: set[tuple[str, int]]
    addresses: dict[str, str]
    # What the hosts were like before the run.
    before: dict[str, State]


def of_others() -> dict[str, str]:
    """What PostgreSQL has that is not the site's, by port."""
    return {
        port: must("slm", "psql", "-XAtq", "-p", port, "-c", query, user="postgres")
        for port, query in OTHERS.items()
    }


def accept_what_is_proposed() -> None:
    """All that an operator decides before the first run."""
    assert assess() == []
    for name in HOSTS:
        must(name, "touch", CHANGED)


def deploy() -> Deployment:
    """Deploy by one run with what was proposed, while AutoBot's programs work."""
    make_anew()
    forget_answers()
    where = addresses()
    ports = listening()
    open_before = open_ports(ports, where)
    accept_what_is_proposed()
    others = of_others()
    since = time.time()
    before = {name: state(name) for name in HOSTS}
    shown = typed("ansible-playbook site.yml --check")
    unchanged = {name: state(name) for name in HOSTS}
    run = typed("ansible-playbook site.yml")
    end = time.time()
    asked = wait_for_answers(since, end)
    return Deployment(
        shown, unchanged, run, asked, (others, of_others()), ports, open_before, where, before
    )
