"""`make check` runs what a change concerns, says what it runs, and leaves nothing out unsaid."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_files import ROOT, load_file

MAKEFILE = (ROOT / "Makefile").read_text()
GIT = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture(scope="module")
def checks() -> Any:
    """`scripts/check_changes.py`; what it has read of the repository it reads once."""
    return load_file("scripts/check_changes.py")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checks: Any) -> Any:
    """`scripts/check_changes.py` in a repository of its own, on a branch that begins at main."""
    for name, value in GIT.items():
        monkeypatch.setenv(name, value)
    for variable in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(checks, "ROOT", tmp_path)
    for name in ("kept.md", "removed.md", "edited.md"):
        (tmp_path / name).touch()
    must_git(checks, "init", "--quiet", "--initial-branch=main")
    must_git(checks, "add", ".")
    must_git(checks, "commit", "--quiet", "--message=all")
    must_git(checks, "checkout", "--quiet", "-b", "branch")
    return checks


def must_git(checks: Any, *arguments: str) -> None:
    done = checks.git(*arguments)
    assert done.returncode == 0, done.stderr


def recipe(target: str) -> list[str]:
    """The commands of a target, without the one that prepares the machine."""
    [lines] = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    commands = [line.strip().replace("$$", "$") for line in lines.splitlines()]
    return [command for command in commands if not command.startswith("@scripts/bootstrap")]


def test_the_static_checks_are_those_of_make_lint(checks: Any) -> None:
    assert set(checks.EVERYTHING.static) == set(recipe("lint"))


def test_hooks_are_programs_of_the_project(checks: Any) -> None:
    """Nothing is fetched, and each is found without anything in the path."""
    [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        python, script = hook["entry"].split()
        assert python == ".venv/bin/python"
        assert script in checks.git("ls-files", "scripts").stdout.splitlines()


def test_what_runs_everything_runs_the_tests_of_make_unit(checks: Any) -> None:
    commands = checks.plan(["a file that nobody thought of"]).tests
    for command in recipe("unit"):
        program, *arguments = command.split()
        assert any(line.split()[0] == program and line.endswith(arguments[-1]) for line in commands)


def test_every_file_of_the_repository_has_a_rule(checks: Any) -> None:
    files = checks.git("ls-files", "-z").stdout.split("\0")[:-1]
    assert len(files) > 500
    assert [path for path in files if checks.rules(path) == [checks.EVERYTHING]] == []


PYTEST = "pytest --quiet --maxfail=10 --show-capture=no"


def test_a_path_without_a_rule_runs_all_that_needs_no_lab(checks: Any) -> None:
    planned = checks.plan(["a file that nobody thought of"])
    assert set(planned.static) == set(checks.EVERYTHING.static)
    assert planned.tests == [
        "npm --prefix service/admin_ui test",
        f"{PYTEST} tests/unit",
        f"{PYTEST} --numprocesses auto tests/api tests/integration",
    ]
    assert planned.left_out == ["the lab and the tests in it: sudo make topology"]


@pytest.mark.parametrize(
    ("path", "static", "tests"),
    [
        (
            "service/admin_ui/src/views/teams/TeamsView.vue",
            ["npm --prefix service/admin_ui run check"],
            ["npm --prefix service/admin_ui test"],
        ),
        (
            "roles/pki/tasks/main.yml",
            ["yamllint --strict .", "ansible-lint --offline roles/pki"],
            [f"{PYTEST} tests/unit"],
        ),
        (
            "tests/e2e/browsing.py",
            ["ruff check .", "ruff format --check .", "scripts/check_types.py"],
            [],
        ),
        ("requirements/service.txt", [], []),
    ],
)
def test_what_paths_ask_for(checks: Any, path: str, static: list[str], tests: list[str]) -> None:
    planned = checks.plan([path])
    assert planned.static == static
    assert planned.tests == tests


def test_a_document_asks_for_the_tests_that_read_it(checks: Any) -> None:
    [command] = checks.plan(["docs/verification.md"]).tests
    assert "tests/unit/docs/test_docs.py" in command
    [unit, served] = checks.plan(["docs/permissions.md"]).tests
    assert "tests/unit/docs/test_docs.py" in unit
    assert "tests/api/test_authorization.py" in served


def test_commands_stand_once_and_in_the_order_of_the_table(checks: Any) -> None:
    planned = checks.plan(
        ["service/admin_ui/index.html", "roles/pki/a.yml", "roles/base/b.yml", "site.py"]
    )
    assert planned.static == [
        "ruff check .",
        "ruff format --check .",
        "scripts/check_types.py",
        "yamllint --strict .",
        "ansible-lint --offline roles/base roles/pki",
        "npm --prefix service/admin_ui run check",
    ]


def test_a_role_that_is_gone_lets_all_of_them_be_judged(checks: Any) -> None:
    assert "ansible-lint --offline " in checks.plan(["roles/gone/tasks/main.yml"]).static


@pytest.mark.parametrize(
    ("path", "known"),
    [
        # Named after it; importing it; importing what imports it.
        ("service/slm_server/api/teams.py", "tests/api/test_teams.py"),
        ("service/user_management/csvsafe.py", "tests/unit/service/test_csvsafe.py"),
        ("service/user_management/services/team_members.py", "tests/api/test_teams.py"),
        ("service/user_management/services/login/password_login.py", "tests/api/test_login.py"),
        ("tests/api/test_teams.py", "tests/api/test_teams.py"),
        ("tests/api/conftest.py", "tests/api"),
    ],
)
def test_tests_that_know_a_path(checks: Any, path: str, known: str) -> None:
    assert known in checks.knowing(path)


def test_a_test_of_something_else_with_the_same_name_is_none(checks: Any) -> None:
    found = checks.knowing("service/user_management/services/roles.py")
    assert "tests/api/test_roles.py" in found
    assert "tests/unit/roles/test_postgresql_role.py" not in found


def test_a_test_that_is_gone_is_not_run(checks: Any) -> None:
    assert checks.knowing("tests/unit/test_gone.py") == set()


def test_a_module_that_no_test_knows_asks_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where modules import each other in a circle."""
    checks = load_file("scripts/check_changes.py")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "ahem.py").write_text("import one.ohum")
    (tmp_path / "one" / "ohum.py").write_text("from one import ahem")
    monkeypatch.setattr(checks, "PACKAGES", tmp_path)
    monkeypatch.setattr(checks, "module_name", lambda file: f"one.{file.stem}")
    assert checks.knowing("service/one/ahem.py") == {"tests/unit", "tests/integration", "tests/api"}


