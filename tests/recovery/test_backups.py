"""Backups: what the peer sees of them, and what is said when something is wrong with them."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest

from tests.lab.site import Figure, Result, Site, ansible, must, on, superuser, watched_processes

STATE = "/var/lib/autobot-backup"
UNITS = [f"autobot-backup-{job}" for job in ("full", "diff", "incr", "check", "dump")]
# Both the backup's program and OpenSSL begin what they encrypt with this.
ENCRYPTED = b"Salted__"

FLIP = """
import sys
with open(sys.argv[1], "r+b") as file:
    file.seek(200)
    byte = file.read(1)
    file.seek(200)
    file.write(bytes([byte[0] ^ 1]))
"""

HEADS = """
import json, os, sys
heads = {}
for directory, _, names in os.walk(sys.argv[1]):
    for name in names:
        path = os.path.join(directory, name)
        with open(path, "rb") as file:
            heads[path] = file.read(8).hex()
print(json.dumps(heads))
"""


@dataclass(frozen=True)
class Repository:
    """The repository of the SLM database, as its peer has it."""

    owner: str
    peer: str
    stanza: str
    directory: PurePosixPath

    def files(self, pattern: str) -> list[str]:
        """Files of the peer that match, the oldest first."""
        found = must(self.peer, "sh", "-c", f"ls {self.directory}/{pattern}").splitlines()
        assert found
        return sorted(found)

    def check(self) -> Result:
        """What the check says, with every file read."""
        return self.backup("check", "--verify")

    def backup(self, *arguments: str) -> Result:
        return on(self.owner, "autobot-backup", *arguments, user="postgres")

    def verdict(self) -> dict[str, object]:
        """What monitoring reads."""
        found: dict[str, object] = json.loads(must(self.owner, "cat", f"{STATE}/check.json"))
        return found


@pytest.fixture(scope="module")
def repository() -> Repository:
    """The repository of the SLM database."""
    known = json.loads(must("slm", "cat", "/etc/autobot-users/backup/backup.json"))
    place = PurePosixPath(known["repositories"][0]["place"])
    return Repository("slm", known["peer"], known["stanza"], place)


@pytest.fixture(scope="module")
def exposed(site: Site, repository: Repository) -> set[str]:
    """Each kind of backup is taken, and the check reads all; what has shown a key meanwhile."""
    private = must(repository.owner, "cat", "/etc/autobot-users/backup/id").splitlines()[1:-1]
    with watched_processes({*site.secrets, *private}) as seen:
        for arguments in (["backup", "incr"], ["dump"], ["check", "--verify"]):
            done = repository.backup(*arguments)
            assert done.status == 0, done.text
    return seen


@pytest.fixture
def healed(repository: Repository) -> Iterator[None]:
    """Nothing is wrong after the test."""
    yield
    after = repository.backup("check")
    assert after.status == 0, after.text
    assert repository.verdict()["ok"] is True


def serves(name: str) -> bool:
    """Whether a database takes what is written."""
    rows = superuser(name, "postgres", "SELECT pg_logical_emit_message(true, 'tests', 'x') > '0/0'")
    return rows == [["t"]]


def assert_named(repository: Repository, said: Result, *words: str) -> None:
    """The check failed, PostgreSQL did not, and whoever reads it knows where to look."""
    assert said.status != 0, said.text
    for word in (repository.peer, str(repository.directory), *words):
        assert word in said.stderr, said.text
    verdict = repository.verdict()
    assert verdict["ok"] is False
    assert str(verdict["failure"]) in said.stderr
    assert serves(repository.owner)


@contextlib.contextmanager
def cut_off(site: Site, repository: Repository) -> Iterator[None]:
    """No packet of the database's host reaches the peer's SSH server, old connections' neither."""
    rule = f"ip saddr {site.addresses[repository.owner]} tcp dport 22 drop"
    must(repository.peer, "nft", "insert", "rule", "inet", "autobot", "input", *rule.split())
    try:
        yield
    finally:
        must(repository.peer, "nft", "--file", "/etc/autobot-users/nftables.conf")


