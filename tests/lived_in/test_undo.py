"""The way back: the site as it was found, then ours again, then for good."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass

import bcrypt
import pytest

from deploying import Deployment
from lab import (
    HOSTS,
    Figure,
    Run,
    Site,
    ansible,
    ansible_process,
    bearer,
    must,
    on,
    superuser,
    wait_until,
)
from living import Answer, State, answers, everybody_is_answered, state

UNDO, CONFIRM = "playbooks/takeover_undo.yml", "playbooks/takeover_confirm.yml"
BEFORE = "/var/lib/autobot-before"
# Nginx serves AutoBot's sites, ours have stopped, and PostgreSQL goes on with what it has.
KILLED_AT = "TASK [takeover : Let PostgreSQL take it over]"
# Somebody changes what the deployment wrote, and adds what it did not.
EDITED = "/etc/systemd/system/autobot-metrics.timer"
THEIRS = "/etc/systemd/system/somebody.service"
# ada's, of molecule/lived_in/files/people.sql, and the one that she chose on our pages.
FORMER, CHOSEN = "Fleet-keeper-1", "copper-lantern-meadow-84"
# ben's, who is an application user, and whose home moves.
BENS_FORMER, BENS_CHOSEN = "Everyday-robot-2", "granite-otter-quilt-52"


@dataclass
class Undone:
    """The way back while AutoBot's programs work."""

    shown: Run
    killed: list[str]
    hindered: Run
    run: Run
    answers: list[Answer]
    after: dict[str, State]


@pytest.fixture(scope="module")
def undone(deployment: Deployment) -> Undone:
    """Shown, killed, hindered by what somebody has changed, and completed."""
    assert deployment.run.status == 0, deployment.run.tail()
    with Site.load().client() as client:
        login = client.post("/api/auth/login", json={"username": "ada", "password": FORMER})
        changed = client.post(
            "/api/slm-auth/change-password",
            json={"current_password": FORMER, "new_password": CHOSEN},
            headers=bearer(login),
        )
        assert changed.status_code == 204, changed.text
    with Site.load().backend_client() as client:
        login = client.post("/api/auth/login", json={"username": "ben", "password": BENS_FORMER})
        changed = client.post(
            "/api/auth/change-password",
            json={"current_password": BENS_FORMER, "new_password": BENS_CHOSEN},
            headers={"Authorization": f"Bearer {login.json()['token']}"},
        )
        assert changed.status_code == 200, changed.text
    since = time.time()
    shown = ansible(UNDO, "--check")
    kept = must("backend", "cat", EDITED)
    must("backend", "sh", "-c", f"echo '# edited' >>{EDITED}; echo '[Unit]' >{THEIRS}")
    killed = []
    with ansible_process(UNDO) as process:
        assert process.stdout is not None
        for line in process.stdout:
            killed.append(line)
            if line.startswith(KILLED_AT):
                break
    hindered = ansible(UNDO)
    # As the message says: it was not there before, so it goes; theirs stays theirs.
    assert kept != must("backend", "cat", EDITED)
    must("backend", "rm", EDITED)
    run = ansible(UNDO)
    end = time.time()
    wait_until(lambda: everybody_is_answered(end), "AutoBot is at work after the way back")
    after = {name: state(name) for name in HOSTS}
    must("backend", "rm", THEIRS)
    return Undone(shown, killed, hindered, run, answers(since), after)


def test_what_would_be_put_back_is_shown_and_nothing_is_done(undone: Undone) -> None:
    assert undone.shown.status == 0, undone.shown.tail()
    assert set(undone.shown.changed.values()) == {0}
    for what in (
        *("/etc/nginx/sites-enabled/autobot-slm", "/etc/nginx/sites-enabled/autobot-backend"),
        *("/etc/nginx/conf.d/autobot-slm.conf", "autobot-slm-users.service", "main/pg_hba.conf"),
    ):
        assert what in undone.shown.output


def test_what_somebody_has_changed_is_named_and_all_else_is_put_back(undone: Undone) -> None:
    said = " ".join(undone.hindered.output.split())
    assert undone.hindered.status != 0
    assert "backend: changed by somebody else since the last deployment" in said
    assert f"{EDITED} (it was not there; its first copy would be {BEFORE}/files{EDITED})" in said
    failed = {name: counts["failed"] for name, counts in undone.hindered.recap.items()}
    assert {name for name, count in failed.items() if count} == {"backend"}
    assert undone.run.status == 0, undone.run.tail()


def test_a_run_that_was_killed_is_completed_by_the_next(undone: Undone) -> None:
    """The tests below judge what they have come to."""
    assert undone.killed[-1].startswith(KILLED_AT), "".join(undone.killed[-60:])
    assert "changed: [slm]" in "".join(undone.killed)


def test_machines_lose_no_answer(undone: Undone, figure: Figure) -> None:
    lost = [it for it in undone.answers if it.said != "ok"]
    figure(
        "way back",
        f"{undone.hindered.seconds:.0f} s, {len(undone.answers)} questions, {len(lost)} lost",
    )
    assert len(undone.answers) > 100
    assert lost == []


