"""Releases after this one: what their migrations say of themselves, and what comes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from user_management.database import EXPECTED_REVISION

ROOT = Path(__file__).parents[2]
# This release's, and the three after it.
OURS, FIRST, SECOND, THIRD = (f"{int(EXPECTED_REVISION) + number:04}" for number in range(4))
# The oldest code that this release's schema suits: no contract came since.
OLDEST = "0005"
COMMENT = "SELECT obj_description('user_management_version'::regclass)"
REVISION = "SELECT version_num FROM user_management_version"
BADGES = """
loses = {"badges": "true", "users": "badge IS NOT NULL"}

def upgrade():
    op.execute("CREATE TABLE badges (name text)")
    op.execute("ALTER TABLE users ADD COLUMN badge text")

def downgrade():
    op.execute("ALTER TABLE users DROP COLUMN badge")
    op.execute("DROP TABLE badges")
"""
NOTHING = """
loses = {}

def upgrade():
    pass

def downgrade():
    pass
"""
CONTRACT = f"""
contract = "{FIRST}"
loses = {{}}

def upgrade():
    op.execute("ALTER TABLE users DROP COLUMN bio")

def downgrade():
    op.execute("ALTER TABLE users ADD COLUMN bio text")
"""

Release = Callable[..., Callable[..., subprocess.CompletedProcess[str]]]


@pytest.fixture
def release(tmp_path: Path, slm_database: Any) -> Release:
    """A release with these revisions after ours: its alembic, and its directory for others."""

    def make(name: str, *revisions: str) -> Callable[..., subprocess.CompletedProcess[str]]:
        directory = tmp_path / name
        directory.mkdir()
        shutil.copy(ROOT / "alembic.ini", directory)
        (directory / "service").symlink_to(ROOT / "service")
        shutil.copytree(
            ROOT / "migrations",
            directory / "migrations",
            ignore=shutil.ignore_patterns("__pycache__"),
        )
        for number, body in enumerate(revisions, int(FIRST)):
            (directory / "migrations" / "versions" / f"{number:04}_later.py").write_text(
                "from alembic import op\n"
                f"revision = '{number:04}'\ndown_revision = '{number - 1:04}'\n{body}"
            )

        def alembic(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "alembic", "-n", "slm", *arguments],
                cwd=directory,
                env=slm_database.environment(),
                capture_output=True,
                text=True,
                check=False,
            )

        return alembic

    return make


def assert_done(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr + done.stdout


def test_a_schema_says_since_when_code_runs_on_it(release: Release, slm_database: Any) -> None:
    newest = release("newest", BADGES, CONTRACT, NOTHING)
    seen = []
    for revision in (FIRST, SECOND, THIRD):
        assert_done(newest("upgrade", revision))
        seen.append(slm_database.sql(COMMENT))
    assert seen == [f"Suits code since revision {since}." for since in (OLDEST, FIRST, FIRST)]
    assert_done(newest("downgrade", FIRST))
    assert slm_database.sql(COMMENT) == f"Suits code since revision {OLDEST}."


def test_the_release_before_finds_nothing_to_do(release: Release, slm_database: Any) -> None:
    assert_done(release("new", BADGES)("upgrade", "head"))
    done = release("old")("upgrade", "head")
    assert_done(done)
    assert f"revision {FIRST}, which suits this release" in done.stderr
    assert slm_database.sql(REVISION) == FIRST


def test_a_release_that_a_contract_has_left_behind_is_refused(release: Release) -> None:
    assert_done(release("new", BADGES, CONTRACT)("upgrade", "head"))
    assert_done(release("one_back", BADGES)("upgrade", "head"))
    done = release("two_back")("upgrade", "head")
    assert done.returncode != 0
    assert "ahead of the code" in done.stderr + done.stdout


def test_the_release_in_use_is_not_left_behind(
    release: Release, slm_database: Any, tmp_path: Path
) -> None:
    release("serving")
    newest = release("newest", NOTHING, CONTRACT)
    done = newest("-x", f"serving={tmp_path / 'serving'}", "upgrade", "head")
    assert done.returncode != 0
    assert f"Deploy a release of revision {FIRST} first" in done.stderr + done.stdout
    assert slm_database.sql(REVISION) == OURS
    release("between", NOTHING)
    assert_done(newest("-x", f"serving={tmp_path / 'between'}", "upgrade", "head"))


def test_nothing_serves_before_the_first_release(release: Release, tmp_path: Path) -> None:
    newest = release("newest", NOTHING, CONTRACT)
    assert_done(newest("-x", f"serving={tmp_path / 'current'}", "upgrade", "head"))


def test_a_downgrade_that_loses_rows_says_how_many_of_which(
    release: Release, slm_database: Any
) -> None:
    newest = release("newest", BADGES, NOTHING)
    assert_done(newest("upgrade", "head"))
    slm_database.sql(
        "INSERT INTO badges VALUES ('a'), ('b');"
        "INSERT INTO users (username, email, badge) VALUES ('ada', 'ada@x', 'a')"
    )
    for target in (OURS, "-2", "base"):
        done = newest("downgrade", target)
        assert done.returncode != 0
        assert "2 of badges" in done.stderr + done.stdout
        assert "1 of users" in done.stderr + done.stdout
        assert slm_database.sql(REVISION) == SECOND
    assert_done(newest("downgrade", FIRST))
    # Not from the newest, but from here.
    assert newest("downgrade", "-1").returncode != 0
    assert slm_database.sql(REVISION) == FIRST
    assert_done(newest("-x", "lose_rows=true", "downgrade", OURS))
    assert slm_database.sql(REVISION) == OURS


def test_a_downgrade_that_loses_nothing_is_done(release: Release, slm_database: Any) -> None:
    newest = release("newest", BADGES)
    assert_done(newest("upgrade", "head"))
    slm_database.sql("INSERT INTO users (username, email) VALUES ('ada', 'ada@x')")
    assert_done(newest("downgrade", OURS))
    assert slm_database.sql("SELECT username FROM users") == "ada"


def test_what_a_contract_took_away_is_lost_already(release: Release, slm_database: Any) -> None:
    gone = CONTRACT.replace("bio", "badge")
    newest = release("newest", BADGES, NOTHING, gone)
    assert_done(newest("upgrade", "head"))
    slm_database.sql("INSERT INTO users (username, email) VALUES ('ada', 'ada@x')")
    assert_done(newest("downgrade", OURS))


def test_half_a_migration_leaves_nothing(release: Release, slm_database: Any) -> None:
    breaks = BADGES.replace("ADD COLUMN badge", "ADD COLUMN bio")
    done = release("broken", breaks)("upgrade", "head")
    assert done.returncode != 0
    assert "already exists" in done.stderr + done.stdout
    assert slm_database.sql("SELECT to_regclass('badges') IS NULL") == "t"
    assert slm_database.sql(REVISION) == OURS
