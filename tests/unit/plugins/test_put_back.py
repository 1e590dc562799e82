"""A host's files become what they were before its first deployment; those of others stay."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.role_files import load_plugin

SITE, OURS = "nginx/enabled/theirs", "nginx/conf.d/ours.conf"


class Host(NamedTuple):
    """A host on which a deployment has taken the place of somebody's site."""

    root: Path
    copies: Any
    module: Any
    known: Any

    @property
    def before(self) -> Any:
        return self.known.Before(self.root / "before")

    def keep(self, *names: str) -> None:
        self.copies.bring(self.before.directory, [self.root / name for name in names], [])

    def write(self, name: str, content: str | None) -> Path:
        """Write as a deployment does; None removes."""
        path = self.root / name
        ledger = self.known.Ledger(self.before)
        if content is None:
            ledger.note(path, "absent")
            path.unlink()
            return path
        ledger.note(path, self.known.digest(content.encode()))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def way(self, *below: str, trees: tuple[str, ...] = ()) -> Any:
        tops = [self.root / name for name in below or ("",)]
        return self.module.Way(self.before, tops, [self.root / tree for tree in trees])

    def named(self, paths: list[Path]) -> set[str]:
        return {str(path.relative_to(self.root)) for path in paths}

    def files(self) -> dict[str, tuple[int, str]]:
        """Mode and content of all that is there, but for what is kept."""
        return {
            str(path.relative_to(self.root)): (
                path.lstat().st_mode,
                str(path.readlink())
                if path.is_symlink()
                else path.read_text()
                if path.is_file()
                else "",
            )
            for path in self.root.rglob("*")
            if self.before.directory not in (path, *path.parents)
        }


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    copies, module = load_plugin("modules.first_copies"), load_plugin("modules.put_back")
    known = load_plugin("module_utils.before")
    # What this machine has is of no interest.
    monkeypatch.setattr(copies, "RUNNING", {})
    monkeypatch.setattr(copies, "CLUSTERS", ["no-such-program"])
    monkeypatch.setattr(module, "SYSTEMD", tmp_path / "systemd")
    for name in ("nginx/available", "nginx/enabled", "nginx/conf.d", "systemd/some.wants"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "nginx/available/theirs").write_text("server {}\n")
    (tmp_path / SITE).symlink_to("../available/theirs")
    (tmp_path / "nginx/nginx.conf").write_text("worker_connections 768;\n")
    (tmp_path / "nginx/nginx.conf").chmod(0o640)
    (tmp_path / "systemd/theirs.service").write_text("their unit\n")
    (tmp_path / "systemd/idle.service").write_text("their other unit\n")
    (tmp_path / "systemd/some.wants/theirs.service").symlink_to("../theirs.service")
    host = Host(tmp_path, copies, module, known)
    host.keep("nginx", "systemd", "none")
    return host


def deploy(host: Host) -> None:
    host.write(SITE, None)
    host.write(OURS, "first release\n")
    host.write(OURS, "second release\n")
    host.write("nginx/nginx.conf", "worker_connections 8192;\n")
    host.write("systemd/theirs.service", "our unit of the same name\n")
    host.write("systemd/idle.service", "our other unit\n")
    host.write("systemd/ours.service", "our unit\n")
    for wants in ("some.wants", "new.wants"):
        (host.root / "systemd" / wants).mkdir(exist_ok=True)
        (host.root / "systemd" / wants / "ours.service").symlink_to("../ours.service")
    host.write("none/ours/secret", "a password\n")
    host.write("elsewhere/sbin/ours", "a program\n")


def test_all_is_as_it_was_and_the_second_time_nothing_is_to_be_done(host: Host) -> None:
    before = host.files()
    deploy(host)
    way = host.way()
    assert host.named(way.put_back) == {
        *(SITE, "nginx/nginx.conf", "systemd/idle.service", "systemd/theirs.service")
    }
    assert host.named(way.removed) >= {OURS, "systemd/ours.service", "elsewhere/sbin/ours"}
    assert (way.conflicts, way.left) == ([], [])
    way.go()
    assert host.files() == before
    again = host.way()
    assert (again.put_back, again.removed, again.conflicts, again.left) == ([], [], [], [])


@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_run_that_was_killed_is_completed_by_the_next(host: Host, done: int) -> None:
    before = host.files()
    deploy(host)
    way = host.way()
    way.put_back, way.removed = way.put_back[:done], way.removed[: done - 1]
    way.go()
    host.way().go()
    assert host.files() == before


