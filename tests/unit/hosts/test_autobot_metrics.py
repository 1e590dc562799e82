"""The collector of metrics: what it makes of its inputs, and of one that cannot be read."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from autobot_metrics import collector as metrics

# As pgBackRest 2.55 answers `info --output=json`, without what the collector does not read.
BACKUPS: list[dict[str, Any]] = [
    {
        "name": "autobot_users",
        "repo": [{"cipher": "aes-256-cbc", "key": 1, "status": {"code": 0, "message": "ok"}}],
        "backup": [
            {
                "database": {"id": 1, "repo-key": 1},
                "error": error,
                "info": {"delta": 9, "repository": {"delta": delta}, "size": 31457280},
                "label": label,
                "timestamp": {"start": stop - 7, "stop": stop},
                "type": kind,
            }
            for label, kind, stop, delta, error in [
                ("20261122-010000F", "full", 1795311600, 4096, False),
                ("20261123-010000F", "full", 1795398000, 5000, False),
                ("20261123-010000F_20261123-020000I", "incr", 1795401600, 300, False),
                ("20261123-010000F_20261123-030000I", "incr", 1795405200, 310, True),
            ]
        ],
        "status": {"code": 0, "lock": {"backup": {"held": False}}, "message": "ok"},
    }
]
ARCHIVER = {
    "enabled": True,
    "archived": 12,
    "failed": 3,
    "last_archived": 1795405230.123456,
    "last_failed": None,
    "files": 2,
    "bytes": 33554432,
    "oldest": 61.5,
}
DRILL = {
    "ok": False,
    "finished": 1795405000,
    "seconds": 12.25,
    "backup": "20261123-010000F",
    "target": "time",
    "databases": 1,
    "tables": 20,
    "rows": 1234,
    "failure": "The digest of table users differs.",
    "verified": 1794800000,
}
UNITS = """\
Id=nginx.service
LoadState=loaded
ActiveState=active

Id=postgresql@17-main.service
LoadState=loaded
ActiveState=reloading

Id=autobot-auth.service
LoadState=loaded
ActiveState=failed

Id=gone.service
LoadState=not-found
ActiveState=inactive

Id=autobot-backup-full.service
LoadState=loaded
ActiveState=inactive

Id=autobot-backup-incr.service
LoadState=loaded
ActiveState=failed

Id=autobot-backup-drill.service
LoadState=loaded
ActiveState=activating

Id=missing.service
LoadState=not-found
ActiveState=inactive
"""


# It ended at 2020-01-01 12:00 UTC.
EXPIRED = """\
-----BEGIN CERTIFICATE-----
MIIBEDCBt6ADAgECAgEBMAoGCCqGSM49BAMCMBIxEDAOBgNVBAMMB2V4cGlyZWQw
HhcNMTkwMTAxMDAwMDAwWhcNMjAwMTAxMTIwMDAwWjASMRAwDgYDVQQDDAdleHBp
cmVkMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAES97T6yMMPheQRp9GeqINHwkD
/Ly0cMwAoeMhNUA2pDzGX4NaHAqzk7hz0vDkmoe4yH8VvbcgvN9Hk3v4i0hEdzAK
BggqhkjOPQQDAgNIADBFAiEAycF5/RmSoGuBkS3Jwn1ZXxbqf6/dcx4rcWWsSZqt
tqwCIFiFpUYJh98n1+tUbeesM4sK3A123VV9VNYw2Xu7JuEy
-----END CERTIFICATE-----
"""


def told(samples: Iterator[Any]) -> dict[str, str]:
    """Each series with its value."""
    return {f"{sample.name}{sample.labels}": sample.value for sample in samples}


def test_the_last_backup_of_each_type_is_told() -> None:
    seen = told(metrics.judge_backups(BACKUPS))
    where = 'stanza="autobot_users",repository="1"'
    completed = "autobot_backup_last_completed_timestamp_seconds"
    assert seen[f'{completed}{{{where},type="full"}}'] == "1795398000"
    assert seen[f'{completed}{{{where},type="incr"}}'] == "1795405200"
    assert f'{completed}{{{where},type="diff"}}' not in seen
    full = f'{{{where},type="full"}}'
    assert seen[f"autobot_backup_last_duration_seconds{full}"] == "7"
    assert seen[f"autobot_backup_last_size_bytes{full}"] == "31457280"
    assert seen[f"autobot_backup_last_repository_bytes{full}"] == "5000"
    assert seen[f"autobot_backup_last_damaged{full}"] == "0"
    assert seen[f'autobot_backup_last_damaged{{{where},type="incr"}}'] == "1"
    info = f'autobot_backup_last_info{{{where},type="full",label="20261123-010000F"}}'
    assert seen[info] == "1"
    assert seen[f"autobot_backups{{{where}}}"] == "4"
    assert seen[f"autobot_backup_repository_reachable{{{where}}}"] == "1"


@pytest.mark.parametrize(("code", "reachable", "counted"), [(2, "1", True), (99, "0", False)])
def test_an_empty_repository_is_told_from_one_that_does_not_answer(
    code: int, reachable: str, counted: bool
) -> None:
    answer = [
        {"name": "a", "repo": [{"key": 1, "status": {"code": code, "message": ""}}], "backup": []}
    ]
    seen = told(metrics.judge_backups(answer))
    where = '{stanza="a",repository="1"}'
    assert seen[f"autobot_backup_repository_reachable{where}"] == reachable
    assert seen[f"autobot_backup_repository_status{where}"] == str(code)
    assert (seen.get(f"autobot_backups{where}") == "0") is counted


def test_the_backups_of_a_repository_that_answers_are_told_beside_one_that_does_not() -> None:
    lost = {"key": 2, "status": {"code": 99, "message": "[FileReadError] no route to host"}}
    seen = told(metrics.judge_backups([{**BACKUPS[0], "repo": [*BACKUPS[0]["repo"], lost]}]))
    assert seen['autobot_backups{stanza="autobot_users",repository="1"}'] == "4"
    unreachable = 'autobot_backup_repository_reachable{stanza="autobot_users",repository="2"}'
    assert seen[unreachable] == "0"


def test_pgbackrest_gives_up_before_it_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended by us it would not say which repository does not answer."""
    asked: list[tuple[tuple[str, ...], float]] = []

    def run(*command: str, timeout: float) -> str:
        asked.append((command, timeout))
        return json.dumps(BACKUPS)

    monkeypatch.setattr(metrics, "run", run)
    list(metrics.backups("autobot_users"))
    ((command, patience),) = asked
    (gives_up,) = (word for word in command if word.startswith("--io-timeout="))
    assert float(gives_up.partition("=")[2]) * 2 <= patience


