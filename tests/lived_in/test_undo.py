"""The way back: the site as it was found, then ours again, then for good."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass

import pytest

from tests.lab.site import (
    HOSTS,
    Figure,
    Run,
    Site,
    ansible_process,
    bearer,
    must,
    on,
    superuser,
)
from tests.lived_in.deploying import Deployment
from tests.lived_in.evening import typed
from tests.lived_in.living import (
    Answer,
    State,
    ask,
    cuts,
    lost_by_machines,
    lost_by_people,
    span,
    state,
    wait_for_answers,
)

UNDO = "ansible-playbook playbooks/takeover_undo.yml"
CONFIRM = "ansible-playbook playbooks/takeover_confirm.yml"
BEFORE = "/var/lib/autobot-before"
# Nginx serves AutoBot's sites, ours have stopped, and PostgreSQL goes on with what it has.
KILLED_AT = "TASK [takeover : Let PostgreSQL take it over]"
# Of one host: changed by somebody, it keeps all from going back.
HBA = "$(echo /etc/postgresql/*/main/pg_hba.conf)"
# Of AutoBot's backend, which the move has led to the new home of its users.
ENVIRONMENT = "/etc/autobot/backend.env"
# Somebody changes what the deployment wrote, and adds what it did not.
EDITED = "/etc/systemd/system/autobot-metrics.timer"
THEIRS = "/etc/systemd/system/somebody.service"
# Of molecule/lived_in/files/people.sql: ada and kira keep the fleet, the others are users.
KEEPERS, OTHERS = "Fleet-keeper-1", "Everyday-robot-2"
# What people chose on our pages; who was disabled, and who is new, with what they were given.
CHOSEN = "copper-lantern-meadow-84"
DISABLED = ("fay", "gus", "hana")
NEW_KEEPERS, NEW = ("nina", "nora"), tuple(f"new_{number}" for number in range(8))
GIVEN = "granite-otter-quilt-52"


@dataclass
class Undone:
    """The way back while AutoBot's programs work."""

    shown: Run
    refused: Run
    killed: list[str]
    left_out: Run
    hindered: Run
    run: Run
    answers: list[Answer]
    after: dict[str, State]


def people_change() -> None:
    """10 users come, 5 choose another password, and 3 are disabled."""
    site = Site.load()
    with site.client() as client:
        headers = bearer(
            client.post("/api/auth/login", json={"username": "ada", "password": KEEPERS})
        )
        for where, names in (("slm", NEW_KEEPERS), ("autobot", NEW)):
            for name in names:
                made = client.post(
                    f"/api/{where}-users",
                    json={
                        "username": name,
                        "email": f"{name}@example.org",
                        "password": GIVEN,
                        "is_admin": where == "slm",
                    },
                    headers=headers,
                )
                assert made.status_code == 201, made.text
        listed = client.get("/api/autobot-users", headers=headers).json()["users"]
        known = {each["username"]: each["id"] for each in listed}
        for name in DISABLED:
            where = f"/api/autobot-users/{known[name]}"
            done = client.patch(where, json={"is_active": False}, headers=headers)
            assert done.status_code == 200, done.text
        wanted = {"current_password": KEEPERS, "new_password": CHOSEN}
        done = client.post("/api/slm-auth/change-password", json=wanted, headers=headers)
        assert done.status_code == 204, done.text
    with site.backend_client() as client:
        former = {**dict.fromkeys(("ben", "cleo", "dario"), OTHERS), NEW[0]: GIVEN}
        for name, password in former.items():
            login = client.post("/api/auth/login", json={"username": name, "password": password})
            done = client.post(
                "/api/auth/change-password",
                json={"current_password": password, "new_password": CHOSEN},
                headers={"Authorization": f"Bearer {login.json()['token']}"},
            )
            assert done.status_code == 200, done.text


