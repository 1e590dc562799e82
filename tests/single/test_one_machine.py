"""All groups on one host: what two databases and two services have in common there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.lab.site import (
    INVENTORY,
    STATE,
    Figure,
    Site,
    ansible,
    execute,
    files,
    must,
    probe,
    superuser,
    wait_for_start,
    wait_until,
)
from tests.lab.traffic import Traffic

MACHINE = "autobot"
SERVICES = ("autobot-slm-users", "autobot-auth")
DATABASES = ("slm_users", "autobot_users")
ROOT = "/opt/autobot-users/slm-server"
OPEN = (22, 80, 443, 8000, 8443)
# Nobody listens there, and the model of the settings accepts it.
NOWHERE = {"autobot_backend_settings": {"AUTOBOT_POSTGRES_PORT": "5433"}}

AtWork = Callable[[], AbstractContextManager[Traffic]]


@pytest.fixture(autouse=True)
def unchanged_in_the_end() -> Iterator[None]:
    """A run after each test has nothing to do, and proves the site."""
    yield
    run = ansible("site.yml")
    assert run.status == 0, run.tail()
    assert run.changed == {MACHINE: 0, "localhost": 0}, run.tail()


def pids() -> dict[str, str]:
    """The processes that serve."""
    return {
        unit: must(MACHINE, "systemctl", "show", "--property=MainPID", "--value", f"{unit}.service")
        for unit in SERVICES
    }


def ready(site: Site) -> bool:
    with site.client() as slm, site.backend_client() as backend:
        return all(each.get("/health/ready").status_code == 200 for each in (slm, backend))


def test_a_run_says_what_the_backups_do_not_survive() -> None:
    run = ansible("site.yml")
    assert run.status == 0, run.tail()
    assert "WARNING: The backups of autobot are on autobot itself" in run.output


def test_an_assessment_finds_nothing_to_be_decided_and_changes_nothing() -> None:
    before = files(MACHINE)
    run = ansible("playbooks/assess.yml")
    assert run.status == 0, run.tail()
    assert json.loads((STATE / "assessment.json").read_text())["conflicts"] == []
    assert files(MACHINE) == before
    assert not (INVENTORY / "host_vars").exists()


def test_nobody_reaches_the_databases_from_outside(site: Site) -> None:
    address = site.addresses[MACHINE]
    answers = probe("outsider", *(f"{address}:{port}" for port in (*OPEN, 5432)))
    assert [port for port in OPEN if answers[f"{address}:{port}"] != "open"] == []
    assert answers[f"{address}:5432"] == "silent"
    listening = must(MACHINE, "ss", "-Hlnt", "sport = :5432").split()
    assert "127.0.0.1:5432" in listening
    assert f"{address}:5432" not in listening


def test_a_reboot_brings_both_services_back(site: Site) -> None:
    execute(["podman", "restart", "--time", "10", MACHINE])
    wait_for_start(MACHINE)
    wait_until(lambda: ready(site), "both services are ready")


def test_a_drill_restores_both_databases(figure: Figure) -> None:
    run = ansible("playbooks/drill.yml")
    assert run.status == 0, run.tail()
    drill = json.loads(must(MACHINE, "cat", "/var/lib/autobot-backup/drill.json"))
    # postgres has no tables of its own.
    assert drill["ok"]
    assert drill["databases"] >= len(DATABASES)
    figure("drill of both databases on one machine", f"{drill['seconds']} s")


def test_a_restore_brings_both_databases_back(site: Site, figure: Figure) -> None:
    """What was made before it is there; both services find it without a restart."""
    for database in DATABASES:
        superuser(MACHINE, database, "CREATE TABLE tests_kept AS SELECT 1 AS kept")
    run = ansible("playbooks/restore.yml", "-e", f"restore_host={MACHINE} confirm={MACHINE}")
    assert run.status == 0, run.tail()
    figure("restore of one machine's cluster", f"{run.seconds:.0f} s")
    for database in DATABASES:
        assert superuser(MACHINE, database, "SELECT kept FROM tests_kept") == [["1"]]
        superuser(MACHINE, database, "DROP TABLE tests_kept")
    wait_until(lambda: ready(site), "both services are ready")


def test_what_fails_for_one_service_takes_both_back(site: Site) -> None:
    release = must(MACHINE, "readlink", f"{ROOT}/current").removeprefix("releases/")
    before = pids()
    variables = {
        "release_id": release,
        "slm_server_settings": {"PASSWORD_HISTORY": "7"},
        **NOWHERE,
    }
    run = ansible("playbooks/parts/services.yml", "--extra-vars", json.dumps(variables))
    assert run.status == 2, run.tail()
    assert f"autobot is back at {release}, which serves." in " ".join(run.output.split())
    assert ready(site)
    after = pids()
    assert all(after[unit] not in ("0", before[unit]) for unit in SERVICES)
    assert "undo" not in must(MACHINE, "ls", ROOT).split()
    for path in ("slm-server.env", "auth.env"):
        text = must(MACHINE, "cat", f"/etc/autobot-users/{path}")
        assert "PASSWORD_HISTORY" not in text
        assert "5433" not in text


def test_new_passwords_cost_nobody_a_request(at_work: AtWork, figure: Figure) -> None:
    """The role that both databases have has one password, which changes for both at once."""
    with at_work() as traffic:
        run = ansible("playbooks/rotate_secrets.yml", "-e", "rotate=database_passwords")
    assert run.status == 0, run.tail()
    traffic.judge()
    figure("new database passwords on one machine", f"{run.seconds:.0f} s, {traffic.summary}")
