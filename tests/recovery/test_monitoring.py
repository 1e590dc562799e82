"""What the hosts tell a Prometheus: it is there, fresh, true, and says what cannot be read."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator

import pytest

from tests.lab.site import HOSTS, ROOT, Site, must, on, superuser, wait_until

FILE = "/var/lib/prometheus/node-exporter/autobot.prom"
UNIT = "autobot-metrics.service"
RULES = "/etc/autobot-users/monitoring/autobot.rules.yml"
STANZAS = {"slm": "slm_users", "redis": "autobot_users"}
SERIES = re.compile(
    r'([a-z_]+(?:\{[a-z]+="(?:[^"\\]|\\.)*"(?:,[a-z]+="(?:[^"\\]|\\.)*")*\})?) (\S+)'
)

COLLECTOR = {
    "autobot_collector_duration_seconds",
    "autobot_collector_last_run_timestamp_seconds",
}
EVERYWHERE = COLLECTOR | {
    'autobot_certificate_expiry_timestamp_seconds{file="ca.crt"}',
    'autobot_filesystem_avail_bytes{mountpoint="/"}',
    'autobot_filesystem_size_bytes{mountpoint="/"}',
    'autobot_unit_active{unit="autobot-firewall.service"}',
}
DATABASE = {
    'autobot_certificate_expiry_timestamp_seconds{file="postgresql.crt"}',
    "autobot_drill_last_verified_timestamp_seconds",
    "autobot_check_last_run_timestamp_seconds",
    "autobot_check_last_verified_timestamp_seconds",
    "autobot_wal_archive_failures_total",
    "autobot_wal_archived_total",
    "autobot_wal_archiving_enabled",
    "autobot_wal_last_archived_timestamp_seconds",
    "autobot_wal_oldest_waiting_seconds",
    "autobot_wal_waiting_bytes",
    "autobot_wal_waiting_files",
    'autobot_unit_active{unit="autobot-backup-incr.timer"}',
    'autobot_unit_failed{unit="autobot-backup-incr.service"}',
    'autobot_unit_active{unit="ssh.service"}',
}


def backup_series(stanza: str) -> set[str]:
    where = f'stanza="{stanza}",repository="1"'
    of_last = ("completed_timestamp_seconds", "duration_seconds", "size_bytes", "damaged")
    return {
        f"autobot_backups{{{where}}}",
        f"autobot_backup_repository_reachable{{{where}}}",
        *(f'autobot_backup_last_{name}{{{where},type="full"}}' for name in of_last),
    }


OF_HOST = {
    "slm": {
        *EVERYWHERE,
        *DATABASE,
        *backup_series("slm_users"),
        'autobot_certificate_expiry_timestamp_seconds{file="https.crt"}',
        'autobot_unit_active{unit="autobot-slm-users.service"}',
        'autobot_unit_failed{unit="autobot-slm-housekeeping.service"}',
    },
    "redis": {*EVERYWHERE, *DATABASE, *backup_series("autobot_users")},
    "backend": {
        *EVERYWHERE,
        'autobot_certificate_expiry_timestamp_seconds{file="https.crt"}',
        'autobot_unit_active{unit="autobot-auth.service"}',
    },
}


def parsed(text: str) -> dict[str, float]:
    """The series of a file, each of which may be there once, below its HELP and TYPE."""
    seen: dict[str, float] = {}
    introduced: list[str] = []
    for line in text.splitlines():
        if line.startswith("# "):
            introduced.append(line)
            continue
        series = SERIES.fullmatch(line)
        assert series is not None, line
        name = series[1].partition("{")[0]
        assert [part.split()[1:3] for part in introduced[-2:]] == [["HELP", name], ["TYPE", name]]
        assert series[1] not in seen, line
        seen[series[1]] = float(series[2])
    assert text.endswith("\n")
    return seen


# In one connection: the time, a run of the collector, and what came of it.
COLLECT = f"date +%s.%N && systemctl start {UNIT} && cat {FILE}"


def collected(name: str) -> dict[str, float]:
    """What a host tells of the present."""
    while True:
        now, _, text = must(name, "sh", "-c", COLLECT).partition("\n")
        found = parsed(text + "\n")
        end, duration = (found[series] for series in sorted(COLLECTOR, reverse=True))
        # A run that the timer had begun before was only waited for.
        if end - duration > float(now):
            return found


def unread(seen: dict[str, float]) -> set[str]:
    """The sources that could not be read."""
    sources = {series.split('"')[1]: series for series in seen if "_collector_success" in series}
    assert len(sources) >= 4
    return {source for source, series in sources.items() if not seen[series]}


@pytest.fixture(scope="module")
def told() -> dict[str, dict[str, float]]:
    """What each host tells while all is well."""
    return {name: collected(name) for name in HOSTS}


@pytest.mark.parametrize("name", HOSTS)
def test_the_file_is_there_fresh_and_readable_by_an_exporter(name: str) -> None:
    # As an exporter's user reads it, who is nobody special; the timer has written it.
    seen = parsed(must(name, "cat", FILE, user="nobody") + "\n")
    now = float(must(name, "date", "+%s"))
    assert now - seen["autobot_collector_last_run_timestamp_seconds"] < 120
    assert must(name, "systemctl", "is-active", "autobot-metrics.timer") == "active"
    assert must(name, "systemctl", "is-enabled", "autobot-metrics.timer") == "enabled"


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_tells_all_of_its_kind_and_it_is_well(
    told: dict[str, dict[str, float]], name: str
) -> None:
    seen = told[name]
    assert OF_HOST[name] - set(seen) == set()
    assert unread(seen) == set()
    assert {
        series for series, value in seen.items() if "_unit_active" in series and not value
    } == set()
    if name not in STANZAS:
        assert not any("_backup_" in series or "_wal_" in series for series in seen)


@pytest.mark.parametrize("name", STANZAS)
def test_what_is_told_of_backups_is_what_pgbackrest_tells(name: str) -> None:
    # Another test may take a backup: what is compared is read at the same time.
    seen = collected(name)
    labels = must(
        name,
        "sh",
        "-c",
        f"pgbackrest --stanza={STANZAS[name]} info | sed -n 's/^ *full backup: *//p'",
        user="postgres",
    ).split()
    last = f'stanza="{STANZAS[name]}",repository="1",type="full"'
    assert seen[f'autobot_backup_last_info{{{last},label="{labels[-1]}"}}'] == 1
    age = (
        float(must(name, "date", "+%s"))
        - seen[f"autobot_backup_last_completed_timestamp_seconds{{{last}}}"]
    )
    assert 0 < age < 8 * 86400
    assert seen[f"autobot_backup_last_size_bytes{{{last}}}"] > 1_000_000


def test_archived_wal_is_counted() -> None:
    before = collected("redis")
    superuser(
        "redis", "postgres", "SELECT pg_create_restore_point('test'); SELECT pg_switch_wal();"
    )

    def is_archived() -> bool:
        found = superuser("redis", "postgres", "SELECT archived_count FROM pg_stat_archiver")
        return int(found[0][0]) > before["autobot_wal_archived_total"]

    wait_until(is_archived, "the WAL is archived")
    after = collected("redis")
    assert after["autobot_wal_archived_total"] > before["autobot_wal_archived_total"]
    assert time.time() - after["autobot_wal_last_archived_timestamp_seconds"] < 60


@pytest.mark.parametrize("name", HOSTS)
def test_what_is_told_of_certificates_disks_and_releases_is_so(
    told: dict[str, dict[str, float]], name: str
) -> None:
    seen = told[name]
    end = must(
        name, "openssl", "x509", "-noout", "-enddate", "-in", "/etc/autobot-users/tls/ca.crt"
    )
    expiry = must(name, "date", "--utc", "+%s", f"--date={end.partition('=')[2]}")
    assert seen['autobot_certificate_expiry_timestamp_seconds{file="ca.crt"}'] == float(expiry)
    size = must(name, "df", "--block-size=1", "--output=size", "/").split()[-1]
    assert seen['autobot_filesystem_size_bytes{mountpoint="/"}'] == float(size)
    for service in {"slm": ["slm-server"], "backend": ["auth"]}.get(name, []):
        link = must(name, "readlink", f"/opt/autobot-users/{service}/current").rpartition("/")[2]
        assert seen[f'autobot_release_info{{service="{service}",release="{link}"}}'] == 1


@contextlib.contextmanager
def done(name: str, script: str, undo: str) -> Iterator[None]:
    """What a script does to a host, until it is undone."""
    must(name, "sh", "-c", script)
    try:
        yield
    finally:
        must(name, "sh", "-c", undo)


def damaged(name: str, *paths: str) -> contextlib.AbstractContextManager[None]:
    """Files that are cut off meanwhile; what is not there is made."""
    return done(
        name,
        "; ".join(
            f"[ ! -e {path} ] || mv {path} {path}.sound; echo '{{\"' >{path}" for path in paths
        ),
        "; ".join(f"rm {path}; [ ! -e {path}.sound ] || mv {path}.sound {path}" for path in paths),
    )


def test_a_repository_that_cannot_be_reached_is_told(site: Site) -> None:
    where = 'stanza="autobot_users",repository="1"'
    route = f"blackhole {site.addresses['slm']}"
    # A repository that is mounted comes back within seconds.
    back = "until runuser -u postgres -- pgbackrest info | grep -q 'status: ok'; do sleep 0.5; done"
    with done(
        "redis", f"ip route add {route}", f'ip route delete {route}; timeout 600 sh -c "{back}"'
    ):
        seen = collected("redis")
    assert seen[f"autobot_backup_repository_reachable{{{where}}}"] == 0
    assert f"autobot_backups{{{where}}}" not in seen
    assert seen["autobot_wal_archiving_enabled"] == 1
    assert collected("redis")[f"autobot_backup_repository_reachable{{{where}}}"] == 1


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("backend", {"certificates": "/etc/autobot-users/tls/damaged.crt"}),
        (
            "redis",
            {
                "check": "/var/lib/autobot-backup/check.json",
                "drill": "/var/lib/autobot-backup/drill.json",
            },
        ),
    ],
)
def test_what_cannot_be_read_is_told_and_the_rest_is_there(
    name: str, damage: dict[str, str]
) -> None:
    with damaged(name, *damage.values()):
        seen = collected(name)
        journal = must(name, "journalctl", f"--unit={UNIT}", "--output=cat", "--lines=20")
    assert unread(seen) == set(damage)
    assert set(seen) >= EVERYWHERE
    assert all(f"{source}: " in journal for source in damage)
    assert unread(collected(name)) == set()


def test_a_unit_that_does_not_run_is_told() -> None:
    unit = "autobot-slm-housekeeping.timer"
    with done("slm", f"systemctl stop {unit}", f"systemctl start {unit}"):
        assert collected("slm")[f'autobot_unit_active{{unit="{unit}"}}'] == 0
    assert collected("slm")[f'autobot_unit_active{{unit="{unit}"}}'] == 1


def test_a_run_that_fails_leaves_the_former_file() -> None:
    with damaged("backend", "/etc/autobot-users/monitoring/metrics.json"):
        assert on("backend", "systemctl", "start", UNIT).status != 0
        former = parsed(must("backend", "cat", FILE) + "\n")
    assert set(former) >= OF_HOST["backend"]
    assert unread(collected("backend")) == set()


@pytest.mark.parametrize("name", HOSTS)
def test_the_collector_can_do_little_and_tells_no_secret(site: Site, name: str) -> None:
    report = must(name, "systemd-analyze", "security", "--no-pager", UNIT)
    exposure = float(report.rpartition("exposure level for")[2].split(":")[1].split()[0])
    assert exposure <= 2.0, report
    user = must(name, "systemctl", "show", "--property=User", "--value", UNIT)
    assert user == ("postgres" if name in STANZAS else "autobot-metrics")
    text = must(name, "cat", FILE)
    assert not any(secret in text for secret in site.secrets)


def test_the_rules_are_where_a_prometheus_may_be() -> None:
    rules = (ROOT / "roles/monitoring/files/autobot.rules.yml").read_text()
    assert must("slm", "cat", RULES, user="nobody") + "\n" == rules
    assert on("redis", "test", "-e", RULES).status == 1
