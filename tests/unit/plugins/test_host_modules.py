"""The modules that run on hosts: what they decide, and what they say when something is wrong."""

import grp
import json
import os
import pwd
import stat
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.role_files import load_plugin


@pytest.fixture(scope="module")
def units() -> Any:
    return load_plugin("modules.units_in_force")


@pytest.fixture(scope="module")
def host_files() -> Any:
    return load_plugin("modules.host_files")


@pytest.fixture(scope="module")
def action() -> Any:
    return load_plugin("action.host_files")


@pytest.fixture(scope="module")
def proof() -> Any:
    return load_plugin("modules.host_proof")


def unit_state(**changes: str) -> dict[str, str]:
    return {
        "ActiveState": "active",
        "ActiveEnterTimestamp": "",
        "ActiveEnterTimestampMonotonic": str(10**18),
        "StateChangeTimestamp": "",
        "StateChangeTimestampMonotonic": str(10**18),
        **changes,
    }


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
        before, after = "Thu 1970-01-01 00:01:00.250000 UTC", "Fri 2199-01-01 00:01:00.250000 UTC"

        def wanted(start: str, reload: str) -> str | None:
            state = unit_state(ActiveEnterTimestamp=start, StateChangeTimestamp=reload)
            found: str | None = units.wanted_action(unit, state)
            return found

        assert wanted(before, before) == action
        assert wanted(after, after) is None
        # A reload does not make up for a restart.
        assert wanted(before, after) == (None if reload else "restart")

    @pytest.mark.parametrize(("reload", "action"), [(False, "restart"), (True, "reload")])
    def test_a_clock_that_steps_back_hides_no_file(
        self, units: Any, tmp_path: Path, reload: bool, action: str
    ) -> None:
        """The unit was started a minute ago, when the clock said a later time than now."""
        path = tmp_path / "input"
        path.touch()
        name = "StateChangeTimestamp" if reload else "ActiveEnterTimestamp"
        ago = {f"{name}Monotonic": str(int((time.monotonic() - 60) * 10**6))}
        state = unit_state(**{name: "Fri 2199-01-01 00:01:00.250000 UTC"}, **ago)
        assert units.wanted_action({"inputs": [str(path)], "reload": reload}, state) == action

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


class Module:
    """What the module asks Ansible for."""

    check_mode = False

    def __init__(self, entries: list[dict[str, Any]], secrets: dict[str, str], **more: Any) -> None:
        owner, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
        defaults = {
            "directory": False,
            "exact": False,
            "absent": False,
            "mode": None,
            "validate": None,
            "backup": False,
            "base64": False,
        }
        files = [{**defaults, "owner": owner, "group": group, **entry} for entry in entries]
        self.params = {"files": files, "secrets": secrets, "aside": None, "always_aside": False}
        self.params |= more
        self.check_mode = more.get("check", False)

    def backup_local(self, path: str) -> str:
        kept = f"{path}.1~"
        Path(kept).write_bytes(Path(path).read_bytes())
        return kept


