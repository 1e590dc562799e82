"""Print what Prometheus should know of this host, in its text format.

What cannot be read is told on standard error and by autobot_collector_success, and hides nothing
else. The unit autobot-metrics.service puts the output where the node exporter reads it.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import math
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from autobot_metrics.gateway_requests import counted

CONFIGURATION = "/etc/autobot-users/monitoring/metrics.json"
BACKUP_STATE = Path("/var/lib/autobot-backup")
NGINX_LOG = Path("/var/log/nginx/access.log")
# systemd makes its directory, which does not outlive the host.
GATEWAY_STATE = Path("/run/autobot-metrics/gateway.json")

# Name to meaning. Timestamps are seconds since the epoch, and 0 means never.
METRICS = {
    "autobot_backup_last_completed_timestamp_seconds": "When the last backup of this type ended.",
    "autobot_backup_last_duration_seconds": "How long the last backup of this type took.",
    "autobot_backup_last_size_bytes": "Size of the cluster in the last backup of this type.",
    "autobot_backup_last_repository_bytes": "What the last backup of this type added there.",
    "autobot_backup_last_damaged": "Whether the last backup of this type met damaged pages.",
    "autobot_backup_last_info": "Label of the last backup of this type; always 1.",
    "autobot_backups": "How many backups the repository holds.",
    "autobot_backup_repository_reachable": "Whether the repository of the backups answers.",
    "autobot_backup_repository_status": "What pgBackRest says of it: 0 well, 2 without a backup.",
    "autobot_wal_archiving_enabled": "Whether the cluster is set to archive its WAL.",
    "autobot_wal_archived_total": "WAL files that were archived.",
    "autobot_wal_archive_failures_total": "Attempts to archive a WAL file that failed.",
    "autobot_wal_last_archived_timestamp_seconds": "When a WAL file was last archived.",
    "autobot_wal_last_failed_timestamp_seconds": "When archiving a WAL file last failed.",
    "autobot_wal_waiting_files": "WAL files that are complete and not archived.",
    "autobot_wal_waiting_bytes": "Size of the WAL files that are complete and not archived.",
    "autobot_wal_oldest_waiting_seconds": "How long the oldest of them has been waiting, or 0.",
    "autobot_drill_last_run_timestamp_seconds": "When the last restore drill ended.",
    "autobot_drill_last_run_success": "Whether the last restore drill succeeded.",
    "autobot_drill_last_run_duration_seconds": "How long the last restore drill took.",
    "autobot_drill_last_run_rows": "Rows that the last restore drill compared.",
    "autobot_drill_last_verified_timestamp_seconds": "When a restore drill last succeeded.",
    "autobot_check_last_run_timestamp_seconds": "When archive and repository were last checked.",
    "autobot_check_last_run_success": "Whether the last check found no fault.",
    "autobot_check_last_verified_timestamp_seconds": "When every file there was last found good.",
    "autobot_certificate_expiry_timestamp_seconds": "When the first certificate in it expires.",
    "autobot_filesystem_size_bytes": "Size of the file system.",
    "autobot_filesystem_avail_bytes": "Free space of the file system for others than root.",
    "autobot_unit_active": "Whether the unit, which should always run, does.",
    "autobot_unit_failed": "Whether the last run of the unit failed, or there is no such unit.",
    "autobot_release_info": "Release in use; always 1.",
    "autobot_gateway_requests_total": "Requests to AutoBot that the gateway judged, by result.",
    "autobot_collector_success": "Whether everything of this source could be read.",
    "autobot_collector_duration_seconds": "How long collecting all of this took.",
    "autobot_collector_last_run_timestamp_seconds": "When all of this was collected.",
}

ARCHIVER = """
SELECT json_build_object(
    'enabled', current_setting('archive_mode') <> 'off'
        AND (current_setting('archive_command') NOT IN ('', '(disabled)')
             OR current_setting('archive_library') <> ''),
    'archived', archived_count,
    'failed', failed_count,
    'last_archived', extract(epoch FROM last_archived_time),
    'last_failed', extract(epoch FROM last_failed_time),
    'files', files,
    'bytes', bytes,
    'oldest', oldest)