def test_what_a_deployment_was_killed_before_it_wrote_is_as_it_was(host: Host) -> None:
    """It was said before it was done."""
    before = host.files()
    host.known.Ledger(host.before).note(host.root / OURS, "0" * 64)
    way = host.way()
    assert (way.put_back, way.removed, way.conflicts) == ([], [], [])
    assert host.files() == before


def test_what_somebody_else_has_changed_since_is_named_and_left(host: Host) -> None:
    deploy(host)
    (host.root / "nginx/nginx.conf").write_text("worker_connections 9000;\n")
    (host.root / "systemd/ours.service").write_text("edited\n")
    way = host.way()
    assert [(each["path"], each["was"]) for each in way.conflicts] == [
        (f"{host.root}/nginx/nginx.conf", "there"),
        (f"{host.root}/systemd/ours.service", "absent"),
    ]
    kept = Path(way.conflicts[0]["kept"])
    assert kept.read_text() == "worker_connections 768;\n"
    way.go()
    assert (host.root / "nginx/nginx.conf").read_text() == "worker_connections 9000;\n"
    assert (host.root / "systemd/ours.service").read_text() == "edited\n"
    assert (host.root / SITE).is_symlink()
    # What the message says to do: theirs is to stay, and ours is not.
    shutil.copy2(host.root / "nginx/nginx.conf", kept)
    (host.root / "systemd/ours.service").unlink()
    assert host.way().conflicts == []


def test_what_somebody_has_removed_does_not_come_back_by_itself(host: Host) -> None:
    deploy(host)
    (host.root / "nginx/nginx.conf").unlink()
    assert [each["path"] for each in host.way().conflicts] == [f"{host.root}/nginx/nginx.conf"]


def test_what_is_of_others_stays_and_is_said(host: Host) -> None:
    deploy(host)
    (host.root / "systemd/new.service").write_text("somebody's\n")
    (host.root / "nginx/available/theirs").write_text("server { listen 81; }\n")
    way = host.way()
    way.go()
    assert (host.root / "systemd/new.service").exists()
    said = dict(line.removeprefix(f"{host.root}/").split(": ", 1) for line in way.left)
    assert "put it there" in said["systemd/new.service"]
    assert "changed it" in said["nginx/available/theirs"]


def test_only_the_mode_differs(host: Host) -> None:
    deploy(host)
    host.way().go()
    (host.root / "nginx/nginx.conf").chmod(0o644)
    host.way().go()
    assert stat.S_IMODE((host.root / "nginx/nginx.conf").stat().st_mode) == 0o640


def test_a_directory_that_holds_data_stays(host: Host) -> None:
    deploy(host)
    (host.root / "none/ours/row").write_text("data\n")
    way = host.way()
    way.go()
    assert (host.root / "none/ours/row").exists()
    assert not (host.root / "none/ours/secret").exists()
    assert any(line.startswith(f"{host.root}/none/ours: it holds data") for line in way.left)


def test_a_directory_that_was_there_gets_its_owner_and_mode_back(host: Host) -> None:
    inside, outside = host.root / "nginx/conf.d", host.root / "outside"
    outside.mkdir(mode=0o750)
    (outside / "of others").touch()
    for path in (inside, outside):
        host.known.Ledger(host.before).note(path, "directory")
        path.chmod(0o700)
    way = host.way()
    assert host.named(way.put_back) == {"nginx/conf.d", "outside"}
    way.go()
    assert stat.S_IMODE(inside.stat().st_mode) == 0o755
    assert stat.S_IMODE(outside.stat().st_mode) == 0o750
    assert (outside / "of others").exists()
    assert host.way().put_back == []


def test_a_tree_goes_whole_unless_it_was_there(host: Host) -> None:
    deploy(host)
    (host.root / "none/ours/made").write_text("by a program of ours\n")
    way = host.way(trees=("none", "systemd"))
    way.go()
    assert not (host.root / "none").exists()
    assert (host.root / "systemd/theirs.service").exists()
    assert any(line.startswith(f"{host.root}/systemd: it was there") for line in way.left)


def test_one_part_is_put_back_alone(host: Host) -> None:
    deploy(host)
    host.way("nginx").go()
    assert (host.root / SITE).is_symlink()
    assert not (host.root / OURS).exists()
    assert (host.root / "systemd/ours.service").exists()


def test_units_that_did_not_run_are_stopped_and_those_that_ran_run_again(host: Host) -> None:
    deploy(host)
    ledger = host.known.Ledger(host.before)
    for name in ("ours.service", "theirs.service", "nginx.service", "cluster@17.service"):
        ledger.note(name, "unit")
    (host.before.directory / "running").mkdir(exist_ok=True)
    (host.before.directory / "running/units").write_text(
        "theirs.service loaded active running Theirs\n"
        "nginx.service loaded active running A web server\n"
        "idle.service loaded inactive dead Theirs\n"
        "cluster@17.service loaded inactive dead Cluster\n"
    )
    way = host.way()
    assert way.units() == ["cluster@17.service", "ours.service"]
    assert way.again() == ["theirs.service"]
    way.go()
    # Its file is gone: systemd knows it no more.
    assert host.way().units() == ["cluster@17.service"]


