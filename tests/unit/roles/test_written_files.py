"""What the roles write to a host: whose it is, who reads it, who judges it before it is used."""

import re
from collections.abc import Iterator
from typing import Any

from tests.support.role_files import ROOT, role_mappings

ROOTS = ("root", "root")
# The files and directories that are not root's, or not for all to read or run, each by its path.
OTHERS = {
    # Root runs what is configured in it, so postgres only reads.
    "/etc/autobot-users/backup": ("root", "postgres", "0750"),
    # On a backend that Ansible does not manage: nginx reads it before it gives root up.
    "/etc/autobot-users/tls/https.key": ("root", "root", "0600"),
    # It has the keys of the repositories.
    "/etc/pgbackrest.conf": ("root", "postgres", "0640"),
    # Of a backup, and written by it.
    "/var/lib/autobot-backup": ("postgres", "postgres", "0755"),
    "{{ backup_repository_directory }}/repo": (*["{{ backup_repository_user }}"] * 2, "0700"),
    "{{ postgresql_configuration }}/{{ item.directory }}{{ item.name }}": (
        *("postgres", "postgres", "0640"),
    ),
}
PROGRAMS = {
    "/etc/autobot-users/nftables.conf",
    "/usr/local/lib/autobot-backup/autobot-backup.pyz",
    "/usr/local/lib/autobot-metrics/autobot-metrics.pyz",
    "/usr/local/sbin/autobot-backup",
    "/usr/local/sbin/autobot-openings",
    "/usr/local/sbin/autobot-metrics",
    "/usr/local/sbin/slm",
    "{{ release_root }}/change_release.sh",
}
# A file that its program refuses would stop the program, and one of these the host's administrator.
SSHD, NFT = "/usr/sbin/sshd -t -f %s", "/usr/sbin/nft --check --file %s"
JUDGES = {
    "/etc/autobot-users/nftables.conf": NFT,
    "/etc/nftables.conf": NFT,
    "/etc/ssh/sshd_config.d/00-autobot-logins.conf": SSHD,
    "/etc/ssh/sshd_config.d/40-autobot-repo.conf": SSHD,
    "/usr/local/sbin/autobot-openings": "sh -n %s",
    "/usr/local/sbin/slm": "sh -n %s",
    "/usr/share/bash-completion/completions/slm": "bash -n %s",
    "{{ postgresql_configuration }}/{{ item.directory }}{{ item.name }}": (
        "{{ postgresql_trial }} {{ item.kind }} %s"
        " {{ postgresql_tls_certificate }} {{ postgresql_tls_key }}"
    ),
    "/etc/nginx/conf.d/autobot-{{ service_name }}.conf": (
        'sh -c \'whole=$(mktemp) && { sed -n "/^ *user /p" /etc/nginx/nginx.conf;'
        ' echo "events {} http { include $0; }"; } >"$whole" &&'
        ' nginx -t -q -c "$whole"; status=$?; rm -f "$whole"; exit $status\' %s'
    ),
}
MODULES = ("copy", "template", "file", "replace", "unarchive")
PERMISSIONS = ("owner", "group", "mode")


def entries() -> Iterator[dict[str, Any]]:
    """The entries of host_files, which are root's and for all to read where they say nothing."""
    for path, mapping in role_mappings():
        listed = mapping.get("files") if path.parent.name == "tasks" else None
        if path.parent.name == "vars":
            listed = [
                entry
                for name, value in mapping.items()
                if name.endswith("_files")
                for entry in value
            ]
        if "service_files" in mapping:
            listed = mapping["service_files"]
        yield from (entry for entry in listed or () if isinstance(entry, dict))


def given() -> Iterator[tuple[str, dict[str, Any]]]:
    """What Ansible's own modules write, by module."""
    for _, mapping in role_mappings():
        for module in MODULES:
            arguments = mapping.get(f"ansible.builtin.{module}")
            if arguments and arguments.get("state") not in {"absent", "link"}:
                yield module, arguments


def test_what_is_written_is_roots_and_only_root_changes_it() -> None:
    found = {}
    for entry in entries():
        directory = entry.get("directory") or "credentials" in entry
        mode = entry.get("mode", "0755" if directory else "0644")
        found[entry["path"]] = (entry.get("owner", "root"), entry.get("group", "root"), mode)
        usual = "0755" if directory or entry["path"] in PROGRAMS else "0644"
        assert found[entry["path"]] == OTHERS.get(entry["path"], (*ROOTS, usual)), entry["path"]
    assert len(found) > 25
    # What runs is what was named as such.
    assert found.keys() >= PROGRAMS