FROM pg_stat_archiver, (
    SELECT count(*) AS files, coalesce(sum(wal.size), 0) AS bytes,
           coalesce(extract(epoch FROM max(now() - status.modification)), 0) AS oldest
    FROM pg_ls_archive_statusdir() AS status
    LEFT JOIN pg_ls_waldir() AS wal ON status.name = wal.name || '.ready'
    WHERE status.name LIKE '%.ready') AS waiting
"""
PSQL = (
    *("psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--dbname=postgres"),
    "--command",
)
CERTIFICATE = re.compile(
    r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL | re.ASCII
)
# pgBackRest's status of a repository that it could not ask.
UNREACHABLE = 99


class Sample(NamedTuple):
    """One series of a metric, as it will be printed."""

    name: str
    labels: str
    value: str


Samples = Iterator[Sample]
Reader = Callable[[], Samples]


def sample(name: str, value: float, labels: Mapping[str, str] | None = None) -> Sample:
    """A value that Prometheus can read, or ValueError."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} cannot be {value!r}")
    text = ",".join(f'{label}="{escaped(text)}"' for label, text in (labels or {}).items())
    printed = repr(round(value, 3)) if isinstance(value, float) else str(int(value))
    return Sample(name, f"{{{text}}}" if text else "", printed)


def escaped(text: str) -> str:
    """A label's value as it may stand between quotes."""
    readable = text.encode(errors="replace").decode()
    return readable.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def run(*command: str, stdin: str = "", timeout: float = 10) -> str:
    """The output of a program that succeeds in time."""
    environment = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "PGCONNECT_TIMEOUT": "5"}
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=environment,
    )
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise OSError(
            f"{command[0]} ended with {done.returncode}: {said[-1] if said else 'it said nothing'}"
        )
    return done.stdout


def backups(stanza: str) -> Samples:
    """What the repositories hold, as pgBackRest tells it."""
    answer = run(
        *("pgbackrest", f"--stanza={stanza}", "--log-level-console=off", "--log-level-file=off"),
        # It must have given up, and said so, before it is ended here.
        *("--io-timeout=10", "--output=json", "info"),
        timeout=30,
    )
    stanzas = json.loads(answer)
    if not any(entry["repo"] for entry in stanzas):
        raise ValueError(f"pgBackRest knows no repository of {stanza}")
    yield from judge_backups(stanzas)


def judge_backups(stanzas: list[dict[str, Any]]) -> Samples:
    """The samples of the answer of `pgbackrest info`."""
    for stanza in stanzas:
        for repository in stanza["repo"]:
            key = repository["key"]
            labels = {"stanza": stanza["name"], "repository": str(key)}
            status = repository["status"]["code"]
            is_reachable = status != UNREACHABLE
            yield sample("autobot_backup_repository_status", status, labels)
            yield sample("autobot_backup_repository_reachable", is_reachable, labels)
            if is_reachable:
                held = [item for item in stanza["backup"] if item["database"]["repo-key"] == key]
                yield sample("autobot_backups", len(held), labels)
                # pgBackRest lists them from the oldest to the newest.
                for newest in {item["type"]: item for item in held}.values():
                    yield from judge_backup(newest, {**labels, "type": newest["type"]})


def judge_backup(backup: dict[str, Any], labels: Mapping[str, str]) -> Samples:
    start, stop = backup["timestamp"]["start"], backup["timestamp"]["stop"]
    prefix = "autobot_backup_last"
    yield sample(f"{prefix}_completed_timestamp_seconds", stop, labels)
    yield sample(f"{prefix}_duration_seconds", stop - start, labels)
    yield sample(f"{prefix}_size_bytes", backup["info"]["size"], labels)
    yield sample(f"{prefix}_repository_bytes", backup["info"]["repository"]["delta"], labels)
    yield sample(f"{prefix}_damaged", bool(backup["error"]), labels)
    yield sample(f"{prefix}_info", 1, {**labels, "label": backup["label"]})


