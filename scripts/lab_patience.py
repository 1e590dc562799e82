"""A service of a lab's host waits five times as long for its database.

Where several labs share a machine, a database that does not answer within two seconds may be one
that was not given a processor. It is on the path of the service's Python as `sitecustomize`.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

PATIENT = "user_management.database"
LONGER = 5
DEADLINES = (
    *("CONNECT_TIMEOUT", "POOL_TIMEOUT", "STATEMENT_TIMEOUT"),
    *("COMMAND_TIMEOUT", "ACQUIRE_TIMEOUT"),
)


class Patience(MetaPathFinder):
    """Finds the module as usual, and changes its deadlines when it has run."""

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != PATIENT:
            return None
        spec = PathFinder.find_spec(fullname, path, target)  # type: ignore[arg-type]
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            for name in DEADLINES:
                setattr(module, name, LONGER * getattr(module, name))

        spec.loader.exec_module = run_and_change  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, Patience())