@pytest.fixture(scope="module")
def undone(deployment: Deployment) -> Undone:
    """Shown, refused, killed, without a host, hindered by what somebody changed, completed."""
    assert deployment.run.status == 0, deployment.run.tail()
    people_change()
    since = time.time()
    shown = typed(f"{UNDO} --check")
    must("redis", "sh", "-c", f"cp --archive {HBA} /root/kept && echo '# mine' >>{HBA}")
    refused = typed(UNDO)
    must("redis", "sh", "-c", f"cp --archive /root/kept {HBA} && rm /root/kept")
    kept = must("backend", "cat", EDITED)
    must("backend", "sh", "-c", f"echo '# edited' >>{EDITED}; echo '[Unit]' >{THEIRS}")
    killed = []
    with ansible_process(UNDO.split()[1]) as process:
        assert process.stdout is not None
        for line in process.stdout:
            killed.append(line)
            if line.startswith(KILLED_AT):
                break
    left_out = typed(f"{UNDO} -e takeover_without=backend")
    hindered = typed(UNDO)
    # As the message says: it was not there before, so it goes; theirs stays theirs.
    assert kept != must("backend", "cat", EDITED)
    must("backend", "rm", EDITED)
    run = typed(UNDO)
    asked = wait_for_answers(since, time.time())
    after = {name: state(name) for name in HOSTS}
    must("backend", "rm", THEIRS)
    return Undone(shown, refused, killed, left_out, hindered, run, asked, after)


def test_what_would_be_put_back_is_shown_and_nothing_is_done(undone: Undone) -> None:
    assert undone.shown.status == 0, undone.shown.tail()
    assert set(undone.shown.changed.values()) == {0}
    for what in (
        *("/etc/nginx/sites-enabled/autobot-slm", "/etc/nginx/sites-enabled/autobot-backend"),
        *("/etc/nginx/conf.d/autobot-slm.conf", "autobot-slm-users.service", "main/pg_hba.conf"),
        *(ENVIRONMENT, "autobot-backend.service", "the rows of autobot_users: to "),
        "would get what its people have changed here",
    ):
        assert what in undone.shown.output


def test_one_host_that_cannot_go_back_keeps_all_as_they_are(undone: Undone) -> None:
    assert undone.refused.status != 0
    assert set(undone.refused.changed.values()) == {0}
    said = " ".join(undone.refused.output.split())
    assert "No host was changed, and what serves goes on. redis: changed by somebody else" in said
    assert re.search(r"/etc/postgresql/\d+/main/pg_hba[.]conf \(", said)


def test_what_somebody_has_changed_is_named_and_all_else_is_put_back(undone: Undone) -> None:
    said = " ".join(undone.hindered.output.split())
    assert undone.hindered.status != 0
    assert "backend: changed by somebody else since the last deployment" in said
    assert f"{EDITED} (it was not there; its first copy would be {BEFORE}/files{EDITED})" in said
    failed = {name: counts["failed"] for name, counts in undone.hindered.recap.items()}
    assert {name for name, count in failed.items() if count} == {"backend"}
    assert undone.run.status == 0, undone.run.tail()


def test_a_host_that_is_left_out_by_name_stays_as_it_is(undone: Undone) -> None:
    assert undone.left_out.status == 0, undone.left_out.tail()
    assert undone.left_out.changed["backend"] == 0
    assert min(undone.left_out.changed[name] for name in ("slm", "redis")) > 0
    # The next run finds the others as they are to be.
    assert undone.hindered.changed["redis"] == 0


def test_a_run_that_was_killed_is_completed_by_the_next(undone: Undone) -> None:
    """The tests below judge what they have come to."""
    assert undone.killed[-1].startswith(KILLED_AT), "".join(undone.killed[-60:])
    assert "changed: [slm]" in "".join(undone.killed)


def test_nobody_loses_an_answer_but_while_autobots_service_restarts(
    undone: Undone, figure: Figure
) -> None:
    machines, people = lost_by_machines(undone.answers), lost_by_people(undone.answers)
    cut = cuts(undone.answers)
    figure(
        "way back",
        f"{undone.left_out.seconds:.0f} s, {len(undone.answers)} questions, machines lost"
        f" {len(machines)}, people {len(people)} within {span(people):.1f} s, cuts {dict(cut)}",
    )
    assert len(undone.answers) > 100
    assert machines == []
    assert [it for it in people if ":8443" not in it.target] == []
    assert span(people) < 30, people
    # Our gateway goes, and then AutoBot's backend restarts.
    assert all(count <= 2 for count in cut.values()), cut


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
    reports = undone.left_out.output + undone.hindered.output + undone.run.output
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
    assert superuser("slm", "postgres", "SELECT rolname FROM pg_roles WHERE rolcanlogin") == [
        ["postgres"],
        ["slm_app"],
    ]
    assert on("redis", "pg_lsclusters", "--no-header").stdout.split()[3] == "down"


