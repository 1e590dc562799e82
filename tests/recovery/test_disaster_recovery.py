"""Each block of docs/disaster-recovery.md, run on the loss that it is for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.people import People
from tests.lab.site import (
    HANGS,
    HOSTS,
    ROOT,
    STATE,
    Figure,
    Run,
    Site,
    ansible,
    ansible_environment,
    execute,
    must,
    on,
    superuser,
    unique,
    wait_until,
)

DOCUMENT = (ROOT / "docs" / "disaster-recovery.md").read_text()
BLOCK = re.compile(r"^(?:<!-- run: (\w+) -->\n)?```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DATABASE = "autobot_users"
CLUSTER = "/var/lib/postgresql/*/main"


def run(block: str, **variables: str) -> Run:
    """Run a block as the operator would, who has confirmed what is restored."""
    (script,) = [script for name, script in BLOCK.findall(DOCUMENT) if name == block]
    start = time.monotonic()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env=ansible_environment(site="-e confirm=redis", **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * HANGS,
        check=False,
    )
    finished = Run(done.returncode, done.stdout, time.monotonic() - start)
    assert finished.status == 0, finished.tail()
    return finished


def now() -> str:
    """The database's time between what was written and what comes."""
    time.sleep(0.1)
    ((moment,),) = superuser("redis", "postgres", "SELECT to_json(clock_timestamp()) #>> '{}'")
    time.sleep(0.1)
    return moment


def sql(statement: str) -> list[list[str]]:
    return superuser("redis", DATABASE, statement)


@contextmanager
def own_table() -> Iterator[str]:
    """A table of this test, with one row."""
    name = unique("lost")
    sql(
        f"SET ROLE autobot_user_admin; CREATE TABLE {name} (phase int PRIMARY KEY);"
        f"GRANT SELECT ON {name} TO slm_service; INSERT INTO {name} VALUES (1)"
    )
    try:
        yield name
    finally:
        sql(f"DROP TABLE IF EXISTS {name}")


@pytest.fixture
def clean() -> Iterator[None]:
    """Removes what restores keep, once the test has seen it."""
    yield
    must("redis", "sh", "-c", f"rm -rf {CLUSTER}.before-*")
    kept = superuser(
        "redis",
        "postgres",
        "SELECT datname FROM pg_database WHERE datname ~ '_(before|restored)_'",
    )
    for (name,) in kept:
        superuser("redis", "postgres", f'DROP DATABASE "{name}" WITH (FORCE)')


def serve(site: Site) -> None:
    """Both services have found the database again."""
    for connect in (site.client, site.backend_client):
        with connect() as client:
            wait_until(lambda: client.get("/health/ready").status_code == 200, "ready")


def whole(host: str) -> None:
    """The backups of a host are in order."""
    checked = on(host, "autobot-backup", "check", user="postgres")
    assert checked.status == 0, checked.text


def test_every_block_is_run() -> None:
    named = [name for name, _ in BLOCK.findall(DOCUMENT)]
    assert "" not in named
    run_here = re.findall(r'\brun\(\s*"(\w+)"', Path(__file__).read_text())
    assert sorted(named) == sorted(set(run_here))


@pytest.mark.usefixtures("clean")
def test_a_row_and_a_table_come_back_and_the_rest_goes_on(figure: Figure) -> None:
    user = unique("lost")
    row = f"SELECT u::text FROM users u WHERE username = '{user}'"
    with own_table() as table, own_table() as other:
        try:
            sql(f"INSERT INTO users (username, email) VALUES ('{user}', '{user}@example.com')")
            written = sql(row)
            assert written
            before = now()
            sql(f"DELETE FROM users WHERE username = '{user}'; DROP TABLE {table}")
            sql(f"INSERT INTO {other} VALUES (2)")

            beside = run("beside", before=before)
            run("row", user=user)
            run("table", table=table)
            run("copy")

            assert sql(row) == written
            assert sql(f"TABLE {table}") == [["1"]]
            (granted, owner) = sql(
                f"SELECT has_table_privilege('slm_service', '{table}', 'SELECT'), tableowner"
                f" FROM pg_tables WHERE tablename = '{table}'"
            )[0]
            assert (granted, owner) == ("t", "autobot_user_admin")
            # What was written after the loss is still there.
            assert sql(f"SELECT count(*) FROM {other}") == [["2"]]
        finally:
            sql(f"DELETE FROM users WHERE username = '{user}'")
    figure("a database restored beside the live one", f"{beside.seconds:.0f} s")


