"""No secret is where somebody else could read it."""

from __future__ import annotations

import json
import stat
import uuid

import httpx2
import pytest

from tests.lab.site import HOSTS, STATE, Site, must

# Looks for the lines of its stdin on a host and tells where one of them is, never which.
# A file is readable for others only when its directories let them in.
SCAN = r"""
import json, os, stat, subprocess, sys

patterns = [line.encode() for line in sys.stdin.read().splitlines()]
found = {"arguments": set(), "environment": set(), "files": set(), "journal": set()}

def search(text):
    return any(pattern in text for pattern in patterns)

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""

for pid in filter(str.isdigit, os.listdir("/proc")):
    name = read(f"/proc/{pid}/comm").decode().strip()
    for kind, file in (("arguments", "cmdline"), ("environment", "environ")):
        if search(read(f"/proc/{pid}/{file}")):
            found[kind].add(name)

def readable():
    for root in ("/etc", "/home", "/opt", "/root", "/run", "/srv", "/tmp", "/usr/local", "/var"):
        pending = [root]
        while pending:
            directory = pending.pop()
            try:
                if not os.lstat(directory).st_mode & stat.S_IXOTH:
                    continue
                entries = list(os.scandir(directory))
            except PermissionError:
                continue  # a mount that is closed to root is closed to others
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    if entry.stat(follow_symlinks=False).st_mode & stat.S_IROTH:
                        yield entry.path

file = os.memfd_create("patterns", 0)
os.write(file, b"\n".join(patterns) + b"\n")
grep = subprocess.run(
    ["xargs", "-0", "grep", "-laF", "-f", f"/proc/{os.getpid()}/fd/{file}", "--"],
    input=b"\0".join(path.encode() for path in readable()), stdout=subprocess.PIPE,
)
found["files"].update(grep.stdout.decode().splitlines())

journal = subprocess.run(
    ["journalctl", "--all", "--no-pager", "--output=export"], stdout=subprocess.PIPE, check=True
).stdout
for entry in journal.split(b"\n\n"):
    if search(entry):
        found["journal"].add(entry.partition(b"\n_COMM=")[2].partition(b"\n")[0].decode())

print(json.dumps({place: sorted(names) for place, names in found.items()}))
"""


def scan(name: str, patterns: set[str]) -> dict[str, list[str]]:
    """Where on a host one of the patterns can be read: processes, files, journal entries."""
    output = must(name, "python3", "-c", SCAN, stdin="\n".join(sorted(patterns)))
    found: dict[str, list[str]] = json.loads(output)
    return found


@pytest.mark.parametrize("name", HOSTS)
def test_no_secret_is_exposed_on_the_host(site: Site, api: httpx2.Client, name: str) -> None:
    token = api.headers["Authorization"].removeprefix("Bearer ")
    assert len(site.secrets) >= len(site.vault)
    found = scan(name, {*site.secrets, token})
    assert found == {"arguments": [], "environment": [], "files": [], "journal": []}


def test_the_search_for_secrets_finds_what_is_exposed() -> None:
    canary, unit = f"canary-{uuid.uuid4().hex}", f"tests-{uuid.uuid4().hex[:8]}"
    file = f"/opt/{unit}"
    program = "import sys, time; print(sys.argv[1], flush=True); time.sleep(60)"
    must("backend", "install", "-m", "0644", "/dev/stdin", file, stdin=canary)
    must(
        "backend",
        *("systemd-run", "--quiet", f"--unit={unit}", f"--setenv=CANARY={canary}", "--"),
        *("python3", "-c", program, canary),
    )
    try:
        found = scan("backend", {canary})
    finally:
        must("backend", "systemctl", "stop", unit)
        must("backend", "rm", file)
    assert "python3" in found["arguments"]
    assert found["environment"] == ["python3"]
    assert file in found["files"]
    assert "python3" in found["journal"]


@pytest.mark.parametrize("name", HOSTS)
def test_no_private_key_is_readable_for_others(name: str) -> None:
    files = scan(name, {" PRIVATE KEY-----"})["files"]
    # Libraries know what a key looks like; they hold none.
    assert [file for file in files if "/site-packages/" not in file] == []


def test_the_files_of_the_controller_are_private() -> None:
    assert stat.S_IMODE(STATE.stat().st_mode) == 0o700
    for name in ("site.json", "vault.yml", "vault-password", "ssh_key"):
        assert stat.S_IMODE((STATE / name).stat().st_mode) == 0o600, name
