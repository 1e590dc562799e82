"""The modules that run on hosts: what they decide, and what they say when something is wrong."""

import importlib.util
import os
import stat
from pathlib import Path
from typing import Any

import pytest

ROLES = Path(__file__).parents[2] / "roles"


def load(path: str) -> Any:
    file = ROLES / path
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def units() -> Any:
    return load("../plugins/modules/units_in_force.py")


@pytest.fixture(scope="module")
def files() -> Any:
    return load("service/library/credential_files.py")


@pytest.fixture(scope="module")
def proof() -> Any:
    return load("proof/library/host_proof.py")


def unit_state(**changes: str) -> dict[str, str]:
    return {"ActiveState": "active", "StateChangeTimestamp": "", **changes}


class TestUnitsInForce:
    def test_reads_systemds_timestamps(self, units: Any) -> None:
        assert units.timestamp("Thu 1970-01-01 00:01:00.250000 UTC") == 60.25
        assert units.timestamp("") == 0.0

    def test_a_renamed_file_counts_from_its_renaming(self, units: Any, tmp_path: Path) -> None:
        aside, place = tmp_path / "aside", tmp_path / "place"
        aside.touch()
        os.utime(aside, (1000, 1000))
        aside.rename(place)

        assert units.newest([str(place)]) > 1_000_000
        assert units.newest([str(aside)]) == 0.0

    def test_a_link_counts_itself_not_its_target(self, units: Any, tmp_path: Path) -> None:
        link = tmp_path / "current"
        link.symlink_to("nowhere")
        assert units.newest([str(link)]) > 0.0

    @pytest.mark.parametrize("active", ["inactive", "failed", "deactivating"])
    def test_what_does_not_run_is_started(self, units: Any, active: str) -> None:
        unit = {"inputs": [], "reload": False}
        assert units.wanted_action(unit, unit_state(ActiveState=active)) == "start"

    @pytest.mark.parametrize(("reload", "action"), [(False, "restart"), (True, "reload")])
    def test_what_is_older_than_its_files_takes_them_up(
        self, units: Any, tmp_path: Path, reload: bool, action: str
    ) -> None:
        path = tmp_path / "input"
        path.touch()
        unit = {"inputs": [str(path)], "reload": reload}
        before = unit_state(StateChangeTimestamp="Thu 1970-01-01 00:01:00.250000 UTC")
        after = unit_state(StateChangeTimestamp="Fri 2199-01-01 00:01:00.250000 UTC")

        assert units.wanted_action(unit, before) == action
        assert units.wanted_action(unit, after) is None

    @pytest.mark.parametrize(
        ("outdated", "expected"),
        [("", False), ("a.timer", True), ("a.service", True), ("b.service", False)],
    )
    def test_systemd_reads_a_unit_and_what_it_starts(
        self, units: Any, outdated: str, expected: bool
    ) -> None:
        class Module:
            def run_command(self, command: list[str], **_: Any) -> tuple[int, str, str]:
                unit = command[-1]
                reload = "yes" if unit == outdated else "no"
                triggers = "a.service" if unit == "a.timer" else ""
                lines = (f"NeedDaemonReload={reload}", f"Triggers={triggers}", "LoadState=loaded")
                return 0, "\n".join(lines), ""

        systemd = units.Systemd(Module())
        assert systemd.is_outdated(systemd.properties("a.timer")) is expected


class TestCredentialFiles:
    def test_writes_removes_and_then_changes_nothing(self, files: Any, tmp_path: Path) -> None:
        directory = tmp_path / "credentials"
        assert files.bring(directory, {"one": "1", "two": "2"}, check=False) == (
            True,
            ["one", "two"],
            [],
        )
        assert files.bring(directory, {"one": "1", "two": "changed"}, check=False) == (
            False,
            ["two"],
            [],
        )
        assert files.bring(directory, {"two": "changed"}, check=False) == (False, [], ["one"])
        assert files.bring(directory, {"two": "changed"}, check=False) == (False, [], [])

        assert [path.name for path in directory.iterdir()] == ["two"]
        assert (directory / "two").read_text() == "changed"

    def test_nobody_else_may_read(self, files: Any, tmp_path: Path) -> None:
        directory = tmp_path / "credentials"
        files.bring(directory, {"one": "1"}, check=False)
        directory.chmod(0o755)
        (directory / "one").chmod(0o644)

        assert files.bring(directory, {"one": "1"}, check=False) == (True, ["one"], [])
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "one").stat().st_mode) == 0o600

    def test_check_writes_nothing(self, files: Any, tmp_path: Path) -> None:
        directory = tmp_path / "credentials"
        assert files.bring(directory, {"one": "1"}, check=True) == (True, ["one"], [])
        assert not directory.exists()


SERVER = {
    "ssl": "on",
    "data_checksums": "on",
    "hba_errors": 0,
    "file_errors": 0,
    "pending_restart": "",
    "archive": None,
    "weak_verifiers": "",
}
OK_HEADERS = {
    "strict-transport-security": "max-age=31536000",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "content-type": "application/problem+json",
}
REFUSED = 'psql: error: connection to server at "10.0.0.1" failed: FATAL:  no pg_hba.conf entry'
WRONG_PASSWORD = (
    'psql: error: connection to server at "10.0.0.1" failed: FATAL:  password authentication failed'
)
SILENT = 'psql: error: connection to server at "10.0.0.1" failed: timeout expired'