def test_the_state_of_the_archiver_is_told() -> None:
    assert told(metrics.judge_archiver(ARCHIVER)) == {
        "autobot_wal_archiving_enabled": "1",
        "autobot_wal_archived_total": "12",
        "autobot_wal_archive_failures_total": "3",
        "autobot_wal_last_archived_timestamp_seconds": "1795405230.123",
        "autobot_wal_last_failed_timestamp_seconds": "0",
        "autobot_wal_waiting_files": "2",
        "autobot_wal_waiting_bytes": "33554432",
        "autobot_wal_oldest_waiting_seconds": "61.5",
    }


def test_the_last_drill_is_told_and_the_last_that_succeeded(tmp_path: Path) -> None:
    (tmp_path / "drill.json").write_text(json.dumps(DRILL))
    assert told(metrics.drill(tmp_path / "drill.json")) == {
        "autobot_drill_last_verified_timestamp_seconds": "1794800000",
        "autobot_drill_last_run_timestamp_seconds": "1795405000",
        "autobot_drill_last_run_success": "0",
        "autobot_drill_last_run_duration_seconds": "12.25",
        "autobot_drill_last_run_rows": "1234",
    }


@pytest.mark.parametrize("verified", [1795318600.5, None])
def test_the_last_check_is_told(tmp_path: Path, verified: float | None) -> None:
    result = {"ok": True, "finished": 1795405000, "failure": "", "verified": verified}
    (tmp_path / "check.json").write_text(json.dumps(result))
    assert told(metrics.check(tmp_path / "check.json")) == {
        "autobot_check_last_run_timestamp_seconds": "1795405000",
        "autobot_check_last_run_success": "1",
        "autobot_check_last_verified_timestamp_seconds": str(verified or 0),
    }


def test_before_the_first_check_there_was_none(tmp_path: Path) -> None:
    assert told(metrics.check(tmp_path / "check.json")) == {
        "autobot_check_last_run_timestamp_seconds": "0",
        "autobot_check_last_verified_timestamp_seconds": "0",
    }


@pytest.mark.parametrize("rows", [0, 1])
def test_a_drill_that_compared_nothing_is_none(tmp_path: Path, rows: int) -> None:
    result = {**DRILL, "ok": True, "rows": rows}
    (tmp_path / "drill.json").write_text(json.dumps(result))
    seen = told(metrics.drill(tmp_path / "drill.json"))
    assert seen["autobot_drill_last_run_success"] == str(rows)
    verified = str(DRILL["verified"]) if rows else "0"
    assert seen["autobot_drill_last_verified_timestamp_seconds"] == verified


