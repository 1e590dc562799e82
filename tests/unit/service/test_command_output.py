"""How commands print: whole values to programs, tables that fit to people."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import typer
from pydantic import BaseModel
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from slm_server.cli import app, common
from slm_server.cli.output import OutputFormat, cell, show, show_one

LONG = "testuser1920-with-a-name-that-is-far-longer-than-columns-are"
PROGRAM = """
import sys
from slm_server.cli.output import print_rows
columns = ["username", "email", "roles", "last_login_at"]
rows = [["{long}", "{long}@autobot.local", "operator", "2026-11-29 08:00:00+00:00"]]
print_rows(columns, rows, wide="--wide" in sys.argv, identifying=2)
"""


class Thing(BaseModel):
    """Something with a long name."""

    name: str
    size: int
    seen: datetime | None = None


THINGS = [Thing(name=LONG, size=1), Thing(name="tab\there", size=2, seen=datetime.now(UTC))]


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_pipe_gets_whole_values_one_row_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(THINGS, ("name", "size"))
    assert printed(capsys) == ["name\tsize", f"{LONG}\t1", "tab�here\t2"]


def test_no_row_is_a_table_of_headings_only(capsys: pytest.CaptureFixture[str]) -> None:
    show([], ("name", "size"))
    assert printed(capsys) == ["name\tsize"]


@pytest.mark.parametrize("form", OutputFormat)
def test_each_format_has_all_of_each_value(
    form: OutputFormat, capsys: pytest.CaptureFixture[str]
) -> None:
    show(THINGS, ("name",), form, wide=True)
    assert LONG in capsys.readouterr().out
    show_one(THINGS[0], form)
    said = capsys.readouterr().out
    # In a table a long value goes on in the next line.
    assert (LONG if form is not OutputFormat.TABLE else LONG[:5]) in said


def test_json_and_ndjson_have_whole_objects(capsys: pytest.CaptureFixture[str]) -> None:
    show(THINGS, ("name",), as_json=True)
    whole = json.loads(capsys.readouterr().out)
    show(THINGS, ("name",), OutputFormat.NDJSON)
    assert [json.loads(line) for line in printed(capsys)] == whole
    assert whole[0] == {"name": LONG, "size": 1, "seen": None}


def in_a_terminal(columns: int, *arguments: str) -> str:
    """What the program prints in a terminal of this width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    with os.fdopen(follower, "wb") as terminal:
        subprocess.run(
            [sys.executable, "-c", PROGRAM.format(long=LONG), *arguments],
            stdin=terminal,
            stdout=terminal,
            env=environment | {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)},
            check=True,
        )
    return os.read(leader, 100_000).decode()


def test_a_terminal_that_is_too_narrow_lacks_the_last_columns() -> None:
    shown = in_a_terminal(170)
    assert f"{LONG} " in shown
    assert f"{LONG}@autobot.local" in shown
    assert "operator" in shown
    assert "last_login_at: --wide shows all." in shown
    assert "2026-11-29" not in shown


def test_what_identifies_a_row_is_never_cut() -> None:
    shown = in_a_terminal(60)
    # Read down its column, the name is whole.
    cells = [line.split("│") for line in shown.splitlines() if "│" in line]
    assert "".join(each[1].strip() for each in cells) == LONG
    assert "".join(each[2].strip() for each in cells) == f"{LONG}@autobot.local"
    assert "…" not in shown


def test_wide_shows_all_on_one_line() -> None:
    shown = in_a_terminal(60, "--wide")
    (row,) = [line for line in shown.splitlines() if LONG in line]
    assert f"{LONG}@autobot.local" in row
    assert "2026-11-29 08:00:00+00:00" in row


def test_nothing_that_people_typed_controls_the_terminal() -> None:
    assert cell("\x1b[31mred\r\n\u202e") == "�[31mred���"


class Typed:
    """Standard input."""

    def __init__(self, text: str) -> None:
        self.text = text

    def readline(self) -> str:
        return self.text


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\r"])
def test_one_line_ending_of_any_kind_is_no_part_of_a_password(
    end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed(f" granite otter {end}"))
    assert common.password_line() == " granite otter "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no password"),
        ("\n", "no password"),
        ("x\r\r\n", "control character"),
        ("a\tb\n", "control character"),
        ("a\x00b\n", "control character"),
        ("a\x85b\n", "control character"),
    ],
)
def test_what_nobody_can_type_is_no_password(
    text: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", Typed(text))
    with pytest.raises(typer.Exit):
        common.password_line()
    assert said in capsys.readouterr().err


def commands(group: TyperGroup) -> Iterator[TyperCommand]:
    for command in group.commands.values():
        if isinstance(command, TyperGroup):
            yield from commands(command)
        elif isinstance(command, TyperCommand):
            yield command


def test_the_help_of_a_command_names_its_own_options() -> None:
    for command in commands(get_group(app)):
        helps = [command.help, *(getattr(each, "help", None) for each in command.params)]
        named = set(re.findall(r"--[a-z-]+", " ".join(filter(None, helps))))
        assert named <= {name for each in command.params for name in each.opts}, command.name


def test_what_is_a_table_can_be_shown_whole() -> None:
    """A table says that --wide shows all."""
    for command in commands(get_group(app)):
        options = {name for each in command.params for name in each.opts}
        if command.name in {"list", "check", "members", "doctor"}:
            assert options >= {"--wide", "--format", "--json"}, command.name
