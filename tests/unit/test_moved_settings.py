"""What AutoBot's programs are told of a database that has moved: only what must change."""

from __future__ import annotations

from typing import Any

import pytest
from role_files import load_module

SOURCE = {"hosts": ["192.0.2.19", "slm.example"], "port": 5432, "database": "people"}
TARGET = {"host": "192.0.2.23", "port": 5432, "database": "autobot_users"}
FILE = """\
# Theirs.
AUTOBOT_POSTGRES_HOST=192.0.2.19
  AUTOBOT_POSTGRES_DB='people'
AUTOBOT_POSTGRES_PASSWORD=theirs@192.0.2.19
URL="postgresql+asyncpg://app:th%40irs@slm.example/people?ssl=require"
OTHER=192.0.2.19
"""
VARIABLES = {"AUTOBOT_POSTGRES_HOST": "host", "AUTOBOT_POSTGRES_DB": "database", "URL": "url"}


@pytest.fixture(scope="module")
def settings() -> Any:
    return load_module("moved_settings")


def test_address_and_name_change_and_nothing_else(settings: Any) -> None:
    text, problems, before, after = settings.rewritten(FILE, VARIABLES, SOURCE, TARGET)
    assert problems == []
    assert text == FILE.replace("HOST=192.0.2.19", "HOST=192.0.2.23").replace(
        "'people'", "'autobot_users'"
    ).replace("@slm.example/people?", "@192.0.2.23:5432/autobot_users?")
    assert "th%40irs" not in settings.shown(before) + settings.shown(after)
    assert "app:***@192.0.2.23:5432" in after["URL"]


def test_what_was_told_before_is_left_alone(settings: Any) -> None:
    text, *_ = settings.rewritten(FILE, VARIABLES, SOURCE, TARGET)
    again, problems, *_ = settings.rewritten(text, VARIABLES, SOURCE, TARGET)
    assert (again, problems) == (text, [])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("AUTOBOT_POSTGRES_HOST=192.0.2.99", "AUTOBOT_POSTGRES_HOST is 192.0.2.99"),
        ("AUTOBOT_POSTGRES_HOST='192.0.2.19", "quoted or escaped"),
        ("URL=postgresql://app:theirs@192.0.2.19/slm", "URL leads to 192.0.2.19:5432/slm"),
        ("URL=postgresql://app:theirs@192.0.2.19:5433/people", "URL leads to 192.0.2.19:5433"),
    ],
)
def test_another_database_is_refused_and_no_password_said(
    settings: Any, line: str, words: str
) -> None:
    name = line.partition("=")[0]
    text, problems, *_ = settings.rewritten(f"{line}\n", {name: VARIABLES[name]}, SOURCE, TARGET)
    assert text == f"{line}\n"
    (problem,) = problems
    assert words in problem
    assert "theirs" not in problem


def test_a_variable_that_is_missing_is_said(settings: Any) -> None:
    assert settings.rewritten("", {"HOST": "host"}, SOURCE, TARGET)[1] == ["HOST is not there"]
