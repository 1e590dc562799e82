"""How a host changes what a service runs with, and undoes it: whatever stops it, wherever."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.role_files import ROOT

SCRIPT = ROOT / "roles" / "release" / "files" / "change_release.sh"
UNIT = "autobot-tests"
OLD, NEW = "1.0.0-old", "1.0.0-new"


class Host:
    """A directory of a service, and a place for its files; systemd only notes what it is asked."""

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.etc = directory / "etc"
        self.programs = directory / "bin"
        self.asked = directory / "asked"
        for path in (self.etc, self.programs):
            path.mkdir(parents=True)
        for name in ("systemctl", "systemd-run"):
            program = self.programs / name
            program.write_text(f'#!/bin/sh\necho {name} "$@" >>{self.asked}\n')
            program.chmod(0o755)
        for release in (OLD, NEW):
            (self.root / "releases" / release).mkdir(parents=True)
        (self.root / "current").symlink_to(f"releases/{OLD}")
        self.unit = self.etc / f"{UNIT}.socket"
        # The script knows where units are; the copy's are here.
        text = SCRIPT.read_text()
        assert "/etc/systemd/system/" in text
        self.script = directory / "change_release.sh"
        self.script.write_text(text.replace("/etc/systemd/system/", f"{self.etc}/"))
        self.script.chmod(0o755)
        self.write(
            {"env": "old", f"{UNIT}.socket": "socket", f"{UNIT}.service": "service", "kept": "same"}
        )

    def write(self, files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (self.etc / name).write_text(text)

    def stage(self, files: Mapping[str, str], absent: tuple[str, ...] = ()) -> None:
        for name, text in files.items():
            path = Path(f"{self.root}/next/files{self.etc}/{name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (self.root / "next" / "absent").write_text("".join(f"{self.etc}/{a}\n" for a in absent))

    def run(self, action: str, *arguments: str) -> str:
        """Do it; what systemd was asked meanwhile."""
        self.asked.unlink(missing_ok=True)
        done = self.attempt(action, *arguments)
        assert done.returncode == 0, done.stderr
        return self.asked.read_text() if self.asked.exists() else ""

    def attempt(self, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.script, action, self.root, *arguments],
            env={**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    def switch(self, release: str = NEW) -> str:
        return self.run("switch", UNIT, release, "300")

    @property
    def files(self) -> dict[str, str]:
        """All but the unit of the service, which no test changes."""
        return {
            path.name: path.read_text()
            for path in self.etc.iterdir()
            if path.name != f"{UNIT}.service"
        }

    @property
    def current(self) -> str:
        return (self.root / "current").readlink().name


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_switch_takes_over_release_and_files_and_confirms(host: Host) -> None:
    host.write({"former": "old"})
    host.stage({"env": "new", "added": "new"}, absent=("former",))
    asked = host.switch()
    assert host.files == {"env": "new", f"{UNIT}.socket": "socket", "kept": "same", "added": "new"}
    assert host.current == NEW
    assert f"--on-active=300 --timer-property=AccuracySec=1s -- {host.root}/change" in asked
    assert f"systemctl enable --quiet {UNIT}-boot.service" in asked
    assert not (host.root / "next").exists()

    host.run("confirm", NEW, "5")
    assert not (host.root / "undo").exists()
    assert host.run("back", "too late") == ""
    assert host.current == NEW


@pytest.mark.parametrize("action", ["back", "boot"])
@pytest.mark.parametrize("release", [NEW, OLD], ids=["another release", "the same release"])
def test_what_nobody_confirmed_goes_back_with_its_files(
    host: Host, action: str, release: str
) -> None:
    host.write({"former": "old"})
    before = host.files
    host.stage({"env": "new", "added": "new"}, absent=("former",))
    host.switch(release)
    asked = host.run(action)
    assert host.files == before
    assert host.current == OLD
    assert not (host.root / "undo").exists()
    assert "systemctl daemon-reload" in asked
    restarted = f"systemctl restart {UNIT}.service" in asked
    # At boot that would wait for itself: what it restarts is started after it.
    assert restarted is (action == "back")


def test_a_link_that_is_to_go_comes_back_as_a_link(host: Host) -> None:
    link = host.etc / "site"
    link.symlink_to("kept")
    host.stage({"env": "new"}, absent=("site",))
    host.switch()
    assert not link.is_symlink()
    host.run("back", "it fails")
    assert link.readlink() == Path("kept")


@pytest.mark.parametrize("action", ["back", "boot"])
def test_a_first_release_that_replaces_something_gives_it_back(host: Host, action: str) -> None:
    """Somebody was served by it: AutoBot's users, where the gateway takes its site's place."""
    (host.root / "current").unlink()
    host.write({"site": "AutoBot's"})
    before = host.files
    relay = host.etc / f"{UNIT}-relay.service"
    host.stage({"ours": "new", relay.name: "relay"}, absent=("site",))
    asked = host.switch()
    assert "site" not in host.files
    assert f"--unit={UNIT}-undo" in asked
    assert host.current == NEW
    asked = host.run(action, "it fails")
    assert host.files == before
    assert not (host.root / "current").is_symlink()
    assert (host.root / "releases" / NEW / ".failed").read_text() == "it fails\n"
    if action == "back":
        assert "systemctl reload-or-restart nginx.service" in asked
        assert f"systemctl stop {UNIT}-relay.socket {UNIT}-relay.service" in asked


def test_a_first_release_that_replaces_nothing_has_nothing_to_go_back_to(host: Host) -> None:
    (host.root / "current").unlink()
    host.stage({"ours": "new"})
    assert "undo" not in host.switch()
    assert host.run("back", "it fails") == ""
    assert host.files["ours"] == "new"


def test_a_failed_release_says_why_and_the_same_one_does_not(host: Host) -> None:
    host.stage({"env": "new"})
    host.switch()
    host.run("back", "it does not answer")
    assert (host.root / "releases" / NEW / ".failed").read_text() == "it does not answer\n"

    host.stage({"env": "new"})
    host.switch(OLD)
    host.run("back", "it does not answer")
    assert not (host.root / "releases" / OLD / ".failed").exists()


def test_of_changes_that_nobody_confirmed_what_was_before_all_counts(host: Host) -> None:
    before = host.files
    host.stage({"env": "second", "added": "second"})
    host.switch()
    host.stage({"env": "third", "added": "third", "kept": "third", "more": "third"})
    host.switch()
    host.run("back")
    assert host.files == before
    assert host.current == OLD


def test_what_is_so_already_is_not_written(host: Host) -> None:
    """A socket whose unit looks new is restarted, and those who wait at it are turned away."""
    before = host.unit.stat().st_ctime_ns, (host.root / "current").lstat().st_ctime_ns
    host.stage({"env": "new", f"{UNIT}.socket": "socket"})
    host.switch(OLD)
    asked = host.run("back")
    assert (host.unit.stat().st_ctime_ns, (host.root / "current").lstat().st_ctime_ns) == before
    assert f"{UNIT}.socket" not in asked


def test_permissions_go_back_too(host: Host) -> None:
    (host.etc / "env").chmod(0o600)
    host.stage({"env": "old"})
    host.switch()
    assert (host.etc / "env").stat().st_mode & 0o777 == 0o644
    host.run("back")
    assert (host.etc / "env").stat().st_mode & 0o777 == 0o600


def test_a_switch_that_was_stopped_midway_goes_back(host: Host) -> None:
    """Whatever of it was done: what was before is remembered before anything is."""
    before = host.files
    host.stage({"added": "new", "env": "new", "kept": "new"})
    broken = host.programs / "mv"
    broken.write_text(
        f'#!/bin/sh\n[ "$3" != {host.etc}/kept ] || exit 1\nexec {shutil.which("mv")} "$@"\n'
    )
    broken.chmod(0o755)
    assert host.attempt("switch", UNIT, NEW, "300").returncode != 0
    broken.unlink()
    host.run("boot")
    left = {name: text for name, text in host.files.items() if not name.endswith("-new")}
    assert left == before
    assert host.current == OLD


def test_the_first_release_has_nothing_to_go_back_to(host: Host) -> None:
    (host.root / "current").unlink()
    host.stage({"env": "new"})
    assert "systemd-run" not in host.switch()
    assert host.current == NEW
    assert host.run("back", "it does not answer") == ""
    assert host.current == NEW


def test_what_a_failed_run_wrote_beside_is_removed_and_what_a_new_one_writes_stays(
    host: Host,
) -> None:
    host.stage({"env": "new"})
    # The timer of an earlier change fires while a new one is prepared.
    host.run("back")
    assert (host.root / "next").exists()
    host.run("back", "it was refused")
    assert not (host.root / "next").exists()
    assert host.files["env"] == "old"


def previous(host: Host) -> str | None:
    link = host.root / "previous"
    return link.readlink().name if link.is_symlink() else None


@pytest.mark.parametrize("before", [None, "0.9.0"])
def test_the_release_before_is_the_one_that_served(host: Host, before: str | None) -> None:
    """Its pages are served to those who have an old one open, and a rollback goes to it."""
    if before:
        (host.root / "previous").symlink_to(f"releases/{before}")
    host.stage({"env": "new"})
    host.switch()
    assert previous(host) == OLD
    # The release stays while nobody has confirmed it, and what serves is the one of before again.
    host.stage({"env": "newer"})
    host.switch(OLD)
    assert previous(host) == (before or OLD)
    host.run("back")
    assert previous(host) == before


@pytest.mark.parametrize("action", ["back", "boot"])
def test_without_a_reason_nobody_confirmed_it(host: Host, action: str) -> None:
    host.stage({"env": "new"})
    host.switch()
    host.run(action)
    said = (host.root / "releases" / NEW / ".failed").read_text()
    assert said == "nobody confirmed it in time\n"


def test_who_confirms_too_late_is_told_what_serves(host: Host) -> None:
    host.stage({"env": "new"})
    host.switch()
    host.run("back")
    late = host.attempt("confirm", NEW, "5")
    assert late.returncode == 1
    assert f"went back to {OLD} by itself: nobody confirmed {NEW} in time." in late.stderr
    assert not (host.root / "releases" / NEW / ".served").exists()


def test_a_confirmed_release_has_served_and_not_failed(host: Host) -> None:
    failed = host.root / "releases" / NEW / ".failed"
    failed.write_text("the time before")
    host.stage({"env": "new"})
    host.switch()
    host.run("confirm", NEW, "5")
    assert (host.root / "releases" / NEW / ".served").exists()
    assert not failed.exists()


def test_the_timer_that_undoes_is_stopped_when_that_is_over(host: Host) -> None:
    stopped = f"systemctl stop {UNIT}-undo.timer\n"
    host.stage({"env": "new"})
    asked = host.switch()
    # One of an earlier change would undo this one too early.
    assert asked.index(stopped) < asked.index(f"--unit={UNIT}-undo ")
    assert f" -- {host.root}/change_release.sh back {host.root}\n" in asked
    assert stopped in host.run("confirm", NEW, "5")
    host.stage({"env": "newer"})
    host.switch(OLD)
    assert stopped in host.run("back")


def test_a_confirmation_removes_the_releases_that_nobody_needs(host: Host) -> None:
    """Those that served last stay, the one before, and the newest that has not served."""
    releases = host.root / "releases"
    for age, name in enumerate(("served-1", "served-2", "served-3", OLD)):
        (releases / name).mkdir(exist_ok=True)
        (releases / name / ".served").touch()
        os.utime(releases / name / ".served", (1000 - age, 1000 - age))
    for age, name in enumerate(("tried-1", "tried-2")):
        (releases / name).mkdir()
        (releases / name / ".complete").touch()
        os.utime(releases / name, (1000 - age, 1000 - age))
    host.stage({"env": "new"})
    host.switch()
    host.run("confirm", NEW, "2")
    left = {path.name for path in releases.iterdir()}
    assert left == {NEW, OLD, "served-1", "tried-1"}
    assert not (host.root / ".kept").exists()


@pytest.mark.parametrize("changed", [True, False], ids=["changed", "as it was"])
def test_going_back_restarts_what_changed_and_nothing_else(host: Host, *, changed: bool) -> None:
    host.stage({"env": "new" if changed else "old"})
    host.switch(OLD)
    asked = host.run("back").splitlines()
    restarts = [
        f"systemctl restart {UNIT}.service",
        "systemctl reload-or-restart nginx.service",
    ]
    assert [line for line in asked if "restart" in line] == (restarts if changed else [])


def test_a_socket_that_changed_is_restarted_before_its_service(host: Host) -> None:
    host.stage({f"{UNIT}.socket": "another"})
    host.switch()
    asked = host.run("back").splitlines()
    units = [f"systemctl restart {UNIT}.socket", f"systemctl restart {UNIT}.service"]
    assert [line for line in asked if " restart " in line] == units
    assert asked.index("systemctl daemon-reload") < asked.index(units[0])


def test_two_services_with_one_release_go_back_together(host: Host) -> None:
    host.write({"two.socket": "socket", "two.service": "service"})
    units = f"{UNIT} two"
    host.stage({"env": "new"})
    host.run("switch", units, NEW, "300")
    # The second service comes with files of its own, and with no release of its own.
    host.stage({"two.socket": "another"})
    asked = host.run("switch", units, NEW, "300")
    assert f"systemctl stop {UNIT}-undo.timer\n" in asked
    assert asked.count("--unit=") == asked.count(f"--unit={UNIT}-undo ") == 1
    asked = host.run("back")
    assert [line for line in asked.splitlines() if "restart" in line] == [
        f"systemctl restart {UNIT}.service",
        "systemctl restart two.socket",
        "systemctl restart two.service",
        "systemctl reload-or-restart nginx.service",
    ]
    assert (host.files["env"], host.files["two.socket"]) == ("old", "socket")
    assert host.current == OLD


def test_what_did_not_restart_is_restarted_by_the_next_attempt(host: Host) -> None:
    host.write({"two.socket": "socket", "two.service": "service"})
    host.stage({"env": "new"})
    host.run("switch", f"{UNIT} two", NEW, "300")
    systemctl = host.programs / "systemctl"
    works = systemctl.read_text()
    systemctl.write_text(f'{works}[ "$*" != "restart {UNIT}.service" ]\n')
    host.asked.unlink()
    assert host.attempt("back").returncode == 1
    systemctl.write_text(works)
    restarts = [
        f"systemctl restart {UNIT}.service",
        "systemctl restart two.service",
        "systemctl reload-or-restart nginx.service",
    ]
    asked = host.asked.read_text().splitlines()
    assert [line for line in asked if "restart" in line] == restarts
    assert (host.root / "undo").exists()
    asked = host.run("back").splitlines()
    assert [line for line in asked if "restart" in line] == restarts
    assert not (host.root / "undo").exists()


def test_a_service_that_the_change_brought_is_gone_again(host: Host) -> None:
    host.stage({"two.socket": "socket", "two.service": "service"})
    host.run("switch", f"{UNIT} two", NEW, "300")
    asked = host.run("back").splitlines()
    assert "systemctl stop two.socket two.service" in asked
    assert not [line for line in asked if "restart two" in line]


def test_what_is_remembered_is_roots_alone(host: Host) -> None:
    """Credentials are in it."""
    host.stage({"env": "new"})
    host.switch()
    assert (host.root / "undo").stat().st_mode & 0o777 == 0o700


def test_two_changes_do_not_meet(host: Host) -> None:
    host.stage({"env": "new"})
    with (host.root / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = subprocess.Popen(
            [host.script, "switch", host.root, UNIT, NEW, "300"],
            env={**os.environ, "PATH": f"{host.programs}:{os.environ['PATH']}"},
        )
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.5)
        assert host.files["env"] == "old"
    assert second.wait(600) == 0
    assert host.files["env"] == "new"


def test_a_link_is_never_away(host: Host) -> None:
    """What nginx serves is below it."""
    spy = host.programs / "mv"
    spy.write_text(
        f"#!/bin/sh\n[ -L {host.root}/current ] || echo GONE >>{host.asked}\n"
        f'exec {shutil.which("mv")} "$@"\n'
    )
    spy.chmod(0o755)
    host.stage({"env": "new"})
    assert "GONE" not in host.switch()
    assert "GONE" not in host.run("back")


def test_going_back_to_another_release_with_the_same_files_restarts_the_service(host: Host) -> None:
    host.stage({"env": "old"})
    host.switch()
    # What a point that was interrupted has left is in nobody's way.
    (host.root / "current.new").symlink_to("releases/interrupted")
    assert f"systemctl restart {UNIT}.service" in host.run("back")
    assert host.current == OLD
