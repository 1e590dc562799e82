"""Ours beside AutoBot's, by one run: nobody loses anything, and a reboot keeps it so."""

from __future__ import annotations

import re
import time
from collections import Counter

from tests.lab.site import (
    HOSTS,
    Figure,
    Site,
    ansible,
    bearer,
    execute,
    inside,
    must,
    on,
    wait_for_start,
    wait_until,
)
from tests.lived_in.deploying import Deployment
from tests.lived_in.evening import typed_on
from tests.lived_in.living import (
    CUT,
    OF_PEOPLE,
    STREAM,
    State,
    cuts,
    everybody_is_answered,
    lost_by_machines,
    lost_by_people,
    open_ports,
    span,
    wait_for_answers,
)

# Not asked each second.
RARE = (STREAM, CUT, "login")


def test_one_run_deploys_and_nobody_loses_an_answer(deployment: Deployment, figure: Figure) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    asked = Counter(it.target for it in deployment.answers)
    lost = lost_by_machines(deployment.answers)
    figure(
        "first run beside AutoBot",
        f"{deployment.run.seconds:.0f} s, {asked.total()} questions, {len(lost)} lost",
    )
    # Once a second, but for how slow the machine is.
    assert min(asked[it.target] for it in deployment.answers if it.kind not in RARE) > 20, asked
    assert lost == []


def test_people_lose_nothing_but_while_autobots_service_restarts(
    deployment: Deployment, figure: Figure
) -> None:
    """Pages, uploads of 2 MB, logins, and answers of a minute."""
    assert deployment.run.status == 0, deployment.run.tail()
    asked = Counter(it.target for it in deployment.answers if it.kind in OF_PEOPLE)
    lost, cut = lost_by_people(deployment.answers), cuts(deployment.answers)
    figure(
        "people beside the first run",
        f"{asked.total()} questions, {len(lost)} lost within {span(lost):.1f} s, cuts {dict(cut)}",
    )
    assert [it for it in lost if ":8443" not in it.target] == []
    assert span(lost) <= fenced(deployment), lost
    # AutoBot's backend restarts, and then our gateway comes between.
    assert all(count <= 2 for count in cut.values()), cut


def test_what_it_would_change_is_shown_and_nothing_is_changed(deployment: Deployment) -> None:
    assert deployment.shown.status == 0, deployment.shown.tail()
    assert all(deployment.shown.changed[name] for name in HOSTS)
    for name in HOSTS:
        for kind in State._fields:
            was, now = (
                getattr(each[name], kind) for each in (deployment.before, deployment.unchanged)
            )
            assert now == was, f"{kind} of {name}"


def test_what_others_have_in_postgresql_goes_on(deployment: Deployment) -> None:
    """Their cluster runs as it ran, and their databases are whose and what they were."""
    before, after = deployment.others
    assert before["5433"].endswith("|C")
    assert before["5432"].splitlines() == ["reports|C|slm_app", "slm|en_US.UTF-8|slm_app"]
    assert after == before


def test_a_second_run_changes_nothing(deployment: Deployment) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    since = time.time()
    run = ansible("site.yml")
    assert run.status == 0, run.tail()
    assert run.changed == dict.fromkeys(("localhost", *HOSTS), 0), run.tail()
    asked = wait_for_answers(since, time.time())
    assert [it for it in asked if it.said != "ok"] == []


# Of molecule/lived_in/files/people.sql.
KEEPER = {"username": "ada", "password": "Fleet-keeper-1"}
# A machine of AutoBot's verifies nothing.
ASK = """
import ssl, sys, urllib.error, urllib.request
method, url = sys.argv[1:]
request = urllib.request.Request(url, method=method)
try:
    with urllib.request.urlopen(request, context=ssl._create_unverified_context()) as answer:
        print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code)
"""


def test_the_fleet_manager_goes_on_for_who_is_logged_in(deployment: Deployment) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    site = Site.load()
    with site.client() as client:
        assert "AutoBot" in client.get("/").text
        assert client.get("/fleet/nodes").text == client.get("/").text
        assert "user management" in client.get("/user-management/").text
        # She was there before the run, with this password.
        login = client.post("/api/auth/login", json=KEEPER)
        headers = bearer(login)
        # Grafana's pages are known by the cookie alone; its stand-in has none.
        assert "File not found" in client.get("/grafana/").text
        assert client.get("/autobot-api/health", headers=headers).json()["path"] == "/api/health"
        client.cookies.clear()
        assert client.get("/grafana/").status_code == 401
        assert client.get("/api/nodes").status_code == 401
        nodes = client.get("/api/nodes", headers=headers).json()
        assert (nodes["path"], nodes["claims"]["sub"]) == ("/api/nodes", KEEPER["username"])
        assert client.get("/api/slm-users", headers=headers).json()["users"]
        assert client.post("/api/slm-auth/logout", headers=headers).status_code == 204
        assert client.get("/api/nodes", headers=headers).status_code == 401


