"""The units of systemd, all of them: what each may do, when it runs, and what it depends on.

A unit has SANDBOX, but for what it has to be able to do, for a reason that stands beside it. What
stands in no rule here stands in no unit.
"""

import importlib
import re
import subprocess
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.role_files import ROOT, mappings, render, role_vars

Settings = dict[str, list[str]]

VARIABLES: dict[str, Any] = {
    "backup_mount": "/peer/repo",
    "backup_mount_options": ["ro", "nosuid"],
    "backup_mounted": False,
    "backup_peer": "other",
    "backup_peer_address": "192.0.2.23",
    "backup_repository_user": "autobot-repo-people",
    "backup_second": {},
    "backup_stanza": "people",
    "firewall_load_again": "-/bin/load",
    "monitoring_directory": "/var/lib/metrics",
    "monitoring_gateway": False,
    "monitoring_repositories": ["192.0.2.23"],
    "monitoring_stanza": "people",
    "monitoring_user": "postgres",
    "postgresql_version": 15,
    "release_root": "/opt/people",
    "release_units": ["people", "others"],
    "service_app": "slm_server.app:create_app",
    "service_credentials_dir": "/etc/credentials",
    "service_environment_file": "/etc/people.env",
    "service_loaded_credentials": ["password", "key"],
    "service_name": "people",
    "service_root": "/opt/people",
    "service_relay_credentials": ["password"],
    "service_relay_socket": "/run/people/relay.sock",
    "service_socket": "/run/people/people.sock",
    "service_subnet": "192.0.2.0/24",
    "service_title": "people's server",
    "service_unit": "people",
    "service_web_package": "user_management_web",
    "slm_server_root": "/opt/people",
}
JOBS = ("full", "diff", "incr", "check", "dump", "drill")
SANDBOXED_JOB = "autobot-backup-.service.d/50-autobot.conf"


def paths() -> dict[str, Path]:
    """The files of all units, by their names below systemd's directory."""
    found = {}
    for part, suffix in (("templates", ".j2"), ("files", "")):
        for path in ROOT.glob(f"roles/*/{part}/etc/systemd/system/**/*"):
            if path.is_file():
                _, _, name = str(path).partition("/etc/systemd/system/")
                found[name.removesuffix(suffix)] = path
    # A part that other units include.
    del found["sandbox"]
    return found


UNITS = paths()


def unit(name: str, **changes: Any) -> dict[str, Settings]:
    """The sections of a unit; each setting with all its values in their order."""
    path = UNITS[name]
    if path.suffix == ".j2":
        role, _, template = str(path.relative_to(ROOT / "roles")).partition("/templates/")
        text = render(role, template, **VARIABLES | changes)
    else:
        text = path.read_text()
    found: dict[str, Settings] = {}
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            assert heading[1] not in found or name == SANDBOXED_JOB
            section = found.setdefault(heading[1], {})
        elif line and not line.startswith("#"):
            setting, _, value = line.partition("=")
            section.setdefault(setting, []).append(value)
    return found


def once(**settings: str) -> Settings:
    return {name: [value] for name, value in settings.items()}


# What a program of the site has no use for, and so may not do.
KERNEL = once(
    ProtectClock="yes",
    ProtectControlGroups="yes",
    ProtectHostname="yes",
    ProtectKernelLogs="yes",
    ProtectKernelModules="yes",
    ProtectKernelTunables="yes",
    PrivateDevices="yes",
    ProtectProc="invisible",
)
PROCESS = once(
    NoNewPrivileges="yes",
    LockPersonality="yes",
    RestrictNamespaces="yes",
    RestrictRealtime="yes",
    RestrictSUIDSGID="yes",
    SystemCallArchitectures="native",
)
CALLS = {**once(SystemCallErrorNumber="EPERM"), "SystemCallFilter": ["@system-service"]}
# What is the site's own is not root, shares nothing with others, and writes only where it is told.
OWN = once(
    CapabilityBoundingSet="",
    AmbientCapabilities="",
    ProtectSystem="strict",
    ProtectHome="yes",
    ProcSubset="pid",
    PrivateTmp="yes",
    PrivateMounts="yes",
    DevicePolicy="closed",
    KeyringMode="private",
    MemoryDenyWriteExecute="yes",
    # A dump of its memory would hold what it was trusted with.
    LimitCORE="0",
)
# Nobody but whom it names, and nobody asks it.
NETWORK = once(
    IPAddressDeny="any",
    IPAddressAllow="localhost 192.0.2.23",
    RestrictAddressFamilies="AF_UNIX AF_INET",
    SocketBindDeny="any",
)
SANDBOX = {**KERNEL, **PROCESS, **CALLS, **OWN, **NETWORK}
UNPRIVILEGED = {"SystemCallFilter": ["@system-service", "~@privileged @resources"]}

