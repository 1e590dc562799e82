"""What an operator asks for: slips of the keyboard stop a run before a host is asked."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.role_files import ROOT, load_plugin


def ask(home: Path, *arguments: str, inventory: str = "lab") -> subprocess.CompletedProcess[str]:
    """Let the first play of every playbook judge a command line; it connects to nobody."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")
    }
    return subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            *("-i", f"inventory/{inventory}", "playbooks/parts/request.yml", *arguments),
        ],
        cwd=ROOT,
        env={**environment, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("inventory", ["lab", "production"])
def test_the_inventories_and_what_the_documents_name_are_known(
    tmp_path: Path, inventory: str
) -> None:
    said = {
        "slm_server_settings": {"BCRYPT_COST": "11", "login_failures_global": 3000},
        "autobot_backend_settings": {"PASSWORD_HISTORY": 6},
        "rotate_phase": "finish",
        "rotate": "signing_keys",
        "rollback_to": "1.0.0",
        "rollback_lose_rows": True,
        "restore_host": "redis",
        "backup_type": "full",
        "confirm": "redis",
        "ours": "nobody's business",
    }
    done = ask(tmp_path, "-e", json.dumps(said), inventory=inventory)
    assert done.returncode == 0, done.stdout
    assert "failed=1" not in done.stdout


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (
            {"slm_server_settings": {"BCRIPT_COST": 12}},
            "slm_server_settings has BCRIPT_COST, which is no setting of the service."
            " Did you mean BCRYPT_COST?",
        ),
        (
            {"autobot_backend_settings": {"ZZZ": 1}},
            "autobot_backend_settings has ZZZ, which is no setting of the service."
            " Nothing is called like that.",
        ),
        (
            {"slm_server_acces_token_minutes": 5},
            "no role knows the variable slm_server_acces_token_minutes."
            " Did you mean slm_server_access_token_minutes?",
        ),
        (
            {"rotate_phse": "finish"},
            "no role knows the variable rotate_phse. Did you mean rotate_phase?",
        ),
        (
            {"slm_sever_settings": {}},
            "nothing reads the variable slm_sever_settings. Did you mean slm_server_settings?",
        ),
        # What a role keeps to itself is nobody's to set.
        ({"preflight_min_ansible": "2.18"}, "no role knows the variable preflight_min_ansible."),
    ],
)
def test_a_slip_stops_the_run_with_what_may_have_been_meant(
    tmp_path: Path, said: dict[str, Any], fault: str
) -> None:
    done = ask(tmp_path, "-e", json.dumps(said))
    assert done.returncode != 0
    assert f"every host: {fault}" in done.stdout + done.stderr
    assert "No host was touched." in done.stdout + done.stderr


def test_a_slip_in_the_variables_of_one_host_names_that_host() -> None:
    plugin = load_plugin("action.known_names")
    known, begins = plugin.known_variables(), plugin.prefixes()
    assert plugin.strange_variables({"firewall_alow": []}, known, begins) == [
        "no role knows the variable firewall_alow. Did you mean firewall_allow?"
    ]
    assert plugin.strange_variables({"ansible_host": "", "inventory_dir": ""}, known, begins) == []


@pytest.mark.parametrize(
    ("limit", "left_out"),
    [
        ("slm", {"redis", "backend", "wsl", "localhost"}),
        ("!slm", {"slm"}),
        ("site", {"wsl", "localhost"}),
        ("localhost", {"slm", "redis", "backend", "wsl"}),
        ("@{}/retry", {"slm", "redis", "backend", "wsl", "localhost"}),
    ],
)
def test_a_limit_that_leaves_hosts_out_is_refused_at_once(
    tmp_path: Path, limit: str, left_out: set[str]
) -> None:
    (tmp_path / "retry").write_text("slm\n")
    done = ask(tmp_path, "--limit", limit.format(tmp_path))
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "This playbook needs every host, and localhost" in text
    named = text.split("leaves out ", 1)[1].split(".", 1)[0].replace("\n", " ")
    assert {name.strip() for name in named.split(",")} == left_out
    assert "changed=1" not in text


@pytest.mark.parametrize("managed", [[], ["backend"]])
@pytest.mark.parametrize("elsewhere", [[], ["wsl"]])
def test_a_site_has_a_backend_of_one_kind_or_the_other(
    tmp_path: Path, managed: list[str], elsewhere: list[str]
) -> None:
    groups = {"site_backends": managed, "site_backends_elsewhere": elsewhere}
    done = ask(tmp_path, "-e", json.dumps(groups))
    text = " ".join((done.stdout + done.stderr).split())
    assert (done.returncode == 0) is bool(managed or elsewhere)
    refused = "autobot_backend_elsewhere, with its address" in text
    assert refused is not bool(managed or elsewhere)


def test_a_limit_to_all_is_none(tmp_path: Path) -> None:
    assert ask(tmp_path, "--limit", "all").returncode == 0


@pytest.mark.parametrize(
    "playbook",
    [
        *("site", "deploy", "rollback", "restore", "rotate_secrets"),
        *("takeover_undo", "takeover_confirm"),
    ],
)
def test_every_playbook_of_an_operator_asks_this_first(tmp_path: Path, playbook: str) -> None:
    path = "site.yml" if playbook == "site" else f"playbooks/{playbook}.yml"
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), path, "--list-tasks"],
        cwd=ROOT,
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    tasks = [line.strip() for line in done.stdout.splitlines() if line.startswith("      ")]
    assert "arg spec 'request'" in tasks[0]
    assert tasks[1].startswith("preflight : Check that the run has every host")
