"""What a secret is, and what is beside it during a rotation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase

from ansible_collections.autobot.users.plugins.plugin_utils.secret_versions import versions_of

DOCUMENTATION = """
name: secret_versions
short_description: the versions of a secret that there are
description:
  - The version in use comes first. During a rotation, the next one follows, which is known before
    it is used, or the previous one, which is known after that (C(autobot.users.site_secrets)).
options:
  _terms:
    description: Name of the secret in the vault.
    required: true
"""

RETURN = """
_list:
  description: The versions; one, or two during a rotation.
  type: list
  elements: str
"""


class LookupModule(LookupBase):
    """See DOCUMENTATION."""

    def run(
        self, terms: list[str], variables: Mapping[str, Any] | None = None, **_: Any
    ) -> list[str]:
        (name,) = terms
        look_up = lookup_loader.get(
            "ansible.builtin.vars", loader=self._loader, templar=self._templar
        )
        versions = versions_of(name)
        (used,) = look_up.run([versions.name], variables)
        beside = look_up.run([versions.next, versions.previous], variables, default="")
        return [used, *(value for value in beside if value)]