SERVICE = {
    **SANDBOX,
    **once(
        IPAddressAllow="localhost 192.0.2.0/24",
        DynamicUser="yes",
        User="autobot-people",
        UMask="0077",
        # It outlives no run of it.
        RemoveIPC="yes",
    ),
    # Hashing threads lower their own priority.
    "SystemCallFilter": [*UNPRIVILEGED["SystemCallFilter"], "setpriority"],
}
# Programs of the distribution begin as root and become another user by themselves. nginx serves the
# sites of others too, PostgreSQL the databases of others: what those read may lie anywhere.
DISTRIBUTION = {
    **KERNEL,
    **PROCESS,
    **CALLS,
    **once(
        ProtectSystem="full",
        ProtectHome="read-only",
        RestrictAddressFamilies="AF_UNIX AF_INET AF_INET6 AF_NETLINK",
    ),
}
BECOMES_ANOTHER = "CAP_CHOWN CAP_DAC_OVERRIDE {}CAP_KILL {}CAP_SETGID CAP_SETUID"

MAY: dict[str, Settings] = {
    "unit.service": SERVICE,
    "relay.service": SERVICE,
    "autobot-slm-housekeeping.service": SERVICE,
    "autobot-metrics.service": {
        **SANDBOX,
        **UNPRIVILEGED,
        **once(
            User="postgres",
            RestrictAddressFamilies="AF_UNIX AF_INET AF_INET6",
            # A node exporter reads what it writes.
            UMask="0022",
        ),
    },
    SANDBOXED_JOB: {
        **SANDBOX,
        **UNPRIVILEGED,
        **once(
            User="postgres",
            Group="postgres",
            UMask="0077",
            ReadWritePaths="/var/lib/autobot-backup /var/log/pgbackrest"
            " /var/spool/pgbackrest /run/postgresql",
        ),
    },
    "nginx.service.d/50-autobot.conf": {
        **DISTRIBUTION,
        **once(CapabilityBoundingSet=BECOMES_ANOTHER.format("", "CAP_NET_BIND_SERVICE ")),
    },
    "postgresql@.service.d/50-autobot.conf": {
        **DISTRIBUTION,
        **once(CapabilityBoundingSet=BECOMES_ANOTHER.format("CAP_FOWNER ", "")),
    },
    # It mounts, for all to see: root, with what that takes.
    "autobot-repository.service": {
        **PROCESS,
        **NETWORK,
        **once(
            IPAddressAllow="192.0.2.23",
            CapabilityBoundingSet="CAP_SYS_ADMIN CAP_DAC_OVERRIDE CAP_SETUID CAP_SETGID"
            " CAP_SETPCAP",
            DevicePolicy="closed",
            DeviceAllow="/dev/fuse rw",
            KeyringMode="private",
            MemoryDenyWriteExecute="yes",
            LimitCORE="0",
            UMask="0077",
        ),
    },
    # It loads rules into the kernel, and is over.
    "autobot-firewall.service": once(ProtectSystem="full", ProtectHome="yes"),
    # Root's: it puts files of the host back, and rules into the kernel.
    "boot.service": {},
    "nftables.service.d/50-autobot.conf": {},
    # They have the rights of their drop-in.
    **{f"autobot-backup-{job}.service": {} for job in JOBS},
}
RIGHT = re.compile(
    r"(Ambient|Capability|Device|IPAddress|Keyring|LockP|MemoryDeny|NoNew|Private|Protect|Restrict[ANRS]"
    r"|SocketBind|SystemCall).*|DynamicUser|Group|LimitCORE|ProcSubset|ReadWritePaths|RemoveIPC|UMask|User"
)


def rights(settings: Mapping[str, list[str]]) -> Settings:
    return {name: values for name, values in settings.items() if RIGHT.fullmatch(name)}


