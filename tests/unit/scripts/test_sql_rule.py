"""No statement is put together from values: they go as parameters.

A rule on the source, because no test of behaviour sees the one place that somebody adds tomorrow.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[3] / "service"
# What takes SQL as its first argument.
TAKES_SQL = {
    *("text", "literal_column", "DDL", "exec_driver_sql", "execute", "executemany", "scalar"),
    *("scalars", "stream", "stream_scalars", "prepare", "cursor", "copy_from_query"),
    *("fetch", "fetch_row", "fetchrow", "fetchval", "op"),
}
BEGINS_SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH|SET|COPY|CALL|DECLARE)\s")
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")


def made_of(node: ast.expr) -> list[ast.expr] | None:
    """What is put into a text besides what stands there; None when nothing is put together."""
    match node:
        case ast.JoinedStr(values=parts):
            return [part.value for part in parts if isinstance(part, ast.FormattedValue)]
        case ast.BinOp(op=ast.Add() | ast.Mod(), left=left, right=right):
            return [left, right]
        case ast.Call(func=ast.Attribute(attr="format"), args=given, keywords=named):
            return [*given, *(each.value for each in named)]
    return None


def is_constant(node: ast.expr) -> bool:
    """Whether this is written in the source: a literal, a CONSTANT, or several of them joined."""
    match node:
        case ast.Constant():
            return True
        case ast.Name(id=name):
            return CONSTANT.fullmatch(name) is not None
        case ast.Call(func=ast.Attribute(attr="join", value=ast.Constant()), args=[joined]):
            return is_constant(joined)
    parts = made_of(node)
    return parts is not None and all(map(is_constant, parts))


def statements(tree: ast.AST) -> Iterator[ast.expr]:
    """What functions hand over as SQL, and whatever reads like it.

    What stands outside of functions is put together before there is any value of a user.
    """
    functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
    for function in (node for node in ast.walk(tree) if isinstance(node, functions)):
        for node in ast.walk(function):
            match node:
                case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=[first, *_]):
                    if name in TAKES_SQL:
                        yield first
                case ast.JoinedStr(values=[ast.Constant(value=str(beginning)), *_]):
                    if BEGINS_SQL.match(beginning):
                        yield node


def faults(source: str) -> list[int]:
    """The lines with a statement that is put together from more than constants."""
    return sorted(
        {
            statement.lineno
            for statement in statements(ast.parse(source))
            if made_of(statement) is not None and not is_constant(statement)
        }
    )


def test_no_statement_is_put_together_from_values() -> None:
    found = {
        str(path.relative_to(SERVICE)): lines
        for path in sorted(SERVICE.rglob("*.py"))
        if (lines := faults(path.read_text()))
    }
    assert found == {}


@pytest.mark.parametrize(
    "statement",
    [
        """text(f"name = '{name}'")""",
        """session.execute(text("name = '%s'" % name))""",
        """session.execute(text("name = '" + name + "'"))""",
        """session.scalar(text("name = '{}'".format(name)))""",
        """connection.fetch(f"SHOW {name}")""",
        """f"SELECT id FROM users WHERE name = '{name}'\"""",
        """text(f"SELECT {', '.join(names)} FROM users")""",
        """literal_column(f"users.{name}")""",
    ],
)
def test_the_rule_finds_one_that_is(statement: str) -> None:
    assert faults(f"def find(name, names):\n    return {statement}\n") == [2]


@pytest.mark.parametrize(
    "statement",
    [
        """text("SELECT id FROM users WHERE name = :name")""",
        """text(f"SELECT version FROM {TABLE}")""",
        """f"SELECT {', '.join(COLUMNS)} FROM users\"""",
        """f"Selected {name}\"""",
    ],
)
def test_the_rule_lets_constants_pass(statement: str) -> None:
    assert faults(f"def find(name):\n    return {statement}\n") == []
