"""The key with which a host reaches its repository: made once, its own, and nobody else's."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.role_files import ROOT

SCRIPT = (ROOT / "roles" / "backup" / "files" / "identity.sh").read_text()
# Users are none of this test's: whose a file is to be is noted, and postgres is whoever runs it.
STAND_INS = {
    "stat": 'printf "%s %s\\n" "$OWNER" "$({stat} --format="%a %F" "$2")"',
    "install": 'echo install "$@" >>{asked}; for last; do :; done; mkdir -p -m 0750 "$last"',
    "chown": 'echo chown "$@" >>{asked}',
    "runuser": 'echo as "$2" >>{asked}; shift 3; "$@"',
}


class Host:
    """The script with a directory of its own and these stand-ins."""

    def __init__(self, directory: Path) -> None:
        self.asked = directory / "asked"
        self.directory = directory / "backup"
        self.programs = directory / "bin"
        self.programs.mkdir()
        for name, text in STAND_INS.items():
            program = self.programs / name
            does = text.replace("{asked}", str(self.asked)).replace(
                "{stat}", str(shutil.which("stat"))
            )
            program.write_text(f"#!/bin/sh\n{does}\n")
            program.chmod(0o755)
        assert "directory=/etc/autobot-users/backup\n" in SCRIPT
        self.script = SCRIPT.replace("/etc/autobot-users/backup", str(self.directory))

    def run(self, check: str = "false", owner: str = "root:postgres") -> tuple[str, str]:
        """What it prints: the public key, and what it has made."""
        self.asked.unlink(missing_ok=True)
        done = subprocess.run(
            ["sh", "-c", self.script, "sh", check],
            env={"PATH": f"{self.programs}:{os.environ['PATH']}", "OWNER": owner},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in ({0} if check == "false" else {0, 1}), done.stderr
        return done.stdout, done.stderr

    def modes(self) -> dict[str, int]:
        return {path.name: path.stat().st_mode & 0o777 for path in self.directory.iterdir()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_key_is_made_once(host: Host) -> None:
    public, made = host.run()
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" autobot-backup\n")
    assert made == "made\nmade\n"
    assert host.run() == (public, "")


def test_only_postgres_reads_it_and_its_directory_is_roots(host: Host) -> None:
    host.run()
    path = host.directory
    assert host.modes() == {"id": 0o600, "id.pub": 0o644}
    assert host.asked.read_text().splitlines() == [
        f"install --directory --owner=root --group=postgres --mode=0750 {path}",
        f"chown postgres:postgres {path}/id",
        f"chown root:root {path}/id.pub",
        "as postgres",
    ]


def test_modes_that_somebody_changed_are_made_good(host: Host) -> None:
    host.run()
    (host.directory / "id").chmod(0o644)
    (host.directory / "id.pub").chmod(0o666)
    host.run()
    assert host.modes() == {"id": 0o600, "id.pub": 0o644}


@pytest.mark.parametrize("owner", ["postgres:postgres", "root:root"])
def test_a_directory_that_is_somebody_elses_becomes_roots(host: Host, owner: str) -> None:
    host.run()
    assert host.run(owner=owner)[1] == "made\n"
    assert "install --directory --owner=root" in host.asked.read_text()


def test_a_directory_that_others_could_read_or_write_is_closed(host: Host) -> None:
    host.run()
    host.directory.chmod(0o777)
    host.run()
    assert "--mode=0750" in host.asked.read_text()


@pytest.mark.parametrize("name", ["id", "id.pub"])
def test_half_a_pair_is_none(host: Host, name: str) -> None:
    first, _ = host.run()
    (host.directory / name).write_text("")
    second, made = host.run()
    assert made == "made\n"
    assert second.startswith("ssh-ed25519 ")
    assert second != first


def test_a_link_in_the_directory_is_not_followed(host: Host, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    host.run()
    (host.directory / "id").unlink()
    (host.directory / "id").symlink_to(theirs)
    (host.directory / "within").mkdir()
    host.run()
    assert theirs.read_text() == "theirs"
    assert host.modes() == {"id": 0o600, "id.pub": 0o644}


def test_check_mode_makes_nothing(host: Host) -> None:
    assert host.run("true") == ("", "")
    assert not host.directory.exists()
    public, _ = host.run()
    assert host.run("true") == (public, "")
    assert host.asked.read_text() == "as postgres\n"


def test_what_is_no_key_is_not_handed_on(host: Host) -> None:
    """It becomes a line of the peer's, which says what a key may do."""
    public, _ = host.run()
    (host.directory / "id.pub").write_text(f'command="sh" {public}no key\n')
    assert host.run("true")[0] == ""