def changed_paths(before: State, after: State) -> set[str]:
    lines = set(before.checksums.splitlines()) ^ set(after.checksums.splitlines())
    return {line.split(maxsplit=1)[1] for line in lines}


@pytest.mark.parametrize("name", HOSTS)
def test_only_what_is_listed_differs_from_before(
    undone: Undone, deployment: Deployment, name: str
) -> None:
    before, after = deployment.before[name], undone.after[name]
    assert after.rules == before.rules
    assert after.listeners == before.listeners
    # What was completed by a run is in its report.
    reports = undone.hindered.output + undone.run.output
    changed = changed_paths(before, after)
    assert {path for path in changed if f'"{path}"' not in reports} == set()
    # What deployments write is not among it, and packages stay.
    assert not [path for path in changed if "autobot" in path]
    assert "the packages " in reports


def test_databases_belong_to_whom_they_belonged(undone: Undone) -> None:
    assert undone.run.status == 0
    owners = dict(
        superuser(
            *("slm", "postgres"),
            "SELECT datname, pg_get_userbyid(datdba) FROM pg_database WHERE NOT datistemplate",
        )
    )
    assert owners == {
        **dict.fromkeys(("autobot_users", "reports", "slm", "slm_users"), "slm_app"),
        "postgres": "postgres",
    }
    tables = superuser(
        *("slm", "slm_users"),
        "SELECT tablename, tableowner FROM pg_tables WHERE schemaname = 'public'",
    )
    assert dict(tables)["users"] == "slm_app"
    # She chose it on our pages, and AutoBot's own login goes by it now.
    ((stored,),) = superuser(
        "slm", "slm_users", "SELECT password_hash FROM users WHERE username = 'ada'"
    )
    assert stored.startswith("$2b$12$")
    assert superuser("slm", "postgres", "SELECT rolname FROM pg_roles WHERE rolcanlogin") == [
        ["postgres"],
        ["slm_app"],
    ]
    assert on("redis", "pg_lsclusters", "--no-header").stdout.split()[3] == "down"


def test_what_came_to_the_new_home_went_back(undone: Undone, deployment: Deployment) -> None:
    assert undone.run.status == 0
    ((stored,),) = superuser(
        "slm", "autobot_users", "SELECT password_hash FROM users WHERE username = 'ben'"
    )
    assert bcrypt.checkpw(BENS_CHOSEN.encode(), stored.encode())
    # AutoBot's backend has written a row each second, there and here, and writes on.
    ((rows,),) = superuser("slm", "autobot_users", "SELECT count(*) FROM terminal_activities")
    written = [it for it in undone.answers if it.target.startswith("activity:")]
    assert int(rows) > len(written)
    assert written[-1].target == f"activity:{deployment.addresses['slm']}/autobot_users"
    environment = must("backend", "cat", "/etc/autobot/backend.env")
    assert f"AUTOBOT_POSTGRES_HOST={deployment.addresses['slm']}\n" in environment


def test_the_next_way_back_has_nothing_to_do(undone: Undone) -> None:
    assert undone.run.status == 0
    run = ansible(UNDO)
    assert run.status == 0, run.tail()
    assert set(run.changed.values()) == {0}


def test_the_site_is_taken_over_again(undone: Undone, figure: Figure) -> None:
    assert undone.run.status == 0
    since = time.time()
    run = ansible("site.yml")
    assert run.status == 0, run.tail()
    end = time.time()
    wait_until(lambda: everybody_is_answered(end), "AutoBot is at work after the second take-over")
    asked = answers(since)
    lost = [it for it in asked if it.said != "ok"]
    figure("taken over again", f"{run.seconds:.0f} s, {len(asked)} questions, {len(lost)} lost")
    assert lost == []
    with Site.load().client() as client:
        login = client.post("/api/auth/login", json={"username": "ada", "password": CHOSEN})
        assert login.status_code == 200, login.text
    # First copies of what was there this time, which is what was there the first time.
    for name, site in (("slm", "autobot-slm"), ("backend", "autobot-backend")):
        said = json.loads(must(name, "cat", f"{BEFORE}/manifest.json"))
        assert f"/etc/nginx/sites-enabled/{site}" in said["files"]
        assert not any("autobot-users" in path for path in said["files"])


def test_a_confirmation_says_what_goes_and_ends_the_way_back(undone: Undone) -> None:
    asked = ansible(CONFIRM)
    assert asked.status != 0
    said = " ".join(asked.output.split())
    assert "the take-over cannot be undone any more" in said
    assert f"{BEFORE}/files" in said
    assert re.search(r"the database autobot_users_undone_\d{8}_\d{6}", said)
    assert on("slm", "ls", f"{BEFORE}/files").status == 0

    run = ansible(CONFIRM, "-e", "takeover_confirmed=true")
    assert run.status == 0, run.tail()
    for name in HOSTS:
        assert must(name, "ls", BEFORE).split() == ["confirmed", "manifest.json"]
        assert "undone" not in must(name, "ls", "/var/lib")
    kept = superuser(
        "redis", "postgres", "SELECT datname FROM pg_database WHERE datname LIKE '%undone%'"
    )
    assert kept == []

    refused = ansible(UNDO)
    assert refused.status != 0
    assert "playbooks/restore.yml" in refused.output
    assert undone.run.status == 0