class TestHostFiles:
    @pytest.fixture
    def bring(self, host_files: Any, action: Any) -> Callable[..., list[str]]:
        """Bring credentials to a directory; returns the names of what was not as it must be."""

        def bring(directory: Path, credentials: dict[str, str], **more: Any) -> list[str]:
            entries = action.expanded({"path": str(directory), "credentials": credentials})
            secrets = {e["path"]: e.pop("content") for e in entries if e.pop("secret", False)}
            module = Module(entries, secrets, **more)
            writer = host_files.Writer(module)
            writer.bring(module.params["files"])
            assert not any(diff["before"] + diff["after"] for diff in writer.diffs)
            return [Path(path).name for path in writer.written]

        return bring

    def test_credentials_are_written_removed_and_then_not_changed(
        self, bring: Callable[..., list[str]], tmp_path: Path
    ) -> None:
        directory = tmp_path / "credentials"
        assert bring(directory, {"one": "1", "two": "2"}) == ["credentials", "one", "two"]
        assert bring(directory, {"one": "1", "two": "changed"}) == ["two"]
        assert bring(directory, {"two": "changed"}) == ["one"]
        assert bring(directory, {"two": "changed"}) == []
        assert [path.name for path in directory.iterdir()] == ["two"]
        assert (directory / "two").read_text() == "changed"

    def test_what_may_not_be_there_goes(self, host_files: Any, tmp_path: Path) -> None:
        target, link = tmp_path / "target", tmp_path / "link"
        target.write_text("AutoBot's site")
        link.symlink_to(target)

        def bring(**more: Any) -> Any:
            writer = host_files.Writer(Module([{"path": str(link), "absent": True}], {}, **more))
            writer.bring(writer._module.params["files"])
            return writer

        aside = tmp_path / "aside"
        assert bring(aside=str(aside)).pending
        assert (aside / "absent").read_text() == f"{link}\n"
        assert link.is_symlink()
        assert bring().written == [str(link)]
        assert not link.is_symlink()
        assert target.exists()
        assert bring().written == []

    @pytest.fixture
    def written(self, host_files: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Where is noted what is written, on a host whose first copies are kept."""
        before = tmp_path / "before"
        before.mkdir()
        (before / "manifest.json").write_text("{}")
        ledger = host_files.Ledger
        known = load_plugin("module_utils.before")
        monkeypatch.setattr(host_files, "Ledger", lambda: ledger(known.Before(before)))
        return before / "written"

    def test_a_file_that_is_edited_stays_whose_it_is(
        self, host_files: Any, tmp_path: Path, written: Path
    ) -> None:
        path = tmp_path / "server.conf"
        path.write_text("events {\n  connections 768;\n}\nconnections 9000;\n")
        path.chmod(0o604)
        entry = {
            "path": str(path),
            "edit": {"pattern": r"^(\s*connections )\d{3};", "replacement": r"\g<1>8192;"},
            "backup": True,
        }
        for times in (1, 2):
            writer = host_files.Writer(Module([entry], {}))
            writer.bring(writer._module.params["files"])
            assert writer.written == [str(path)] * (2 - times)
        assert path.read_text() == "events {\n  connections 8192;\n}\nconnections 9000;\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o604
        noted = [line.split()[1] for line in written.read_text().splitlines()]
        # The copy beside it is the deployment's too.
        assert noted == [str(path), f"{path}.1~"]
        assert "connections 768" in Path(f"{written.parent}/files{path}").read_text()

    def test_what_is_written_is_noted_also_where_it_was_written_before(
        self, host_files: Any, tmp_path: Path, written: Path
    ) -> None:
        new, right, gone = (tmp_path / name for name in ("made/new", "right", "gone"))
        right.write_text("right")
        gone.write_text("their own")
        entries: list[dict[str, Any]] = [
            {"path": str(tmp_path / "made"), "directory": True},
            {"path": str(new), "content": "new"},
            {"path": str(right), "content": "right"},
            {"path": str(gone), "absent": True},
        ]
        writer = host_files.Writer(Module(entries, {}, check=True))
        writer.bring(writer._module.params["files"])
        assert not written.exists()
        writer = host_files.Writer(Module(entries, {}, aside=str(tmp_path / "aside")))
        writer.bring(writer._module.params["files"])
        lines = [line.split(" ", 1) for line in written.read_text().splitlines()]
        noted = {path: state for state, path in lines}
        assert {path: len(state) for path, state in noted.items()} == {
            str(tmp_path / "made"): len("directory"),
            str(new): 64,
            str(right): 64,
            str(gone): len("absent"),
        }

    def test_nobody_else_may_read_credentials(
        self, bring: Callable[..., list[str]], tmp_path: Path
    ) -> None:
        directory = tmp_path / "credentials"
        bring(directory, {"one": "1"})
        directory.chmod(0o755)
        (directory / "one").chmod(0o644)
        assert bring(directory, {"one": "1"}) == ["credentials", "one"]
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE((directory / "one").stat().st_mode) == 0o600

    def test_check_writes_nothing(self, bring: Callable[..., list[str]], tmp_path: Path) -> None:
        directory = tmp_path / "credentials"
        assert bring(directory, {"one": "1"}, check=True) == ["credentials", "one"]
        assert not directory.exists()

    def test_what_is_no_text_is_written_and_not_shown(
        self, host_files: Any, tmp_path: Path
    ) -> None:
        path, content = tmp_path / "program", b"\x00\xff\n"
        path.write_bytes(b"\xfe")
        entry = {"path": str(path), "content": b64encode(content).decode(), "base64": True}

        def bring() -> Any:
            writer = host_files.Writer(Module([entry], {}))
            writer.bring(writer._module.params["files"])
            return writer

        first = bring()
        assert first.written == [str(path)]
        assert not any(diff["before"] + diff["after"] for diff in first.diffs)
        assert path.read_bytes() == content
        assert bring().written == []

    def test_beside_what_is_in_use_there_is_all_of_it_or_nothing(
        self, bring: Callable[..., list[str]], tmp_path: Path
    ) -> None:
        directory, aside = tmp_path / "credentials", tmp_path / "next"
        bring(directory, {"one": "1", "two": "2", "former": "3"})
        bring(directory, {"one": "1", "two": "2", "former": "3"}, aside=str(aside))
        assert not aside.exists()

        assert bring(directory, {"one": "1", "two": "new"}, aside=str(aside)) == ["two", "former"]
        written = {path.name: path.read_text() for path in directory.iterdir()}
        assert written == {"one": "1", "two": "2", "former": "3"}
        beside = Path(f"{aside}/files{directory}")
        assert {path.name: path.read_text() for path in beside.iterdir()} == {
            "one": "1",
            "two": "new",
        }
        assert (aside / "absent").read_text() == f"{directory}/former\n"
        assert stat.S_IMODE(aside.stat().st_mode) == 0o700
        assert stat.S_IMODE((beside / "one").stat().st_mode) == 0o600

    def test_what_is_pending_may_be_of_another_service(
        self, host_files: Any, tmp_path: Path
    ) -> None:
        aside = tmp_path / "next"

        def pending(content: str, **more: Any) -> bool:
            module = Module([{"path": str(tmp_path / "one"), "content": content}], {}, **more)
            writer = host_files.Writer(module)
            writer.bring(module.params["files"])
            found: bool = writer.pending
            return found

        assert not pending("1")
        assert not pending("1", aside=str(aside))
        assert pending("2", aside=str(aside), check=True)
        assert not pending("1", aside=str(aside))
        assert pending("2", aside=str(aside))
        # What is as it must be changes nothing, and the other's goes with the next switch.
        assert pending("1", aside=str(aside))

    def test_beside_what_is_in_use_another_release_finds_all_it_needs(
        self, bring: Callable[..., list[str]], tmp_path: Path
    ) -> None:
        directory, aside = tmp_path / "credentials", tmp_path / "next"
        bring(directory, {"one": "1"})
        assert bring(directory, {"one": "1"}, aside=str(aside), always_aside=True) == []
        assert Path(f"{aside}/files{directory}/one").read_text() == "1"


SERVER = {
    "ssl": "on",
    "data_checksums": "on",
    "hba_errors": 0,
    "file_errors": 0,
    "pending_restart": "",
    "archive": None,
    "weak_verifiers": ["of_others"],
}


@pytest.fixture
def archiving(new_server: Any) -> Iterator[Any]:
    """A server whose archive takes nothing."""
    server = new_server()
    server.start("archive_mode=on", "archive_command=false", "wal_level=replica")
    yield server
    server.remove()


def test_a_wal_segment_that_waits_for_its_archive_is_told_until_it_is_there(
    proof: Any, archiving: Any
) -> None:
    def told() -> str | None:
        said: str | None = json.loads(archiving.sql(proof.SERVER_QUERY))["archive"]
        return said

    archiving.sql("SELECT pg_switch_wal()")
    deadline = time.monotonic() + 600
    while told() is None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "could not be archived at" in str(told())
    # So does the archiver in the last moments of a server, which count it nowhere.
    for waiting in (archiving.data / "pg_wal/archive_status").glob("*.ready"):
        waiting.rename(waiting.with_suffix(".done"))
    assert told() is None


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
CLOSED = 'psql: error: connection to server at "10.0.0.1" failed: Connection refused'
NOT_TRIED = 'psql: error: root certificate file "/nowhere/ca.crt" does not exist'


class TestHostProof:
    @pytest.mark.parametrize(
        ("configuration", "expected"),
        [
            ("passwordauthentication no\nkbdinteractiveauthentication no\n", False),
            ("PasswordAuthentication yes\nkbdinteractiveauthentication no\n", True),
            ("passwordauthentication no\nkbdinteractiveauthentication yes\n", True),
        ],
    )
    @pytest.mark.parametrize("wanted", ["keys_only", "as_found"])
    def test_says_whether_ssh_takes_passwords(
        self, proof: Any, tmp_path: Path, wanted: str, configuration: str, expected: bool
    ) -> None:
        sshd = tmp_path / "sshd"
        sshd.write_text(f"#!/bin/sh\nprintf '{configuration}'\n")
        sshd.chmod(0o755)
        proof.SSHD[0] = str(sshd)
        check = proof.Prover({"deadline": 2, "ssh_logins": wanted}).ssh()
        assert check.ok is not (expected and wanted == "keys_only")
        found = proof.SSH_PASSWORDS if expected and wanted == "as_found" else proof.SSH_KEYS
        assert check.name == found
        assert bool(check.detail) is not check.ok

    @pytest.mark.parametrize(
        ("status", "error", "outcome"),
        [
            (0, "", "accepted"),
            (2, REFUSED, "refused"),
            (2, WRONG_PASSWORD, "stopped by something else"),
            (2, SILENT, "unreachable"),
            (2, CLOSED, "unreachable"),
            (2, NOT_TRIED, "not tried"),
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

    @pytest.mark.parametrize(
        ("status", "error", "kept_out"),
        [
            (0, "", False),
            (2, REFUSED, True),
            (2, WRONG_PASSWORD, False),
            (2, SILENT, True),
            (2, CLOSED, True),
            (2, NOT_TRIED, False),
        ],
    )
    def test_a_login_is_kept_out_by_the_server_or_before_it(
        self, proof: Any, status: int, error: str, kept_out: bool
    ) -> None:
        assert (proof.judge_login("kept_out", status, error) == "") is kept_out

    def test_a_sound_server_has_no_fault(self, proof: Any) -> None:
        assert proof.judge_server(SERVER, ["new_role"]) == ""

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            ({"ssl": "off"}, "ssl"),
            ({"hba_errors": 1}, "pg_hba"),
            ({"file_errors": 1}, "pg_file_settings"),
            ({"pending_restart": "shared_buffers"}, "shared_buffers"),
            ({"archive": "archive_mode is off"}, "archive_mode"),
            ({"weak_verifiers": ["of_others", "old_role"]}, ": old_role"),
        ],
    )
    def test_each_fault_of_a_server_is_named(
        self, proof: Any, change: dict[str, Any], word: str
    ) -> None:
        assert word in proof.judge_server({**SERVER, **change}, ["new_role", "old_role"])

    def test_an_adopted_cluster_may_lack_checksums_and_it_is_said(self, proof: Any) -> None:
        state = {**SERVER, "data_checksums": "off"}
        assert proof.judge_server(state, []) == ""
        assert "NO data checksums" in proof.server_name(state)
        assert proof.server_name(SERVER) == proof.SERVER

    @pytest.mark.parametrize(
        ("chain", "sound"),
        [
            ({"hook": "input", "policy": "drop"}, ["own", "additive"]),
            ({"hook": "input", "policy": "accept"}, ["additive"]),
            ({"hook": "output", "policy": "drop"}, []),
            # Somebody else's may be gone tomorrow.
            ({"hook": "input", "policy": "drop", "table": "theirs"}, []),
            ({"hook": "input", "policy": "drop", "family": "ip"}, []),
        ],
    )
    def test_a_firewall_must_drop_what_comes_in_or_judge_it_beside_another(
        self, proof: Any, chain: dict[str, str], sound: list[str]
    ) -> None:
        rules = {
            "nftables": [
                {"metainfo": {}},
                {"chain": {"family": "inet", "table": "autobot", **chain}},
            ]
        }
        modes = ["own", "additive"]
        assert [mode for mode in modes if proof.judge_chains(rules, mode) == ""] == sound

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
                "firewall": "none",
                "ssh_logins": None,
                "server": None,
                "server_roles": [],
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
