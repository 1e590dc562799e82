"""Releases that fail, controllers that die, and the way back: the old release serves meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from lab import Figure, Run, Site, ansible, ansible_process, kill, must, on, wait_until
from releases import HALF, ROOTS, Release, in_use, left_as_found, make, pids, revisions
from traffic import Traffic

# The part of a deployment in which services change.
CHANGE = "playbooks/services.yml"
EX_TEMPFAIL = 75
# Holds a lock that a migration needs and the services do not mind.
HOLD = "BEGIN; LOCK TABLE users IN ACCESS SHARE MODE; SELECT pg_sleep(120)"


@pytest.fixture(autouse=True)
def lab_left_as_found() -> Iterator[None]:
    with left_as_found():
        yield


def run(playbook: str, release: Release, **variables: object) -> Run:
    return ansible(playbook, "--extra-vars", json.dumps({"release_id": release.name, **variables}))


def assert_serves(site: Site, release: str) -> None:
    """Both services are ready, and of this release, as seen from the controller."""
    for client in (site.client(), site.backend_client()):
        with client:
            ready = client.get("/health/ready")
        assert ready.status_code == 200, ready.text
        assert ready.json()["release"] == release.rpartition("-")[2]


def links() -> dict[str, tuple[str, str]]:
    return {host: (in_use(host), in_use(host, "previous")) for host in ROOTS}


def test_a_release_that_fails_on_one_host_goes_back_on_all(site: Site) -> None:
    before, old = links(), in_use("slm")
    release = make()
    release.edit(
        "backend", "autobot_backend/app.py", "def create_app(", "raise SystemExit\ndef create_app("
    )
    with ansible_process(
        "playbooks/deploy.yml", "--extra-vars", json.dumps({"release_id": release.name})
    ) as process:
        assert process.stdout is not None
        output = process.stdout.readline()
        second = ansible("playbooks/deploy.yml")
        output += process.stdout.read()
        process.wait()
    assert second.status == EX_TEMPFAIL
    assert "Another run for the inventory 'lab' is under way" in second.output
    assert process.returncode not in {0, EX_TEMPFAIL}
    assert "The authentication service does not answer on backend" in output
    for host in ROOTS:
        assert f"{host} is back at {old}, which serves." in output, output[-6000:]
        failed = must(host, "cat", f"{ROOTS[host]}/releases/{release.name}/.failed")
        assert "does not answer" in failed
    assert links() == before
    # The schema has gone ahead, and the old release runs on it.
    assert revisions() == {"slm": "0006", "redis": "0006"}
    assert_serves(site, old)


def test_half_a_migration_leaves_the_old_release(site: Site) -> None:
    old, before = in_use("slm"), pids()
    failed = run(CHANGE, make(HALF))
    assert failed.status == 2
    assert "autobot_users was not migrated: division by zero" in failed.output
    assert revisions() == {"slm": "0006", "redis": "0005"}
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
    assert "autobot_users was not migrated: A table stays locked by process" in failed.output
    assert "(postgres, tests-hold)" in failed.output
    assert revisions() == {"slm": "0006", "redis": "0005"}
    assert_serves(site, old)
    figure("traffic while a migration waits", traffic.summary)
    traffic.judge()


def test_the_hosts_go_back_without_the_controller_and_the_next_run_completes(
    site: Site, at_work: Callable[[], AbstractContextManager[Traffic]], figure: Figure
) -> None:
    old, release = in_use("slm"), make()
    variables = {"release_id": release.name, "release_confirm_seconds": 15}
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
            assert revisions() == {"slm": "0006", "redis": "0006"}
            wait_until(lambda: in_use("slm") == old, 30, "the host goes back by itself")
            assert in_use("backend") == old
            assert_serves(site, old)
        completed = ansible(CHANGE, "--extra-vars", json.dumps(variables))
        assert completed.status == 0, completed.tail()
        assert_serves(site, release.name)
    figure("traffic while controllers die", traffic.summary)
    traffic.judge()
