"""shellcheck has nothing to say of shell: `make lint` judges files, this what stands elsewhere."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_files import ROOT, render

DIRECTORIES = ("molecule", "playbooks", "roles")
# The line by which `make lint` finds a script.
MARK = re.compile(r"(#!/bin/sh|#!/usr/bin/env bash|# shellcheck shell=)")
TEMPLATES: dict[str, dict[str, Any]] = {
    "roles/slm_server/templates/usr/local/sbin/slm.j2": {
        "slm_server_environment_file": "/etc/environment",
        "slm_server_service_credentials": ["secret"],
        "slm_server_credentials_dir": "/etc/credentials",
        "slm_server_root": "/opt/slm",
    }
}


class Loader(yaml.SafeLoader):
    """Tags of Ansible are of no interest here."""


Loader.add_multi_constructor("!", lambda *_: None)


def shell_tasks(node: Any) -> Iterator[tuple[str, str]]:
    """(shell, script) of each task of ansible.builtin.shell."""
    if isinstance(node, dict):
        if isinstance(task := node.get("ansible.builtin.shell"), dict):
            yield Path(task.get("executable", "/bin/sh")).name, task["cmd"]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from shell_tasks(item)


def judge(shell: str, script: str) -> None:
    """Fail with what shellcheck says."""
    done = subprocess.run(
        ["shellcheck", f"--shell={shell}", "-"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_make_lint_finds_every_script() -> None:
    scripts = [
        *ROOT.glob("roles/*/files/**/*.sh"),
        *(
            path
            for directory in (".ci", "scripts")
            for path in (ROOT / directory).iterdir()
            if path.is_file() and path.suffix != ".py"
        ),
    ]
    assert len(scripts) > 7
    assert [path.name for path in scripts if not MARK.match(path.read_text())] == []


def test_templates_of_scripts() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.glob("roles/*/templates/**/*")
        if path.is_file() and re.match(r"#!\S*(sh|env bash)\n", path.read_text())
    }
    assert found == TEMPLATES.keys()


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_as_it_comes_to_a_host(template: str) -> None:
    _, role, _, path = template.split("/", 3)
    judge("sh", render(role, path, **TEMPLATES[template]))


def test_tasks_that_need_a_shell() -> None:
    found = [
        task
        for directory in DIRECTORIES
        for path in sorted((ROOT / directory).rglob("*.yml"))
        for document in yaml.load_all(path.read_text(), Loader)
        for task in shell_tasks(document)
    ]
    assert len(found) > 4
    for shell, script in found:
        # What a task is given is a word to the shell.
        judge(shell, re.sub(r"{{.*?}}", "word", script))
