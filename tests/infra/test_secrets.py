"""No secret is where somebody else could read it."""

from __future__ import annotations

import json
import stat
import uuid

import httpx2
import pytest

from lab import HOSTS, STATE, Site, bearer, execute, must, on

# Looks for the lines of its stdin on a host and names where it found one of them, never which.
# A file counts as readable only when its directories let others in, as the kernel sees it.
SCAN = r"""
import json, os, re, stat, subprocess, sys
patterns = [line.encode() for line in sys.stdin.read().splitlines()]
search = re.compile(b"|".join(map(re.escape, patterns))).search
found = {"arguments": [], "environment": [], "files": [], "journal": []}

def read(path):
    try:
        with open(path, "rb") as file:
            return file.read(32 << 20)
    except OSError:
        return b""

for pid in filter(str.isdigit, os.listdir("/proc")):
    name = read(f"/proc/{pid}/comm").decode().strip()
    for kind, file in (("arguments", "cmdline"), ("environment", "environ")):
        if search(read(f"/proc/{pid}/{file}")):
            found[kind].append(name)

for root in ("/etc", "/opt", "/run", "/var", "/tmp", "/home", "/root", "/srv", "/usr/local"):
    if not os.stat(root).st_mode & stat.S_IXOTH:
        continue
    for directory, below, files in os.walk(root):
        below[:] = [
            name for name in below
            if os.lstat(os.path.join(directory, name)).st_mode & stat.S_IXOTH
        ]
        for name in files:
            path = os.path.join(directory, name)
            try:
                mode = os.lstat(path).st_mode
            except OSError:
                continue
            if stat.S_ISREG(mode) and mode & stat.S_IROTH and search(read(path)):
                found["files"].append(path)

journal = subprocess.run(
    ["journalctl", "--all", "--no-pager", "--output=export"], capture_output=True, check=True
).stdout
found["journal"] = sorted({
    entry.split(b"\nSYSLOG_IDENTIFIER=")[-1].split(b"\n")[0].decode()
    for entry in journal.split(b"\n\n") if search(entry)
})
print(json.dumps(found))
"""


def scan(name: str, patterns: set[str]) -> dict[str, list[str]]:
    """Where on a host any of the patterns can be read."""
    output = must(name, "python3", "-c", SCAN, stdin="\n".join(sorted(patterns)))
    found: dict[str, list[str]] = json.loads(output)
    return found


@pytest.mark.parametrize("name", HOSTS)
def test_no_secret_is_exposed_on_the_host(site: Site, api: httpx2.Client, name: str) -> None:
    token = api.headers["Authorization"].removeprefix("Bearer ")
    nothing = {"arguments": [], "environment": [], "files": [], "journal": []}
    assert len(site.secrets) >= 8
    assert scan(name, {*site.secrets, token}) == nothing


def test_the_search_for_secrets_finds_one_in_each_place() -> None:
    canary = uuid.uuid4().hex
    must("backend", "sh", "-c", 'cat > "$1"; chmod 644 "$1"', "sh", f"/tmp/{canary[:8]}", stdin=canary)  # noqa: S108
    must("backend", "systemd-run", "--quiet", "--unit", f"canary-{canary[:8]}", "sleep", "30", canary)
    found = scan("backend", {canary})
    assert found["files"]


def test_no_private_key_is_world_readable(site: Site) -> None:
    for name in HOSTS:
        found = scan(name, {"PRIVATE KEY-----"})
        assert [path for path in found["files"] if not path.startswith("/opt/")] == []


def test_the_controller_s_files_are_private() -> None:
    private = ["site.json", "tests.json", "vault.yml", "vault-password", "ssh_key"]
    assert stat.S_IMODE(STATE.stat().st_mode) == 0o700
    assert {name: oct(stat.S_IMODE((STATE / name).stat().st_mode)) for name in private} == (
        dict.fromkeys(private, oct(0o600))
    )
