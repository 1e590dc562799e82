"""Keeps the bytecode of what Ansible sends to a host of the lab.

Python compiles the sources of an archive in every process, and each of them twice: for its name
and for its code. That is most of what a task takes on a host. Here it is done once a host; what a
task does is the same. A real host has none of this.
"""

from __future__ import annotations

import marshal
import os
import sys
import zipimport
from importlib.util import source_hash
from types import CodeType

KEPT = f"/var/cache/lab-bytecode/{sys.implementation.cache_tag}"


class KeepingImporter(zipimport.zipimporter):
    """Imports from an archive; compiles what was not compiled on this host before."""

    def get_filename(self, fullname: str) -> str:
        name = f"{self.archive}/{self.prefix}{fullname.rpartition('.')[2]}"
        return f"{name}/__init__.py" if self.is_package(fullname) else f"{name}.py"

    def get_code(self, fullname: str) -> CodeType:
        kept = f"{KEPT}/{source_hash(self.get_data(self.get_filename(fullname))).hex()}"
        try:
            with open(kept, "rb") as file:
                code: CodeType = marshal.load(file)  # noqa: S302
        except (OSError, EOFError, ValueError, TypeError):
            code = super().get_code(fullname)
            keep(code, kept)
        return code


def keep(code: CodeType, path: str) -> None:
    """Write bytecode for the next process; a full disk or another user goes without."""
    part = f"{path}.{os.getpid()}"
    try:
        os.makedirs(KEPT, exist_ok=True)
        with open(part, "wb") as file:
            marshal.dump(code, file)
        os.replace(part, path)
    except OSError:
        return


sys.path_hooks[:] = [
    KeepingImporter if hook is zipimport.zipimporter else hook for hook in sys.path_hooks
]
