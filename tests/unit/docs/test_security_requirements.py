"""docs/security-requirements.md names a test for each requirement, and the tests are there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs/security-requirements.md"
ROW = re.compile(r"^\| (\d+\.\d+\.\d+) \| ([123]) \| (.+) \| (.+) \| (.+) \|$", re.MULTILINE)
NODE = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")
WAITING = re.compile(r"^- (\d.*?):", re.MULTILINE)


def rows() -> list[tuple[str, ...]]:
    return [match.groups() for match in ROW.finditer(DOCUMENT.read_text())]


def names_in(path: Path) -> set[str]:
    """The tests of a file, as they stand behind its name: `::test_x`, `::TestX::test_y`."""

    def named(body: list[ast.stmt], prefix: str) -> set[str]:
        found = set()
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                found |= named(node.body, f"{prefix}::{node.name}")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found |= {f"{prefix}::{node.name}"} if node.name.startswith("test_") else set()
        return found

    return named(ast.parse(path.read_text()).body, "")


def test_every_line_of_the_table_is_a_row() -> None:
    lines = re.findall(r"^\| \d.*$", DOCUMENT.read_text(), re.MULTILINE)
    assert len(lines) == len(rows()) > 50


def test_each_requirement_stands_there_once() -> None:
    ids = [row[0] for row in rows()]
    assert [each for each in ids if ids.count(each) > 1] == []
    assert ids == sorted(ids, key=lambda each: [int(part) for part in each.split(".")])


def test_each_requirement_names_tests_that_exist() -> None:
    missing = []
    for identifier, _, _, _, tests in rows():
        named = NODE.findall(tests)
        # Nothing but tests stands in that column.
        assert ", ".join(f"`{path}{test}`" for path, test in named) == tests, identifier
        for path, test in named:
            if not (ROOT / path).is_file() or test not in names_in(ROOT / path):
                missing.append((identifier, path + test))
    assert missing == []
    assert all(NODE.search(row[4]) for row in rows())


def test_what_waits_is_not_said_to_be_met() -> None:
    waiting = {
        identifier
        for line in WAITING.findall(DOCUMENT.read_text())
        for identifier in re.findall(r"\d+\.\d+\.\d+", line)
    }
    assert len(waiting) > 10
    assert waiting & {row[0] for row in rows()} == set()