def rest(settings: Mapping[str, list[str]]) -> Settings:
    """What is no right, and nobody's reading."""
    return {
        name: values
        for name, values in settings.items()
        if not RIGHT.fullmatch(name) and name != "Description"
    }


SERVICES = [name for name in UNITS if not name.endswith((".timer", ".socket"))]


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_may_do_what_it_needs_and_nothing_else(name: str) -> None:
    assert rights(unit(name)["Service"]) == MAY[name]


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_of_its_own_says_what_it_is(name: str) -> None:
    if "/" not in name:
        (description,) = unit(name)["Unit"]["Description"]
        assert len(description) > 10


def test_without_databases_the_collector_has_no_network() -> None:
    alone = rights(unit("autobot-metrics.service", monitoring_stanza="")["Service"])
    full = MAY["autobot-metrics.service"]
    assert alone == {
        **{name: values for name, values in full.items() if name != "IPAddressAllow"},
        **once(RestrictAddressFamilies="AF_UNIX"),
    }


def test_the_collector_reads_nginxs_log_only_where_there_is_a_gateway() -> None:
    without = unit("autobot-metrics.service")["Service"]
    found = unit("autobot-metrics.service", monitoring_gateway=True)["Service"]
    assert {name: values for name, values in found.items() if values != without.get(name)} == once(
        SupplementaryGroups="adm",
        RuntimeDirectory="autobot-metrics",
        RuntimeDirectoryPreserve="yes",
    )


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        (
            {"backup_mounted": True},
            {
                # An old pgBackRest gives what it restores to its owner.
                "SystemCallFilter": [*UNPRIVILEGED["SystemCallFilter"], "@chown"],
                "ReadWritePaths": [*MAY[SANDBOXED_JOB]["ReadWritePaths"], "-/peer"],
            },
        ),
        (
            {"backup_second": {"type": "path", "path": "/mnt"}},
            {"ReadWritePaths": [*MAY[SANDBOXED_JOB]["ReadWritePaths"], "/mnt/people"]},
        ),
        (
            # It is wherever its name leads.
            {"backup_second": {"type": "s3"}},
            {
                "IPAddressDeny": None,
                "IPAddressAllow": None,
                "RestrictAddressFamilies": ["AF_UNIX AF_INET AF_INET6"],
            },
        ),
    ],
    ids=["mounted", "second in a directory", "second in s3"],
)
def test_a_backup_may_do_more_where_its_repositories_ask_for_it(
    changes: dict[str, Any], differs: dict[str, list[str] | None]
) -> None:
    found = rights(unit(SANDBOXED_JOB, **changes)["Service"])
    wanted = {**MAY[SANDBOXED_JOB], **differs}
    assert found == {name: values for name, values in wanted.items() if values is not None}


def test_the_backups_of_a_mounted_repository_wait_for_it() -> None:
    assert "Unit" not in unit(SANDBOXED_JOB)
    mounted = unit(SANDBOXED_JOB, backup_mounted=True)["Unit"]
    assert mounted == once(After="autobot-repository.service")


# When

OFTEN = {
    "autobot-metrics.timer": once(OnCalendar="minutely", OnActiveSec="0", AccuracySec="1s"),
    "autobot-slm-housekeeping.timer": once(OnCalendar="*:0/15", RandomizedDelaySec="2min"),
    "autobot-backup-check.timer": once(OnCalendar="*:05/15", RandomizedDelaySec="2min"),
    "autobot-backup-incr.timer": once(OnCalendar="*:20", RandomizedDelaySec="5min"),
}
# A full backup each Sunday, one of the differences on each other day, and a drill of a restore.
DAILY = {
    "autobot-backup-full.timer": once(OnCalendar="Sun 01:00", RandomizedDelaySec="30min"),
    "autobot-backup-diff.timer": once(OnCalendar="Mon..Sat 01:00", RandomizedDelaySec="30min"),
    "autobot-backup-dump.timer": once(OnCalendar="*-*-* 03:00", RandomizedDelaySec="30min"),
    "autobot-backup-drill.timer": once(OnCalendar="Sat 03:00", RandomizedDelaySec="1h"),
}


