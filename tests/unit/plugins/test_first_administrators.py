"""One-time passwords: kept before they are valid, and never in a result."""

import json
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from tests.support.role_files import load_plugin

WANTED = {
    "slm": {"username": "admin", "email": "admin@autobot.internal"},
    "autobot": {"username": "boss", "email": "boss@autobot.internal"},
}


class Killed(BaseException):
    """The run ends here, like a process that is killed."""


class Host:
    """What the SLM host knows: the state of each population and its one-time password."""

    def __init__(self) -> None:
        self.states = {"slm": "missing", "autobot": "missing"}
        self.passwords: dict[str, str] = {}
        self.calls: list[list[str]] = []
        self.kill: str | None = None

    def run(self, argv: list[str], stdin: str | None) -> dict[str, Any]:
        self.calls.append(argv)
        if argv[2] == "status":
            return {
                name: {"state": state, "username": None if state == "missing" else "admin"}
                for name, state in self.states.items()
            }
        population = next(word for word in argv if word.startswith("--population=")).split("=")[1]
        assert "--password-stdin" in argv
        assert stdin is not None
        if self.kill == "before":
            raise Killed
        outcome = "exists"
        if self.states[population] != "established":
            outcome = "created" if self.states[population] == "missing" else "renewed"
            self.states[population], self.passwords[population] = "unused", stdin
        if self.kill == "after":
            raise Killed
        return {"outcome": outcome, "username": WANTED[population]["username"]}


@pytest.fixture(scope="module")
def plugin() -> Any:
    return load_plugin("action.first_administrators")


class Controller:
    """Runs the action against a host."""

    def __init__(self, plugin: Any, path: Path) -> None:
        self.path = path
        self.host = Host()
        self._plugin = plugin
        self.failure: str | None = None

    def run(self, *, check: bool = False) -> dict[str, Any]:
        self.task = SimpleNamespace(
            args={
                "site_file": str(self.path),
                "site": {"slm_url": "https://slm", "ca": "/ca.crt"},
                "administrators": WANTED,
            },
            action="first_administrators",
            async_val=0,
            check_mode=check,
            no_log=False,
        )
        action = self._plugin.ActionModule(
            task=self.task,
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
            play_context=SimpleNamespace(),
            loader=None,
            templar=None,
            shared_loader_obj=None,
        )
        action._execute_module = self._execute
        result: dict[str, Any] = action.run(task_vars={})
        return result

    def _execute(self, *, module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        assert self.task.no_log, "the module would log its standard input"
        if self.failure:
            return {"rc": 1, "stderr": self.failure}
        report = self.host.run(module_args["argv"], module_args["stdin"])
        return {"rc": 0, "stdout": json.dumps(report)}

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.path.read_text())
        return content


@pytest.fixture
def controller(plugin: Any, tmp_path: Path) -> Controller:
    return Controller(plugin, tmp_path / "state" / "site.json")


def test_creates_both_and_keeps_their_passwords(controller: Controller) -> None:
    result = controller.run()

    assert result["changed"]
    assert result["created"] == ["slm", "autobot"]
    passwords = controller.host.passwords
    assert controller.content == {
        "slm_url": "https://slm",
        "ca": "/ca.crt",
        "slm": {"username": "admin", "password": passwords["slm"]},
        "autobot": {"username": "boss", "password": passwords["autobot"]},
    }
    assert passwords["slm"] != passwords["autobot"]
    assert min(map(len, passwords.values())) >= 20
    assert stat.S_IMODE(controller.path.stat().st_mode) == 0o600
    assert list(controller.path.parent.iterdir()) == [controller.path]


def test_no_password_in_arguments_or_results(controller: Controller) -> None:
    result = json.dumps(controller.run())

    words = [word for call in controller.host.calls for word in call]
    for password in controller.host.passwords.values():
        assert password not in result
        assert password not in words
    assert not controller.task.no_log


def test_a_second_run_changes_nothing(controller: Controller) -> None:
    controller.run()
    before = controller.path.read_bytes()

    assert controller.run() == {"changed": False, "created": []}
    assert controller.path.read_bytes() == before


@pytest.mark.parametrize("kill", ["before", "after"])
def test_a_killed_run_locks_nobody_out(controller: Controller, kill: str) -> None:
    controller.host.kill = kill
    with pytest.raises(Killed):
        controller.run()
    controller.host.kill = None

    assert "slm" in controller.run()["created"]
    for population in WANTED:
        entry = controller.content[population]
        assert entry["password"] == controller.host.passwords[population]
    assert "pending" not in controller.content


def test_the_password_is_on_disk_before_it_is_valid(controller: Controller) -> None:
    controller.host.kill = "after"
    with pytest.raises(Killed):
        controller.run()
    assert controller.host.passwords["slm"] in controller.path.read_text()


def test_the_password_of_a_killed_run_stays_good(controller: Controller) -> None:
    controller.host.kill = "after"
    with pytest.raises(Killed):
        controller.run()
    controller.host.kill = None
    promised = controller.host.passwords["slm"]

    controller.run()
    assert controller.host.passwords["slm"] == promised


def test_an_established_administrator_is_left_alone(controller: Controller) -> None:
    controller.run()
    controller.host.states["slm"] = "established"
    entry = controller.content["slm"]

    assert controller.run() == {"changed": False, "created": []}
    assert controller.content["slm"] == entry


def test_a_killed_run_whose_password_was_replaced_promises_nothing(
    controller: Controller,
) -> None:
    controller.host.kill = "before"
    with pytest.raises(Killed):
        controller.run()
    controller.host.kill = None
    controller.host.states = {"slm": "established", "autobot": "established"}

    assert controller.run()["created"] == []
    assert controller.content["slm"] == {"username": "admin"}
    assert "pending" not in controller.content


@pytest.mark.parametrize("state", ["expired", "missing"])
def test_who_cannot_enter_gets_a_new_password(controller: Controller, state: str) -> None:
    controller.run()
    old = controller.host.passwords["autobot"]
    controller.host.states["autobot"] = state

    assert controller.run()["created"] == ["autobot"]
    assert controller.content["autobot"]["password"] == controller.host.passwords["autobot"] != old


def test_a_lost_site_file_is_made_again(controller: Controller) -> None:
    controller.run()
    controller.host.states["slm"] = "established"
    controller.path.unlink()

    assert controller.run()["created"] == ["autobot"]
    assert controller.content["slm"] == {"username": "admin"}
    assert controller.content["autobot"]["password"] == controller.host.passwords["autobot"]


def test_other_entries_stay(controller: Controller) -> None:
    controller.path.parent.mkdir()
    controller.path.write_text('{"note": "mine", "slm": {"token": "kept"}}')

    controller.run()

    assert controller.content["note"] == "mine"
    assert controller.content["slm"]["token"] == "kept"


def test_check_mode_asks_and_writes_nothing(controller: Controller) -> None:
    assert controller.run(check=True) == {"changed": True, "created": ["slm", "autobot"]}
    assert controller.host.calls == []
    assert not controller.path.exists()

    controller.run()
    assert not controller.run(check=True)["changed"]


def test_a_failure_says_what_the_host_said(controller: Controller) -> None:
    controller.failure = "The slm database cannot be reached."
    with pytest.raises(AnsibleActionFail, match=r"slm admin status.* cannot be reached"):
        controller.run()


def test_an_unusable_site_file_is_not_overwritten(controller: Controller) -> None:
    controller.path.parent.mkdir()
    controller.path.write_text("{ half")

    with pytest.raises(AnsibleActionFail, match="move it away"):
        controller.run()
    assert controller.path.read_text() == "{ half"
