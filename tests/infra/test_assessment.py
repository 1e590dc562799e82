"""What is on the hosts is read and left as it is; what a run would break stops it first."""

from __future__ import annotations

import json

from tests.lab.site import (
    HOSTS,
    STATE,
    Site,
    ansible,
    assert_failed_untouched,
    files,
    must,
    superuser,
)


def test_an_assessment_changes_no_file_and_a_site_of_ours_is_silent(site: Site) -> None:
    # Each service has a connection to its database from then on.
    for connected in (site.client, site.backend_client):
        with connected() as client:
            assert client.get("/health/ready").status_code == 200
    before = {name: files(name) for name in HOSTS}
    run = ansible("playbooks/assess.yml")
    assert run.status == 0, run.tail()
    assert "0 to decide" in run.output
    assert [run.changed[name] for name in HOSTS] == [0] * len(HOSTS)
    for name in HOSTS:
        assert files(name) == before[name]

    seen = json.loads((STATE / "assessment.json").read_text())
    assert seen["conflicts"] == []
    redis = next(host for host in seen["hosts"] if host["name"] == "redis")
    (cluster,) = redis["survey"]["postgresql"]
    assert {database["name"] for database in cluster["databases"]} >= {"autobot_users"}
    assert {"slm_service", "autobot_backend"} <= {client["role"] for client in cluster["clients"]}
    # Whose each socket is: nobody is guessed.
    assert [it for it in redis["survey"]["listeners"] if not it["program"]] == []


def test_all_conflicts_of_all_hosts_stop_a_run_before_its_first_change() -> None:
    must("redis", "chown", "autobot", "/etc/autobot-users")
    superuser("slm", "postgres", "ALTER SYSTEM SET ssl = off")
    try:
        run = ansible("site.yml")
    finally:
        superuser("slm", "postgres", "ALTER SYSTEM RESET ssl")
        must("redis", "chown", "root", "/etc/autobot-users")
    assert_failed_untouched(
        run, "/etc/autobot-users belongs to autobot", "ssl in /var/lib/postgresql"
    )
    assert "No host was touched." in run.output
    assert "TASK [controller" not in run.output
    assert "TASK [base" not in run.output
