"""A play with roles of the project, run by Ansible on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.support.role_files import ROOT


def play_roles(
    directory: Path,
    play: str,
    hosts: Iterable[str],
    variables: dict[str, Any],
    collections: Path = ROOT / "collections",
) -> subprocess.CompletedProcess[str]:
    """Run a play in a directory; all hosts are this machine, and have the variables."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": dict.fromkeys(hosts, local), "vars": variables}}
    (directory / "inventory.yml").write_text(json.dumps(inventory))
    (directory / "play.yml").write_text(play)
    (directory / "ansible.cfg").write_text(
        f"[defaults]\nroles_path = {ROOT}/roles\ncollections_path = {collections}\n"
        # Whoever runs the tests may have no home.
        f"remote_tmp = {directory}/remote\n"
        f"[inventory]\nenable_plugins = yaml\n"
    )
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")
    }
    return subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", "inventory.yml", "play.yml"],
        cwd=directory,
        env={**environment, "HOME": str(directory)},
        capture_output=True,
        text=True,
        check=False,
    )