@pytest.mark.parametrize("status", [0, 1])
def test_a_trial_sees_what_would_be_there_and_nobody_else_does(
    host: Host, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(host)
    seen: dict[str, Any] = {}

    def run(command: list[Any], **_: Any) -> Any:
        trial = Path(command[5])
        seen["link"] = (trial / "enabled/theirs").is_symlink()
        seen["ours"] = (trial / "conf.d/ours.conf").exists()
        seen["command"] = command[6:]
        return type("Done", (), {"returncode": status, "stderr": "line 3: no", "stdout": ""})

    original = host.module.subprocess.run
    monkeypatch.setattr(
        host.module.subprocess,
        "run",
        lambda command, **more: (run if command[0] == "unshare" else original)(command, **more),
    )
    nginx = host.root / "nginx"
    said = host.module.tried(host.way("nginx"), nginx, ["nginx", "-t"])
    assert said == ("line 3: no" if status else "")
    assert seen == {"link": True, "ours": False, "command": [nginx, "nginx", "-t"]}
    assert (host.root / OURS).exists()
    assert not list(host.before.directory.glob("tmp*"))


def test_why_there_is_no_way_back(host: Host, tmp_path: Path) -> None:
    assert host.module.refusal(host.before) == ""
    (host.before.directory / "confirmed").write_text("2026-11-30\n")
    assert "confirmed (2026-11-30)" in host.module.refusal(host.before)
    assert "playbooks/restore.yml" in host.module.refusal(host.before)
    assert "never deployed" in host.module.refusal(host.known.Before(tmp_path / "no"))
    host.copies.bring(tmp_path / "later", [tmp_path / "nginx"], [tmp_path / "nginx"])
    assert "kept no copies" in host.module.refusal(host.known.Before(tmp_path / "later"))


def test_an_undo_that_is_complete_is_known_by_what_it_went_by(host: Host) -> None:
    assert host.module.undone(host.before) == []
    done = host.root / "before-undone-20261130_110000"
    host.before.directory.rename(done)
    assert host.module.undone(host.before) == [done]


class TestLedger:
    def test_what_came_after_the_first_copies_is_kept_before_it_is_changed(
        self, host: Host
    ) -> None:
        """A package brings its configuration, which a deployment then changes."""
        path = host.root / "none/package.conf"
        path.parent.mkdir()
        path.write_text("as the package has it\n")
        path.chmod(0o600)
        host.write("none/package.conf", "ours\n")
        host.write("none/package.conf", "ours, later\n")
        host.way().go()
        assert path.read_text() == "as the package has it\n"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    def test_what_is_ours_already_is_no_copy_of_what_was_there(self, host: Host) -> None:
        path = host.root / "elsewhere"
        path.write_text("ours\n")
        host.write("elsewhere", "ours\n")
        assert not os.path.lexists(host.before.copy_of(path))

    @pytest.mark.parametrize("closed", ["confirmed", "manifest.json"])
    def test_nothing_is_noted_where_no_way_back_is_kept(self, host: Host, closed: str) -> None:
        path = host.before.directory / closed
        path.unlink() if path.exists() else path.touch()
        host.write(OURS, "ours\n")
        assert not host.before.written.exists()
        assert host.before.known() == {}

    def test_a_state_is_written_once(self, host: Host) -> None:
        for _ in range(2):
            host.write(OURS, "ours\n")
        assert len(host.before.written.read_text().splitlines()) == 1

    @pytest.mark.parametrize("torn", ["e3b0c44298fc", "ab" * 32 + " /etc/ngi", "directory"])
    def test_a_line_that_a_full_disk_has_torn_is_forgotten(self, host: Host, torn: str) -> None:
        """Nothing was done that it would have said, and the next line is whole."""
        with host.before.written.open("a") as written:
            written.write(torn)
        assert host.before.known() == {}
        host.write(OURS, "ours\n")
        assert host.named(host.way().removed) == {OURS}
        assert host.way().conflicts == []
        assert torn not in host.before.written.read_text()

    def test_what_is_no_line_of_a_deployment_is_ignored(self, host: Host) -> None:
        state = host.known.digest(b"ours\n")
        host.before.written.write_text(f"e3b0c44298fc{state} {host.root / OURS}\n\n")
        assert host.before.known() == {}