@pytest.mark.parametrize("answer", [[], [{"name": "autobot_users", "repo": [], "backup": []}]])
def test_without_a_repository_the_backups_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch, answer: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(metrics, "run", lambda *_, **__: json.dumps(answer))
    with pytest.raises(ValueError, match="no repository of autobot_users"):
        told(metrics.backups("autobot_users"))


@pytest.mark.parametrize("result", [None, {**DRILL, "verified": None}])
def test_no_drill_has_ever_succeeded(tmp_path: Path, result: dict[str, Any] | None) -> None:
    if result:
        (tmp_path / "drill.json").write_text(json.dumps(result))
    seen = told(metrics.drill(tmp_path / "drill.json"))
    assert seen["autobot_drill_last_verified_timestamp_seconds"] == "0"


def test_units_that_should_run_and_units_that_failed_are_told() -> None:
    services = ["nginx.service", "postgresql@*-main.service", "autobot-auth.service"]
    jobs = ["autobot-backup-*.service", "missing.service", "never-*.service"]
    seen = told(metrics.judge_units([*services, "gone.service", "none@*.service"], jobs, UNITS))
    assert seen == {
        'autobot_unit_active{unit="nginx.service"}': "1",
        'autobot_unit_active{unit="postgresql@17-main.service"}': "1",
        'autobot_unit_active{unit="autobot-auth.service"}': "0",
        'autobot_unit_active{unit="gone.service"}': "0",
        'autobot_unit_active{unit="none@*.service"}': "0",
        'autobot_unit_failed{unit="autobot-backup-full.service"}': "0",
        'autobot_unit_failed{unit="autobot-backup-incr.service"}': "1",
        'autobot_unit_failed{unit="autobot-backup-drill.service"}': "0",
        'autobot_unit_failed{unit="missing.service"}': "1",
        'autobot_unit_failed{unit="never-*.service"}': "1",
    }


def test_a_file_of_several_certificates_expires_with_the_first(
    certificate_authority: Callable[[str], Any], tmp_path: Path
) -> None:
    authority = certificate_authority("authority")
    leaf, _ = authority.leaf("10.0.0.1")
    several = tmp_path / "several.crt"
    several.write_text(leaf.read_text() + EXPIRED)

    name = "autobot_certificate_expiry_timestamp_seconds"
    day = float(told(metrics.certificate(leaf))[f'{name}{{file="leaf.crt"}}'])
    assert time.time() + 86000 < day < time.time() + 86401
    assert told(metrics.certificate(several)) == {f'{name}{{file="several.crt"}}': "1577880000"}


def test_what_is_on_one_file_system_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    samples = [*metrics.filesystem(tmp_path), *metrics.filesystem(tmp_path / "below")]
    assert len(told(iter(samples))) == 2
    text = metrics.rendered(iter(samples))
    size = re.search(r"^autobot_filesystem_size_bytes\{.+\} (\d+)$", text, re.MULTILINE)
    state = os.statvfs(tmp_path)
    assert size is not None
    assert int(size[1]) == state.f_blocks * state.f_frsize


def test_the_release_in_use_is_told(tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to("releases/1.0.0-abc")
    assert told(metrics.release("auth", tmp_path)) == {
        'autobot_release_info{service="auth",release="1.0.0-abc"}': "1"
    }


def test_what_cannot_be_read_is_told_and_hides_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.json").write_text('{"ok": true')
    (tmp_path / "expired.crt").write_text(EXPIRED)
    (tmp_path / "current").symlink_to("releases/1")
    odd = [{**BACKUPS[0], "backup": [{"type": "full", "database": {"repo-key": 1}}]}]
    seen = told(
        metrics.collect(
            {
                "backup": [lambda: metrics.judge_backups(odd)],
                "drill": [lambda: metrics.drill(tmp_path / "broken.json")],
                "archiver": [lambda: metrics.judge_archiver({**ARCHIVER, "files": "many"})],
                "certificates": [
                    lambda: metrics.certificate(tmp_path / "missing.crt"),
                    lambda: metrics.certificate(tmp_path / "expired.crt"),
                ],
                "filesystems": [lambda: metrics.filesystem(tmp_path / "missing")],
                "releases": [lambda: metrics.release("auth", tmp_path)],
            }
        )
    )
    success = {
        source: seen.pop(f'autobot_collector_success{{source="{source}"}}')
        for source in ("backup", "drill", "archiver", "certificates", "filesystems", "releases")
    }
    assert success == {
        "backup": "0",
        "drill": "0",
        "archiver": "0",
        "certificates": "0",
        "filesystems": "0",
        "releases": "1",
    }
    # Of a source that failed, what could be read is there.
    assert seen['autobot_backups{stanza="autobot_users",repository="1"}'] == "1"
    assert seen["autobot_wal_archived_total"] == "12"
    assert seen['autobot_certificate_expiry_timestamp_seconds{file="expired.crt"}'] == "1577880000"
    assert seen['autobot_release_info{service="auth",release="1"}'] == "1"
    assert float(seen["autobot_collector_last_run_timestamp_seconds"]) > 1_700_000_000
    errors = capsys.readouterr().err
    assert [line.partition(":")[0] for line in errors.splitlines()] == [
        "backup",
        "drill",
        "archiver",
        "certificates",
        "filesystems",
    ]
    assert "missing.crt" in errors


@pytest.mark.parametrize("value", [None, "1", float("nan"), float("inf")])
def test_what_is_not_a_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="autobot_backups cannot be"):
        metrics.sample("autobot_backups", value)


