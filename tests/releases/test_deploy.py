"""Releases that fail, controllers that die, and the way back: the old release serves meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.lab.site import (
    Figure,
    Run,
    Site,
    ansible,
    ansible_process,
    kill,
    must,
    on,
    superuser,
    wait_until,
)
from tests.lab.traffic import Traffic
from tests.releases.releases import (
    CHANGE,
    DATABASES,
    HALF,
    NEXT_SCHEMA,
    ROOTS,
    SCHEMA,
    assert_said,
    assert_serves,
    in_use,
    left_as_found,
    links,
    make,
    pids,
    revisions,
    run,
    sockets,
)

EX_TEMPFAIL = 75
# Holds a lock that a migration needs and the services do not mind.
HOLD = "BEGIN; LOCK TABLE users IN ACCESS SHARE MODE; SELECT pg_sleep(120)"


@pytest.fixture(autouse=True)
def lab_left_as_found() -> Iterator[None]:
    with left_as_found():
        yield


def test_a_release_that_fails_on_one_host_goes_back_on_all(site: Site) -> None:
    before, old = links(), in_use("slm")
    breaks = ("autobot_backend/app.py", "def create_app(", "raise SystemExit\ndef create_app(")
    release = make(backend=breaks)
    with ansible_process(CHANGE, "--extra-vars", json.dumps({"release_id": release})) as process:
        assert process.stdout is not None
        output = process.stdout.readline()
        second = ansible("playbooks/deploy.yml")
        output += process.stdout.read()
        failed = Run(process.wait(), output, 0)
    assert second.status == EX_TEMPFAIL
    assert_said(second, "Another run for the inventory 'lab' is under way")
    assert failed.status == 2
    assert_said(failed, "The authentication service does not answer on backend")
    for host in ROOTS:
        assert_said(failed, f"{host} is back at {old}, which serves.")
        reason = must(host, "cat", f"{ROOTS[host]}/releases/{release}/.failed")
        assert "does not answer" in reason
    assert links() == before
    # The schema has gone ahead, and the old release runs on it.
    assert revisions() == {"slm": NEXT_SCHEMA, "redis": NEXT_SCHEMA}
    assert_serves(site, old)


def test_half_a_migration_leaves_the_old_release(site: Site) -> None:
    old, before = in_use("slm"), pids()
    failed = run(CHANGE, make(HALF))
    assert failed.status == 2
    assert_said(failed, "autobot_users was not migrated: FAILED: division by zero")
    assert revisions() == {"slm": NEXT_SCHEMA, "redis": SCHEMA}
    assert_serves(site, old)
    assert pids() == before


def test_a_migration_that_waits_for_a_session_gives_up_and_names_it(
    site: Site, at_work: Callable[[], AbstractContextManager[Traffic]], figure: Figure
) -> None:
    old, release = in_use("slm"), make()
    must(
        *("redis", "systemd-run", "--quiet", "--uid=postgres", "--unit=tests-hold", "--"),
        *("env", "PGAPPNAME=tests-hold", "psql", "-d", "autobot_users", "-c", HOLD),
    )
    try:
        with at_work() as traffic:
            failed = run(CHANGE, release)
    finally:
        on("redis", "systemctl", "stop", "tests-hold")
    assert failed.status == 2
    assert_said(failed, "autobot_users was not migrated: FAILED: A table stays locked by process")
    assert_said(failed, "(postgres, tests-hold)")
    assert revisions() == {"slm": NEXT_SCHEMA, "redis": SCHEMA}
    assert_serves(site, old)
    figure("traffic while a migration waits", traffic.summary)
    traffic.judge()


def test_the_hosts_go_back_without_the_controller_and_the_next_run_completes(
    site: Site, at_work: Callable[[], AbstractContextManager[Traffic]], figure: Figure
) -> None:
    old, release, listening = in_use("slm"), make(), sockets()
    variables = {"release_id": release, "release_confirm_seconds": 15}
    with at_work() as traffic:
        for task in (
            # The databases are migrated, and nothing else was done.
            "TASK [pki : ",
            # The link of the SLM server points to the new release, and nothing was restarted.
            "TASK [service : Let the service and the web server",
            # The SLM server runs the new release, the backend the old one.
            "TASK [service : Let the timers of the service run]",
        ):
            with ansible_process(CHANGE, "--extra-vars", json.dumps(variables)) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if line.startswith(task):
                        break
                else:
                    raise AssertionError(f"there was no {task}")
                kill(process.pid)
            assert revisions() == {"slm": NEXT_SCHEMA, "redis": NEXT_SCHEMA}
            wait_until(lambda: in_use("slm") == old, "the host goes back by itself")
            assert in_use("backend") == old
            assert_serves(site, old)
        completed = run(CHANGE, release)
        assert completed.status == 0, completed.tail()
        assert_serves(site, release)
    assert sockets() == listening
    figure("traffic while controllers die", traffic.summary)
    traffic.judge()


ROWS = "INSERT INTO tests_badges VALUES ('one'), ('two')"


def test_no_request_fails_while_a_release_comes_and_goes(
    site: Site, at_work: Callable[[], AbstractContextManager[Traffic]], figure: Figure
) -> None:
    before, old, release = links(), in_use("slm"), make()
    with at_work() as traffic:
        deployed = run("playbooks/deploy.yml", release)
        assert deployed.status == 0, deployed.tail()
        assert_serves(site, release)
        assert links() == dict.fromkeys(ROOTS, (release, old))
        for database in DATABASES.values():
            assert_said(deployed, f"{database} before {release}: restore point before-{release}-")

        superuser("redis", "autobot_users", ROWS)
        back = ansible("playbooks/rollback.yml", "--extra-vars", "rollback_schema=true")
        assert back.status == 2, back.tail()
        assert_said(
            back, f"would lose what these rows hold: 2 of tests_badges ({NEXT_SCHEMA}: true)"
        )
        assert_serves(site, old)
        assert revisions() == {"slm": SCHEMA, "redis": NEXT_SCHEMA}

        unknown = ansible("playbooks/rollback.yml", "--extra-vars", "rollback_to=1.0.0-unknown")
        assert unknown.status == 2
        assert_said(unknown, "1.0.0-unknown is not among those that have served here")
        assert_said(unknown, f"In use is {old}; before it served, the last first: {release}")

        lost = ansible(
            "playbooks/rollback.yml",
            *("--extra-vars", f"rollback_to={old} rollback_schema=true rollback_lose_rows=true"),
        )
        assert lost.status == 0, lost.tail()
        assert revisions() == {"slm": SCHEMA, "redis": SCHEMA}
        assert links() == dict.fromkeys(ROOTS, (old, release))
    assert before == dict.fromkeys(ROOTS, before["slm"])
    figure("traffic during a deployment and three rollbacks", traffic.summary)
    traffic.judge()
