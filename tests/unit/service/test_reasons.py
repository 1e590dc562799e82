"""A reason after a colon is never empty: some errors have no words of their own."""

import ast
import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.role_files import ROOT
from user_management.errors import reason
from user_management.transfer import source_databases
from user_management.transfer.lines import SourceError
from user_management.transfer.sources import SourceKind

# Of these, and of what they are a base of, some say nothing.
WORDLESS = {"OSError", "TimeoutError", "ConnectionError", "Exception", "BaseException"}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError(), "ConnectionResetError"),
        (OSError("\n no route\n to host "), "no route to host"),
    ],
)
def test_every_error_has_a_reason(error: Exception, said: str) -> None:
    assert reason(error) == said


def test_a_source_that_does_not_answer_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(*_: object) -> None:
        raise TimeoutError

    async def read() -> None:
        kind = next(iter(SourceKind))
        async with source_databases.source_database(kind, "postgresql://x", SecretStr("x")):
            pass

    monkeypatch.setattr(source_databases, "_connect", late)
    with pytest.raises(SourceError, match=r"does not let us in: no answer in time\."):
        asyncio.run(read())


def handlers(path: Path) -> Iterator[tuple[int, str]]:
    """Where a file shows an error as it is that may say nothing."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ExceptHandler) or not node.name or node.type is None:
            continue
        caught = {each.id for each in ast.walk(node.type) if isinstance(each, ast.Name)}
        if not caught & WORDLESS:
            continue
        for part in ast.walk(node):
            if isinstance(part, ast.FormattedValue):
                shown = part.value.values[0] if isinstance(part.value, ast.BoolOp) else part.value
                if isinstance(shown, ast.Name) and shown.id == node.name:
                    yield part.lineno, node.name


@pytest.mark.parametrize("directory", ["service", "migrations"])
def test_no_message_shows_an_error_that_may_say_nothing(directory: str) -> None:
    files = [
        path
        for path in (ROOT / directory).rglob("*.py")
        if "node_modules" not in path.parts and "build" not in path.parts
    ]
    assert files
    found = [f"{path.relative_to(ROOT)}:{line}" for path in files for line, _ in handlers(path)]
    assert found == []
