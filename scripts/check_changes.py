#!/usr/bin/env python3
"""Run the checks that a change concerns, each printed before it runs, with its seconds after it.

    scripts/check_changes.py            of all that differs from main: static checks and tests
    scripts/check_changes.py PATH...    of these files: the static checks

What differs from main are the commits since the merge base with `origin/main` (where there is none:
`main`), what is not committed, and new files. Exit status 1 when a check fails, or where git cannot
say what has changed.
"""

from __future__ import annotations

import ast
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ROOT / "service"
# The tests that need no lab.
UNIT = "tests/unit"
SERVED = ("tests/integration", "tests/api")
# Stands for the tests that know the path: see `knowing`.
KNOWING = "{knowing}"
# One fault of a whole fixture must not hide its reason behind hundreds of others.
BRIEF = ("--quiet", "--maxfail=10", "--show-capture=no")
# Whether the published documents are those of the code.
PUBLISHED = (
    "tests/api/test_openapi.py::test_the_published_document_is_that_of_the_application",
    "tests/api/test_authorization.py::test_the_published_matrix_is_that_of_the_application",
)
# A script that is given to `sh -c` has no first line that says what it is.
SHELLCHECK = (
    "shellcheck $(grep -rIlE '^(#!/bin/sh|#!/usr/bin/env bash|# shellcheck shell=)'"
    " .ci scripts roles/*/files)"
)


class Rule(NamedTuple):
    """What paths ask for. In a path a `*` stands for any characters, slashes too."""

    paths: tuple[str, ...]
    # Commands; {places} stands for the paths, or the roles that they are part of.
    static: tuple[str, ...] = ()
    # Arguments of pytest, or another program's command.
    tests: tuple[str, ...] = ()


# Their tests run in a lab, or where it is quiet.
QUIET = ("e2e", "infra", "lab", "last", "lived_in", "perf", "recovery", "releases", "single")
RULES = (
    Rule(
        ("*.py", "pyproject.toml"),
        ("ruff check .", "ruff format --check .", "scripts/check_types.py"),
    ),
    Rule(
        ("service/*.py", "pyproject.toml"),
        ("PYTHONPATH=service lint-imports",),
        (KNOWING, *PUBLISHED),
    ),
    Rule(("*.yml", ".yamllint", ".pre-commit-config.yaml"), ("yamllint --strict .",)),
    Rule(
        ("roles/*", "playbooks/*", "collections/*", "inventory/*", "molecule/*", "site.yml"),
        ("ansible-lint --offline {places}",),
        (UNIT,),
    ),
    Rule(
        ("roles/*/meta/argument_specs.yml", "roles/*/README.md"),
        ("scripts/role_readmes.py --check",),
    ),
    Rule((".ci/*", "scripts/*", "roles/*/files/*"), (SHELLCHECK,), (UNIT,)),
    Rule(("hosts/*",), tests=(UNIT,)),
    Rule(
        ("roles/monitoring/*", "tests/alerts/*"),
        (
            ".cache/promtool check rules roles/monitoring/files/autobot.rules.yml",
            ".cache/promtool test rules tests/alerts/*.yml",
        ),
        (UNIT,),
    ),
    Rule(
        ("migrations/*", "alembic.ini"),
        ("PYTHONPATH=service scripts/lint_migrations.py",),
        (UNIT, "tests/integration"),
    ),
    Rule(
        ("service/admin_ui/*", "docs/openapi.json"),
        ("npm --prefix service/admin_ui run check",),
        ("npm --prefix service/admin_ui test",),
    ),
    Rule(("*.md", "docs/*"), tests=("tests/unit/docs/test_docs.py", KNOWING)),
    Rule(("tests/unit/*", "tests/integration/*", "tests/api/*"), tests=(KNOWING,)),
    Rule(("tests/__init__.py", "tests/conftest.py", "tests/support/*"), tests=(UNIT, *SERVED)),
    Rule(("Makefile", "pyproject.toml", "ansible.cfg", ".*"), tests=(UNIT,)),
    Rule(("requirements/*", "LICENSE")),
    Rule(tuple(f"tests/{name}/*" for name in QUIET)),
)
# What a path asks for that no rule has.
EVERYTHING = Rule(
    ("*",),
    tuple(command.replace(" {places}", "") for rule in RULES for command in rule.static),
    (UNIT, *SERVED, *(test for rule in RULES for test in rule.tests if " " in test)),
)
ORDER = [command for rule in (*RULES, EVERYTHING) for command in rule.static]


class Plan(NamedTuple):
    """What is run: commands in their order, and what they leave out in a developer's words."""

    static: list[str]
    tests: list[str]
    left_out: list[str]


def plan(paths: Iterable[str]) -> Plan:
    """What these paths, relative to the repository, ask for."""
    places: dict[str, list[str]] = {}
    tests: set[str] = set()
    for path in paths:
        for rule in rules(path):
            for command in rule.static:
                places.setdefault(command, []).append(place(path))
            for test in rule.tests:
                tests |= knowing(path) if test == KNOWING else {test}
    static = [
        command.replace("{places}", shlex.join(existing(places[command])))
        for command in sorted(places, key=ORDER.index)
    ]
    return Plan(static, list(test_commands(without_parts(tests))), list(left_out(tests)))


def rules(path: str) -> list[Rule]:
    """The rules of a path, never none."""
    return [rule for rule in RULES if any(fnmatch(path, pattern) for pattern in rule.paths)] or [
        EVERYTHING
    ]


def place(path: str) -> str:
    """What of it ansible-lint judges: of a role the whole."""
    return "/".join(path.split("/")[:2]) if path.startswith("roles/") else path


