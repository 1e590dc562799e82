"""Runs of site.yml: killed, completed, repeated, checked, two at once."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest
from testinfra.host import Host

from tests.lab.site import (
    ELSEWHERE,
    HOSTS,
    Figure,
    Run,
    Site,
    ansible,
    ansible_process,
    must,
    superuser,
    watched_processes,
)

EX_TEMPFAIL = 75
EVERYWHERE = {"localhost", *HOSTS, ELSEWHERE}
# Of what the site has its own values, this is what the damage leaves in force on redis.
OLD_VALUE = "4321ms"
NGINX = "/etc/nginx/conf.d/autobot-slm.conf"
CREDENTIAL = "/etc/autobot-users/credentials/autobot_postgres_password"


@dataclass
class Runs:
    """What came of the runs, in their order."""

    killed: list[str]
    completed: Run
    exposed: set[str]
    second: Run
    first_was_under_way: bool
    checked: Run


def damage() -> None:
    """Leave the hosts as an older deployment would have: files, and what runs by them."""
    setting = f"log_min_duration_statement = {OLD_VALUE}"
    must(
        "redis",
        "sh",
        "-c",
        f"echo '{setting}' | tee -a /etc/postgresql/*/main/conf.d/50-autobot.conf",
    )
    must("redis", "systemctl", "reload", "postgresql")
    must("slm", "sh", "-c", f"echo '# old' >> {NGINX}")
    must("slm", "rm", "-f", CREDENTIAL)


@pytest.fixture(scope="session")
def runs(site: Site) -> Runs:
    """Kill a run in the middle of its work; then run to the end, and again in check mode."""
    damage()
    killed = []
    with ansible_process("site.yml") as process:
        assert process.stdout is not None
        for line in process.stdout:
            killed.append(line.rstrip())
            # The file is written now, and the server does not know yet.
            if line.startswith("changed: [redis]"):
                break
    with watched_processes(site.secrets) as exposed:
        completed = ansible("site.yml", "-vvv", "--diff")
    start = time.monotonic()
    with ansible_process("site.yml", "--check", "--diff") as first:
        assert first.stdout is not None
        # From then on it holds the site.
        output = ""
        while "PLAY [" not in output:
            output += (line := first.stdout.readline())
            assert line, output
        second = ansible("playbooks/preflight.yml")
        under_way = first.poll() is None
        output += first.stdout.read()
        first.wait()
    checked = Run(first.returncode, output, time.monotonic() - start)
    return Runs(killed, completed, exposed, second, under_way, checked)


def test_a_killed_run_is_completed_by_the_next(runs: Runs, hosts: dict[str, Host]) -> None:
    assert runs.killed[-1].startswith("changed: [redis]"), "\n".join(runs.killed[-60:])
    assert not any("PLAY RECAP" in line for line in runs.killed)
    assert runs.completed.status == 0, runs.completed.tail()
    assert runs.completed.changed["slm"] > 0
    for file in (NGINX, CREDENTIAL):
        assert hosts["slm"].file(file).exists
    assert not hosts["slm"].file(NGINX).contains("# old")


def test_what_a_killed_run_wrote_is_in_force_after_the_next(runs: Runs) -> None:
    assert runs.completed.status == 0, runs.completed.tail()
    value = superuser("redis", "postgres", "SHOW log_min_duration_statement")
    assert value != [[OLD_VALUE]]


def test_check_mode_finds_no_change_and_no_error(runs: Runs, figure: Figure) -> None:
    assert runs.checked.status == 0, runs.checked.tail()
    assert runs.checked.changed == dict.fromkeys(EVERYWHERE, 0), runs.checked.tail()
    assert "\n+++ " not in runs.checked.output
    figure("run in check mode", f"{runs.checked.seconds:.0f} s")


def test_a_second_run_says_so_and_stops(runs: Runs) -> None:
    assert runs.second.status == EX_TEMPFAIL, runs.second.tail()
    assert "Another run for the inventory 'lab' is under way" in runs.second.output
    assert "TASK [" not in runs.second.output
    assert runs.first_was_under_way


def test_no_secret_is_in_the_output_of_a_run(site: Site, runs: Runs) -> None:
    assert "EXEC" in runs.completed.output, "the run was not verbose"
    for run in (runs.completed, runs.checked):
        shown = [
            number
            for number, line in enumerate(run.output.splitlines(), 1)
            if any(secret in line for secret in site.secrets)
        ]
        assert shown == [], "the numbers of lines that show a secret"


def test_no_process_of_a_run_shows_a_secret(runs: Runs) -> None:
    assert runs.exposed == set()