@pytest.mark.usefixtures("exposed")
def test_the_peer_keeps_nothing_that_it_can_read(site: Site, repository: Repository) -> None:
    heads = json.loads(
        must(repository.peer, "python3", "-c", HEADS, str(repository.directory.parent))
    )
    kinds = {PurePosixPath(path).suffix for path in heads}
    assert {".zst", ".info", ".manifest", ".enc"} <= kinds
    readable = [path for path, head in heads.items() if bytes.fromhex(head) != ENCRYPTED]
    assert readable == []
    key = site.vault[f"vault_{repository.stanza}_backup_key"]
    search = on(
        repository.peer,
        *("grep", "--recursive", "--files-with-matches", "--fixed-strings", "--file=-"),
        *("/etc", "/var/lib", "/root", "/home"),
        stdin=f"{key}\n",
    )
    assert search.stdout == ""


@pytest.mark.usefixtures("exposed")
def test_the_dump_opens_with_the_key_and_common_programs(
    site: Site, repository: Repository
) -> None:
    """As docs/backups.md says it."""
    newest = repository.files(f"dump/*-{repository.stanza}.dump.enc")[-1]
    # What a lost host needs: the file from the peer, the key from the vault.
    copy = f"/root/{PurePosixPath(newest).name}"
    encoded = must(repository.peer, "base64", newest)
    must(repository.owner, "sh", "-c", f"base64 --decode > {copy}", stdin=encoded)
    opened = on(
        repository.owner,
        *("sh", "-c"),
        f"openssl enc -d -aes-256-cbc -pbkdf2 -iter 600000 -pass stdin -in {copy}"
        " | pg_restore --list",
        stdin=site.vault[f"vault_{repository.stanza}_backup_key"] + "\n",
    )
    must(repository.owner, "rm", copy)
    assert opened.status == 0, opened.text
    assert "TABLE DATA public users slm_admin" in opened.stdout


def ssh(repository: Repository, *options: str, program: str = "ssh", stdin: str = "") -> Result:
    """SSH's programs with the key of the backups."""
    known = json.loads(must(repository.owner, "cat", "/etc/autobot-users/backup/backup.json"))
    return on(
        repository.owner,
        *(program, "-i", "/etc/autobot-users/backup/id", "-o", "BatchMode=yes"),
        *("-o", "UserKnownHostsFile=/etc/autobot-users/backup/known_hosts"),
        *(option.replace("LOGIN", known["peer_login"]) for option in options),
        stdin=stdin,
        user="postgres",
    )


def test_the_key_of_the_backups_moves_files_below_one_directory_only(
    repository: Repository,
) -> None:
    shell = ssh(repository, "LOGIN", "id")
    assert shell.status != 0
    assert "uid=" not in shell.stdout
    tunnel = ssh(repository, "-W", "127.0.0.1:5432", "LOGIN")
    assert tunnel.status != 0
    assert "prohibited" in tunnel.stderr
    listed = ssh(repository, "-b", "-", "LOGIN", program="sftp", stdin="cd /\nls -1 ../..\n")
    assert listed.stdout.splitlines()[-1].strip("/. ") == "repo"
    for line in ("get /etc/passwd /dev/null", "put /etc/hostname /x", "mkdir /repo/../up"):
        assert ssh(repository, "-b", "-", "LOGIN", program="sftp", stdin=f"{line}\n").status != 0
    other = repository.peer
    assert on("backend", "ls", "/etc/autobot-users/backup").status != 0
    assert must(other, "stat", "-c", "%U %a", str(repository.directory.parents[1])) == "root 755"


def test_no_process_shows_a_key_while_backups_are_taken(exposed: set[str]) -> None:
    assert exposed == set()


