"""The stages of `make test`: what they print, count and refuse; and the names of other labs."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"
# A tenth of a second of work.
WORK = "import time; end = time.process_time() + 0.1\nwhile time.process_time() < end: pass"


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    """The program, in a checkout of its own."""
    (tmp_path / "scripts").mkdir()
    return Path(shutil.copy2(SCRIPTS / "stage.py", tmp_path / "scripts"))


@pytest.fixture(scope="module")
def program() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("stage", SCRIPTS / "stage.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def not_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stages of these tests have budgets, whatever run they are part of."""
    monkeypatch.delenv("FULL", raising=False)


def run(stage: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([stage, *arguments], capture_output=True, text=True, check=False)


def took(stage: Path, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(
        (stage.parents[1] / "build" / "stages" / f"{name}.json").read_text()
    )
    return found


def test_what_a_command_prints_is_kept_and_shown(stage: Path) -> None:
    done = run(stage, "some", "5", "sh", "-c", "echo out; echo err >&2")
    assert done.returncode == 0
    assert "stage some: begins" in done.stdout
    assert "out\nerr\nstage some: passed" in done.stdout
    assert (stage.parents[1] / "build/stages/some.log").read_text() == "out\nerr\n"


def test_a_command_that_fails_fails_its_stage(stage: Path) -> None:
    done = run(stage, "some", "5", "sh", "-c", "exit 7")
    assert done.returncode == 7
    assert "stage some: FAILED (7)" in done.stdout
    assert took(stage, "some")["status"] == 7


@pytest.fixture
def core(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., int]:
    """Run a stage of 50 counted seconds on a core so many times as slow as REFERENCE."""

    def run_on(slower: float, budget: float, command: str = "true") -> int:
        monkeypatch.setattr(program, "probe", lambda: slower * program.REFERENCE)
        monkeypatch.setattr(program, "used_by_children", lambda: 50 * slower)
        status: int = program.run("some", budget, [command])
        return status

    monkeypatch.setattr(program, "STAGES", tmp_path)
    monkeypatch.setattr(program, "used_by_hosts", lambda: 0.0)
    return run_on


def test_a_stage_has_a_budget(
    core: Callable[..., int], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert core(1.0, 49.9) == 1
    assert b"FAILED (1): more CPU seconds than its budget; find" in capsysbinary.readouterr().out
    assert core(1.0, 50.1) == 0


def test_a_full_run_has_none(core: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULL", "1")
    assert core(1.0, 49.9) == 0


def test_a_slow_core_has_more_seconds(core: Callable[..., int]) -> None:
    assert core(1.1, 50.1) == 0
    assert core(1.1, 49.9) == 1


def test_a_budget_fails_nothing_on_a_core_with_neighbours(
    core: Callable[..., int], capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert core(1.2, 49.9) == 0
    said = capsysbinary.readouterr().out
    assert b"stage some: passed: more CPU seconds than its budget, on a core 1.20 times" in said
    assert core(1.2, 50.1) == 0
    assert b"budget, on" not in capsysbinary.readouterr().out
    assert core(1.2, 49.9, "false") == 1


def test_a_stage_can_give_way(stage: Path) -> None:
    """To all sessions: the niceness of a process counts in its own only."""
    ask = "import os; print(os.nice(0), os.getsid(0) == os.getpid())"
    assert f"{os.nice(0)} False\n" in run(stage, "some", "5", "python3", "-c", ask).stdout
    lower = min(os.nice(0) + 5, 19)
    assert f"{lower} True\n" in run(stage, "--give-way", "some", "5", "python3", "-c", ask).stdout
    shown = run(stage, "--give-way", "some", "5", "cat", "/proc/self/autogroup").stdout
    assert "nice 5\n" in shown or "No such file" in shown


@pytest.mark.parametrize("options", [[], ["--give-way"]])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_a_stage_ends_its_command(
    stage: Path, tmp_path: Path, options: list[str], number: signal.Signals
) -> None:
    begun = tmp_path / "begun"
    command = ["sh", "-c", f"echo $$ >{begun}.new; mv {begun}.new {begun}; exec sleep 600"]
    process = subprocess.Popen(
        # Where the tests run in the background, some signals are ignored, which is inherited.
        ["env", "--default-signal", stage, *options, "some", "5", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 600
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(600) != 0
    assert not Path(f"/proc/{begun.read_text().strip()}").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_ends_a_stage_before_it_waits_ends_its_command(
    program: ModuleType, number: signal.Signals
) -> None:
    handlers = {each: signal.getsignal(each) for each in program.ENDING}
    try:
        asked = program.note_who_ends_it()
        os.kill(os.getpid(), number)
        process = subprocess.Popen(["sleep", "600"])
        with pytest.raises(KeyboardInterrupt):
            program.wait_for(process, asked)
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
    assert process.returncode == -signal.SIGTERM


def test_what_is_left_behind_is_counted(stage: Path) -> None:
    """As PostgreSQL's servers are, which the tests start and end."""
    left = (
        f"(setsid python3 -c '{WORK.replace('0.1', '0.6')}' & echo $! >{stage.parent}/pid);"
        f' until grep -q "^State:.Z" /proc/$(cat {stage.parent}/pid)/status; do sleep 0.1; done'
    )
    assert run(stage, "some", "60", "sh", "-c", left).returncode == 0
    assert int(str(took(stage, "some")["cpu"])) >= 1


@pytest.mark.parametrize(("gives_way", "counted"), [(False, 40), (True, 0)])
def test_hosts_count_for_the_stages_of_their_lab(
    program: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    gives_way: bool,
    counted: int,
) -> None:
    """What gives way runs beside a lab that is not its own."""
    used = iter((100.0, 140.0))
    monkeypatch.setattr(program, "STAGES", tmp_path)
    monkeypatch.setattr(program, "probe", lambda: program.REFERENCE)
    monkeypatch.setattr(program, "used_by_children", lambda: 0.0)
    monkeypatch.setattr(program, "used_by_hosts", lambda: next(used))
    assert program.run("some", 50, ["true"], gives_way=gives_way) == 0
    assert json.loads((tmp_path / "some.json").read_text())["counted"] == counted


def test_hosts_of_the_lab_are_counted(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    podman = tmp_path / "podman"
    podman.write_text("#!/bin/sh\necho one; echo two; echo gone\n")
    podman.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(program.os, "geteuid", lambda: 0)
    monkeypatch.setattr(
        program,
        "COUNTERS",
        ((f"{tmp_path}/v1/{{}}", 1e9), (f"{tmp_path}/v2/{{}}", 1e6)),
    )
    for version, identity, text in (
        ("v1", "one", "2000000000\n"),
        ("v2", "two", "usage_usec 500000\nuser_usec 1\n"),
    ):
        (tmp_path / version).mkdir()
        (tmp_path / version / identity).write_text(text)
    assert program.used_by_hosts() == 2.5


def test_hosts_of_the_lab_come_first(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    weight = tmp_path / "weight"
    monkeypatch.setattr(program, "STAGES", tmp_path / "stages")
    monkeypatch.setattr(program, "WEIGHTS", ((f"{tmp_path}/none/weight", 3072), (weight, 300)))
    # All children of this process count.
    assert program.run("some", 1e6, ["true"]) == 0
    assert weight.read_text() == "300"


def test_a_table_says_what_all_stages_took(stage: Path) -> None:
    run(stage, "first", "5", "true")
    run(stage, "second", "5", "false")
    lines = run(stage, "--table").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["stage", "first", "second", "all"]
    assert lines[2].endswith("FAILED")
    assert not lines[1].endswith("FAILED")
    run(stage, "--begin")
    assert len(run(stage, "--table").stdout.splitlines()) == 2


@pytest.mark.parametrize("arguments", [[], ["some"], ["some", "5"], ["--other"]])
def test_what_makes_no_sense_is_told_how(stage: Path, arguments: list[str]) -> None:
    done = run(stage, *arguments)
    assert done.returncode == 2
    assert "usage: stage.py [--give-way] NAME BUDGET COMMAND" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one"], "usage: other-lab NAME COMMAND"),
        (["One", "true"], "a name has up to 11 of the characters a-z and 0-9"),
        (["a/b", "true"], "a name has up to 11 of the characters a-z and 0-9"),
        (["abcdefghijkl", "true"], "a name has up to 11 of the characters a-z and 0-9"),
    ],
)
def test_another_lab_has_a_name_that_a_device_can_have(arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [SCRIPTS / "other-lab", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert said in done.stderr
