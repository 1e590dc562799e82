"""What the role backup writes to a host."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_files import ROOT, render, role_vars


def configuration(**changes: Any) -> Any:
    """pgbackrest.conf as pgBackRest reads it."""
    keys = changes.get("backup_keys", ["one"])
    text = render(
        "backup",
        "etc/pgbackrest.conf.j2",
        **{
            "backup_keys": keys,
            "backup_repositories": [f"id{key}" for key in keys],
            "backup_stanza": "people",
            "backup_peer": "other",
            "backup_peer_address": "192.0.2.23",
            "backup_repository_user": "autobot-repo-people",
            "backup_repository_directory": "/var/lib/autobot-repo/people",
            "backup_data_directory": "/data",
            "backup_keep_days": 28,
            "backup_queue_max": "4GiB",
            "backup_second": {},
            "backup_mounted": False,
            "backup_second_repository_key": "s3-key",
            "backup_second_repository_secret": "s3-secret",
            **changes,
        },
    )
    parser = ConfigParser(interpolation=None)
    parser.read_string(text)
    return parser


def test_the_repository_is_encrypted_here_and_kept_at_the_peer() -> None:
    written = configuration()["global"]
    assert written["repo1-type"] == "sftp"
    assert written["repo1-sftp-host"] == "192.0.2.23"
    assert written["repo1-sftp-host-user"] == "autobot-repo-people"
    assert written["repo1-sftp-host-key-check-type"] == "strict"
    assert written["repo1-path"] == "/repo/idone"
    assert (written["repo1-cipher-type"], written["repo1-cipher-pass"]) == ("aes-256-cbc", "one")
    assert written["repo1-retention-full"] == "28"
    assert not any(name.startswith("repo2-") for name in written)
    assert dict(configuration()["people"])["pg1-path"] == "/data"


def test_all_that_differs_from_the_defaults_of_pgbackrest() -> None:
    written = configuration(backup_queue_max="4GiB")
    assert dict(written["global"]) == {
        "log-level-console": "warn",
        "log-level-file": "info",
        # Each unit has a /tmp of its own.
        "lock-path": "/run/postgresql/pgbackrest",
        "archive-async": "y",
        "spool-path": "/var/spool/pgbackrest",
        # A disk that is full of WAL would stop PostgreSQL.
        "archive-push-queue-max": "4GiB",
        "archive-timeout": "60",
        "io-timeout": "30",
        "compress-type": "zst",
        "start-fast": "y",
        "repo1-type": "sftp",
        "repo1-path": "/repo/idone",
        "repo1-sftp-host": "192.0.2.23",
        "repo1-sftp-host-user": "autobot-repo-people",
        "repo1-sftp-host-key-check-type": "strict",
        "repo1-sftp-host-key-hash-type": "sha256",
        "repo1-sftp-known-host": "/etc/autobot-users/backup/known_hosts",
        "repo1-sftp-private-key-file": "/etc/autobot-users/backup/id",
        "repo1-sftp-public-key-file": "/etc/autobot-users/backup/id.pub",
        **KEPT,
    }
    assert dict(written["people"]) == {"pg1-path": "/data", "pg1-socket-path": "/run/postgresql"}


# Whatever keeps it: encrypted before it leaves, and for as long as it was said.
KEPT = {
    "repo1-cipher-type": "aes-256-cbc",
    "repo1-cipher-pass": "one",
    "repo1-bundle": "y",
    "repo1-retention-full-type": "time",
    "repo1-retention-full": "28",
    "repo1-retention-diff": "7",
}
SECONDS: list[dict[str, Any]] = [
    {"type": "path", "path": "/mnt"},
    {"type": "s3", "path": "/x", "endpoint": "e", "bucket": "b", "region": "r", "ca_file": "/ca"},
]


@pytest.mark.parametrize("second", SECONDS, ids=["path", "s3"])
def test_a_second_repository_is_kept_like_the_first(second: dict[str, Any]) -> None:
    written = dict(configuration(backup_second=second)["global"])
    assert written.items() >= {name.replace("1", "2"): KEPT[name] for name in KEPT}.items()
    reached = {name: value for name, value in written.items() if "s3" in name or "-ca" in name}
    assert written.get("repo2-type") == ("s3" if reached else None)
    assert reached == (
        {}
        if second["type"] == "path"
        else {
            "repo2-s3-endpoint": "e",
            "repo2-s3-bucket": "b",
            "repo2-s3-region": "r",
            "repo2-s3-uri-style": "host",
            "repo2-s3-key": "s3-key",
            "repo2-s3-key-secret": "s3-secret",
            "repo2-storage-ca-file": "/ca",
        }
    )


def test_what_is_mounted_of_the_peer_is_checked_and_runs_nothing() -> None:
    options = yaml.safe_load((ROOT / "roles/backup/vars/main.yml").read_text())
    assert set(options["backup_mount_options"]) == {
        "ssh_command=ssh -F none",
        # The program gives up root before it reads an answer.
        *("setuid=postgres", "drop_privileges", "nosuid", "nodev", "noexec"),
        # What the peer has now.
        *("dir_cache=no", "direct_io", "attr_timeout=0", "entry_timeout=0"),
        *("ServerAliveInterval=2", "ServerAliveCountMax=2", "ConnectTimeout=10", "BatchMode=yes"),
        *("IdentitiesOnly=yes", "IdentityFile=/etc/autobot-users/backup/id"),
        *("StrictHostKeyChecking=yes", "UserKnownHostsFile=/etc/autobot-users/backup/known_hosts"),
    }


def told(**changes: Any) -> dict[str, Any]:
    """What the backup's program reads."""
    text = render(
        "backup",
        "etc/autobot-users/backup/backup.json.j2",
        **{
            "backup_data_directory": "/data",
            "backup_keys": ["new", "old"],
            "backup_max_age_seconds": 7200,
            "backup_mount": "/peer/repo",
            "backup_mounted": False,
            "backup_peer": "other",
            "backup_peer_address": "192.0.2.23",
            "backup_programs": "/bin",
            "backup_repositories": ["idnew", "idold"],
            "backup_repository_directory": "/kept/people",
            "backup_repository_user": "autobot-repo-people",
            "backup_schemas": [{"database": "people", "revision": "0005", "tables": []}],
            "backup_second": {},
            "backup_stanza": "people",
            "inventory_hostname": "here",
            **changes,
        },
    )
    document: dict[str, Any] = json.loads(text)
    return document


