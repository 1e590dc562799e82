"""A program of a host needs Python alone, and its modules do not import in a circle."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.role_files import ROOT

HOSTS = ROOT / "hosts"
MODULES = {
    ".".join(path.relative_to(HOSTS).with_suffix("").parts).removesuffix(".__init__"): path
    for path in HOSTS.rglob("*.py")
}


def imported(path: Path) -> Iterator[str]:
    """The modules that a file imports, each by its whole name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in MODULES else node.module


def order(imports: dict[str, set[str]]) -> list[str]:
    return list(TopologicalSorter(imports).static_order())


def test_no_module_is_part_of_a_circle() -> None:
    found = order({name: {*imported(path)} & MODULES.keys() for name, path in MODULES.items()})
    assert found.index("autobot_backup.errors") < found.index("autobot_backup.cli")
    with pytest.raises(CycleError):
        order({"a": {"b"}, "b": {"c"}, "c": {"a"}})


def test_nothing_but_the_standard_library_is_imported() -> None:
    strange = {
        (name, module)
        for name, path in MODULES.items()
        for module in imported(path)
        if module not in MODULES and module.partition(".")[0] not in sys.stdlib_module_names
    }
    assert strange == set()
