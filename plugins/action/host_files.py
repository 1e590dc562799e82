"""Render a role's templates and write them to a host in one step: see plugins/modules."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import lookup_loader

DOCUMENTATION = """
name: host_files
short_description: several files of a role, written to a host in one step
description:
  - An entry without C(content) and C(directory) is rendered from the role's template that mirrors
    its path, C(templates/<path>.j2), or from C(template); one with C(file) is a copy of that file
    of the role.
  - An entry with C(secret) is written like the others, and its content is never shown. One with
    C(credentials), name to content, is a directory that holds exactly these files, which root alone
    can read.
options:
  files:
    description: >-
      The entries of the module, with C(template), C(file), C(secret) and C(credentials) besides.
    type: list
    elements: dict
    required: true
  aside:
    description: As the module's.
    type: path
  always_aside:
    description: As the module's.
    type: bool
    default: false
"""


def expanded(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """An entry; or, for credentials, those of their directory and its files."""
    if "credentials" not in entry:
        return [dict(entry)]
    directory = {"path": entry["path"], "directory": True, "exact": True, "mode": "0700"}
    return [
        directory,
        *(
            {"path": f"{entry['path']}/{name}", "content": text, "mode": "0600", "secret": True}
            for name, text in entry["credentials"].items()
        ),
    ]


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
                "files": {"type": "list", "elements": "dict", "required": True},
                "aside": {"type": "path"},
                "always_aside": {"type": "bool", "default": False},
            }
        )
        variables = task_vars or {}
        files, secrets = [], {}
        for given in itertools.chain.from_iterable(map(expanded, arguments["files"])):
            entry = dict(given)
            template = entry.pop("template", f"{str(entry['path']).lstrip('/')}.j2")
            secret = entry.pop("secret", False)
            if "file" in entry:
                entry["content"] = Path(self._find_needle("files", entry.pop("file"))).read_text()
            elif not entry.get("directory") and "content" not in entry:
                entry["content"] = self._render(template, variables)
            if secret:
                secrets[entry["path"]] = entry.pop("content")
            files.append(entry)
        result: dict[str, Any] = self._execute_module(
            module_name="host_files",
            module_args={
                "files": files,
                "secrets": secrets,
                "aside": arguments["aside"],
                "always_aside": arguments["always_aside"],
            },
            task_vars=variables,
        )
        return result

    def _render(self, template: str, variables: dict[str, Any]) -> str:
        lookup = lookup_loader.get(
            "ansible.builtin.template", loader=self._loader, templar=self._templar
        )
        rendered = lookup.run([template], variables=variables)
        if len(rendered) != 1:
            raise AnsibleActionFail(f"the template {template} cannot be rendered")
        return str(rendered[0])
