"""A run that fails says what it had changed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[3]
CHANGE = {"name": "Write the rules", "ansible.builtin.debug": {}, "changed_when": True}
NOTHING = {"name": "Look at them", "ansible.builtin.debug": {}}
FAIL = {"name": "Load them", "ansible.builtin.fail": {}, "when": "inventory_hostname == 'one'"}
HALF = {
    "name": "Fill both",
    "ansible.builtin.command": {"argv": ["test", "{{ item }}", "=", "good"]},
    "loop": ["good", "bad"],
    "when": "inventory_hostname == 'two'",
}
SAID = "The run failed. What it had changed by then:"


def run(directory: Path, *tasks: dict[str, Any], arguments: tuple[str, ...] = ()) -> str:
    """What ansible-playbook prints of these tasks, on two hosts."""
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "tasks": tasks,
    }
    (directory / "play.yml").write_text(json.dumps([play]))
    (directory / "hosts.yml").write_text(json.dumps({"all": {"hosts": {"one": {}, "two": {}}}}))
    result = subprocess.run(
        ["ansible-playbook", "-i", directory / "hosts.yml", *arguments, directory / "play.yml"],
        cwd=REPOSITORY,
        env=os.environ
        | {
            "ANSIBLE_CONFIG": "ansible.cfg",
            "ANSIBLE_CALLBACKS_ENABLED": "autobot.users.what_changed",
            "ANSIBLE_FORCE_COLOR": "",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout


def test_each_host_is_named_with_its_changes_in_their_order(tmp_path: Path) -> None:
    again = {**CHANGE, "name": "Let systemd read it", "when": "inventory_hostname == 'two'"}
    said = run(tmp_path, CHANGE, NOTHING, again, CHANGE, FAIL).split(SAID)[1]
    assert "  one: Write the rules.\n  two: Write the rules; Let systemd read it.\n" in said


def test_a_loop_that_fails_half_way_has_changed_something(tmp_path: Path) -> None:
    said = run(tmp_path, HALF).split(SAID)[1]
    assert "  one: nothing.\n  two: Fill both.\n" in said


def test_a_run_that_ends_well_and_one_that_only_shows_say_nothing(tmp_path: Path) -> None:
    assert SAID not in run(tmp_path, CHANGE)
    assert SAID not in run(tmp_path, CHANGE, FAIL, arguments=("--check",))


def test_runs_of_this_project_say_it() -> None:
    assert " autobot.users.what_changed," in (REPOSITORY / "ansible.cfg").read_text()
