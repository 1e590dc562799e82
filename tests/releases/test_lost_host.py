"""A host that is lost in the middle of a deployment: it is named, and so is what serves now."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator

import pytest

from tests.lab.site import Run, ansible_process, execute, must, on, wait_until
from tests.releases.releases import in_use, left_as_found, make

UNPACK = ("playbooks/preflight.yml", "playbooks/controller.yml", "playbooks/parts/unpack.yml")


@pytest.fixture(autouse=True)
def lab_left_as_found() -> Iterator[None]:
    with left_as_found():
        yield


def run_and_lose(task: str, release: str, *playbooks: str) -> Run:
    """Switch the SLM host off, as nothing announces it, when this task begins there."""
    variables = json.dumps({"release_id": release})
    try:
        with ansible_process(*playbooks, "--extra-vars", variables) as process:
            assert process.stdout is not None
            output = ""
            for line in process.stdout:
                output += line
                if line.startswith(task):
                    assert execute(["podman", "kill", "slm"]).status == 0
                    break
            else:
                raise AssertionError(f"there was no {task}: {output[-2000:]}")
            output += process.stdout.read()
            return Run(process.wait(), output, 0)
    finally:
        execute(["podman", "start", "slm"])
        wait_until(
            lambda: on("slm", "systemctl", "is-system-running").stdout.strip() == "running",
            "slm has started",
        )


def assert_named(run: Run) -> None:
    said = " ".join(re.sub(r"\\n", " ", run.output).split())
    assert run.status not in {0, 75}, run.tail()
    assert "slm was lost: it cannot be reached any more." in said, run.tail()
    assert "is undefined" not in said, run.tail()
    assert run.recap["slm"]["unreachable"] == 1
    assert run.recap["backend"]["failed"] == 1


def test_while_the_release_is_unpacked() -> None:
    old, release = in_use("backend"), f"tests-{uuid.uuid4().hex[:8]}"
    run = run_and_lose("TASK [release : Unpack the archive]", release, *UNPACK)
    assert_named(run)
    assert f"on backend it is {old}. Remove the cause" in " ".join(run.output.split())
    assert release not in must("backend", "ls", "/opt/autobot-users/auth/releases").split()
    assert in_use("backend") == in_use("slm") == old


def test_while_the_databases_are_migrated() -> None:
    """Nobody goes on to change the release without the host that was to migrate."""
    old, release = in_use("backend"), make()
    run = run_and_lose(
        "TASK [slm_server : Let Alembic work on the database]",
        release,
        "playbooks/parts/services.yml",
    )
    assert_named(run)
    assert f"backend is back at {old}, which serves." in " ".join(run.output.split())
    assert in_use("backend") == old
    assert "TASK [release : Confirm the release]" not in run.output