class TestHostProof:
    @pytest.mark.parametrize(
        ("status", "error", "outcome"),
        [
            (0, "", "accepted"),
            (2, REFUSED, "refused"),
            (2, WRONG_PASSWORD, "stopped by something else"),
            (2, SILENT, "unreachable"),
        ],
    )
    @pytest.mark.parametrize("expect", ["accepted", "refused", "unreachable"])
    def test_a_login_is_right_in_one_way_only(
        self, proof: Any, status: int, error: str, outcome: str, expect: str
    ) -> None:
        fault = proof.judge_login(expect, status, error)
        assert (fault == "") is (outcome == expect)
        if fault:
            assert f"expected {expect}, found {outcome}" in fault

    def test_a_sound_server_has_no_fault(self, proof: Any) -> None:
        assert proof.judge_server(SERVER) == ""

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"ssl": "off"}, "ssl"),
            ({"data_checksums": "off"}, "checksums"),
            ({"hba_errors": 1}, "pg_hba"),
            ({"file_errors": 1}, "pg_file_settings"),
            ({"pending_restart": "shared_buffers"}, "shared_buffers"),
            ({"archive": "archive_mode is off"}, "archive_mode"),
            ({"weak_verifiers": "old_role"}, "old_role"),
        ],
    )
    def test_each_fault_of_a_server_is_named(
        self, proof: Any, change: dict[str, Any], word: str
    ) -> None:
        assert word in proof.judge_server({**SERVER, **change})

    @pytest.mark.parametrize(
        ("chain", "sound"),
        [
            ({"hook": "input", "policy": "drop"}, True),
            ({"hook": "input", "policy": "accept"}, False),
            ({"hook": "output", "policy": "drop"}, False),
            # Somebody else's may be gone tomorrow.
            ({"hook": "input", "policy": "drop", "table": "theirs"}, False),
            ({"hook": "input", "policy": "drop", "family": "ip"}, False),
        ],
    )
    def test_a_firewall_must_drop_what_comes_in(
        self, proof: Any, chain: dict[str, str], sound: bool
    ) -> None:
        fault = proof.judge_chains(
            {
                "nftables": [
                    {"metainfo": {}},
                    {"chain": {"family": "inet", "table": "autobot", **chain}},
                ]
            }
        )
        assert (fault == "") is sound

    def test_an_expected_error_has_no_fault(self, proof: Any) -> None:
        request = {"url": "https://host/", "status": 401}
        assert proof.judge_response(request, 401, OK_HEADERS, b"{}") == ""

    @pytest.mark.parametrize(
        ("status", "headers", "word"),
        [
            (200, OK_HEADERS, "expected status 401, found 200"),
            (401, OK_HEADERS | {"strict-transport-security": ""}, "strict-transport-security"),
            (401, OK_HEADERS | {"x-content-type-options": ""}, "x-content-type-options"),
            (401, OK_HEADERS | {"content-type": "text/html"}, "problem+json"),
        ],
    )
    def test_each_fault_of_a_response_is_named(
        self, proof: Any, status: int, headers: dict[str, str], word: str
    ) -> None:
        request = {"url": "https://host/", "status": 401}
        assert word in proof.judge_response(request, status, headers, b"{}")

    def test_a_redirect_must_lead_to_its_place(self, proof: Any) -> None:
        request = {"url": "http://host/", "status": 308, "location": "https://host/"}
        assert proof.judge_response(request, 308, {"location": "https://host/"}, b"") == ""
        assert "elsewhere" in proof.judge_response(request, 308, {"location": "elsewhere"}, b"")

    @pytest.mark.parametrize(
        ("policy", "body", "word"),
        [
            ("default-src 'none'; script-src 'self'", b'<script src="/assets/a.js">', ""),
            ("default-src 'none'", b'<script src="/assets/a.js">', "content-security-policy"),
            ("default-src 'none'; script-src 'self'", b"<p>", "no script"),
        ],
    )
    def test_a_page_has_a_policy_and_a_script(
        self, proof: Any, policy: str, body: bytes, word: str
    ) -> None:
        request = {"url": "https://host/", "status": 200, "page": True}
        headers = OK_HEADERS | {"content-type": "text/html", "content-security-policy": policy}
        fault = proof.judge_response(request, 200, headers, body)
        assert word in fault
        assert (fault == "") is (word == "")

    def test_the_scripts_of_a_page_are_found(self, proof: Any) -> None:
        body = b'<script type="module" crossorigin src="/assets/a.js"></script><script src="b.js">'
        assert proof.page_scripts(body) == ["/assets/a.js", "b.js"]

    @pytest.mark.parametrize(
        ("status", "kind", "sound"),
        [
            (200, "application/javascript", True),
            (200, "text/javascript; charset=utf-8", True),
            (404, "application/problem+json", False),
            (200, "text/html", False),
        ],
    )
    def test_a_script_must_be_served_as_one(
        self, proof: Any, status: int, kind: str, sound: bool
    ) -> None:
        fault = proof.judge_script("/assets/a.js", status, {"content-type": kind})
        assert (fault == "") is sound
        assert sound or "/assets/a.js is not served" in fault

    def test_a_check_that_cannot_be_made_has_failed(self, proof: Any) -> None:
        prover = proof.Prover(
            {
                "ca": "/nowhere/ca.crt",
                "deadline": 2,
                "minimum_days": 14,
                "firewall": False,
                "server": None,
                "logins": [],
                "requests": [{"name": "nobody", "url": "http://127.0.0.1:1/", "status": 200}],
                "certificates": [
                    {"name": "no CA", "host": "127.0.0.1", "port": 1, "postgresql": False}
                ],
                "passwords": {},
            }
        )
        checks = prover.run()
        assert [(check.name, check.ok) for check in checks] == [("nobody", False), ("no CA", False)]
        assert all(check.detail for check in checks)
