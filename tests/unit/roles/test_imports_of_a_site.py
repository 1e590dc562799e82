"""What a run says of its imports, and which of them go back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.support.role_files import ROOT, role_vars
from tests.support.role_play import play_roles

FLEET = "postgresql://slm_app@{}/slm"
SITE = {
    "ansible_check_mode": False,
    "address": "172.16.168.19",
    "inventory_hostname": "slm",
    "site_domain": "autobot.test",
}


def imported(kind: str, **values: Any) -> dict[str, Any]:
    return {"population": "slm", "kind": kind} | values


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        ("127.0.0.1", True),
        ("localhost:5433", True),
        ("[::1]:5432", True),
        ("172.16.168.19", True),
        ("slm.autobot.test", True),
        ("172.16.168.190", False),
        ("172.16.168.23", False),
        ("slm.autobot.test.org", False),
    ],
)
def test_a_table_of_this_host_goes_back(host: str, is_here: bool) -> None:
    table = imported("slm-table", url=FLEET.format(host))
    found = role_vars("adoption", adoption_imports=[table], **SITE)("adoption_tables_here")
    assert found == ([table] if is_here else [])


def test_a_rehearsal_says_what_would_go_back() -> None:
    here, gone = (imported("slm-table", url=FLEET.format(port)) for port in ("localhost", "[::1]"))
    said = role_vars(
        "adoption",
        adoption_imports=[here, gone],
        adoption_tables={
            "results": [{"item": here, "reason": ""}, {"item": gone, "reason": "It is gone."}]
        },
        **SITE | {"ansible_check_mode": True},
    )("adoption_of_tables")
    assert said.strip().splitlines() == [
        f"{here['url']}: would get what its people have changed here.",
        f"{gone['url']}: not given back. It is gone.",
    ]


def test_what_does_not_go_back_is_said() -> None:
    here = imported("slm-table", url=FLEET.format("localhost"))
    elsewhere = imported("slm-table", url=FLEET.format("172.16.168.23"))
    old = imported("slm-table", url="/var/lib/slm/slm.db")
    configuration = imported("config", host="backend", file="/srv/settings.json")
    result = {"item": here, "reason": "", "unreadable": ["ada"], "kept_names": ["bob (eve here)"]}
    said = role_vars(
        "adoption",
        adoption_imports=[here, elsewhere, old, configuration],
        adoption_tables={"results": [result, {"item": here, "reason": "There is none."}]},
        **SITE,
    )("adoption_of_tables")
    assert said.strip().splitlines() == [
        f"{here['url']}: not given back. There is none.",
        f"{here['url']}: without a password that AutoBot can read, they need a new one: ada",
        f"{here['url']}: not renamed, because the name is taken or too long: bob (eve here)",
        f"slm-table {elsewhere['url']}: what its people have changed here does not go back.",
        "slm-table /var/lib/slm/slm.db: what its people have changed here does not go back.",
        "config /srv/settings.json: what its people have changed here does not go back.",
    ]


def test_where_all_goes_back_nothing_is_said() -> None:
    """Of such a template Ansible makes no text at all, which no filter of text takes."""
    tasks = yaml.safe_load((ROOT / "roles/adoption/tasks/undo_imports.yml").read_text())
    (condition,) = [task["when"] for task in tasks if "debug" in "".join(task)]
    given = {"adoption_imports": [], "adoption_tables": {"results": []}, **SITE}
    own = yaml.safe_load((ROOT / "roles/adoption/vars/main.yml").read_text())
    known = {"adoption_of_tables": trust_as_template(own["adoption_of_tables"])}
    templar = Templar(DataLoader(), variables=given | known | {"adoption_tables_here": []})
    assert templar.template(trust_as_template(f"{{{{ {condition} }}}}")) is False


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {name: adoption, tasks_from: %s}
"""


def test_an_import_that_fails_says_why(tmp_path: Path) -> None:
    given = imported("config", file=str(tmp_path / "settings.json"))

    def said() -> str:
        done = play_roles(tmp_path, PLAY % "import", ["slm"], {"adoption_import": given})
        assert done.returncode == 2
        return done.stdout

    assert f"config {given['file']}: File not found" in said()
    (tmp_path / "settings.json").write_text("{}")
    # There is no command slm on this machine.
    assert f"config {given['file']}: Error executing command." in said()


def test_who_ends_a_move_imports_nobody(tmp_path: Path) -> None:
    (tmp_path / "current").touch()
    told = {
        "release_root": str(tmp_path),
        "adoption_undo": True,
        "adoption_imports": [imported("config", file="/nowhere")],
    }
    done = play_roles(tmp_path, PLAY % "imports", ["slm"], told)
    assert done.returncode == 0, done.stdout