def test_a_change_is_what_differs_from_main(repository: Any, tmp_path: Path) -> None:
    (tmp_path / "committed.md").touch()
    must_git(repository, "add", ".")
    must_git(repository, "rm", "--quiet", "removed.md")
    must_git(repository, "commit", "--quiet", "--message=change")
    (tmp_path / "edited.md").write_text("edited")
    (tmp_path / "a new one.md").touch()
    assert repository.changed() == ["a new one.md", "committed.md", "edited.md", "removed.md"]


def test_what_main_got_meanwhile_is_no_change(repository: Any, tmp_path: Path) -> None:
    must_git(repository, "checkout", "--quiet", "main")
    (tmp_path / "of others.md").touch()
    must_git(repository, "add", ".")
    must_git(repository, "commit", "--quiet", "--message=others")
    must_git(repository, "checkout", "--quiet", "branch")
    assert repository.changed() == []


def test_a_repository_without_main_is_told_so(repository: Any) -> None:
    must_git(repository, "branch", "--move", "main", "trunk")
    with pytest.raises(SystemExit, match="neither origin/main nor main"):
        repository.changed()


def test_a_command_is_printed_before_it_runs_and_the_failed_ones_at_the_end(
    checks: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = checks.Rule(("*",), ("echo static", "exit 3"), ("echo a test",))
    monkeypatch.setattr(checks, "RULES", (rule,))
    monkeypatch.setattr(checks, "ORDER", list(rule.static))
    monkeypatch.setattr(checks, "changed", lambda: ["a"])
    assert checks.main([]) == 1
    said = re.sub(r"\d+ s", "0 s", capfd.readouterr().out).split("\n")
    assert said == [
        *("", "$ echo static", "static", "passed after 0 s"),
        *("", "$ exit 3", "failed after 0 s"),
        *("", "$ echo a test", "a test", "passed after 0 s"),
        "",
        "Not run: other unit tests: pytest tests/unit",
        "Not run: other tests of the service: "
        "pytest --numprocesses auto tests/integration tests/api",
        "Not run: the lab and the tests in it: sudo make topology",
        *("Failed: exit 3", ""),
    ]


def test_of_files_that_are_named_the_static_checks_run(
    checks: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = checks.Rule(("*",), ("echo static",), ("echo a test",))
    monkeypatch.setattr(checks, "RULES", (rule,))
    monkeypatch.setattr(checks, "ORDER", list(rule.static))
    assert checks.main(["a"]) == 0
    assert re.findall(r"^\$ (.*)", capfd.readouterr().out, re.MULTILINE) == ["echo static"]


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (f"{'x' * 72}\n\nWhy, at any length: {'y' * 90}\n", 0),
        ("é" * 72, 0),
        ("x" * 73, 1),
        (f"\n# git's own, and long: {'z' * 80}\n{'x' * 73}\n", 1),
        (f"\n# git's own, and long: {'z' * 80}\nshort\n", 0),
    ],
)
def test_a_subject_has_at_most_72_characters(tmp_path: Path, message: str, status: int) -> None:
    file = tmp_path / "COMMIT_EDITMSG"
    file.write_text(message)
    done = subprocess.run(
        [ROOT / "scripts/commit_subject.py", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == status
    assert ("has 73 characters" in done.stderr) == bool(status)
