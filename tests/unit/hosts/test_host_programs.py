"""What runs on a host runs on its own Python, which is 3.10 on Ubuntu 22.04."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mypy import api

from ansible_collections.autobot.users.plugins.plugin_utils.zipapps import built
from tests.support.role_files import ROOT

OLDEST = "3.10"
PATTERNS = (
    "collections/ansible_collections/autobot/users/plugins/module_utils/**/*.py",
    "collections/ansible_collections/autobot/users/plugins/modules/*.py",
    "hosts/**/*.py",
    "roles/*/files/*.py",
)
PROGRAMS = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))
# What is run without Ansible around it.
COMMANDS = {
    "autobot-backup": built(ROOT / "hosts/autobot_backup", "autobot_backup.cli:main"),
    "autobot-metrics": built(ROOT / "hosts/autobot_metrics", "autobot_metrics.collector:main"),
}


def missing(*files: Path, cache: Path) -> list[str]:
    """What the programs use that this Python does not have, as the types of its library know it."""
    found, trouble, _ = api.run(
        [
            *("--config-file=", "--no-error-summary", "--ignore-missing-imports"),
            "--explicit-package-bases",
            *("--follow-imports=silent", f"--cache-dir={cache}", f"--python-version={OLDEST}"),
            *map(str, files),
        ]
    )
    assert not trouble
    return [line for line in found.splitlines() if ": error:" in line]


def oldest_at_hand() -> str:
    """A Python of the oldest supported version, or the next one that this machine has."""
    for minor in range(int(OLDEST.removeprefix("3.")), sys.version_info.minor):
        program = shutil.which(f"python3.{minor}")
        # A version manager has names for versions that it does not have.
        if program and not subprocess.run([program, "-c", ""], check=False).returncode:
            return program
    return sys.executable


def test_nothing_is_used_that_a_host_may_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = (ROOT / "collections", ROOT / "hosts")
    monkeypatch.setenv("MYPYPATH", ":".join(map(str, places)))
    assert len(PROGRAMS) > 12
    assert missing(*PROGRAMS, cache=tmp_path) == []


@pytest.mark.parametrize(
    "program",
    [
        "from datetime import UTC",
        "from typing import Self",
        "import asyncio; asyncio.timeout(1)",
        "try: pass\nexcept* OSError: pass",
    ],
)
def test_what_a_host_may_lack_is_found(tmp_path: Path, program: str) -> None:
    newer = tmp_path / "newer.py"
    newer.write_text(f"{program}\n")
    assert len(missing(newer, cache=tmp_path)) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_start_with_the_oldest_python(command: str, tmp_path: Path) -> None:
    python = oldest_at_hand()
    program = tmp_path / command
    program.write_bytes(COMMANDS[command])
    done = subprocess.run(
        [python, "-I", program, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{python}: {done.stderr}"
    assert done.stdout.startswith(f"usage: {command}")
