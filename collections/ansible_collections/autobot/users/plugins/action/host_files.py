"""Render a role's templates and write them to a host in one step: see plugins/modules."""

from __future__ import annotations

import io
import itertools
import tarfile
from base64 import b64decode, b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from ansible.plugins.loader import lookup_loader

from ansible_collections.autobot.users.plugins.plugin_utils.actions import HostAction
from ansible_collections.autobot.users.plugins.plugin_utils.private_files import write_private
from ansible_collections.autobot.users.plugins.plugin_utils.zipapps import built

DOCUMENTATION = """
name: host_files
short_description: several files of a role, written to a host in one step
description:
  - An entry without C(content), C(edit) and C(directory) is rendered from the role's template
    that mirrors its path, C(templates/<path>.j2), or from C(template); one with C(file) is a copy
    of that file of the role.
  - An entry with C(package), a directory of the controller, is that Python package as one program
    (a zipapp), which runs C(main), a C(module:function).
  - An entry with C(secret) is written like the others, and its content is never shown. One with
    C(credentials), name to content, is a directory that holds exactly these files, which root alone
    can read.
options:
  files:
    description: >-
      The entries of the module, with C(template), C(file), C(package), C(main), C(secret) and
      C(credentials) besides.
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
  archive:
    description:
      - File on the controller, for its owner only, to which all entries are written as a tar
        archive; the host is not asked, and need not be there. Owners and groups are root's, dates
        are the same for ever - the archive changes when an entry does.
      - C(created) says whether there was none; C(written) names the entries that are new or have
        changed, and those that are gone.
    type: path
"""

# One fixed date for every member, as of the release archive.
EPOCH = 315_532_800


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


def member(entry: Mapping[str, Any], content: bytes) -> tarfile.TarInfo:
    """An entry as a member of an archive, without the path's first slash."""
    directory = bool(entry.get("directory"))
    found = tarfile.TarInfo(str(entry["path"]).lstrip("/"))
    found.type = tarfile.DIRTYPE if directory else tarfile.REGTYPE
    found.mode = int(str(entry.get("mode") or ("0755" if directory else "0644")), 8)
    found.size, found.mtime, found.uname, found.gname = len(content), EPOCH, "root", "root"
    return found


def content_of(entry: Mapping[str, Any]) -> bytes:
    """What an entry's file holds; nothing for a directory."""
    content = str(entry.get("content") or "").encode()
    return b64decode(content) if entry.get("base64") else content


def packed(entries: list[dict[str, Any]]) -> bytes:
    """The entries as a tar archive, in their order."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            content = content_of(entry)
            archive.addfile(member(entry, content), io.BytesIO(content))
    return stream.getvalue()


def members(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content of what an archive holds, by its path; nothing where it is none."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            return {
                found.name: (
                    found.mode,
                    stream.read() if (stream := opened.extractfile(found)) else b"",
                )
                for found in opened
            }
    except tarfile.TarError:
        return {}


class ActionModule(HostAction):
    """See DOCUMENTATION."""

    OPTIONS: ClassVar = {
        "files": {"type": "list", "elements": "dict", "required": True},
        "aside": {"type": "path"},
        "always_aside": {"type": "bool", "default": False},
        "archive": {"type": "path"},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        files: list[dict[str, Any]] = []
        secrets: dict[str, str] = {}
        for given in itertools.chain.from_iterable(map(expanded, arguments["files"])):
            entry = dict(given)
            template = entry.pop("template", f"{str(entry['path']).lstrip('/')}.j2")
            secret = entry.pop("secret", False)
            if "package" in entry:
                application = built(
                    Path(entry.pop("package")).resolve(strict=True), entry.pop("main")
                )
                entry |= {"content": b64encode(application).decode(), "base64": True}
            elif "file" in entry:
                entry["content"] = Path(self._find_needle("files", entry.pop("file"))).read_text()
            elif not {"content", "edit"} & entry.keys() and not (
                entry.get("directory") or entry.get("absent")
            ):
                entry["content"] = self._render(template)
            if secret and not arguments["archive"]:
                secrets[entry["path"]] = entry.pop("content")
            files.append(entry)
        if arguments["archive"]:
            return self._archive(Path(arguments["archive"]), files)
        result: dict[str, Any] = self._execute_module(
            module_name="autobot.users.host_files",
            module_args={
                "files": files,
                "secrets": secrets,
                "aside": arguments["aside"],
                "always_aside": arguments["always_aside"],
            },
            task_vars=self.variables,
        )
        return result

    def _archive(self, path: Path, files: list[dict[str, Any]]) -> dict[str, Any]:
        """Write the archive where it differs; its contents are not shown, for it has secrets."""
        before = path.read_bytes() if path.is_file() else b""
        after = packed(files)
        is_private = bool(before) and path.stat().st_mode & 0o777 == 0o600
        changed = before != after or not is_private
        if changed and not self._task.check_mode:
            write_private(path, after)
        old, new = members(before), members(after)
        written = [name for name in old | new if old.get(name) != new.get(name)]
        return {"changed": changed, "created": not before, "written": written}

    def _render(self, template: str) -> str:
        lookup = lookup_loader.get(
            "ansible.builtin.template", loader=self._loader, templar=self._templar
        )
        rendered = lookup.run([template], variables=self.variables)
        if len(rendered) != 1:
            raise AnsibleActionFail(f"the template {template} cannot be rendered")
        return str(rendered[0])
