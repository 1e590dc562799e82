"""What the release that this checkout makes has in its databases."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = """
name: release_schema
short_description: revision and tables that this checkout's release gives a database
description:
  - Returns C(database), C(revision) and C(tables), by the release's own models. Both databases have
    the same.
options:
  _input:
    description: Name of the database.
    type: str
    required: true
"""

CODE = Path(__file__).parents[6] / "service"
DATABASES = ("slm_users", "autobot_users")


def release_schema(database: str) -> dict[str, Any]:
    """See DOCUMENTATION. Raises AnsibleFilterError for a database that no release has."""
    if database not in DATABASES:
        raise AnsibleFilterError(f"{database} is none of {', '.join(DATABASES)}.")
    if str(CODE) not in sys.path:
        sys.path.append(str(CODE))
    from user_management.database import EXPECTED_REVISION
    from user_management.models import Base

    tables = sorted(f"public.{name}" for name in Base.metadata.tables)
    return {"database": database, "revision": EXPECTED_REVISION, "tables": tables}


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"release_schema": release_schema}
