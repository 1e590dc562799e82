"""What the way back leaves alone, and in which order it goes."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from tests.support.role_files import ROOT, role_vars

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
    assert valued("takeover_blocked", conflicts=[conflict]) == [conflict] * is_blocked


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
        ("adoption", "undo_look"),
        ("takeover", "rehearse"),
        ("takeover", "serve"),
        ("takeover", "give_back"),
        ("adoption", "undo_services"),
        ("takeover", "give_back_table"),
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


@pytest.mark.parametrize(
    ("without", "left_out", "unknown"),
    [
        ("", [], []),
        ("backend", ["backend"], []),
        (" backend, slm,", ["backend", "slm"], []),
        ("bakend", ["bakend"], ["bakend"]),
    ],
)
def test_who_is_gone_is_left_out_by_name(
    without: str, left_out: list[str], unknown: list[str]
) -> None:
    groups = {"site": ["slm", "redis", "backend"]}
    value = role_vars("takeover", takeover_without=without, groups=groups)
    assert value("takeover_left_out") == left_out
    assert value("takeover_unknown") == unknown


def test_what_is_in_the_way_of_one_host_keeps_all_from_going_back() -> None:
    found = {
        "slm": {"takeover_blocks": []},
        "redis": {"takeover_blocks": ["redis: a file."], "adoption_blocks": ["The source."]},
        "backend": {"takeover_blocks": ["backend: another."]},
    }
    value = role_vars("takeover", ansible_play_hosts_all=list(found), hostvars=found)
    assert value("takeover_in_the_way") == ["redis: a file.", "backend: another.", "The source."]
    plays = yaml.safe_load((ROOT / "playbooks/takeover_undo.yml").read_text())
    names = [it.get("name") for it in plays]
    # Nothing changes a host before it, and it is asked in check mode too.
    assert names.index("Decide for all hosts") == names.index("Let AutoBot serve again") - 1
    decide = yaml.safe_load((ROLE / "tasks/decide.yml").read_text())
    assert not any("when" in task for task in decide)


def noted(role: str, path: str, fact: str, **variables: Any) -> Any:
    """What a task of a role notes as a fact."""
    tasks = yaml.safe_load((ROOT / "roles" / role / "tasks" / path).read_text())
    (task,) = [it for it in tasks if fact in it.get("ansible.builtin.set_fact", {})]
    own = yaml.safe_load((ROOT / "roles" / role / "vars/main.yml").read_text())
    template = task["ansible.builtin.set_fact"][fact]
    known = trusted({**own, **task.get("vars", {})}) | variables
    return Templar(DataLoader(), variables=known).template(trust_as_template(template))


def trusted(value: Any) -> Any:
    """Templates in a file of the project."""
    if isinstance(value, dict):
        return {key: trusted(it) for key, it in value.items()}
    if isinstance(value, list):
        return [trusted(it) for it in value]
    return trust_as_template(value) if isinstance(value, str) else value


@pytest.mark.parametrize("is_refused", [True, False])
@pytest.mark.parametrize("path", ["/etc/nginx/nginx.conf", "/etc/systemd/system/a.service"])
def test_a_host_notes_what_is_in_its_way(path: str, is_refused: bool) -> None:
    conflict = {"path": path, "kept": f"/kept{path}", "was": "there"}
    refused = {"failed": False, "msg": "What was there before is refused: line 3."}
    blocks = noted(
        *("takeover", "plan.yml", "takeover_blocks"),
        inventory_hostname="slm",
        takeover_plan=plan(conflicts=[conflict]),
        takeover_judged_nginx=refused if is_refused else plan(),
        takeover_judged_postgresql={"skipped": True, "changed": False},
    )
    expected = []
    if "nginx" in path:
        expected.append(f"slm: changed by somebody else since the last deployment: {path} (")
    if is_refused:
        expected.append("slm: What was there before is refused: line 3.")
    assert len(blocks) == len(expected)
    assert all(said.startswith(start) for said, start in zip(blocks, expected, strict=True))


@pytest.mark.parametrize(
    ("reached", "problems", "expected"),
    [
        ({"state": "started"}, [], []),
        ({"skipped": True}, [], []),
        (
            {"failed": False, "msg": "Timeout"},
            ["URL leads to elsewhere"],
            [
                "AutoBot's database goes back to 192.0.2.99:5432/people, which redis cannot reach."
                " Let it answer, and run again.",
                "backend /etc/a.env URL leads to elsewhere. Undo that change, and run again.",
            ],
        ),
    ],
)
def test_where_autobots_database_goes_back_to_must_answer(
    reached: dict[str, Any], problems: list[str], expected: list[str]
) -> None:
    item = {"host": "backend", "file": "/etc/a.env"}
    blocks = noted(
        *("adoption", "undo_look.yml", "adoption_blocks"),
        inventory_hostname="redis",
        adoption_source={"address": "192.0.2.99", "database": "people"},
        adoption_source_hosts=[],
        adoption_reached=reached,
        adoption_settings={"results": [{"item": item, "problems": problems}]},
        site_domain="example",
    )
    assert blocks == expected


def test_a_conflict_is_named_with_its_first_copy() -> None:
    listed = [
        {"path": "/etc/nginx/a", "kept": "/kept/a", "was": "there"},
        {"path": "/etc/nginx/b", "kept": "/kept/b", "was": "absent"},
    ]
    value = role_vars("takeover", takeover_listed=listed)
    assert value("takeover_said") == (
        "/etc/nginx/a (first copy: /kept/a); "
        "/etc/nginx/b (it was not there; its first copy would be /kept/b)."
    )


def test_environment_files_that_were_led_are_led_back_and_not_left() -> None:
    services = [{"host": "backend", "file": f"/etc/{name}.env"} for name in ("moved", "not")]
    found = plan(
        kept=["/etc/moved.env"],
        left=["/etc/moved.env: changed", "/etc/moved.environment: changed", "/etc/ufw/a: by one"],
    )
    value = role_vars("takeover", takeover_plan=found, takeover_services=services)
    assert [it["file"] for it in value("takeover_led")] == ["/etc/moved.env"]
    assert value("takeover_left") == ["/etc/moved.environment: changed"]


class TestSourceOfTheMove:
    """What a confirmation cannot remove, and who still asks for it."""

    def value(self, name: str, where: str, *asked: str, host: str = "192.0.2.19") -> str:
        address, _, rest = where.partition(":")
        found = {
            "slm": {
                "address": host,
                "takeover_kept": {"stdout_lines": []},
                "takeover_asked": {"stdout_lines": list(asked)},
            },
            "redis": {
                "address": "192.0.2.23",
                "takeover_kept": {"stdout_lines": []},
                "takeover_origin": {"from": where},
            },
            "backend": {"address": "192.0.2.20", "takeover_kept": {"skipped": True}},
        }
        for each, known in found.items():
            known["inventory_hostname"] = each
        source = {"address": address, "port": int(rest.split("/")[0]), "database": "people"}
        said = role_vars(
            "takeover",
            ansible_play_hosts_all=list(found),
            hostvars=found,
            takeover_source=source,
        )(name)
        return " ".join(str(said).split())

    def test_of_the_site_it_goes_with_the_rest(self) -> None:
        where = "192.0.2.19:5432/people"
        assert self.value("takeover_stays", where) == ""
        assert self.value("takeover_still", where) == f"Nobody was refused at {where}."
        asked = "app@people from 192.0.2.20: 7 times, the last 2026-11-30 15:43 UTC"
        said = self.value("takeover_still", where, asked)
        assert said.startswith(f"Refused at {where}, because it was moved: {asked}.")

    @pytest.mark.parametrize(
        ("where", "place", "name"),
        [
            ("192.0.2.99:5432/people", "on no host of this site", "people"),
            # No PostgreSQL that the site sets up.
            ("192.0.2.20:5432/people", "on no host of this site", "people"),
            ("192.0.2.19:5433/people", "another cluster of slm", "autobot_users_before_takeover"),
        ],
    )
    def test_of_others_it_is_named_with_the_command(
        self, where: str, place: str, name: str
    ) -> None:
        said = self.value("takeover_stays", where)
        assert said.startswith(f"{where}, which AutoBot's users were moved from, is")
        assert place in said
        port = where.partition(":")[2].split("/")[0]
        assert f"psql --port={port} --command='DROP DATABASE \"{name}\"'" in said
        assert "was not looked at" in self.value("takeover_still", where)

    def test_without_a_move_nothing_is_said(self) -> None:
        value = role_vars(
            "takeover", ansible_play_hosts_all=["redis"], hostvars={"redis": {}}, takeover_source={}
        )
        assert (value("takeover_stays"), value("takeover_still")) == ("", "")

    def test_who_was_refused_is_read_off_the_log(self, tmp_path: Path) -> None:
        tasks = yaml.safe_load((ROLE / "tasks/confirm.yml").read_text())
        (task,) = [it for it in tasks if it["name"] == "Look who asked for it since"]
        script = task["ansible.builtin.shell"]["cmd"]
        templar = Templar(
            DataLoader(),
            variables={"takeover_logs": str(tmp_path), "takeover_source": {"database": "people"}},
        )
        command = templar.template(trust_as_template(script))

        def run() -> str:
            return subprocess.run(
                ["bash", "-c", command], capture_output=True, text=True, check=True
            ).stdout

        assert run() == ""
        at = "2026-11-30 15:4{}:37.123 UTC [{}] "
        refused = '{} FATAL:  database "{}" does not exist\n'
        (tmp_path / "postgresql-17-main.log").write_text(
            at.format(3, 7)
            + refused.format("app@people 192.0.2.20", "people")
            + at.format(4, 8)
            + refused.format("app@people 192.0.2.20", "people")
            + at.format(5, 9)
            + refused.format("app@others 192.0.2.20", "others")
            + at.format(6, 9)
            + "app@people 192.0.2.20 LOG:  disconnection\n"
        )
        (tmp_path / "postgresql-17-main.log.1").write_text(
            at.format(1, 6) + refused.format("app@people 192.0.2.20", "people")
        )
        (tmp_path / "postgresql-17-other.log").write_text(
            at.format(1, 6) + refused.format("else@people [local]", "people")
        )
        assert run().splitlines() == [
            "app@people from 192.0.2.20: 3 times, the last 2026-11-30 15:44 UTC",
        ]