@pytest.mark.usefixtures("exposed", "healed")
def test_flipped_bytes_are_named(repository: Repository) -> None:
    """In data, in WAL, in a list of contents (which verify overlooks) and in a dump."""
    patterns = {
        "backup/*/*F/bundle/1": "invalid checksum",
        "archive/*/*/*/*.zst": "invalid checksum",
        "backup/*/*F/backup.manifest": "backup.manifest and its copy differ",
        "dump/*.dump.enc": ".dump.enc has another checksum",
    }
    files = [repository.files(pattern)[-1] for pattern in patterns]
    for file in files:
        must(repository.peer, "python3", "-c", FLIP, file)
    try:
        said = repository.check()
    finally:
        for file in files:
            must(repository.peer, "python3", "-c", FLIP, file)
    segment = PurePosixPath(files[1]).name.partition("-")[0]
    assert_named(repository, said, *patterns.values(), segment)
    # Before 2.46 pgBackRest names what it read of a file that holds several.
    backup = PurePosixPath(files[0]).parts[-3]
    assert re.search(rf"invalid checksum '{backup}/(bundle/1|pg_data/.+)'", said.stderr), said.text


@pytest.mark.usefixtures("healed")
def test_a_missing_segment_is_named(repository: Repository) -> None:
    file = repository.files("archive/*/*/*/*-*.zst")[-3]
    must(repository.peer, "mv", file, "/root/segment")
    try:
        said = repository.backup("check")
        assert_named(repository, said, PurePosixPath(file).name[:24])
        # Whoever knows of it can go on, and is asked again about the next one.
        assert repository.backup("accept-gaps").status == 0
        assert repository.backup("check").status == 0
    finally:
        must(repository.peer, "mv", "/root/segment", file)
        assert repository.backup("accept-gaps").status == 0


@pytest.mark.usefixtures("healed")
def test_a_full_repository_is_named(site: Site, repository: Repository) -> None:
    top = repository.directory.parent
    user = must(repository.peer, "stat", "-c", "%u", str(top))
    # Nothing is written while the file system is exchanged.
    with cut_off(site, repository):
        must(
            repository.peer,
            *("sh", "-euc"),
            f"size=$(($(du --summarize --block-size=1 {top} | cut -f1) + 8388608));"
            f"mkdir /root/whole; cp -a {top}/. /root/whole;"
            f"mount -t tmpfs -o size=$size,mode=0700,uid={user},gid={user} none {top};"
            f"cp -a /root/whole/. {top}",
        )
    try:
        on(repository.peer, "dd", "if=/dev/zero", f"of={top}/filling", "bs=64k")
        superuser(repository.owner, "postgres", "SELECT pg_switch_wal()")
        said = repository.check()
    finally:
        with cut_off(site, repository):
            must(
                repository.peer,
                *("sh", "-euc"),
                f"rm -rf {top}/filling /root/whole; cp -a {top}/. /root/whole; umount {top};"
                f"cp -a /root/whole/. {top}; rm -r /root/whole",
            )
    assert_named(repository, said, "has no room")


@pytest.mark.alone
@pytest.mark.usefixtures("healed")
def test_an_unreachable_peer_is_named_and_costs_no_wal(
    site: Site, repository: Repository, figure: Figure
) -> None:
    with cut_off(site, repository):
        for _ in range(3):
            assert serves(repository.owner)
            superuser(repository.owner, "postgres", "SELECT pg_switch_wal()")
        start = time.monotonic()
        said = repository.check()
        seconds = time.monotonic() - start
    assert_named(repository, said, "cannot be used", "segments of WAL wait")
    # pgBackRest's word, or that of SSH where the repository is mounted.
    assert "timeout" in said.stderr or "timed out" in said.stderr, said.text
    figure("an unreachable repository is named after", f"{seconds:.0f} s")
    assert seconds < 20


@pytest.mark.usefixtures("healed")
def test_connections_that_the_peer_ends_cost_no_backup(repository: Repository) -> None:
    user = must(repository.peer, "stat", "-c", "%U", str(repository.directory))
    for _ in range(2):
        on(repository.peer, "pkill", "-KILL", "--euid", user)
        done = repository.backup("backup", "incr")
        assert done.status == 0, done.text


