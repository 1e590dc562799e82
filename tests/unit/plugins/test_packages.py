"""Packages are installed by apt; in check mode a host is asked that has nothing of the site yet."""

from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader

from tests.support.role_files import ROOT, load_plugin, role_mappings

PLUGIN = load_plugin("action.packages")


class Host:
    """A host with these packages, and what it is asked to do."""

    def __init__(self, listed: str = "", status: int = 0) -> None:
        self.listed, self.status = listed, status
        self.commands: list[str] = []
        self.modules: list[dict[str, Any]] = []

    def install(self, *names: str, check: bool) -> dict[str, Any]:
        arguments = {"names": list(names)}
        task = SimpleNamespace(
            args=arguments, action="x", async_val=0, check_mode=check, diff=False
        )
        action = PLUGIN.ActionModule(
            task=task,
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
            play_context=SimpleNamespace(),
            loader=DataLoader(),
            templar=None,
            shared_loader_obj=None,
        )
        action._low_level_execute_command = self._command
        action._execute_module = self._module
        result: dict[str, Any] = action.run(task_vars={})
        return result

    def _command(self, command: str) -> dict[str, Any]:
        self.commands.append(command)
        return {"rc": self.status, "stdout": self.listed, "stderr": "no database\n"}

    def _module(self, **given: Any) -> dict[str, Any]:
        self.modules.append({"module": given["module_name"], **given["module_args"]})
        return {"changed": True}


def test_check_mode_names_what_is_missing_and_asks_dpkg_alone() -> None:
    host = Host("nginx installed\nold config-files\n", status=1)
    result = host.install("nginx", "old", "never-met", check=True)
    assert result == {"changed": True, "missing": ["old", "never-met"]}
    (command,) = host.commands
    assert command.startswith("dpkg-query --show ")
    assert command.endswith(" -- nginx old never-met")
    assert host.modules == []


def test_check_mode_finds_nothing_to_do_where_all_is_there() -> None:
    host = Host("nginx installed\n")
    assert host.install("nginx", check=True) == {"changed": False, "missing": []}


def test_a_host_that_cannot_say_it_is_no_host_without_packages() -> None:
    with pytest.raises(AnsibleActionFail, match="dpkg-query failed: no database"):
        Host(status=2).install("nginx", check=True)


def test_a_run_lets_apt_install_without_what_is_only_recommended() -> None:
    host = Host()
    assert host.install("nginx", "curl", check=False) == {"changed": True}
    assert host.modules == [
        {
            "module": "ansible.builtin.apt",
            "name": ["nginx", "curl"],
            "install_recommends": False,
            "cache_valid_time": 86400,
            "lock_timeout": 300,
        }
    ]


def test_no_role_asks_apt_itself() -> None:
    asking = [
        str(path.relative_to(ROOT))
        for path, task in role_mappings()
        if "ansible.builtin.apt" in task
    ]
    assert asking == []
