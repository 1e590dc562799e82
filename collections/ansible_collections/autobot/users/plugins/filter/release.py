"""What the release that this checkout makes has in its databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.autobot.users.plugins.plugin_utils.checkout import import_release_module

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

DATABASES = ("slm_users", "autobot_users")


def release_schema(database: str) -> dict[str, Any]:
    """See DOCUMENTATION. Raises AnsibleFilterError for a database that no release has."""
    if database not in DATABASES:
        raise AnsibleFilterError(f"{database} is none of {', '.join(DATABASES)}.")
    revision = import_release_module("user_management.database").EXPECTED_REVISION
    metadata = import_release_module("user_management.models").Base.metadata
    tables = sorted(f"public.{name}" for name in metadata.tables)
    return {"database": database, "revision": revision, "tables": tables}


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"release_schema": release_schema}
