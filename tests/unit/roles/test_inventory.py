"""The inventories: one site, and nothing that a deployment writes is taken for a part of it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


def read_inventory(inventory: Path, checkout: Path) -> tuple[dict[str, Any], str]:
    """What Ansible makes of an inventory, and its warnings."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")
    }
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-inventory"), "-i", inventory, "--list"],
        cwd=checkout,
        env={**environment, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the inventories as an operator has them before the first run."""
    (tmp_path / "scripts").mkdir()
    password = tmp_path / "scripts" / "lab-vault-password"
    password.write_text("#!/bin/sh\necho password\n")
    password.chmod(0o755)
    for file in [*(ROOT / "inventory").glob("*.yml"), *ROOT.glob("inventory/*/*.yml")]:
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy, follow_symlinks=False)
    for name in ("lab", "production"):
        shutil.copytree(
            ROOT / "inventory" / name / "group_vars",
            tmp_path / "inventory" / name / "group_vars",
            symlinks=True,
        )
    return tmp_path


def test_what_a_deployment_keeps_beside_the_inventory_is_no_inventory(checkout: Path) -> None:
    production = checkout / "inventory" / "production"
    before, _ = read_inventory(production, checkout)
    (production / "vault.yml").write_text("vault_slm_admin_password: secret\n")
    (production / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    (production / "site.json").write_text('{"slm": {"hosts": {"intruder": null}}}')
    (production / "elsewhere").mkdir()
    (production / "elsewhere" / "wsl.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (production / "build").mkdir()
    (production / "build" / "release-1.json").write_text('{"release": {}}')
    after, warnings = read_inventory(production, checkout)
    assert after == before
    assert "WARNING" not in warnings


def test_lab_and_production_are_the_same_site(checkout: Path) -> None:
    lab, _ = read_inventory(checkout / "inventory" / "lab", checkout)
    production, _ = read_inventory(checkout / "inventory" / "production", checkout)
    groups = [{name: site[name] for name in site if name != "_meta"} for site in (lab, production)]
    # The lab's own, so that something of it is seen in each run.
    assert groups[0].pop("autobot_backend_elsewhere") == {"hosts": ["wsl"]}
    groups[1].pop("autobot_backend_elsewhere", None)
    assert groups[0] == groups[1]
    for name in ("slm", "redis", "backend"):
        addresses = {site["_meta"]["hostvars"][name]["address"] for site in (lab, production)}
        assert len(addresses) == 1


@pytest.mark.parametrize(
    ("site", "scenario"),
    [("lab", "default"), ("single", "default"), ("lived_in", "lived_in"), ("production", "")],
)
def test_only_a_lab_is_brought_up(site: str, scenario: str) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "up", f"LAB_SITE={site}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if scenario:
        assert f"ansible-playbook molecule/{scenario}/create.yml" in done.stdout
    else:
        assert done.returncode != 0
        assert "LAB_SITE is production; it can be lab, single or lived_in." in done.stderr


def test_the_labs_differ_in_what_lives_on_their_hosts_only() -> None:
    hosts = {}
    for name in ("lab", "lived_in"):
        found, _ = read_inventory(ROOT / "inventory" / name, ROOT)
        hosts[name] = found["_meta"]["hostvars"]
    # A backend that nobody manages is a matter of the inventory, and of no host.
    del hosts["lab"]["wsl"]
    for host in hosts["lab"].values():
        if "site_ssh_logins" in host:
            host["site_ssh_logins"] = "as_found"
    # Answers that somebody gave, in host_vars, do not count.
    lived_in = {
        name: {key: value for key, value in hosts["lived_in"][name].items() if key in host}
        for name, host in hosts["lab"].items()
    }
    assert lived_in == hosts["lab"]