@pytest.mark.parametrize("name", [name for name in UNITS if name.endswith(".timer")])
def test_a_timer_starts_its_service_when_it_is_said_and_what_was_missed(name: str) -> None:
    found = unit(name)
    # The collector's next run is a minute away.
    missed = {} if name == "autobot-metrics.timer" else once(Persistent="yes")
    assert found["Timer"] == {**(OFTEN | DAILY)[name], **missed}
    assert found["Install"] == once(WantedBy="timers.target")
    assert rest(found["Unit"]) == {}
    assert name.replace(".timer", ".service") in UNITS


# What it depends on, and what becomes of it

# Settings come in the environment, secrets as credentials, which no other process sees.
TRUSTED: Settings = {
    **once(
        EnvironmentFile="/etc/people.env",
        Environment="PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1",
    ),
    "LoadCredential": ["password:/etc/credentials/password", "key:/etc/credentials/key"],
}
NETWORK_IS_THERE = once(After="network-online.target", Wants="network-online.target")


def test_the_service_is_started_by_whoever_asks_and_comes_back() -> None:
    found = unit("unit.service")
    assert rest(found["Unit"]) == once(
        Requires="people.socket",
        After="people.socket network.target",
        StartLimitIntervalSec="0",
    )
    assert found["Install"] == once(WantedBy="multi-user.target")
    service = rest(found["Service"])
    (command,) = service.pop("ExecStart")
    assert service == {
        **once(Type="exec", Restart="on-failure", RestartSec="2s", TimeoutStopSec="15s"),
        **TRUSTED,
    }
    program, *arguments = command.split()
    assert program == "/opt/people/current/bin/uvicorn"
    flags = {"--factory", "--proxy-headers", "--no-server-header", "--no-access-log"}
    assert {word for word in arguments if word in flags or "=" in word} == {
        *flags,
        # Whoever may open the socket is the web server, which says what is so.
        "--forwarded-allow-ips=*",
    }
    assert VARIABLES["service_app"] in arguments
    values = dict(pairwise(arguments))
    assert values["--fd"] == "3"
    module, _, protocol = values["--http"].partition(":")
    assert hasattr(importlib.import_module(module), protocol)
    # Requests have ended before systemd ends them.
    assert 5 <= int(values["--timeout-graceful-shutdown"]) < 15


@pytest.mark.parametrize(
    ("has_middleware", "package"),
    [(False, "user_management_web"), (True, "user_management.middleware")],
)
def test_the_unit_names_the_protocol_where_the_release_has_it(
    tmp_path: Path, has_middleware: bool, package: str
) -> None:
    """Also of a release of before `user_management_web`, to which a site goes back."""
    packages = tmp_path / "releases/1.0.0-1/lib/python3.13/site-packages"
    (packages / "user_management").mkdir(parents=True)
    if has_middleware:
        (packages / "user_management/middleware").mkdir()
    tasks = yaml.safe_load((ROOT / "roles/service/tasks/install.yml").read_text())
    (looks,) = re.findall(
        r"^for path in .+?^done\n",
        tasks[0]["ansible.builtin.shell"]["cmd"],
        re.MULTILINE | re.DOTALL,
    )
    command = looks.replace("{{ service_root }}", str(tmp_path)).replace(
        "{{ release_id }}", "1.0.0-1"
    )
    found = subprocess.run(["bash", "-euc", command], capture_output=True, text=True, check=True)
    values = role_vars("service", service_found={"stdout_lines": found.stdout.splitlines()})
    assert values("service_web_package") == package
    (start,) = unit("unit.service", service_web_package=package)["Service"]["ExecStart"]
    assert f" --http {package}.protocol:ProxiedProtocol " in start


def test_the_unit_of_a_host_that_nobody_has_seen_names_the_checkouts_package() -> None:
    assert role_vars("service")("service_web_package") == VARIABLES["service_web_package"]


def assert_nginx_asks(socket: dict[str, Settings], path: str) -> None:
    assert socket["Socket"] == once(
        ListenStream=path,
        SocketUser="root",
        SocketGroup="www-data",
        SocketMode="0660",
        Backlog="1024",
    )
    assert socket["Install"] == once(WantedBy="sockets.target")


def test_requests_wait_at_the_socket_while_the_service_restarts() -> None:
    found = unit("unit.socket")
    assert_nginx_asks(found, "/run/people/people.sock")
    assert rest(found["Unit"]) == {}


