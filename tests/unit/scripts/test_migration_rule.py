"""The release before runs on what a migration makes: each rule sees who breaks it."""

import importlib.util
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]


def load() -> ModuleType:
    path = ROOT / "scripts" / "lint_migrations.py"
    spec = importlib.util.spec_from_file_location("lint_migrations", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look for their module there.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


rule = load()
Judge = Callable[..., list[str]]


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judge:
    """What is said of a revision 0006 that does this, and of one after it."""
    # A file that is written again within a second would be taken for the one that was compiled.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    migrations = tmp_path / "migrations"
    shutil.copytree(
        ROOT / "migrations",
        migrations,
        ignore=shutil.ignore_patterns("__pycache__", "000[6-9]*", "00[1-9]*"),
    )

    def write(name: str, up: str, down: str, said: str) -> None:
        before = f"{int(name) - 1:04}"
        (migrations / "versions" / f"{name}_test.py").write_text(
            "from alembic import op\nimport sqlalchemy as sa\n"
            f"revision = {name!r}\ndown_revision = {before!r}\n{said}\n"
            f"def upgrade():\n    {up}\n\ndef downgrade():\n    {down}\n"
        )

    def judge(
        up: str,
        down: str = 'op.execute("SELECT 1")',
        said: str = "loses = {}",
        after: tuple[str, str, str] | None = None,
    ) -> list[str]:
        write("0006", up, down, said)
        if after is not None:
            write("0007", *after)
        faults: list[str] = rule.judge(migrations)
        return faults

    return judge


def sql(*statements: str) -> str:
    return "; ".join(f'op.execute("""{statement}""")' for statement in statements)


def test_the_migrations_keep_the_rules() -> None:
    assert rule.judge(ROOT / "migrations") == []


@pytest.mark.parametrize(
    ("up", "fault"),
    [
        (sql("DROP TABLE teams"), "takes away"),
        ("op.drop_column('users', 'bio')", "takes away"),
        ("op.alter_column('users', 'bio', new_column_name='story')", "takes away"),
        ("op.rename_table('teams', 'groups')", "takes away"),
        (sql("REVOKE SELECT ON users FROM slm_service"), "takes away"),
        (sql("REVOKE ALL ON FUNCTION password_setting FROM PUBLIC"), "takes away"),
        (sql("DO $$ BEGIN DROP TABLE teams; END $$"), "takes away"),
        (sql("DROP FUNCTION password_setting"), "takes away"),
        ("op.alter_column('users', 'bio', type_=sa.String(10))", "new type"),
        (sql("ALTER TABLE users ALTER bio TYPE varchar(10)"), "new type"),
        ("op.alter_column('users', 'bio', nullable=False)", "leave it empty"),
        ("op.add_column('users', sa.Column('badge', sa.Text, nullable=False))", "needs a default"),
        ("op.create_index('ix', 'users', ['bio'])", "CONCURRENTLY"),
        (sql("CREATE UNIQUE INDEX ix ON users (bio)"), "CONCURRENTLY"),
        ("op.create_check_constraint('c', 'users', 'bio IS NOT NULL')", "NOT VALID"),
        ("op.create_foreign_key('f', 'users', 'teams', ['org_id'], ['id'])", "NOT VALID"),
        ("op.create_unique_constraint('u', 'users', ['bio'])", "NOT VALID"),
        (sql("ALTER TABLE users VALIDATE CONSTRAINT c"), "autocommit_block"),
        (sql("/* a ; */ DROP TABLE teams"), "takes away"),
    ],
)
def test_what_the_release_before_would_not_bear_is_seen(judged: Judge, up: str, fault: str) -> None:
    (found,) = judged(up)
    assert found.startswith("0006_test.py: ")
    assert fault in found


@pytest.mark.parametrize(
    "up",
    [
        "op.add_column('users', sa.Column('badge', sa.Text))",
        "op.add_column('users', sa.Column('b', sa.Text, nullable=False, server_default='x'))",
        "op.create_table('badges', sa.Column('id', sa.Uuid, primary_key=True),"
        " sa.Column('name', sa.Text, nullable=False, index=True))",
        sql("ALTER TABLE users ADD CONSTRAINT c CHECK (bio <> 'DROP TABLE;') NOT VALID"),
        sql("-- DROP TABLE teams\nSELECT 1"),
        sql("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ DROP TABLE teams $$"),
        sql(
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$",
            "REVOKE ALL ON FUNCTION f FROM PUBLIC",
        ),
        "with op.get_context().autocommit_block():\n"
        "        op.create_index('ix', 'users', ['bio'], postgresql_concurrently=True)",
        "with op.get_context().autocommit_block():\n"
        "        op.execute('ALTER TABLE users VALIDATE CONSTRAINT c')",
    ],
)
def test_what_only_adds_is_let_through(judged: Judge, up: str) -> None:
    assert judged(up) == []


DROPS = (sql("ALTER TABLE users DROP COLUMN bio"), sql("ALTER TABLE users ADD bio text"))


def test_a_contract_may_take_away_what_an_earlier_revision_left(judged: Judge) -> None:
    assert judged(*DROPS, "contract = '0005'\nloses = {}") == []
    after = (*DROPS, "contract = '0006'\nloses = {}")
    assert judged("op.execute('SELECT 1')", after=after) == []


@pytest.mark.parametrize("contract", ["'0006'", "'0007'", "'now'"])
def test_a_contract_names_a_revision_before_it(judged: Judge, contract: str) -> None:
    (found,) = judged(*DROPS, f"contract = {contract}\nloses = {{}}")
    assert "since which nothing uses" in found


def test_a_contract_holds_up_nobody_all_the_same(judged: Judge) -> None:
    up = "op.create_index('ix', 'users', ['bio'])"
    assert "CONCURRENTLY" in judged(up, said="contract = '0005'\nloses = {}")[0]


def test_every_revision_can_be_undone(judged: Judge) -> None:
    (found,) = judged(sql("CREATE TABLE badges ()"), "pass")
    assert "no downgrade" in found


@pytest.mark.parametrize("said", ["", "loses = None", "loses = dict(users='true')"])
def test_every_revision_says_what_undoing_it_loses(judged: Judge, said: str) -> None:
    (found,) = judged("op.execute('SELECT 1')", said=said)
    assert "say what undoing it loses" in found


@pytest.mark.parametrize(
    "down",
    [
        sql("DROP TABLE badges"),
        "op.drop_column('badges', 'name')",
        sql("DELETE FROM badges WHERE true"),
        sql("TRUNCATE badges"),
    ],
)
def test_what_undoing_loses_is_said(judged: Judge, down: str) -> None:
    up = sql("CREATE TABLE badges (name text)")
    (found,) = judged(up, down)
    assert "rows of badges" in found
    assert judged(up, down, "loses = {'badges': 'true'}") == []


def test_revisions_are_numbered(judged: Judge, tmp_path: Path) -> None:
    assert judged("op.execute('SELECT 1')") == []
    path = tmp_path / "migrations" / "versions" / "0006_test.py"
    path.write_text(path.read_text().replace("'0006'", "'0010'"))
    (found,) = rule.judge(path.parents[1])
    assert "this is 0006" in found


def test_the_command_fails_where_a_rule_is_broken(
    judged: Judge, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judged(sql("DROP TABLE teams"))
    assert rule.main([str(tmp_path / "migrations")]) == 1
    assert "0006_test.py: only a contract takes away" in capsys.readouterr().out
    assert rule.main([]) == 0


def test_where_there_is_no_revision_nothing_was_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").touch()
    assert rule.main([str(tmp_path)]) == 1
    assert "there is no revision to judge" in capsys.readouterr().out