def archiver() -> Samples:
    """How far the archiving of WAL is, as PostgreSQL tells it."""
    yield from judge_archiver(json.loads(run(*PSQL, ARCHIVER)))


def judge_archiver(state: dict[str, Any]) -> Samples:
    yield sample("autobot_wal_archiving_enabled", state["enabled"])
    yield sample("autobot_wal_archived_total", state["archived"])
    yield sample("autobot_wal_archive_failures_total", state["failed"])
    yield sample("autobot_wal_last_archived_timestamp_seconds", state["last_archived"] or 0)
    yield sample("autobot_wal_last_failed_timestamp_seconds", state["last_failed"] or 0)
    yield sample("autobot_wal_waiting_files", state["files"])
    yield sample("autobot_wal_waiting_bytes", state["bytes"])
    yield sample("autobot_wal_oldest_waiting_seconds", max(state["oldest"], 0))


def drill(path: Path) -> Samples:
    """What the last restore drill left."""
    if not path.exists():
        yield sample("autobot_drill_last_verified_timestamp_seconds", 0)
        return
    result = json.loads(path.read_text())
    # One that compared nothing is none.
    is_empty = result["ok"] and not result["rows"]
    verified = 0 if is_empty else result["verified"] or 0
    yield sample("autobot_drill_last_verified_timestamp_seconds", verified)
    yield sample("autobot_drill_last_run_timestamp_seconds", result["finished"])
    yield sample("autobot_drill_last_run_success", bool(result["ok"]) and not is_empty)
    yield sample("autobot_drill_last_run_duration_seconds", result["seconds"])
    yield sample("autobot_drill_last_run_rows", result["rows"])


def check(path: Path) -> Samples:
    """What the last check of archive and repository left."""
    if not path.exists():
        yield sample("autobot_check_last_run_timestamp_seconds", 0)
        yield sample("autobot_check_last_verified_timestamp_seconds", 0)
        return
    result = json.loads(path.read_text())
    yield sample("autobot_check_last_run_timestamp_seconds", result["finished"])
    yield sample("autobot_check_last_run_success", bool(result["ok"]))
    yield sample("autobot_check_last_verified_timestamp_seconds", result["verified"] or 0)


def certificate(path: Path) -> Samples:
    """When the first certificate of a file expires."""
    found = CERTIFICATE.findall(path.read_text())
    if not found:
        raise ValueError("there is no certificate in it")
    ends = [
        run("openssl", "x509", "-noout", "-enddate", stdin=text).strip().partition("=")[2]
        for text in found
    ]
    yield sample(
        "autobot_certificate_expiry_timestamp_seconds",
        min(map(ssl.cert_time_to_seconds, ends)),
        {"file": path.name},
    )


def filesystem(path: Path) -> Samples:
    """The file system that a path is on; that of several paths is told once."""
    place = path.resolve(strict=True)
    while not place.is_mount():
        place = place.parent
    state = os.statvfs(place)
    labels = {"mountpoint": str(place)}
    yield sample("autobot_filesystem_size_bytes", state.f_blocks * state.f_frsize, labels)
    yield sample("autobot_filesystem_avail_bytes", state.f_bavail * state.f_frsize, labels)


def units(services: list[str], jobs: list[str]) -> Samples:
    """Whether what should run does, and whether what ran failed."""
    # A pattern would otherwise find no unit that is at rest.
    options = ("--all", "--property=Id,LoadState,ActiveState")
    shown = run("systemctl", "show", *options, *services, *jobs)
    yield from judge_units(services, jobs, shown)