def test_the_relay_has_the_passwords_of_databases_alone() -> None:
    found = unit("relay.service", service_relay_credentials=["password"])
    assert rest(found["Unit"]) == once(
        Requires="people-relay.socket",
        After="people-relay.socket network.target",
        StartLimitIntervalSec="0",
    )
    assert found["Install"] == once(WantedBy="multi-user.target")
    assert rest(found["Service"]) == {
        **once(Type="exec", Restart="on-failure", RestartSec="2s", TimeoutStopSec="15s"),
        **once(LimitNOFILE="16384"),
        "ExecStart": ["/opt/people/current/bin/python -m slm_server.relay"],
        **TRUSTED,
        "LoadCredential": ["password:/etc/credentials/password"],
    }
    socket = unit("relay.socket")
    assert_nginx_asks(socket, "/run/people/relay.sock")
    given = role_vars("service", service_loaded_credentials=["slm_postgres_password", "slm_key"])
    assert given("service_relay_credentials") == ["slm_postgres_password"]


def test_housekeeping_ends_by_itself() -> None:
    found = unit("autobot-slm-housekeeping.service")
    assert rest(found["Unit"]) == once(After="network.target")
    assert rest(found["Service"]) == {
        **once(Type="oneshot", TimeoutStartSec="10min"),
        "ExecStart": ["/opt/people/current/bin/slm housekeeping"],
        **TRUSTED,
    }
    assert "Install" not in found


def test_metrics_are_whole_or_those_of_before() -> None:
    found = unit("autobot-metrics.service")
    assert rest(found["Unit"]) == once(After="network.target", StartLimitIntervalSec="0")
    assert rest(found["Service"]) == once(
        Type="oneshot",
        # Only these two are root's: the collector may write nowhere.
        ExecStartPre="+/usr/bin/rm --force /var/lib/metrics/new",
        ExecStart="/usr/local/sbin/autobot-metrics",
        ExecStartPost="+/usr/bin/mv --no-target-directory"
        " /var/lib/metrics/new /var/lib/metrics/autobot.prom",
        StandardOutput="file:/var/lib/metrics/new",
        StandardError="journal",
        SyslogLevel="warning",
        LogLevelMax="notice",
        TimeoutStartSec="3min",
        Environment="PYTHONDONTWRITEBYTECODE=1",
        Nice="10",
    )


@pytest.mark.parametrize("job", JOBS)
def test_a_job_of_the_backup_tries_again_and_leaves_the_server_alone(job: str) -> None:
    found = unit(f"autobot-backup-{job}.service")
    assert rest(found["Unit"]) == {
        "After": ["postgresql.service network-online.target"],
        "Wants": ["network-online.target"],
    }
    service = rest(found["Service"])
    again = "" if job == "drill" else "--attempts 3 "
    what = f"backup {job}" if job in {"full", "diff", "incr"} else job
    assert service.pop("ExecStart") == [f"/usr/local/sbin/autobot-backup {again}{what}"]
    # Those that come often must be over before several are due.
    assert service.pop("TimeoutStartSec") == ["2h" if job in {"incr", "check"} else "12h"]
    # A drill runs a server beside the one that serves.
    aside = once(CPUWeight="10", MemoryHigh="512M", OOMScoreAdjust="900")
    assert service == (aside if job == "drill" else {})
    assert "Install" not in found


def test_all_jobs_of_the_backup_give_way() -> None:
    assert rest(unit(SANDBOXED_JOB)["Service"]) == once(
        Type="oneshot", Nice="10", IOSchedulingClass="idle"
    )


def test_a_mounted_repository_is_there_as_long_as_postgresql_and_nothing_is_behind_it() -> None:
    found = unit("autobot-repository.service")
    assert rest(found["Unit"]) == {
        **NETWORK_IS_THERE,
        **once(Before="postgresql@15-main.service", StartLimitIntervalSec="0"),
    }
    assert found["Install"] == once(WantedBy="multi-user.target")
    service = rest(found["Service"])
    unmount = "-/usr/bin/umount --lazy --quiet /peer/repo /peer/repo.sftp"
    assert service.pop("ExecStartPre") == [
        unmount,
        # Root's alone: what is not mounted cannot be written.
        "/usr/bin/install --directory --mode=0755 /peer",
        "/usr/bin/install --directory --mode=0700 /peer/repo /peer/repo.sftp",
    ]
    assert service.pop("ExecStart") == [
        "/usr/sbin/mount.fuse3 sshfs#autobot-repo-people@192.0.2.23:/repo /peer/repo.sftp"
        ' -o "ro,nosuid"'
    ]
    # Links are followed nowhere before anybody sees what is mounted.
    assert service.pop("ExecStartPost") == [
        "/usr/bin/mount --internal-only --options remount,bind,nosymfollow /peer/repo.sftp",
        "/usr/bin/mount --bind /peer/repo.sftp /peer/repo",
    ]
    assert service.pop("ExecStopPost") == [unmount]
    assert service == once(Type="forking", TimeoutStartSec="30", Restart="always", RestartSec="5")


