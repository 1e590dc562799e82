"""The operating system, its services, and what is there of AutoBot."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from functools import partial
from pathlib import Path
from typing import Any

from .reading import group_name, guarded, output, shown_units, user_name

DISKS = ("", "var", "opt", "var/lib/postgresql")
DIRECTORIES = (
    *("etc/autobot*", "etc/autobot*/*", "opt/autobot*", "opt/autobot*/*"),
    *("var/lib/autobot*", "var/lib/slm", "var/log/autobot*"),
)
SECRETS = (
    *("etc/autobot*/*.env", "opt/autobot*/*.env", "opt/autobot*/*/*.env"),
    *("etc/autobot/ca/*key*", "etc/autobot/certs/*key*", "opt/autobot/nginx/certs/*key*"),
)
RELEASES = ("slm-server", "auth")
# Where releases are, and where the first ones were.
OURS = ("opt/autobot-users", "opt/autobot")
# Services of systemd's own package.
SYSTEMD = re.compile(r"systemd-|user@|user-runtime-dir@|(serial-|container-)?getty@|console-getty")


def distribution_of(os_release: str) -> dict[str, str]:
    """`distribution`, `version` and `codename` of the survey."""
    found = dict(re.findall(r"""^(\w+)=["']?([^"'\n]*)""", os_release, re.MULTILINE))
    return {
        "distribution": found.get("ID", "").capitalize(),
        "version": found.get("VERSION_ID", ""),
        "codename": found.get("VERSION_CODENAME", ""),
    }


def container_of(detected: str) -> str:
    """What `systemd-detect-virt --container` prints; WSL is no container that anybody made."""
    return detected.strip() if detected.strip() not in ("none", "wsl") else ""


def clock_of(shown: str) -> dict[str, Any]:
    """`timezone` and `clock_synchronized` of the survey, from what `timedatectl show` prints."""
    found = dict(shown_units(shown)[0])
    synchronized = found.get("NTPSynchronized")
    return {
        "timezone": found.get("Timezone", ""),
        "clock_synchronized": None if synchronized is None else synchronized == "yes",
    }


def services_of(listed: str) -> dict[str, str]:
    """The state of each service that is not systemd's, from `systemctl list-units` as JSON."""
    return {
        unit["unit"]: unit["active"]
        for unit in json.loads(listed or "[]")
        if not SYSTEMD.match(unit["unit"])
    }


def read_units() -> list[dict[str, str]]:
    """`units` of the survey."""
    listed = output(
        *("systemctl", "list-units", "--type=service", "--state=running,failed", "--output=json")
    )
    services = services_of(listed or "")
    if not services:
        return []
    shown = output("systemctl", "show", "--property=Id,FragmentPath", "--", *services)
    units = [dict(properties) for properties in shown_units(shown or "")]
    files = {unit.get("Id"): unit.get("FragmentPath", "") for unit in units}
    return [
        {"name": name, "state": state, "file": files.get(name, "")}
        for name, state in sorted(services.items())
    ]


class Tree:
    """What is below a root; its paths are said as they are on the host."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def text(self, path: str) -> str:
        return (self._root / path).read_text()

    def matching(self, patterns: tuple[str, ...]) -> list[Path]:
        return sorted(path for pattern in patterns for path in self._root.glob(pattern))

    def said(self, path: Path) -> str:
        return f"/{path.relative_to(self._root)}"

    def disks(self) -> list[dict[str, Any]]:
        """`disks` of the survey."""
        found: dict[int, dict[str, Any]] = {}
        for name in DISKS:
            path = self._root / name
            if path.is_dir():
                state = os.statvfs(path)
                entry = {
                    "path": f"/{name}",
                    "free_bytes": state.f_bavail * state.f_frsize,
                    "size_bytes": state.f_blocks * state.f_frsize,
                }
                found.setdefault(path.stat().st_dev, entry)
        return list(found.values())

    def directories(self) -> list[dict[str, str]]:
        """`directories` of the survey."""
        found = []
        for path in self.matching(DIRECTORIES):
            if path.is_dir():
                state = path.stat()
                found.append(
                    {
                        "path": self.said(path),
                        "owner": user_name(state.st_uid),
                        "group": group_name(state.st_gid),
                        "mode": f"{state.st_mode & 0o7777:04o}",
                    }
                )
        return found

    def secrets_files(self) -> list[str]:
        """`secrets_files` of the survey: nobody reads them."""
        return [self.said(path) for path in self.matching(SECRETS) if path.is_file()]

    def releases(self) -> dict[str, str]:
        """`ours` of the survey."""
        return {name: self._release(name) for name in RELEASES}

    def _release(self, name: str) -> str:
        for directory in OURS:
            link = self._root / directory / name / "current"
            if link.is_symlink():
                return link.readlink().name
        return ""


def read_operating_system(tree: Tree, unreadable: list[str]) -> dict[str, Any]:
    """`system` of the survey."""

    def asked(*command: str, expected: tuple[int, ...] = (0,)) -> str:
        found = guarded(command[0], partial(output, *command, expected=expected), None, unreadable)
        return found or ""

    def text(path: str) -> str:
        return guarded(path, partial(tree.text, path), "", unreadable)

    kernel = os.uname()
    return {
        **distribution_of(text("etc/os-release")),
        "kernel": kernel.release,
        "architecture": kernel.machine,
        "python": platform.python_version(),
        "wsl": "microsoft" in text("proc/version").lower(),
        # 1 is a machine that is no container.
        "container": container_of(asked("systemd-detect-virt", "--container", expected=(0, 1))),
        "locales": asked("locale", "-a").split("\n")[:-1],
        **clock_of(asked("timedatectl", "show")),
        "time": time.time(),
    }


def read_system(root: Path, unreadable: list[str]) -> dict[str, Any]:
    """`system`, `disks`, `directories`, `secrets_files`, `units` and `ours` of the survey."""
    tree = Tree(root)
    nothing: list[Any] = []
    return {
        "system": read_operating_system(tree, unreadable),
        "disks": guarded("disks", tree.disks, nothing, unreadable),
        "directories": guarded("directories", tree.directories, nothing, unreadable),
        "secrets_files": guarded("secrets files", tree.secrets_files, nothing, unreadable),
        "units": guarded("units", read_units, nothing, unreadable),
        "ours": guarded("releases", tree.releases, dict.fromkeys(RELEASES, ""), unreadable),
    }