def test_the_program_knows_its_host_and_its_peer() -> None:
    document = told()
    repositories = document.pop("repositories")
    assert document == {
        "host": "here",
        "stanza": "people",
        "data_directory": "/data",
        "programs": "/bin",
        "peer": "other",
        "peer_login": "autobot-repo-people@192.0.2.23",
        "mount": None,
        "max_age_seconds": 7200,
        "schemas": [{"database": "people", "revision": "0005", "tables": []}],
    }
    assert told(backup_mounted=True)["mount"] == "/peer/repo"
    # The former key's is read and not written.
    assert repositories == [
        {
            "number": number,
            "name": f"other:/kept/people/repo/id{key} (192.0.2.23)",
            "host": "other",
            "place": f"/kept/people/repo/id{key}",
            "directory": f"/repo/id{key}",
            "backup": key == "new",
        }
        for number, key in ((1, "new"), (2, "old"))
    ]


@pytest.mark.parametrize(
    ("second", "name", "keeper"),
    [
        (SECONDS[0], "here:/mnt/people/idnew", "here"),
        (SECONDS[1], "s3://b/x/people/idnew (e)", "e"),
    ],
    ids=["path", "s3"],
)
def test_the_program_knows_the_second_repository(
    second: dict[str, Any], name: str, keeper: str
) -> None:
    assert told(backup_second=second)["repositories"][2:] == [
        {
            "number": 3,
            "name": name,
            "host": keeper,
            "place": f"{second['path']}/people/idnew",
            "directory": None,
            "backup": True,
        }
    ]


@pytest.mark.parametrize(
    ("policy", "version", "mounted"),
    [
        ("pgbackrest:\n  Installed: 2.45-1\n  Candidate: 2.57.0-1.pgdg12+1\n", "2.45", True),
        ("pgbackrest:\n  Installed: (none)\n  Candidate: 2.45-1\n", "2.45", True),
        ("pgbackrest:\n  Installed: (none)\n  Candidate: 2.46-1\n", "2.46", False),
        ("pgbackrest:\n  Installed: 2.54.2-1+b1\n  Candidate: 2.54.2-1+b1\n", "2.54.2", False),
    ],
)
def test_the_pgbackrest_that_is_there_says_how_the_peer_is_reached(
    policy: str, version: str, *, mounted: bool
) -> None:
    values = role_vars("backup", backup_package={"stdout": policy})
    assert values("backup_version") == version
    assert values("backup_mounted") is mounted