def test_autobots_own_login_knows_what_people_changed(
    undone: Undone, deployment: Deployment
) -> None:
    """It looks in its own databases, as before."""
    assert undone.run.status == 0, undone.run.tail()
    addresses = deployment.addresses
    slm, backend = f"https://{addresses['slm']}", f"https://{addresses['backend']}:8443"
    for url, name, password, status in (
        *((slm, name, GIVEN, 200) for name in NEW_KEEPERS),
        *((backend, name, GIVEN, 200) for name in NEW[1:]),
        (slm, "ada", CHOSEN, 200),
        (slm, "ada", KEEPERS, 401),
        *((backend, name, CHOSEN, 200) for name in ("ben", "cleo", "dario", NEW[0])),
        *((backend, name, OTHERS, 401) for name in ("ben", "cleo", "dario", *DISABLED)),
        (backend, "emil", OTHERS, 200),
    ):
        given = json.dumps({"username": name, "password": password})
        assert ask("POST", f"{url}/api/auth/login", given)[0] == status, name


def test_what_came_to_the_new_home_went_back(undone: Undone, deployment: Deployment) -> None:
    assert undone.run.status == 0
    # AutoBot's backend has written a row each second, there and here, and writes on.
    ((rows,),) = superuser("slm", "autobot_users", "SELECT count(*) FROM terminal_activities")
    written = [it for it in undone.answers if it.kind == "activity"]
    assert int(rows) > len(written)
    assert written[-1].target == f"activity:{deployment.addresses['slm']}/autobot_users"
    (found,) = [
        line for line in deployment.before["backend"].checksums.splitlines() if ENVIRONMENT in line
    ]
    assert must("backend", "sha256sum", ENVIRONMENT).strip() == found


def test_the_next_way_back_has_nothing_to_do(undone: Undone) -> None:
    assert undone.run.status == 0
    run = typed(UNDO)
    assert run.status == 0, run.tail()
    assert set(run.changed.values()) == {0}


def test_the_site_is_taken_over_again(undone: Undone, figure: Figure) -> None:
    assert undone.run.status == 0
    since = time.time()
    run = typed("ansible-playbook site.yml")
    assert run.status == 0, run.tail()
    asked = wait_for_answers(since, time.time())
    machines, people = lost_by_machines(asked), lost_by_people(asked)
    figure(
        "taken over again",
        f"{run.seconds:.0f} s, {len(asked)} questions, machines lost {len(machines)}, people"
        f" {len(people)} within {span(people):.1f} s",
    )
    assert machines == []
    assert span(people) < 30, people
    with Site.load().client() as client:
        login = client.post("/api/auth/login", json={"username": "ada", "password": CHOSEN})
        assert login.status_code == 200, login.text
    # First copies of what was there this time, which is what was there the first time.
    for name, site in (("slm", "autobot-slm"), ("backend", "autobot-backend")):
        said = json.loads(must(name, "cat", f"{BEFORE}/manifest.json"))
        assert f"/etc/nginx/sites-enabled/{site}" in said["files"]
        assert not any("autobot-users" in path for path in said["files"])


def test_a_confirmation_says_what_goes_and_ends_the_way_back(
    undone: Undone, deployment: Deployment
) -> None:
    asked = typed(CONFIRM)
    assert asked.status != 0
    said = " ".join(asked.output.split())
    assert "the take-over cannot be undone any more" in said
    assert f"{BEFORE}/files" in said
    # Nobody, or who has the former address.
    assert f"efused at {deployment.addresses['slm']}:5432/autobot_users" in said
    assert re.search(r"the database autobot_users_undone_\d{8}_\d{6}", said)
    assert on("slm", "ls", f"{BEFORE}/files").status == 0

    run = typed(f"{CONFIRM} -e takeover_confirmed=true")
    assert run.status == 0, run.tail()
    for name in HOSTS:
        assert must(name, "ls", BEFORE).split() == ["confirmed", "manifest.json"]
        assert "undone" not in must(name, "ls", "/var/lib")
    kept = superuser(
        "redis", "postgres", "SELECT datname FROM pg_database WHERE datname LIKE '%undone%'"
    )
    assert kept == []

    refused = typed(UNDO)
    assert refused.status != 0
    assert "playbooks/restore.yml" in refused.output
    assert undone.run.status == 0
