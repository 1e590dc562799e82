"""What AutoBot's programs are told of a database that has moved: only what must change."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.role_files import load_plugin

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
    return load_plugin("modules.moved_settings")


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
        # What is special in a URL, and stands in a password as it is.
        *(
            (f"URL=postgresql://app:{password}@192.0.2.19/people", "URL is no URL that can be read")
            for password in ("th/eirs", "12/theirs", "th#eirs", "1?theirs", "[theirs", "th%2/eirs")
        ),
        ("URL=postgresql://app:th@eirs@192.0.2.19/slm", "URL leads to 192.0.2.19:5432/slm"),
        ("AUTOBOT_POSTGRES_HOST=postgresql://app:the@irs@h/d", "is postgresql://app:***@h/d"),
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
    assert not re.search("irs|th[/%#@]|12/", problem)


def test_a_variable_that_is_missing_is_said(settings: Any) -> None:
    assert settings.rewritten("", {"HOST": "host"}, SOURCE, TARGET)[1] == ["HOST is not there"]


BACK_FROM = {"hosts": ["192.0.2.23"], "port": 5432, "database": "autobot_users"}
BACK_TO = {"host": "192.0.2.19", "port": 5432, "database": "people"}


class TestWayBack:
    """Programs are led to where the database was; the first copy says in which words."""

    def back(self, settings: Any, text: str, first: str = FILE) -> tuple[str, list[str]]:
        new, problems, *_ = settings.rewritten(text, VARIABLES, BACK_FROM, BACK_TO, first)
        return new, problems

    @pytest.mark.parametrize("host", ["192.0.2.19", "slm.example"])
    @pytest.mark.parametrize("port", ["", ":5432"])
    def test_the_file_is_as_it_was_byte_for_byte(self, settings: Any, host: str, port: str) -> None:
        first = FILE.replace("HOST=192.0.2.19", f"HOST={host} ")
        first = first.replace("@slm.example", f"@{host}{port}").rstrip("\n")
        moved, problems, *_ = settings.rewritten(first, VARIABLES, SOURCE, TARGET)
        assert problems == []
        assert self.back(settings, moved, first) == (first, [])
        # And the second time, after a run that was killed.
        assert self.back(settings, first, first) == (first, [])

    def test_what_somebody_has_changed_since_stays(self, settings: Any) -> None:
        moved, *_ = settings.rewritten(FILE, VARIABLES, SOURCE, TARGET)
        changed = moved.replace("OTHER=", "# Mine.\nOTHER=").replace("th%40irs", "another")
        text, problems = self.back(settings, changed)
        assert problems == []
        assert text == FILE.replace("OTHER=", "# Mine.\nOTHER=").replace(
            "th%40irs@slm.example/", "another@192.0.2.19:5432/"
        )

    def test_what_led_here_before_the_move_is_led_there(self, settings: Any) -> None:
        moved, *_ = settings.rewritten(FILE, VARIABLES, SOURCE, TARGET)
        text, problems = self.back(settings, moved, moved)
        assert problems == []
        assert "HOST=192.0.2.19\n" in text
        assert "@192.0.2.19:5432/people?" in text

    def test_without_a_first_copy_it_is_led_to_the_address(self, settings: Any) -> None:
        moved, *_ = settings.rewritten(FILE, VARIABLES, SOURCE, TARGET)
        text, problems = self.back(settings, moved, "")
        assert problems == []
        assert "@192.0.2.19:5432/people?" in text
