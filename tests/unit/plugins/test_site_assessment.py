"""The action that judges a site: what it takes from the inventory, writes, and refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from tests.support.role_files import load_plugin
from tests.support.site_variables import read_site
from tests.support.surveys import BACKEND, REDIS, SLM, SUBNET, listener, lived_in_site, survey

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def plugin() -> Any:
    return load_plugin("action.site_assessment")


@pytest.fixture
def production() -> Any:
    """The variables of the production inventory; each test gives them facts of its own."""
    return read_site(ROOT / "inventory/production/hosts.yml")


@pytest.fixture
def hostvars(production: Any) -> Any:
    """The same with a lived-in site's surveys."""
    hosts, variables = production
    for host in lived_in_site():
        variables.set_nonpersistent_facts(host.name, {"survey_result": {"survey": host.survey}})
    return hosts


@pytest.fixture
def action(plugin: Any) -> Callable[..., Any]:
    """The action with options."""

    def action(*, check: bool = False, **options: Any) -> Any:
        return plugin.ActionModule(
            task=SimpleNamespace(
                args={"hosts": ["slm", "redis", "backend"], **options},
                action="site_assessment",
                async_val=0,
                check_mode=check,
            ),
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
            play_context=SimpleNamespace(),
            loader=None,
            templar=Templar(DataLoader()),
            shared_loader_obj=None,
        )

    return action


@pytest.fixture
def assess(action: Callable[..., Any], hostvars: Any) -> Callable[..., dict[str, Any]]:
    """Run the action with options."""

    def assess(**options: Any) -> dict[str, Any]:
        result: dict[str, Any] = action(**options).run(task_vars={"hostvars": hostvars})
        # As Ansible sends it on.
        json.dumps(result)
        return result

    return assess


class TestWanted:
    @pytest.fixture
    def hosts(self, action: Callable[..., Any], hostvars: Any) -> dict[str, Any]:
        return {it: action()._host(hostvars, it) for it in ("slm", "redis", "backend")}

    def test_of_the_inventory_come_addresses_ports_and_rules(self, hosts: dict[str, Any]) -> None:
        assert [it.address for it in hosts.values()] == [SLM, REDIS, BACKEND]
        assert {it: [port["port"] for port in hosts[it].ports] for it in hosts} == {
            "slm": [80, 443, 8000, 5432],
            "redis": [5432],
            "backend": [8443],
        }
        assert [it["addresses"] for it in hosts["slm"].ports] == [[], [], [], ["127.0.0.1"]]
        (database,) = (it for it in hosts["redis"].rules if 5432 in it["ports"])
        assert database["sources"] == [SLM, BACKEND]
        assert hosts["slm"].networks == hosts["slm"].ssh_sources == [SUBNET]
        assert hosts["redis"].directories == ["/etc/autobot-users", "/opt/autobot-users"]

    def test_of_the_database_come_its_lines_and_what_the_system_has(
        self, hosts: dict[str, Any]
    ) -> None:
        assert hosts["backend"].postgresql is None
        wanted = hosts["redis"].postgresql
        # Ubuntu 22.04's own.
        assert wanted.pop("version") == "14"
        line = {"database": "autobot_users"}
        assert wanted == {
            "owners": {"autobot_users": "autobot_user_admin"},
            "adopt_from": "",
            "listen_addresses": ["127.0.0.1", REDIS],
            "hba": [
                {**line, "role": "autobot_user_admin", "addresses": [SLM]},
                {**line, "role": "slm_service", "addresses": [SLM]},
                {**line, "role": "autobot_backend", "addresses": [BACKEND]},
            ],
        }
        # A list that is one template is repeated as what it gives; the site's own lines are not.
        assert hosts["redis"].as_written == {"postgresql_listen_addresses": ["127.0.0.1", REDIS]}

    def test_all_is_plain_text(self, hosts: dict[str, Any]) -> None:
        assert {type(it) for it in hosts["redis"].postgresql["listen_addresses"]} == {str}
        as_written = hosts["redis"].as_written["postgresql_listen_addresses"]
        assert {type(it) for it in as_written} == {str}

    def test_what_a_file_repeats_stays_a_template(
        self, action: Callable[..., Any], production: Any
    ) -> None:
        hosts, variables = production
        found = lived_in_site()[1].survey
        variables.set_nonpersistent_facts(
            "redis",
            {
                "survey_result": {"survey": found},
                "firewall_allow": [{"ports": [22], "sources": ["{{ address }}"], "comment": "x"}],
            },
        )
        (rule,) = action()._host(hosts, "redis").as_written["firewall_allow"]
        assert rule["sources"] == ["{{ address }}"]

    @pytest.mark.parametrize(
        ("distribution", "version", "major"),
        [
            ("Debian", "12", "15"),
            ("Debian", "13.2", "17"),
            ("Ubuntu", "24.04", "16"),
            ("Kali", "2026.1", ""),
        ],
    )
    def test_a_system_has_its_version_of_postgresql(
        self, plugin: Any, distribution: str, version: str, major: str
    ) -> None:
        system = {"distribution": distribution, "version": version}
        assert plugin.default_version(system) == major

    def test_the_ports_are_those_of_the_roles(self, plugin: Any) -> None:
        for group in ("slm_server", "autobot_backend"):
            (task,) = (
                it["vars"]
                for it in yaml.safe_load((ROOT / f"roles/{group}/tasks/install.yml").read_text())
                if it.get("ansible.builtin.import_role", {}).get("name") == "service"
            )
            defaults = yaml.safe_load((ROOT / f"roles/{group}/defaults/main.yml").read_text())
            ports = {task["service_port"], *defaults.get(f"{group}_redirect_ports", [])}
            assert {port for port, _, _ in plugin.PORTS[group]} == ports


