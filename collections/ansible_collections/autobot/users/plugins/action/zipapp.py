"""Build a Python application of this checkout as one file, and install it on a host."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

DOCUMENTATION = """
name: zipapp
short_description: a Python package of this checkout as one executable file
description:
  - Builds a zipapp (PEP 441) of a package that needs nothing but Python's standard library, and
    copies it to the host as C(ansible.builtin.copy) does, whose results it returns.
  - The same sources are the same bytes on every controller - members are sorted, not compressed,
    and have one fixed date.
  - The file is root's, and everybody can run it. Its directory is made.
options:
  package:
    description: Directory of the package on the controller.
    type: path
    required: true
  main:
    description: What runs, as C(module:function); what it returns is the exit status.
    type: str
    required: true
  path:
    description: Where it is on the host.
    type: path
    required: true
"""

# The distribution's Python, without the user's environment, directory and packages.
SHEBANG = b"#!/usr/bin/python3 -I\n"
# The first that zip knows.
DATE = (1980, 1, 1, 0, 0, 0)
MAIN = """\
import sys

from {module} import {function}

sys.exit({function}())
"""


def member(name: str) -> zipfile.ZipInfo:
    """A member of the archive, the same on every controller."""
    found = zipfile.ZipInfo(name, DATE)
    # Unix, and a regular file that everybody reads.
    found.create_system = 3
    found.external_attr = 0o100644 << 16
    return found


def built(package: Path, main: str) -> bytes:
    """The application of a package and of the function that runs."""
    module, _, function = main.partition(":")
    stream = io.BytesIO()
    stream.write(SHEBANG)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(package.rglob("*.py")):
            archive.writestr(member(path.relative_to(package.parent).as_posix()), path.read_bytes())
        archive.writestr(member("__main__.py"), MAIN.format(module=module, function=function))
    return stream.getvalue()


class ActionModule(ActionBase):
    """See DOCUMENTATION."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "package": {"type": "path", "required": True},
                "main": {"type": "str", "required": True},
                "path": {"type": "path", "required": True},
            }
        )
        application = built(Path(arguments["package"]).resolve(strict=True), arguments["main"])
        path = Path(arguments["path"])
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, path.name)
            source.write_bytes(application)
            return self._copied(source, path, task_vars)

    def _copied(self, source: Path, path: Path, task_vars: dict[str, Any] | None) -> dict[str, Any]:
        """Copy a file to its path on the host, whose directory is made where it is missing."""
        task = self._task.copy()
        # A directory, with a slash, is made by copy; that of a file is not.
        task.args = {"src": str(source), "dest": f"{path.parent}/", "mode": "0755"}
        task.args |= {"owner": "root", "group": "root"}
        copy = self._shared_loader_obj.action_loader.get(
            "ansible.legacy.copy",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result: dict[str, Any] = copy.run(task_vars=task_vars)
        return result
