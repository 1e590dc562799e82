"""What the way back leaves alone, and in which order it goes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from role_files import ROOT, role_vars

ROLE = ROOT / "roles/takeover"


def plan(**more: Any) -> dict[str, Any]:
    """What the module has found."""
    names = ("put_back", "removed", "conflicts", "left", "kept", "noted", "units", "again")
    return {name: [] for name in names} | more


def valued(name: str, **more: Any) -> Any:
    return role_vars("takeover", takeover_plan=plan(**more), takeover_databases=[])(name)


@pytest.mark.parametrize(
    ("path", "is_blocked"),
    [
        ("/etc/nginx/nginx.conf", True),
        ("/etc/postgresql/17/main/pg_hba.conf", True),
        ("/etc/systemd/system/nginx.service.d/50-autobot.conf", False),
        ("/etc/postgresql-common/createcluster.d/50-autobot.conf", False),
    ],
)
def test_what_serves_with_a_changed_file_is_not_half_taken_away(
    path: str, is_blocked: bool
) -> None:
    conflict = {"path": path, "kept": f"/kept{path}", "was": "there"}
    assert bool(valued("takeover_blocked", conflicts=[conflict])) is is_blocked


def test_what_would_start_a_service_is_stopped_before_it() -> None:
    units = ["a.service", "a.socket", "autobot-firewall.service", "b.service", "b.timer"]
    units += ["nginx.service", "postgresql@17-main.service", "ssh.service"]
    stopped = valued("takeover_stopped", units=units, noted=units)
    # The others have a time of their own, and nobody is locked out.
    assert stopped == ["a.socket", "b.timer", "a.service", "b.service", "nginx.service"]


def test_the_cluster_is_the_one_that_a_deployment_let_run() -> None:
    noted = ["nginx.service", "postgresql@17-main.service"]
    assert valued("takeover_cluster", noted=noted) == "postgresql@17-main.service"
    assert valued("takeover_configuration", noted=noted) == "/etc/postgresql/17/main"
    assert valued("takeover_cluster", noted=["nginx.service"]) == ""


def test_who_asks_is_answered_by_others_before_ours_stop() -> None:
    plays = yaml.safe_load((ROOT / "playbooks/takeover_undo.yml").read_text())
    included = [
        (
            task["ansible.builtin.include_role"]["name"],
            task["ansible.builtin.include_role"]["tasks_from"],
        )
        for play in plays
        for task in play.get("tasks", [])
        if "ansible.builtin.include_role" in task
    ]
    assert included == [
        ("takeover", "serve"),
        ("takeover", "give_back"),
        ("adoption", "undo_imports"),
        ("takeover", "undo"),
        ("takeover", "report"),
    ]
    tasks = [
        task["ansible.builtin.import_tasks"]
        for name in ("serve", "undo")
        for task in yaml.safe_load((ROLE / f"tasks/{name}.yml").read_text())
    ]
    assert tasks == ["web.yml", "services.yml", "databases.yml", "host.yml"]


def test_databases_that_are_kept_are_known_by_their_name() -> None:
    """The script gives the name, and the confirmation and the cluster look for it."""
    form = "undone_[0-9]{8}_[0-9]{6}"
    moved = role_vars("adoption")("adoption_kept").removeprefix("autobot_users_")
    for each in (form, moved, "before_adoption", "given_back"):
        assert each in valued("takeover_kept_databases")
    assert "'{{ takeover_kept_names }}'" in (ROLE / "tasks/cluster.yml").read_text()
    assert "%Y%m%d_%H%M%S" in (ROLE / "tasks/plan.yml").read_text()
    assert "_undone_{{ takeover_stamp }}" in (ROLE / "tasks/databases.yml").read_text()