def test_tasks_say_whose_a_file_is_and_who_reads_it() -> None:
    for module, arguments in given():
        # A file that is there keeps what it has.
        if module == "replace":
            assert not set(PERMISSIONS) & arguments.keys()
            continue
        path = arguments["path" if "path" in arguments else "dest"]
        usual = "0755" if path in PROGRAMS or arguments.get("state") == "directory" else "0644"
        if module == "unarchive":
            usual = "u=rwX,go=rX"
        said = tuple(arguments.get(name) for name in PERMISSIONS)
        assert said == OTHERS.get(path, (*ROOTS, usual)), path
        assert arguments.get("directory_mode", "0755") == "0755"


def test_a_file_that_could_stop_its_program_is_judged_first() -> None:
    written = [*entries(), *(arguments for _, arguments in given())]
    judged = {
        entry.get("path", entry.get("dest")): entry["validate"]
        for entry in written
        if "validate" in entry
    }
    assert judged == JUDGES


def test_what_is_changed_of_somebody_elses_is_kept_too() -> None:
    kept = {
        arguments.get("path", arguments.get("dest")): arguments["backup"]
        for arguments in [*entries(), *(arguments for _, arguments in given())]
        if "backup" in arguments
    }
    assert kept == {
        "/etc/nftables.conf": True,
        "{{ postgresql_configuration }}/postgresql.conf": True,
        "{{ postgresql_configuration }}/{{ item.directory }}{{ item.name }}": (
            "{{ item.kind == 'access' }}"
        ),
    }


def test_secrets_are_written_as_secrets() -> None:
    secret = {entry["path"] for entry in entries() if entry.get("secret") or "credentials" in entry}
    assert secret == {"/etc/pgbackrest.conf", "{{ service_credentials_dir }}"}
    (second,) = re.findall(
        r"\{'path': backup_second\.path(.*?)\}",
        (ROOT / "roles/backup/vars/main.yml").read_text(),
        re.DOTALL,
    )
    assert re.findall(r"'(owner|group|mode)': *'(\w+)'", second) == [
        *(("owner", "postgres"), ("group", "postgres"), ("mode", "0700")),
    ]


def in_force() -> list[dict[str, Any]]:
    """The units that a role lets run what it wrote."""
    listed = [
        mapping["autobot.users.units_in_force"]["units"]
        for _, mapping in role_mappings()
        if "autobot.users.units_in_force" in mapping
    ]
    return [unit for units in listed if isinstance(units, list) for unit in units]


def test_a_server_that_others_need_is_judged_and_not_interrupted() -> None:
    """Its administrator comes in through sshd; the requests of all pass through nginx."""
    changed = {
        (unit["name"], unit.get("reload", False)): unit.get("check")
        for unit in in_force()
        if unit.get("reload") or unit.get("check")
    }
    assert changed == {
        ("autobot-firewall.service", True): None,
        # Where it serves AutoBot already, it is not even restarted once.
        ("nginx.service", "{{ service_gateway | length > 0 }}"): ["nginx", "-t", "-q"],
        ("nginx.service", True): ["nginx", "-t", "-q"],
        ("ssh.service", True): ["/usr/sbin/sshd", "-t"],
    }


def test_who_reads_a_file_runs_what_it_says() -> None:
    inputs = {
        path
        for unit in in_force()
        for path in (
            unit["inputs"]
            if isinstance(unit["inputs"], list)
            else re.findall(r"'(/[^']+)'|(service_\w+|autobot_\w+)", unit["inputs"])
        )
        for path in ([path] if isinstance(path, str) else filter(None, path))
    }
    assert inputs >= {
        "/etc/autobot-users/nftables.conf",
        "/etc/autobot-users/tls/ca.crt",
        "/etc/autobot-users/tls/pairs/https",
        "/etc/autobot-users/auth-public-keys.pem",
        "/etc/nginx/conf.d/autobot-{{ service_name }}.conf",
        "/etc/nginx/nginx.conf",
        "/etc/nginx/sites-enabled",
        "/etc/ssh/sshd_config.d/00-autobot-logins.conf",
        "/etc/ssh/sshd_config.d/40-autobot-repo.conf",
        "/etc/systemd/system/autobot-metrics.timer",
        "/etc/systemd/system/nginx.service.d/50-autobot.conf",
        "/etc/systemd/system/postgresql@.service.d/50-autobot.conf",
        "/etc/systemd/system/{{ item }}.timer",
        "/etc/systemd/system/{{ service_unit }}.socket",
        "{{ backup_mount_unit }}",
        "autobot_backend_environment_file",
        "service_credentials_dir",
        "service_environment_file",
        "service_loaded_credentials",
        "service_root",
    }
