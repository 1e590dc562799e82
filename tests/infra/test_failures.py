"""Bad input and bad luck: a clear message, and nothing is lost."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.site import (
    STATE,
    Site,
    ansible,
    assert_failed_untouched,
    host_down,
    must,
    on,
    wait_until,
)

RELEASES = "/opt/autobot-users/slm-server/releases"
CURRENT = "/opt/autobot-users/slm-server/current"
# The plays that a deployment of the service alone needs.
DEPLOY = (
    *("playbooks/preflight.yml", "playbooks/controller.yml"),
    *("playbooks/parts/unpack.yml", "playbooks/parts/services.yml"),
)


def serves(site: Site) -> bool:
    """Whether the SLM server answers and has its databases."""
    with site.client() as client:
        return client.get("/health/ready").status_code == 200


def assert_serves(site: Site) -> None:
    """The SLM server answers."""
    assert serves(site)


def test_a_wrong_vault_password_changes_nothing(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password\n")
    vault = (STATE / "vault.yml").read_bytes()
    run = ansible("site.yml", ANSIBLE_VAULT_IDENTITY_LIST=f"lab@{wrong}")
    assert_failed_untouched(run, "vault password", "lab", "vault.yml", "--vault-id")
    assert (STATE / "vault.yml").read_bytes() == vault


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("postgresql_source", "nonsense", ("nonsense", "distribution", "pgdg")),
        ("postgresql_listen_addresses", "*", ("*", "addresses such as 192.0.2.1")),
        ("slm_server_access_token_minutes", "soon", ("soon", "int")),
        ("firewall_ssh_sources", ["172.16.168.0/33"], ("172.16.168.0/33",)),
        (
            "slm_server_gateway",
            {"routes": [{"path": "/api", "to": "autobot:8000"}]},
            ("slm: slm_server_gateway", "The route /api", "a URL with an address"),
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    variable: str, value: object, said: tuple[str, ...]
) -> None:
    run = ansible("playbooks/preflight.yml", "--extra-vars", json.dumps({variable: value}))
    assert_failed_untouched(run, variable, *said)


def test_an_unknown_key_of_the_access_rules_stops_the_run() -> None:
    rule = {"database": "autobot_users", "role": "slm_service", "adresses": ["172.16.168.19"]}
    run = ansible("playbooks/preflight.yml", "--extra-vars", json.dumps({"postgresql_hba": [rule]}))
    assert_failed_untouched(run, "postgresql_hba", "adresses", "addresses")


def test_a_secret_of_the_wrong_kind_is_not_shown() -> None:
    secret = uuid.uuid4().hex
    run = ansible(
        "playbooks/preflight.yml",
        "playbooks/controller.yml",
        "playbooks/parts/postgresql.yml",
        "-vvv",
        "--extra-vars",
        json.dumps({"postgresql_passwords": [secret]}),
    )
    assert run.status != 0
    assert "postgresql_passwords" in run.output
    mentions = [line for line in run.output.splitlines() if secret in line]
    # -vvv repeats the command line, which is what the operator typed.
    assert [line for line in mentions if "--extra-vars" not in line] == []


# The plays that end a run: with them alone, nothing is deployed.
PROVE = (
    *("playbooks/preflight.yml", "playbooks/controller.yml"),
    *("playbooks/parts/administrators.yml", "playbooks/parts/proof.yml"),
)
PASSED = "checks passed: what must work works"


def test_a_check_that_fails_on_every_host_is_shown_as_failed() -> None:
    run = ansible(*PROVE, "--extra-vars", "proof_minimum_days=9999")
    assert_failed_untouched(run, "NOT PROVED: 4 of 27 checks failed.", "FAILED HTTPS certificate:")
    assert PASSED not in run.output
    # What passed is shown, and where to log in.
    assert "autobot_users answers" in run.output
    assert "Fleet administrators log in at" in run.output


def test_a_host_whose_checks_could_not_be_made_is_named() -> None:
    run = ansible(*PROVE, "--extra-vars", "proof_ca_certificate=/nowhere/ca.crt")
    assert run.status == 2, run.tail()
    assert "NOT PROVED" in run.output
    assert PASSED not in run.output


def test_an_unreachable_host_stops_the_run_before_the_others_are_touched() -> None:
    with host_down("backend"):
        run = ansible("site.yml")
    assert_failed_untouched(run, "backend", "cannot be reached", "No host was touched")
    assert run.recap["backend"]["failed"] == 1
    assert "TASK [base" not in run.output
    assert "TASK [controller" not in run.output


def test_another_major_version_is_refused_before_any_host_is_touched() -> None:
    other = {"postgresql_source": "pgdg", "postgresql_version": "16"}
    run = ansible("site.yml", "--extra-vars", json.dumps(other))
    assert_failed_untouched(run, "would set up 16 beside it, empty", "pg_upgradecluster")
    assert "TASK [base" not in run.output
    assert "TASK [firewall" not in run.output
    # The old cluster may be somebody's: nobody is told to drop it.
    assert "pg_dropcluster" not in run.output


def test_a_port_that_another_program_has_is_named(site: Site) -> None:
    unit = f"tests-{uuid.uuid4().hex[:8]}"
    must("slm", "systemctl", "stop", "nginx")
    try:
        must(
            "slm",
            *("systemd-run", "--quiet", f"--unit={unit}", "--"),
            *("python3", "-m", "http.server", "8000"),
        )
        wait_until(lambda: must("slm", "ss", "-Hltn", "sport = :8000"), "8000 is taken")
        run = ansible(*DEPLOY)
    finally:
        on("slm", "systemctl", "stop", unit)
        must("slm", "systemctl", "start", "nginx")
    assert_failed_untouched(run, "8000", "python3", "slm")
    assert_serves(site)


@contextmanager
def somebody_elses_site() -> Iterator[None]:
    """The backend's nginx has no site of ours yet, and one of somebody else's on its port."""
    ours, theirs = "/etc/nginx/conf.d/autobot-auth.conf", "/etc/nginx/conf.d/tests.conf"
    must("backend", "mv", ours, f"{ours}.kept")
    try:
        must("backend", "tee", theirs, stdin="server { listen 8443; }\n")
        must("backend", "systemctl", "reload", "nginx")
        yield
    finally:
        must("backend", "rm", "-f", theirs)
        must("backend", "mv", f"{ours}.kept", ours)
        must("backend", "systemctl", "restart", "nginx")


def test_a_site_of_somebody_else_on_the_port_is_not_replaced(site: Site) -> None:
    with somebody_elses_site():
        run = ansible(*DEPLOY)
        assert on("backend", "ls", "/etc/nginx/conf.d/autobot-auth.conf").status != 0
    assert_failed_untouched(run, "8443", "nginx", "backend")
    with site.backend_client() as client:
        assert client.get("/health/ready").status_code == 200


@contextmanager
def little_room(megabytes: int) -> Iterator[None]:
    """The directory of the releases is on a disk that has only so much room left."""
    used = int(must("slm", "du", "-sm", RELEASES).split()[0])
    disk = "/run/tests-disk"
    must("slm", "mkdir", disk)
    must("slm", "mount", "-t", "tmpfs", "-o", f"mode=755,size={used + megabytes}m", "tests", disk)
    try:
        must("slm", "cp", "-a", f"{RELEASES}/.", disk)
        must("slm", "mount", "--bind", disk, RELEASES)
        yield
    finally:
        for mounted in (RELEASES, disk):
            on("slm", "umount", "--lazy", mounted)
        must("slm", "rmdir", disk)


def test_a_full_disk_leaves_the_release_in_use(site: Site) -> None:
    release = f"tests-{uuid.uuid4().hex[:8]}"
    before = must("slm", "readlink", CURRENT)
    pid = must("slm", "systemctl", "show", "--property=MainPID", "autobot-slm-users")
    # The disk fills up after it was found large enough.
    fills = {"release_id": release, "release_installed_bytes": 0}
    with little_room(megabytes=60):
        run = ansible(*DEPLOY, "--extra-vars", json.dumps(fills))
        left = must("slm", "ls", RELEASES).split()
    assert run.status != 0
    assert release in run.output
    assert "No space left on device" in run.output, run.tail()
    assert "The release in use was not touched" in run.output
    assert release not in left
    assert must("slm", "readlink", CURRENT) == before
    assert must("slm", "systemctl", "show", "--property=MainPID", "autobot-slm-users") == pid
    assert_serves(site)


def test_a_disk_without_room_for_a_release_is_told_before_it_fills(site: Site) -> None:
    release = f"tests-{uuid.uuid4().hex[:8]}"
    huge = {"release_id": release, "release_installed_bytes": 10**15}
    run = ansible(*DEPLOY, "--extra-vars", json.dumps(huge))
    assert run.status != 0
    assert "1000000000 MB" in run.output, run.tail()
    assert "MB are free" in run.output
    assert must("slm", "ls", RELEASES).split().count(release) == 0
    assert_serves(site)