@pytest.mark.usefixtures("clean")
def test_a_database_comes_back(site: Site, people: People, figure: Figure) -> None:
    user = people.create("autobot")
    privileges = "SELECT pg_get_userbyid(datdba), datacl FROM pg_database WHERE datname = :'name'"
    owned = superuser("redis", "postgres", privileges, name=DATABASE)
    with own_table() as table:
        before = now()
        sql(f"DELETE FROM {table}; UPDATE users SET is_active = false")
        done = run("database", before=before)
        assert sql(f"TABLE {table}") == [["1"]]
        assert superuser("redis", "postgres", privileges, name=DATABASE) == owned
        serve(site)
        assert people.log_in(user).status_code == 200
        (kept,) = superuser(
            "redis",
            "postgres",
            f"SELECT datname FROM pg_database WHERE datname ~ '^{DATABASE}_before'",
        )
        assert superuser("redis", kept[0], f"TABLE {table}") == []
    figure("one database restored", f"{done.seconds:.0f} s")


@pytest.mark.usefixtures("clean")
def test_the_cluster_comes_back_as_it_was_just_before(
    site: Site, people: People, figure: Figure
) -> None:
    user = people.create("autobot")
    verifier = "SELECT rolpassword FROM pg_authid WHERE rolname = 'autobot_backend'"
    with own_table() as table:
        taken = on("redis", "autobot-backup", "backup", "incr", user="postgres")
        assert taken.status == 0, taken.text
        sql(f"INSERT INTO {table} VALUES (2)")
        # The password of then is not that of the vault.
        ((today,),) = sql(verifier)
        sql("ALTER ROLE autobot_backend PASSWORD 'of another time'")
        before = now()
        superuser(
            "redis", DATABASE, "ALTER ROLE autobot_backend PASSWORD :'verifier'", verifier=today
        )
        sql(f"DROP TABLE {table}")
        done = run("cluster", before=before)
        assert sql(f"SELECT phase FROM {table} ORDER BY 1") == [["1"], ["2"]]
        assert sql(verifier) == [[today]]
        serve(site)
        assert people.log_in(user).status_code == 200
    assert must("redis", "sh", "-c", f"ls -d {CLUSTER}.before-*")
    # The new timeline has a backup of its own, and nothing is wrong with what was before.
    whole("redis")
    figure("the cluster restored", f"{done.seconds:.0f} s")


@pytest.mark.usefixtures("clean")
def test_a_lost_vm_comes_back(site: Site, people: People, figure: Figure) -> None:
    user = people.create("autobot")
    login = people.log_in(user)
    assert login.status_code == 200, login.text
    with own_table() as table:
        # It left the host, as everything does within a minute.
        must("redis", "autobot-backup", "plan", "--archive", "--to=latest", user="postgres")
        lost = time.time()
        removed = execute(["podman", "rm", "--force", "--time", "0", "redis"])
        assert removed.status == 0, removed.text
        bare = ansible("molecule/default/create.yml")
        assert bare.status == 0, bare.tail()
        done = run("vm")

        assert sql(f"TABLE {table}") == [["1"]]
        serve(site)
        with site.backend_client() as client:
            # The session of before, and a new login.
            token = login.json()["token"]
            me = client.get("/api/auth/me", headers={"Authorization": f"Bearer {token}"})
            assert me.status_code == 200, me.text
        assert people.log_in(user).status_code == 200
    # The other VM's repository was on it too.
    (stanza,) = json.loads(must("slm", "pgbackrest", "info", "--output=json", user="postgres"))
    assert [backup["type"] for backup in stanza["backup"]] == ["full"]
    assert stanza["backup"][0]["timestamp"]["start"] >= lost
    for host in ("slm", "redis"):
        whole(host)
    figure("a lost VM restored", f"{done.seconds:.0f} s")


def test_a_lost_controller_needs_three_things(tmp_path: Path, figure: Figure) -> None:
    names = ("vault.yml", "ca.crt")
    contents = {name: (STATE / name).read_bytes() for name in names}
    for name in names:
        shutil.move(STATE / name, tmp_path / name)
    try:
        done = run("controller", kept=str(tmp_path), state=str(STATE))
        assert {name: (STATE / name).read_bytes() for name in names} == contents
        # The release may have to be built; the hosts stay as they are.
        assert {host: done.changed[host] for host in HOSTS} == dict.fromkeys(HOSTS, 0), done.tail()
    finally:
        for name in names:
            shutil.copy2(tmp_path / name, STATE / name)
    figure("a new controller", f"{done.seconds:.0f} s")


def test_a_lost_backup_key_is_on_its_host(site: Site, figure: Figure) -> None:
    done = run("key")
    assert site.vault["vault_autobot_users_backup_key"] in done.output
    figure("a backup key found again", f"{done.seconds:.0f} s")


def test_the_drill_restores_both_databases(figure: Figure) -> None:
    done = run("drill")
    measured = []
    for host in ("slm", "redis"):
        result = json.loads(must(host, "cat", "/var/lib/autobot-backup/drill.json"))
        assert result["ok"] is True
        assert result["rows"] > 0
        assert result["verified"] == result["finished"]
        measured.append(f"{host}: {result['rows']} rows, {result['seconds']} s")
    figure("drill of both databases", f"{done.seconds:.0f} s; {'; '.join(measured)}")