def test_autobots_people_log_in_with_the_passwords_that_they_had(deployment: Deployment) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    with Site.load().client() as client:
        # Of the fleet manager's own table, and nowhere else.
        given = {"username": "admin", "password": KEEPER["password"]}
        assert client.post("/api/auth/login", json=given).status_code == 200
    with Site.load().backend_client() as client:
        for name, password, role in (
            (KEEPER["username"], KEEPER["password"], "admin"),
            *((name, "Everyday-robot-2", "user") for name in ("ben", "cleo", "dario")),
        ):
            login = client.post("/api/auth/login", json={"username": name, "password": password})
            headers = {"Authorization": f"Bearer {login.json()['token']}"}
            claims = client.get("/api/chats", headers=headers).json()["claims"]
            assert (claims["username"], claims["role"]) == (name, role)
        # Whoever sends neither a header nor the cookie.
        client.cookies.clear()
        assert client.get("/api/chats").status_code == 401
        assert client.get("/nginx-health").text == "healthy\n"


def test_who_still_uses_autobots_old_ways_is_listed(deployment: Deployment) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    said = typed_on("slm", "sudo slm doctor --takeover")
    assert said.status == 0, said.text
    assert re.search(r"slm logins\s.*kira", said.stdout), said.stdout
    assert re.search(r"autobot other roles\s.*slm_app", said.stdout), said.stdout


def fenced(deployment: Deployment) -> float:
    """For how many seconds nobody could write, as the run says."""
    (seconds,) = re.findall(r"Nobody could write for ([0-9.]+) s", deployment.run.output)
    return float(seconds)


def in_database(name: str, database: str, query: str) -> str:
    return must(name, "psql", "-XAtq", "-d", database, "-c", query, user="postgres")


def test_nobody_writes_for_some_seconds_and_no_row_is_lost(
    deployment: Deployment, figure: Figure
) -> None:
    """AutoBot's backend has written a row each second, and wrote on where it was led to."""
    assert deployment.run.status == 0, deployment.run.tail()
    figure("the move's fence", f"{fenced(deployment)} s")
    assert fenced(deployment) < 30
    where = deployment.addresses
    written = Counter(it.target for it in deployment.answers if it.target.startswith("activity:"))
    assert set(written) == {
        f"activity:{where['slm']}/autobot_users",
        f"activity:{where['redis']}/autobot_users",
    }
    # A row of before, and one for each answer; a program that is restarted says no answer.
    rows = in_database("redis", "autobot_users", "SELECT count(*) FROM terminal_activities")
    assert int(rows) > written.total()


def test_the_old_database_is_set_aside_and_read_only(deployment: Deployment) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    names = in_database("slm", "postgres", "SELECT datname FROM pg_database").split()
    assert "autobot_users" not in names
    write = "BEGIN READ WRITE; DELETE FROM users"
    arguments = ("psql", "-XAtq", "-d", "autobot_users_before_takeover", "-c", write)
    refused = on("slm", *arguments, user="postgres")
    assert "nobody writes here any more" in refused.stderr


def test_the_file_of_autobots_program_says_where_it_is_and_is_kept_as_it_was(
    deployment: Deployment,
) -> None:
    file, where = "/etc/autobot/backend.env", deployment.addresses
    for place, host in ((file, "redis"), (f"/var/lib/autobot-before/files{file}", "slm")):
        assert f"AUTOBOT_POSTGRES_HOST={where[host]}\n" in must("backend", "cat", place)
    assert must("backend", "stat", "-c", "%U:%G %a", file) == "autobot:autobot 600"
    (password,) = re.findall(
        "^AUTOBOT_POSTGRES_PASSWORD=(.+)", must("backend", "cat", file), re.MULTILINE
    )
    assert password not in deployment.run.output


def test_machines_pass_from_their_addresses_and_strangers_do_not(deployment: Deployment) -> None:
    address = deployment.addresses["slm"]
    for name, method, path, status in (
        ("redis", "POST", "/api/nodes/redis/heartbeat", "200\n"),
        ("outsider", "POST", "/api/nodes/redis/heartbeat", "401\n"),
        ("redis", "GET", "/api/nodes", "401\n"),
    ):
        ask = inside if name == "outsider" else on
        assert ask(name, "python3", "-c", ASK, method, f"https://{address}{path}").stdout == status
    for unit in ("autobot-slm-backend", "autobot-slm-users", "autobot-slm-users-relay.socket"):
        assert must("slm", "systemctl", "is-active", unit) == "active"


def test_after_a_reboot_the_same_ports_are_open(deployment: Deployment) -> None:
    assert deployment.run.status == 0, deployment.run.tail()
    for name in HOSTS:
        execute(["podman", "restart", "--time", "10", name])
    for name in HOSTS:
        wait_for_start(name)
    now = time.time()
    wait_until(lambda: everybody_is_answered(now), "AutoBot is at work after the reboot")
    found = open_ports(deployment.ports, deployment.addresses)
    assert found == deployment.open_before
