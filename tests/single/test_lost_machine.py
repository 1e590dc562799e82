"""The machine is lost, and with it its own repository: a second one brings it back."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab.site import Figure, ansible, execute, must, superuser, wait_until

MACHINE = "autobot"
PLACE = "/mnt/backup"
SECOND = (
    "--extra-vars",
    json.dumps({"backup_second_repository": {"type": "path", "path": PLACE}}),
)
ARCHIVED = "SELECT last_archived_wal >= pg_walfile_name(:'position') FROM pg_stat_archiver"


def podman(*arguments: str) -> None:
    done = execute(["podman", *arguments])
    assert done.status == 0, done.text


def test_a_lost_machine_comes_back_from_the_second_place(tmp_path: Path, figure: Figure) -> None:
    must(MACHINE, "mkdir", "-p", PLACE)
    run = ansible("site.yml", *SECOND)
    assert run.status == 0, run.tail()
    assert "WARNING" not in run.output
    superuser(MACHINE, "autobot_users", "CREATE TABLE tests_kept AS SELECT 1 AS kept")
    ((position,),) = superuser(MACHINE, "postgres", "SELECT pg_switch_wal()")
    wait_until(
        lambda: superuser(MACHINE, "postgres", ARCHIVED, position=position) == [["t"]],
        "the last of the WAL is in both repositories",
    )
    # As a disk that is mounted again: its files have the numbers of users that are others now.
    podman("cp", f"{MACHINE}:{PLACE}", str(tmp_path / "disk"))
    podman("rm", "--force", "--time", "0", "--volumes", MACHINE)
    run = ansible("molecule/default/create.yml")
    assert run.status == 0, run.tail()
    podman("cp", str(tmp_path / "disk"), f"{MACHINE}:{PLACE}")

    restored = ansible(
        "playbooks/restore.yml", "-e", f"restore_host={MACHINE} confirm={MACHINE}", *SECOND
    )
    assert restored.status == 0, restored.tail()
    run = ansible("site.yml", *SECOND)
    assert run.status == 0, run.tail()
    figure("a lost machine restored", f"{restored.seconds:.0f} s, its services {run.seconds:.0f} s")
    assert superuser(MACHINE, "autobot_users", "SELECT kept FROM tests_kept") == [["1"]]
    superuser(MACHINE, "autobot_users", "DROP TABLE tests_kept")
    # The others judge a machine that has no second place.
    run = ansible("site.yml")
    assert run.status == 0, run.tail()