def test_labels_are_escaped() -> None:
    sample = metrics.sample("autobot_backups", 1, {"stanza": 'a"b\\c\nd\udc80'})
    assert sample.labels == '{stanza="a\\"b\\\\c\\nd?"}'


def test_a_metric_is_introduced_once() -> None:
    samples = [
        metrics.sample("autobot_wal_archived_total", 1),
        metrics.sample("autobot_backups", 1, {"stanza": "a"}),
        metrics.sample("autobot_backups", 2, {"stanza": "b"}),
    ]
    assert metrics.rendered(iter(samples)) == (
        "# HELP autobot_backups How many backups the repository holds.\n"
        "# TYPE autobot_backups gauge\n"
        'autobot_backups{stanza="a"} 1\n'
        'autobot_backups{stanza="b"} 2\n'
        "# HELP autobot_wal_archived_total WAL files that were archived.\n"
        "# TYPE autobot_wal_archived_total counter\n"
        "autobot_wal_archived_total 1\n"
    )


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(OSError, match="sh ended with 3: no such stanza"):
        metrics.run("sh", "-c", "echo no such stanza >&2; exit 3")


def test_what_a_gateway_passed_on_is_told_by_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "access.log"
    log.touch()
    monkeypatch.setattr(metrics, "NGINX_LOG", log)
    monkeypatch.setattr(metrics, "GATEWAY_STATE", tmp_path / "gateway.json")
    settings = {"certificates": str(tmp_path), "leaves": [], "paths": [], "units": [], "jobs": []}
    plan = metrics.sources(settings | {"releases": {}, "stanza": "", "gateway": True})
    list(metrics.collect(plan))
    log.write_text(
        '192.0.2.1 [2026-11-30T12:00:00+00:00] "GET /api/x" 401 12 "curl" '
        'gateway="auth" passed_to="-" as="" machine="" seconds=0.001\n'
    )
    line = 'autobot_gateway_requests_total{gateway="auth",caller="nobody",result="unauthenticated"}'
    text = metrics.rendered(metrics.collect(plan))
    assert f"{line} 1\n" in text
    assert "# TYPE autobot_gateway_requests_total counter\n" in text


def test_the_whole_of_a_host_without_a_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.crt").write_text(EXPIRED)
    settings = {
        "certificates": str(tmp_path),
        "leaves": [],
        "paths": [str(tmp_path)],
        "units": ["nginx.service"],
        "jobs": [],
        "releases": {},
        "stanza": "",
        "gateway": False,
    }
    ran: list[str] = []

    def run(program: str, *arguments: str, **more: Any) -> str:
        ran.append(program)
        return UNITS if program == "systemctl" else original(program, *arguments, **more)

    original = metrics.run
    monkeypatch.setattr(metrics, "run", run)
    text = metrics.rendered(metrics.collect(metrics.sources(settings)))
    assert 'autobot_unit_active{unit="nginx.service"} 1\n' in text
    assert 'autobot_certificate_expiry_timestamp_seconds{file="ca.crt"} 1577880000\n' in text
    assert "autobot_backup" not in text
    assert ran == ["openssl", "systemctl"]
    assert {line for line in text.splitlines() if line.endswith(" 0")} == set()

    assert "gateway" not in text
    # A certificate that is gone would expire unseen.
    lost = metrics.rendered(metrics.collect(metrics.sources({**settings, "leaves": ["https"]})))
    assert 'autobot_collector_success{source="certificates"} 0\n' in lost
