"""The checkout in which the collection stands."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[6]
CODE = ROOT / "service"


def import_release_module(module: str) -> ModuleType:
    """A module of the release that this checkout makes; its import takes long, and few need it."""
    if str(CODE) not in sys.path:
        sys.path.append(str(CODE))
    return importlib.import_module(module)
