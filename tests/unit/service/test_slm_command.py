"""`slm` on the host: who interrupts it ends what it began, and the terminal is as it was."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.role_files import render

# Stand in for systemd: the unit is a process of its own, which its caller's signals do not reach.
SYSTEMD_RUN = """#!/bin/sh
printf '%s\\n' "$@" > "{directory}/arguments"
for argument; do case $argument in --unit=*) unit=${{argument#--unit=}} ;; esac; done
# The unit's own processes are known by its name.
setsid sh -c 'echo $$ > "{directory}/$0"; {command}' "$unit" &
wait $!
"""
# What was asked for comes some time later, whether or not somebody still waits for it.
LATE_SYSTEMD_RUN = SYSTEMD_RUN.replace("setsid sh -c '", "setsid sh -c 'sleep 1; ")
SYSTEMCTL = """#!/bin/sh
[ "$1 $2" = "kill --signal=KILL" ] || exit 1
[ -e "{directory}/$3" ] && kill -KILL "-$(cat "{directory}/$3")"
"""
WAITS = "stty -echo 2>/dev/null; echo begun; sleep 60"
STATUS = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGQUIT: 131, signal.SIGTERM: 143}
ARGUMENTS = ("users", "list")
LIMIT = 600.0  # seconds, for a machine that is busy


class Command:
    """The command with these stand-ins, begun in a terminal of its own."""

    def __init__(self, directory: Path, command: str, systemd_run: str = SYSTEMD_RUN) -> None:
        self.directory = directory
        for name, text in (("systemd-run", systemd_run), ("systemctl", SYSTEMCTL)):
            (directory / name).write_text(text.format(directory=directory, command=command))
            (directory / name).chmod(0o755)
        script = directory / "slm"
        script.write_text(
            render(
                "slm_server",
                "usr/local/sbin/slm.j2",
                slm_server_environment_file="/etc/environment",
                slm_server_service_credentials=["secret"],
                slm_server_credentials_dir="/etc/credentials",
                slm_server_root="/opt/slm",
            )
        )
        path = f"{directory}:{os.environ['PATH']}"
        self.leader, follower = pty.openpty()
        self.settings = termios.tcgetattr(follower)
        self.follower = follower
        self.process = subprocess.Popen(
            # Where the tests run in the background, some signals are ignored, which is inherited.
            ["setsid", "--ctty", *("env", "--default-signal", "sh"), script, *ARGUMENTS],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={"PATH": path, "TERM": "xterm", "COLUMNS": "132"},
        )

    def wait_for(self, word: bytes) -> None:
        """Until the command has said so."""
        said = b""
        while word not in said:
            said += os.read(self.leader, 1000)

    def is_at_work(self) -> bool:
        """Whether a process of the unit lives."""
        (unit,) = self.directory.glob("slm-command-*")
        done = subprocess.run(
            ["ps", "-o", "state=", "--sid", unit.read_text().strip()],
            capture_output=True,
            text=True,
            check=False,
        )
        return not set(done.stdout.split()) <= {"Z"}

    def comes_to_rest(self) -> bool:
        """Whether the unit's processes end: the kernel takes its time to end who was killed."""
        deadline = time.monotonic() + LIMIT
        while self.is_at_work() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.is_at_work()

    def close(self) -> None:
        """End what is left of it."""
        for unit in self.directory.glob("slm-command-*"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(unit.read_text()), signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        os.close(self.leader)
        os.close(self.follower)


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Command]:
    """The command, at work at the terminal, whose echo it has switched off."""
    command = Command(tmp_path, WAITS)
    command.wait_for(b"begun")
    yield command
    command.close()


@pytest.mark.parametrize("number", STATUS)
def test_who_interrupts_it_ends_it(begun: Command, number: signal.Signals) -> None:
    begun.process.send_signal(number)
    assert begun.process.wait(LIMIT) == STATUS[number]
    assert begun.comes_to_rest()
    assert termios.tcgetattr(begun.follower) == begun.settings


@pytest.mark.parametrize("number", STATUS)
def test_a_unit_that_starts_late_is_ended_too(tmp_path: Path, number: signal.Signals) -> None:
    """Though the signal reaches all that the caller has begun."""
    command = Command(tmp_path, WAITS, LATE_SYSTEMD_RUN)
    deadline = time.monotonic() + LIMIT
    while not (tmp_path / "arguments").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(command.process.pid, number)
    assert command.process.wait(LIMIT) == STATUS[number]
    assert command.comes_to_rest()
    command.close()


def test_a_key_interrupts_it_too(begun: Command) -> None:
    os.write(begun.leader, b"\x03")
    assert begun.process.wait(LIMIT) == 130
    assert begun.comes_to_rest()


def test_it_is_not_stopped_while_the_unit_reads_the_terminal(begun: Command) -> None:
    os.write(begun.leader, b"\x1a")
    time.sleep(0.2)
    state = Path(f"/proc/{begun.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    assert state != "T"
    assert begun.is_at_work()


def test_the_status_and_the_arguments_are_those_of_the_command(tmp_path: Path) -> None:
    command = Command(tmp_path, "exit 7")
    assert command.process.wait(LIMIT) == 7
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert arguments[-3:] == ["/opt/slm/current/bin/slm", "users", "list"]
    assert {"--setenv=COLUMNS=132", "--setenv=TERM=xterm"} <= set(arguments)
    assert "--property=LoadCredential=secret:/etc/credentials/secret" in arguments
    command.close()


def asked(directory: Path, *arguments: str, sshd: str = "exit 1") -> list[str]:
    """What systemd is asked for, without a terminal; `sshd` says what that program does."""
    programs = {"systemd-run": SYSTEMD_RUN, "systemctl": SYSTEMCTL, "sshd": f"#!/bin/sh\n{sshd}\n"}
    for name, text in programs.items():
        (directory / name).write_text(
            text if name == "sshd" else text.format(directory=directory, command=":")
        )
        (directory / name).chmod(0o755)
    script = render(
        "slm_server",
        "usr/local/sbin/slm.j2",
        slm_server_environment_file="/etc/environment",
        slm_server_service_credentials=["one", "two"],
        slm_server_credentials_dir="/etc/credentials",
        slm_server_root="/opt/slm",
    )
    assert "/usr/sbin/sshd -T" in script
    subprocess.run(
        ["sh", "-c", script.replace("/usr/sbin/sshd", str(directory / "sshd")), "slm", *arguments],
        env={"PATH": f"{directory}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        check=True,
    )
    return (directory / "arguments").read_text().splitlines()


def test_the_command_runs_as_the_service_does(tmp_path: Path) -> None:
    """As a user of its own, with the settings and credentials of the service and nothing else."""
    given = asked(tmp_path, "users", "list")
    (unit,) = (word for word in given if word.startswith("--unit="))
    assert given == [
        *("--quiet", "--pipe", "--wait", "--collect", unit),
        "--property=DynamicUser=yes",
        "--setenv=HOST_SSH_PASSWORDS=unknown",
        "--property=EnvironmentFile=/etc/environment",
        "--property=LoadCredential=one:/etc/credentials/one",
        "--property=LoadCredential=two:/etc/credentials/two",
        *("--", "/opt/slm/current/bin/slm", "users", "list"),
    ]


@pytest.mark.parametrize(
    ("sshd", "said"),
    [
        ("echo passwordauthentication no; echo kbdinteractiveauthentication no", "refused"),
        ("echo passwordauthentication yes; echo kbdinteractiveauthentication no", "accepted"),
        ("echo passwordauthentication no; echo kbdinteractiveauthentication yes", "accepted"),
        ("exit 1", "unknown"),
        # It is asked as for whoever comes in, or it would say what holds for nobody.
        (
            '[ "$*" = "-T -C user=root,host=localhost,addr=127.0.0.1" ] || exit 1'
            "\necho passwordauthentication no",
            "refused",
        ),
    ],
)
def test_the_doctor_hears_whether_ssh_lets_passwords_in(
    tmp_path: Path, sshd: str, said: str
) -> None:
    assert f"--setenv=HOST_SSH_PASSWORDS={said}" in asked(tmp_path, "doctor", sshd=sshd)
    assert "--setenv=HOST_SSH_PASSWORDS=unknown" in asked(tmp_path, "users", sshd=sshd)


def test_what_may_come_next_is_asked_of_the_release_in_use(tmp_path: Path) -> None:
    program = tmp_path / "current/bin/slm"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\necho "$_SLM_COMPLETE"; echo "$COMP_CWORD of" $COMP_WORDS\n')
    program.chmod(0o755)
    script = render(
        "slm_server",
        "usr/share/bash-completion/completions/slm.j2",
        slm_server_root=str(tmp_path),
    )
    ask = 'COMP_WORDS=(slm users cr); COMP_CWORD=2; _slm_completion; printf "%s|" "${COMPREPLY[@]}"'
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{ask}; complete -p slm"],
        capture_output=True,
        text=True,
        check=True,
    )
    # A line is one of the answers, whatever is in it.
    assert done.stdout == (
        "complete_bash|2 of slm users cr|complete -o default -F _slm_completion slm\n"
    )
