"""Check mode asks whatever a run asks, and changes nothing."""

from typing import Any

from tests.support.role_files import role_mappings

COMMANDS = {f"ansible.builtin.{name}" for name in ("command", "raw", "shell")}
# What they ask about is what check mode has not made.
LATER = {
    "backup: Read what came of it",
    "release: Measure the free space",
    "service: Let the release judge its settings",
    "service: Read what the service says",
}
# They are told that it is check mode, or compare and leave the change to a handler.
TOLD = {
    "adoption: Import them",
    "controller: Build the release archive",
    "postgresql: Change what differs",
    "backup: Make the key with which the host reaches its repository",
    "backup: Create what the repositories lack",
    "backup: Take a backup where tables came after the newest one",
    "postgresql: Ask PostgreSQL whether it has taken over its files",
    "firewall: Compare the rules in force with those of the file",
}


def commands() -> list[tuple[str, dict[str, Any]]]:
    """The tasks that run a command, by their role and name."""
    return [
        (f"{path.parts[-3]}: {task['name']}", task)
        for path, task in role_mappings()
        if COMMANDS & task.keys()
    ]


def test_a_command_that_only_asks_does_so_in_check_mode() -> None:
    """What follows goes by its answer."""
    asking = [(name, task) for name, task in commands() if task.get("changed_when") is False]
    assert len(asking) > 15
    silent = {name for name, task in asking if task.get("check_mode") is not False}
    assert silent == LATER


def test_only_what_knows_of_check_mode_is_done_in_it() -> None:
    done = {
        name
        for name, task in commands()
        if task.get("check_mode") is False and task.get("changed_when") is not False
    }
    assert done == TOLD


def test_a_command_says_whether_it_has_changed_anything() -> None:
    for name, task in commands():
        (arguments,) = (task[module] for module in COMMANDS & task.keys())
        assert "changed_when" in task or {"creates", "removes"} & set(arguments), name
