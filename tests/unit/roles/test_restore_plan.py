"""What a restore would do is asked of the program on the host, which may be of another release."""

from pathlib import Path

import pytest

from tests.support.role_play import play_roles

PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.include_role: {{name: restore, tasks_from: plan}}
      vars:
        restore_program: {program}
        restore_needs: [{program}]
"""
VARIABLES = {
    "restore_to": "latest",
    "restore_database": "",
    "restore_beside": False,
    "restore_stamp": "",
    "restore_host": "redis",
    "backup_peer": "slm",
    "backup_peer_address": "192.0.2.19",
}


@pytest.mark.parametrize(
    ("program", "status", "said"),
    [
        ('echo \'{"report": ["to the newest moment"]}\'', 0, "to the newest moment"),
        ('echo \'{"backup": "a label"}\'', 2, "has the backup program of another release"),
        ("echo 'autobot-backup: no room' >&2; exit 1", 2, "no room Nothing was restored."),
        ("", 0, "which has nothing to restore with: it is set up first"),
    ],
)
def test_a_plan_is_that_of_this_release_or_none(
    tmp_path: Path, program: str, status: int, said: str
) -> None:
    path = tmp_path / "autobot-backup"
    if program:
        path.write_text(f"#!/bin/sh\n{program}\n")
        path.chmod(0o755)
    done = play_roles(tmp_path, PLAY.format(program=path), ["redis"], VARIABLES)
    assert done.returncode == status, done.stdout
    assert said in " ".join(done.stdout.split())