def existing(places: Iterable[str]) -> list[str]:
    """Each once, without what has been removed."""
    return sorted({place for place in places if (ROOT / place).exists()})


def without_parts(tests: Iterable[str]) -> list[str]:
    """Without tests whose file or directory is among them."""
    given = sorted(tests)
    return [
        test
        for test in given
        if not any(test.startswith((f"{other}/", f"{other}::")) for other in given)
    ]


def test_commands(tests: list[str]) -> Iterator[str]:
    """The commands that run tests, the quick ones first."""
    yield from (test for test in tests if " " in test)
    if unit := [test for test in tests if test.startswith(UNIT)]:
        yield shlex.join(["pytest", *BRIEF, *unit])
    if served := [test for test in tests if test.startswith(SERVED)]:
        yield shlex.join(["pytest", *BRIEF, "--numprocesses", "auto", *served])


def left_out(tests: set[str]) -> Iterator[str]:
    """What `make test` runs beside these tests."""
    if UNIT not in tests:
        yield "other unit tests: pytest tests/unit"
    if not tests.issuperset(SERVED):
        yield "other tests of the service: pytest --numprocesses auto tests/integration tests/api"
    yield "the lab and the tests in it: sudo make topology"


def knowing(path: str) -> set[str]:
    """The tests that know a path; where there is none, all that need no lab.

    A test knows itself, and what tests share is known to those beside it. A module of the service
    is known to the tests that import it, or one of the modules that import it, or are named after
    one of these; where there is none, it is asked who imports those, and so on. Anything else is
    known to the tests that have its name.
    """
    file = ROOT / path
    if path.startswith("tests/") and file.match("test_*.py"):
        return {path} if file.exists() else set()
    if path.startswith("tests/"):
        return {str(Path(path).parent)}
    if not path.startswith("service/"):
        return {test for test, text in test_files() if file.name in text}
    modules = {module_name(file)}
    while not modules.issuperset(importers := importing(modules)):
        modules |= importers
        if found := {
            test
            for test, _ in test_files()
            for module in modules
            if module in imports(ROOT / test) or is_named_after(test, module)
        }:
            return found
    return {UNIT, *SERVED}


@cache
def test_files() -> list[tuple[str, str]]:
    """(path, text) of each file of tests that need no lab."""
    return [
        (str(file.relative_to(ROOT)), file.read_text())
        for directory in (UNIT, *SERVED)
        for file in sorted((ROOT / directory).rglob("test_*.py"))
    ]


def importing(modules: set[str]) -> set[str]:
    """The service's modules that import one of these."""
    return {module_name(file) for file in PACKAGES.rglob("*.py") if modules & imports(file)}


@cache
def imports(file: Path) -> set[str]:
    """The names that a Python file imports: modules, and what it takes out of them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for name in [f"{node.module}.{alias.name}" for alias in node.names]:
                names |= {name, passed_on().get(name, str(node.module))}
    return names


@cache
def passed_on() -> dict[str, str]:
    """The names that packages of the service only pass on, with the modules that have them."""
    return {
        f"{module_name(file)}.{alias.name}": str(node.module)
        for file in PACKAGES.rglob("__init__.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def module_name(file: Path) -> str:
    """`user_management.services.users` of that file; of an `__init__.py` its package."""
    return ".".join(file.relative_to(PACKAGES).with_suffix("").parts).removesuffix(".__init__")


def is_named_after(test: str, module: str) -> bool:
    """Whether each word of the module begins one of the test's: test_words_of_users, users.

    Unit tests import what they judge; some have names of roles.
    """
    words = Path(test).stem.split("_")
    return test.startswith(SERVED) and all(
        any(word.startswith(part.removesuffix("s")) for word in words)
        for part in module.rpartition(".")[2].split("_")
    )


def changed() -> list[str]:
    """The paths that differ from main, the removed ones too; ends where there is no main."""
    for main in ("origin/main", "main"):
        base = git("merge-base", "HEAD", main)
        if base.returncode == 0:
            break
    else:
        sys.exit("There is neither origin/main nor main to compare with: git fetch origin main")
    differing = git("diff", "--name-only", "--no-renames", "-z", base.stdout.strip())
    new = git("ls-files", "--others", "--exclude-standard", "-z")
    return sorted({*differing.stdout.split("\0"), *new.stdout.split("\0")} - {""})


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What git answers, in the repository."""
    return subprocess.run(  # noqa: S603 - the arguments are this script's own
        ["git", *arguments],  # noqa: S607 - whichever the developer has
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def run(commands: Iterable[str]) -> list[str]:
    """Run all of them; those that failed."""
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    failed = []
    for command in commands:
        say(f"\n$ {command}")
        begun = time.monotonic()
        done = subprocess.run(  # noqa: S602 - commands of the table, paths in them are quoted
            command, shell=True, cwd=ROOT, env={**os.environ, "PATH": programs}, check=False
        )
        if done.returncode:
            failed.append(command)
        say(f"{'failed' if done.returncode else 'passed'} after {time.monotonic() - begun:.0f} s")
    return failed


def say(line: str) -> None:
    """Before what the next program prints."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    paths = arguments or changed()
    if unknown := [path for path in paths if rules(path) == [EVERYTHING]]:
        say(f"No rule has {', '.join(unknown)}: everything is run that needs no lab.")
    planned = plan(paths)
    failed = run(planned.static if arguments else planned.static + planned.tests)
    if not arguments:
        say("")
        for left in planned.left_out:
            say(f"Not run: {left}")
    for command in failed:
        say(f"Failed: {command}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
