"""A Python application of this checkout as one file (a zipapp, PEP 441).

It needs nothing but Python's standard library. The same sources are the same bytes on every
controller: members are sorted, not compressed, and have one fixed date.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

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
    """The application of a package, a directory, and of the function that runs.

    `main` is `module:function`; what that returns is the exit status.
    """
    module, _, function = main.partition(":")
    stream = io.BytesIO()
    stream.write(SHEBANG)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(package.rglob("*.py")):
            archive.writestr(member(path.relative_to(package.parent).as_posix()), path.read_bytes())
        archive.writestr(member("__main__.py"), MAIN.format(module=module, function=function))
    return stream.getvalue()