def test_an_old_pgbackrest_writes_encrypted_to_what_is_mounted_of_the_peer() -> None:
    written = configuration(
        backup_keys=["new", "old"],
        backup_mounted=True,
        backup_mount="/mounted",
        backup_version="2.45",
        backup_second={"type": "path", "path": "/mnt/backup"},
    )["global"]
    assert [written[f"repo{number}-path"] for number in (1, 2, 3)] == [
        "/mounted/idnew",
        "/mounted/idold",
        "/mnt/backup/people/idnew",
    ]
    assert [written[f"repo{number}-cipher-pass"] for number in (1, 2, 3)] == ["new", "old", "new"]
    assert not any("sftp" in text for pair in written.items() for text in pair)


def test_a_key_that_is_exchanged_has_a_repository_of_its_own() -> None:
    written = configuration(backup_keys=["new", "old"])["global"]
    assert (written["repo1-path"], written["repo1-cipher-pass"]) == ("/repo/idnew", "new")
    assert (written["repo2-path"], written["repo2-cipher-pass"]) == ("/repo/idold", "old")


def test_a_second_repository_in_a_directory() -> None:
    written = configuration(backup_second={"type": "path", "path": "/mnt/backup"})["global"]
    assert written["repo2-path"] == "/mnt/backup/people/idone"
    assert written["repo2-cipher-pass"] == "one"
    assert "repo2-type" not in written


def test_a_second_repository_in_s3_comes_behind_those_of_the_keys() -> None:
    written = configuration(
        backup_keys=["new", "old"],
        backup_second={
            "type": "s3",
            "path": "/backup",
            "endpoint": "s3.example.net",
            "bucket": "people",
            "region": "here",
            "uri_style": "path",
        },
    )["global"]
    found = {name: value for name, value in written.items() if name.startswith("repo3-")}
    assert (
        found.items()
        >= {
            "repo3-type": "s3",
            "repo3-path": "/backup/people/idnew",
            "repo3-s3-endpoint": "s3.example.net",
            "repo3-s3-bucket": "people",
            "repo3-s3-region": "here",
            "repo3-s3-uri-style": "path",
            "repo3-s3-key": "s3-key",
            "repo3-s3-key-secret": "s3-secret",
            "repo3-cipher-pass": "new",
        }.items()
    )
    assert "repo3-storage-ca-file" not in found


UNIT = "etc/systemd/system/autobot-backup-.service.d/50-autobot.conf.j2"
REPOSITORY = "etc/systemd/system/autobot-repository.service.j2"


def unit(template: str, **changes: Any) -> dict[str, list[str]]:
    """The settings of a unit, each with all its values in their order."""
    text = render(
        "backup",
        template,
        **{
            "backup_mounted": False,
            "backup_mount": "/mnt/peer/repo",
            "backup_mount_options": ["ro"],
            "backup_peer": "other",
            "backup_peer_address": "192.0.2.23",
            "backup_repository_user": "autobot-repo-people",
            "backup_second": {},
            "backup_stanza": "people",
            "postgresql_version": 15,
            **changes,
        },
    )
    found: dict[str, list[str]] = {}
    for line in re.findall(r"^\w+=.*$", text, re.MULTILINE):
        name, _, value = line.partition("=")
        found.setdefault(name, []).append(value)
    return found


@pytest.mark.parametrize(
    ("template", "reached"), [(UNIT, "localhost 192.0.2.23"), (REPOSITORY, "192.0.2.23")]
)
def test_what_backs_up_talks_to_the_peer_and_nobody_else(template: str, reached: str) -> None:
    found = unit(template)
    assert found["IPAddressDeny"] == ["any"]
    assert found["IPAddressAllow"] == [reached]
    assert found["RestrictAddressFamilies"] == ["AF_UNIX AF_INET"]
    assert found["SocketBindDeny"] == ["any"]


def test_only_a_second_repository_in_s3_opens_the_network() -> None:
    found = unit(UNIT, backup_second={"type": "s3"})
    assert "IPAddressDeny" not in found
    assert found["RestrictAddressFamilies"] == ["AF_UNIX AF_INET AF_INET6"]
    assert unit(UNIT, backup_second={"type": "path", "path": "/second"})["IPAddressDeny"] == ["any"]


def test_what_backs_up_is_postgres_and_has_no_rights_of_root() -> None:
    found = unit(UNIT)
    for name, value in {
        "User": "postgres",
        "UMask": "0077",
        "CapabilityBoundingSet": "",
        "NoNewPrivileges": "yes",
        "ProtectSystem": "strict",
        "ProtectHome": "yes",
        "PrivateDevices": "yes",
        "PrivateTmp": "yes",
        "MemoryDenyWriteExecute": "yes",
    }.items():
        assert found[name] == [value], name
    assert found["SystemCallFilter"] == ["@system-service", "~@privileged @resources"]