def judge_units(services: list[str], jobs: list[str], shown: str) -> Samples:
    """The samples of the answer of `systemctl show`; a name may be a pattern."""
    states = {}
    for block in shown.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit:
            is_there = unit["LoadState"] == "loaded"
            states[unit["Id"]] = unit["ActiveState"] if is_there else "failed"

    def named(patterns: list[str]) -> Iterator[tuple[str, str]]:
        """The units of these names with their states; that nothing has a name is a fault too."""
        for pattern in patterns:
            for name in fnmatch.filter(states, pattern) or [pattern]:
                yield name, states.get(name, "failed")

    for name, state in named(services):
        # What is being reloaded serves.
        yield sample("autobot_unit_active", state in {"active", "reloading"}, {"unit": name})
    for name, state in named(jobs):
        yield sample("autobot_unit_failed", state == "failed", {"unit": name})


def release(service: str, root: Path) -> Samples:
    """Which release a service uses."""
    labels = {"service": service, "release": (root / "current").readlink().name}
    yield sample("autobot_release_info", 1, labels)


def gateway(log: Path, state: Path) -> Samples:
    """What became of the requests to AutoBot."""
    for outcome, count in counted(log, state):
        yield sample("autobot_gateway_requests_total", count, outcome._asdict())


def sources(settings: Mapping[str, Any]) -> dict[str, list[Reader]]:
    """Everything that this host has to tell, by source."""
    directory, stanza = Path(settings["certificates"]), settings["stanza"]
    database: dict[str, list[Reader]] = {
        "backup": [partial(backups, stanza)],
        "archiver": [archiver],
        "drill": [partial(drill, BACKUP_STATE / "drill.json")],
        "check": [partial(check, BACKUP_STATE / "check.json")],
    }
    # One that should be there and is not cannot be read, and expires unseen.
    expected = (directory / f"{name}.crt" for name in ("ca", *settings["leaves"]))
    certificates = {*expected, *directory.glob("*.crt")}
    passed: dict[str, list[Reader]] = {"gateway": [partial(gateway, NGINX_LOG, GATEWAY_STATE)]}
    return {
        **(database if stanza else {}),
        **(passed if settings["gateway"] else {}),
        "certificates": [partial(certificate, path) for path in sorted(certificates)],
        "filesystems": [partial(filesystem, Path(path)) for path in settings["paths"]],
        "units": [partial(units, settings["units"], settings["jobs"])],
        "releases": [
            partial(release, service, Path(root)) for service, root in settings["releases"].items()
        ],
    }


def collect(plan: Mapping[str, list[Reader]]) -> Samples:
    """The samples of all readers; one that fails is told, and the next one gets its turn."""
    start = time.monotonic()
    for source, readers in plan.items():
        success = True
        for reader in readers:
            try:
                yield from reader()
            # Whatever it is: the other sources must be told, and this one as failed.
            except Exception as error:  # noqa: PERF203 - each source for itself
                success = False
                sys.stderr.write(f"{source}: {type(error).__name__}: {error}\n")
        yield sample("autobot_collector_success", success, {"source": source})
    yield sample("autobot_collector_duration_seconds", time.monotonic() - start)
    yield sample("autobot_collector_last_run_timestamp_seconds", time.time())


def rendered(samples: Samples) -> str:
    """The text of the samples: each metric once, with its type and help, and no series twice."""
    series: dict[str, dict[str, str]] = {name: {} for name in METRICS}
    for item in samples:
        series[item.name][item.labels] = item.value
    lines = []
    for name, values in series.items():
        if values:
            kind = "counter" if name.endswith("_total") else "gauge"
            lines += [f"# HELP {name} {METRICS[name]}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{labels} {value}" for labels, value in values.items()]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configuration", default=CONFIGURATION, help="default: %(default)s")
    settings = json.loads(Path(parser.parse_args().configuration).read_text())
    sys.stdout.write(rendered(collect(sources(settings))))
