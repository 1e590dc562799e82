"""The version stands in pyproject.toml; what else says one takes it from there."""

import importlib.metadata
import json
import re
import tomllib

import pytest

from tests.support.role_files import ROOT
from user_management_web.openapi import version

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
SECTION = re.compile(r"^## (.+)\n((?:(?!## ).*\n)*)", re.MULTILINE)


def test_the_apis_say_it() -> None:
    assert version() == VERSION
    for name in ("openapi.json", "openapi-backend.json"):
        assert json.loads((ROOT / "docs" / name).read_text())["info"]["version"] == VERSION


def test_on_a_host_it_is_that_of_the_installed_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", {"autobot-user-management": "9.9"}.get)
    assert version() == "9.9"


def test_no_source_says_one_itself() -> None:
    sources = [*ROOT.glob("service/[!a]*/**/*.py"), *ROOT.glob("service/autobot_backend/**/*.py")]
    assert len(sources) > 100
    assert [path.name for path in sources if f'"{VERSION}"' in path.read_text()] == []
    admin_ui = ROOT / "service/admin_ui"
    lock = json.loads((admin_ui / "package-lock.json").read_text())
    for package in (
        json.loads((admin_ui / "package.json").read_text()),
        lock,
        lock["packages"][""],
    ):
        assert "version" not in package


def test_the_changelog_has_a_section_for_each_release_and_notes_for_its_upgrade() -> None:
    sections = SECTION.findall((ROOT / "CHANGELOG.md").read_text())
    titles = [title for title, _ in sections if title != "Unreleased"]
    assert sections[0][0] in {"Unreleased", titles[0]}
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", title) for title in titles)
    assert titles[0].split()[0] == VERSION
    dates = [title.split()[1] for title in titles]
    assert dates == sorted(dates, reverse=True)
    assert [title for title, text in sections if "### Upgrade notes\n" not in text] == []