def test_an_old_pgbackrest_may_give_files_to_whom_they_belong() -> None:
    found = unit(UNIT, backup_mounted=True, backup_mount="/peer/repo")
    assert found["SystemCallFilter"] == ["@system-service", "~@privileged @resources", "@chown"]
    assert found["CapabilityBoundingSet"] == [""]


def repository_of(distribution: str, version: str) -> str:
    """What the SSH server of a peer with that system is told."""
    facts = {"distribution": distribution, "distribution_major_version": version}
    return render(
        "backup",
        "etc/ssh/sshd_config.d/40-autobot-repo.conf.j2",
        hostvars={"other": {"ansible_facts": facts}},
        # Of this host, which may have another system than its peer.
        ansible_facts={"distribution": "Debian", "distribution_major_version": "13"},
        backup_peer="other",
        backup_address="192.0.2.19",
    )


@pytest.mark.parametrize(
    ("distribution", "version", "exempts"),
    [("Debian", "13", True), ("Debian", "12", False), ("Ubuntu", "24", False)],
)
def test_what_an_ssh_server_does_not_know_it_is_not_told(
    distribution: str, version: str, exempts: bool
) -> None:
    assert ("PerSourcePenaltyExemptList" in repository_of(distribution, version)) is exempts


def test_a_peer_stores_files_and_does_nothing_else() -> None:
    text = repository_of("Debian", "12")
    _, _, matched = text.partition("Match User autobot-repo-*\n")
    assert dict(line.split(maxsplit=1) for line in matched.splitlines()) == {
        "ChrootDirectory": "%h",
        "ForceCommand": "internal-sftp -u 0077",
        "AuthorizedKeysFile": "/etc/autobot-users/repo/%u.keys",
        "AuthenticationMethods": "publickey",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "DisableForwarding": "yes",
        "PermitTTY": "no",
        "PermitUserRC": "no",
    }


def test_a_key_of_the_repository_is_good_for_files_from_its_host_only() -> None:
    tasks = yaml.safe_load((ROOT / "roles/backup/tasks/configure.yml").read_text())
    contents = [
        entry["content"]
        for task in tasks
        for entry in task.get("autobot.users.host_files", {}).get("files", ())
        if "content" in entry
    ]
    assert contents == [
        'restrict,from="{{ backup_address }}" {{ backup_identity.stdout }}\n',
    ]


def test_the_user_of_a_repository_has_no_shell() -> None:
    tasks = yaml.safe_load((ROOT / "roles/backup/tasks/configure.yml").read_text())
    (user,) = (task["ansible.builtin.user"] for task in tasks if "ansible.builtin.user" in task)
    assert user == {
        "name": "{{ backup_repository_user }}",
        "system": True,
        # sshd keeps it in its home, which has to be root's.
        "home": "{{ backup_repository_directory }}",
        "create_home": False,
        "shell": "/usr/sbin/nologin",
    }


@pytest.mark.parametrize(("owner", "given"), [("mine", []), ("daemon", ["file", "link", "repo"])])
def test_a_repository_from_another_machine_is_given_to_its_reader(
    tmp_path: Path, owner: str, given: list[str]
) -> None:
    """All of it, and nothing that a link in it leads to."""
    tasks = yaml.safe_load((ROOT / "roles/backup/tasks/configure.yml").read_text())
    (argv,) = (
        task["ansible.builtin.command"]["argv"]
        for task in tasks
        if task["name"].startswith("Give a second repository")
    )
    repository, elsewhere = tmp_path / "repo", tmp_path / "elsewhere"
    repository.mkdir()
    elsewhere.touch()
    (repository / "file").touch()
    (repository / "link").symlink_to(elsewhere)
    mine = pwd.getpwuid(os.getuid()).pw_name
    replaced = {
        argv[1]: str(repository),
        "postgres": mine if owner == "mine" else owner,
        "chown": "echo",
    }
    done = subprocess.run(
        [replaced.get(word, word) for word in argv], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert sorted(Path(line).name for line in lines if line.startswith("/")) == given
    # From its own directory, so that no directory on the way can be exchanged for a link.
    changed = [line for line in lines if not line.startswith("/")]
    assert all("--no-dereference postgres:postgres ./" in line for line in changed)
    assert {name for line in changed for name in line.split()[2:]} == {f"./{it}" for it in given}