@pytest.mark.usefixtures("healed")
def test_a_link_that_the_peer_makes_leads_nowhere(repository: Repository) -> None:
    """Not into what the owner of the database may write on its own host."""
    elsewhere, aside = "/var/lib/postgresql/elsewhere", "/root/repository"
    must(repository.owner, "install", "--directory", "--owner=postgres", elsewhere)
    must(repository.peer, "mv", str(repository.directory), aside)
    must(repository.peer, "ln", "--symbolic", elsewhere, str(repository.directory))
    try:
        superuser(repository.owner, "postgres", "SELECT pg_switch_wal()")
        assert_named(repository, repository.backup("check"))
        create = ["pgbackrest", f"--stanza={repository.stanza}", "--no-online", "stanza-create"]
        assert on(repository.owner, *create, user="postgres").status != 0
        assert must(repository.owner, "find", elsewhere, "-mindepth", "1") == ""
    finally:
        must(repository.peer, "rm", str(repository.directory))
        must(repository.peer, "mv", aside, str(repository.directory))
        must(repository.owner, "rm", "-r", elsewhere)


def test_a_repository_is_mounted_where_pgbackrest_needs_it_and_nowhere_else(
    repository: Repository,
) -> None:
    """And what is not mounted is not written: WAL waits."""
    owner, unit = repository.owner, "autobot-repository.service"
    version = must(owner, "pgbackrest", "version").split()[1]
    mount = json.loads(must(owner, "cat", "/etc/autobot-users/backup/backup.json"))["mount"]
    if tuple(map(int, version.split("."))) >= (2, 46):
        assert mount is None
        assert on(owner, "systemctl", "cat", unit).status != 0
        return
    must(owner, "systemctl", "stop", unit)
    try:
        said = repository.backup("check")
        assert_named(repository, said, "is not mounted", "journalctl --unit autobot-repository")
        assert on(owner, "mkdir", f"{mount}/x", user="postgres").status != 0
        assert must(owner, "find", str(PurePosixPath(mount).parent), "-type", "f") == ""
    finally:
        must(owner, "systemctl", "start", unit)
    assert repository.backup("check").status == 0
    options = must(owner, "findmnt", "--noheadings", "--output", "OPTIONS", mount)
    assert {"nosymfollow", "nosuid", "nodev", "noexec"} <= set(options.strip().split(","))


@pytest.mark.parametrize("name", ["slm", "redis"])
def test_backups_run_by_themselves_in_a_sandbox(name: str, figure: Figure) -> None:
    timers = must(name, "systemctl", "is-enabled", *(f"{unit}.timer" for unit in UNITS))
    assert timers.split() == ["enabled"] * len(UNITS)
    active = must(name, "systemctl", "is-active", *(f"{unit}.timer" for unit in UNITS))
    assert active.split() == ["active"] * len(UNITS)
    reports = must(
        name,
        *("sh", "-c", 'for unit; do systemd-analyze security --no-pager "$unit"; done', "sh"),
        *(f"{unit}.service" for unit in UNITS),
    )
    exposures = [
        float(line.split(":")[1].split()[0])
        for line in reports.splitlines()
        if "exposure level for" in line
    ]
    figure(f"exposure of the backup's services on {name}", f"{max(exposures)}")
    assert len(exposures) == len(UNITS)
    assert max(exposures) <= 2.0


def test_an_operator_takes_a_backup_and_reads_what_was_made(figure: Figure) -> None:
    run = ansible("playbooks/backup.yml", "-e", "backup_type=incr", "--limit", "redis")
    assert run.status == 0, run.tail()
    assert "incr backup" in run.output
    assert "of autobot_users in slm:/var/lib/autobot-repo/autobot_users/repo/" in run.output
    figure("playbooks/backup.yml, one host", f"{run.seconds:.0f} s")


def test_failed_logins_do_not_shut_the_host_out(repository: Repository, site: Site) -> None:
    """As after the loss of a VM, whose new key the peer does not know yet."""
    key = "/etc/ssh/ssh_host_ed25519_key"
    stranger = ["ssh", "-i", key, "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"]
    for _ in range(6):
        on(repository.owner, *stranger, f"nobody@{site.addresses[repository.peer]}", "true")
    found = on(repository.owner, "pgbackrest", "info", user="postgres")
    assert "status: ok" in found.stdout, found.text