def test_postgresql_starts_when_its_addresses_are_there() -> None:
    found = unit("postgresql@.service.d/50-autobot.conf")
    assert found["Unit"] == NETWORK_IS_THERE
    assert rest(found["Service"]) == {}


def edit_of_nginx() -> dict[str, str]:
    """What the role changes in the web server's own file."""
    tasks = yaml.safe_load((ROOT / "roles/service/tasks/install.yml").read_text())
    (change,) = (
        entry["edit"]
        for mapping in mappings(tasks)
        if isinstance(mapping.get("files"), list)
        for entry in mapping["files"]
        if "edit" in entry
    )
    return dict(change)


def test_the_web_server_has_two_descriptors_for_each_of_its_connections() -> None:
    variables = yaml.safe_load((ROOT / "roles/service/vars/main.yml").read_text())
    change = edit_of_nginx()
    after = re.sub(change["pattern"], change["replacement"], "    worker_connections 768;")
    connections = int(after.removeprefix("    worker_connections ").removesuffix(";"))
    # Those of one address that are under way, to the service too, are not nearly all.
    assert connections > 3 * variables["service_requests_per_address"]
    found = unit("nginx.service.d/50-autobot.conf")
    assert found.keys() == {"Service"}
    limit = 65536
    assert rest(found["Service"]) == once(LimitNOFILE=str(limit))
    assert limit > 2 * connections


@pytest.mark.parametrize("more", ["8000", "10240", "65536"])
def test_a_web_server_that_holds_more_connections_keeps_them(more: str) -> None:
    assert not re.search(edit_of_nginx()["pattern"], f"worker_connections {more};")


def test_a_change_that_nobody_confirmed_is_undone_before_anything_serves() -> None:
    found = unit("boot.service")
    assert rest(found["Unit"]) == {
        **once(
            ConditionPathExists="/opt/people/undo",
            RequiresMountsFor="/opt/people",
            DefaultDependencies="no",
            After="local-fs.target",
            Conflicts="shutdown.target",
        ),
        "Before": [
            "people.socket people.service",
            "others.socket others.service",
            "nginx.service timers.target",
            "shutdown.target",
        ],
    }
    assert found["Service"] == once(
        Type="oneshot", ExecStart="/opt/people/change_release.sh boot /opt/people"
    )
    assert found["Install"] == once(WantedBy="multi-user.target")


def test_the_firewall_is_there_before_the_network_and_after_the_rules_of_others() -> None:
    found = unit("autobot-firewall.service")
    assert rest(found["Unit"]) == once(
        DefaultDependencies="no",
        Wants="network-pre.target",
        Before="network-pre.target shutdown.target",
        After="nftables.service",
        Conflicts="shutdown.target",
    )
    load = "/usr/sbin/nft --file /etc/autobot-users/nftables.conf"
    openings = "/usr/local/sbin/autobot-openings"
    assert rest(found["Service"]) == once(
        Type="oneshot",
        RemainAfterExit="yes",
        StandardInput="null",
    ) | {
        "ExecStart": [load, f"{openings} open"],
        "ExecReload": [load, f"{openings} open"],
        "ExecStop": [f"-{openings} close", "-/usr/sbin/nft delete table inet autobot"],
    }
    assert found["Install"] == once(WantedBy="sysinit.target")


def test_the_firewall_comes_back_whatever_is_done_with_the_rules_of_others() -> None:
    assert unit("nftables.service.d/50-autobot.conf") == {
        "Service": once(
            ExecStartPost="-/bin/load", ExecReload="-/bin/load", ExecStopPost="-/bin/load"
        )
    }
