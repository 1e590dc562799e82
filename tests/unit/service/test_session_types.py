"""Mixing up the sessions of the two databases is a type error."""

from pathlib import Path

import pytest
from mypy import api

ROOT = Path(__file__).parents[3]
SOURCE = """
from user_management.database import SlmSession
from user_management_web.resources import Resources
from user_management.population import Population

async def of_fleet_administrators(session: SlmSession) -> None: ...

async def right(resources: Resources) -> None:
    async with resources.session(Population.SLM) as session:
        await of_fleet_administrators(session)

async def wrong(resources: Resources) -> None:
    async with resources.session(Population.AUTOBOT) as session:
        await of_fleet_administrators(session)
"""


def test_a_session_of_the_other_database_is_a_type_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MYPYPATH", str(ROOT / "service"))
    mixed = tmp_path / "mixed.py"
    mixed.write_text(SOURCE)
    output, _, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), str(mixed)])
    errors = [line for line in output.splitlines() if ": error:" in line]
    assert len(errors) == 1, output
    assert '"AutobotSession"; expected "SlmSession"' in errors[0]