def test_a_site_with_conflicts_is_refused_and_nothing_is_written(
    assess: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    result = assess(refuse=True, report=str(tmp_path), proposal=str(tmp_path))
    assert result["failed"]
    assert result["msg"].endswith("\nNo host was touched.")
    assert "redis-server (redis-stack-server.service) listens" in result["msg"]
    assert not result["changed"]
    assert not list(tmp_path.iterdir())


def test_a_site_without_conflicts_passes(
    assess: Callable[..., dict[str, Any]], production: Any, hostvars: Any, tmp_path: Path
) -> None:
    assert hostvars
    for name in ("slm", "redis", "backend"):
        production[1].set_nonpersistent_facts(name, {"survey_result": {"survey": survey()}})
    result = assess(refuse=True, report=str(tmp_path), proposal=str(tmp_path))
    assert not result.get("failed")
    assert result["conflicts"] == []
    assert sorted(it.name for it in tmp_path.iterdir()) == ["assessment.json", "assessment.md"]


def test_reports_and_files_that_are_missing_are_written_once(
    assess: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    reports, inventory = tmp_path / "new/reports", tmp_path / "inventory"
    options = {"report": str(reports), "proposal": str(inventory)}
    expected = {
        *(f"{reports}/assessment.{kind}" for kind in ("md", "json")),
        *(f"{inventory}/host_vars/{host}.yml" for host in ("slm", "redis", "backend")),
    }
    result = assess(**options, check=True)
    assert (result["changed"], set(result["written"])) == (True, expected)
    assert not list(tmp_path.iterdir())

    result = assess(**options)
    assert (result["changed"], set(result["written"])) == (True, expected)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {str(path) for path in written} == expected
    modes = {path.name: path.stat().st_mode & 0o777 for path in written}
    assert modes["assessment.md"] == modes["assessment.json"] == 0o600
    assert modes["redis.yml"] == 0o644
    assert "# Assessment of the site" in (reports / "assessment.md").read_text()
    document = json.loads((reports / "assessment.json").read_text())
    assert document["conflicts"] == result["conflicts"]
    said = yaml.safe_load((inventory / "host_vars/slm.yml").read_text())
    assert {"slm_app"} == {it["role"] for it in said["postgresql_hba"]}

    # Now they are there. Without an answer in force they lack the same.
    result = assess(**options)
    assert result["written"] == [f"{reports}/assessment.md"]
    assert not assess(**options)["changed"]


@pytest.mark.parametrize(
    ("name", "before", "place", "kept"),
    [
        ("redis.yml", "firewall_allow:\n  - mine\n", "redis.yml", "   - mine"),
        ("redis.yaml", "other: 1\n", "redis.yaml", " other: 1"),
        ("redis", "other: 1\n", "redis", " other: 1"),
        ("redis.json", "{}", "redis.json", None),
        ("redis.yml", "$ANSIBLE_VAULT;1.1;AES256\n6132\n", "redis.yml", None),
        ("redis/main.yml", "other: 1\n", "redis", None),
    ],
)
def test_a_file_that_is_there_stays_and_gets_a_diff(
    assess: Callable[..., dict[str, Any]],
    tmp_path: Path,
    name: str,
    before: str,
    place: str,
    kept: str | None,
) -> None:
    file = tmp_path / "host_vars" / name
    file.parent.mkdir(parents=True)
    file.write_text(before)
    result = assess(report=str(tmp_path), proposal=str(tmp_path))
    assert file.read_text() == before
    assert not (tmp_path / "host_vars/redis.yml").exists() or name == "redis.yml"
    assert (tmp_path / "host_vars/slm.yml").exists()
    ((path, diff),) = result["differences"].items()
    assert path == str(tmp_path / "host_vars" / place)
    lines = diff.splitlines()
    assert "+  - ports: [6379]" in lines
    # None: nothing can be put between its lines.
    assert kept in lines if kept else all(line[0] in "+@" for line in lines[2:])
    assert not [line for line in lines[2:] if line.startswith("-")]
    report = (tmp_path / "assessment.md").read_text()
    assert all(f"    {line}".rstrip() in report.splitlines() for line in lines)


def test_a_link_that_leads_nowhere_is_not_replaced(
    assess: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    link = tmp_path / "host_vars/redis.yml"
    link.parent.mkdir()
    link.symlink_to("elsewhere.yml")
    result = assess(proposal=str(tmp_path))
    assert link.is_symlink()
    assert list(result["differences"]) == [str(link)]


def test_a_hosts_words_are_no_templates(
    assess: Callable[..., dict[str, Any]], production: Any, hostvars: Any
) -> None:
    assert hostvars
    found = survey(listeners=[listener(6379, "{{ address }}", unit="")])
    production[1].set_nonpersistent_facts("redis", {"survey_result": {"survey": found}})
    (conflict, _) = (it for it in assess()["conflicts"] if it["host"] == "redis")
    assert re.search(r"\{\{ address \}\} listens at TCP port 6379", conflict["what"])
    assert 'comment: "??' in conflict["lines"]
