"""What the survey reads of a system, and how it reads at all."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.autobot.users.plugins.module_utils.survey import reading, system
from tests.support.role_files import load_plugin

ROOT = Path(__file__).parents[3]

DEBIAN = """\
PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_ID="13"
VERSION="13 (trixie)"
VERSION_CODENAME=trixie
ID=debian
HOME_URL="https://www.debian.org/"
"""
UBUNTU = """\
PRETTY_NAME="Ubuntu 22.04.5 LTS"
NAME="Ubuntu"
VERSION_ID="22.04"
VERSION="22.04.5 LTS (Jammy Jellyfish)"
VERSION_CODENAME=jammy
ID=ubuntu
ID_LIKE=debian
UBUNTU_CODENAME=jammy
"""
KALI = """\
PRETTY_NAME="Kali GNU/Linux Rolling"
NAME="Kali GNU/Linux"
VERSION_ID="2025.4"
VERSION_CODENAME=kali-rolling
ID=kali
ID_LIKE=debian
"""
TIMEDATECTL = """\
Timezone=Europe/Riga
LocalRTC=no
CanNTP=yes
NTP=yes
NTPSynchronized={}
TimeUSec=Sun 2026-11-29 22:12:12 EET
"""
UNITS = [
    {"unit": "autobot-slm-backend.service", "active": "failed", "sub": "failed"},
    {"unit": "console-getty.service", "active": "active", "sub": "running"},
    {"unit": "getty@tty1.service", "active": "active", "sub": "running"},
    {"unit": "gettytab.service", "active": "active", "sub": "running"},
    {"unit": "redis-server.service", "active": "active", "sub": "running"},
    {"unit": "serial-getty@ttyS0.service", "active": "active", "sub": "running"},
    {"unit": "systemd-journald.service", "active": "active", "sub": "running"},
    {"unit": "user@1000.service", "active": "active", "sub": "running"},
]
FILES = """\
Id=redis-server.service
FragmentPath=/lib/systemd/system/redis-server.service

Id=autobot-slm-backend.service
FragmentPath=/etc/systemd/system/autobot-slm-backend.service

Id=gettytab.service
FragmentPath=
"""


class TestSystem:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (DEBIAN, ("Debian", "13", "trixie")),
            (UBUNTU, ("Ubuntu", "22.04", "jammy")),
            (KALI, ("Kali", "2025.4", "kali-rolling")),
            ("ID='arch'\n", ("Arch", "", "")),
        ],
    )
    def test_its_distribution(self, text: str, expected: tuple[str, str, str]) -> None:
        found = system.distribution_of(text)
        assert (found["distribution"], found["version"], found["codename"]) == expected

    @pytest.mark.parametrize(
        ("programs", "version", "expected"),
        [
            (
                {
                    "systemd-detect-virt": "podman\n",
                    "locale": "C\nC.utf8\nen_US.utf8\n",
                    "timedatectl": TIMEDATECTL.format("yes"),
                },
                "Linux version 6.1.0-40-amd64 (debian-kernel@lists.debian.org)",
                (False, "podman", ["C", "C.utf8", "en_US.utf8"], "Europe/Riga", True),
            ),
            (
                {"systemd-detect-virt": "wsl\n", "timedatectl": TIMEDATECTL.format("no")},
                "Linux version 5.15.167.4-microsoft-standard-WSL2 (root@f9c826d3017f)",
                (True, "", [], "Europe/Riga", False),
            ),
            (
                {"systemd-detect-virt": "none\n"},
                "Linux version 4.4.0-19041-Microsoft (Microsoft@Microsoft.com)",
                (True, "", [], "", None),
            ),
        ],
    )
    def test_what_it_says_of_itself(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        programs: dict[str, str],
        version: str,
        expected: tuple[Any, ...],
    ) -> None:
        def output(name: str, *_: str, expected: tuple[int, ...] = (0,)) -> str | None:
            found = programs.get(name)
            # So it ends where it has found none.
            if found == "none\n" and 1 not in expected:
                raise reading.UnreadableError("it ended with 1")
            return found

        monkeypatch.setattr(system, "output", output)
        (tmp_path / "etc").mkdir()
        (tmp_path / "proc").mkdir()
        (tmp_path / "etc/os-release").write_text(UBUNTU)
        (tmp_path / "proc/version").write_text(version)
        unreadable: list[str] = []
        found = system.read_system(tmp_path, unreadable)["system"]
        names = ("wsl", "container", "locales", "timezone", "clock_synchronized")
        assert tuple(found[name] for name in names) == expected
        assert (found["distribution"], found["kernel"]) == ("Ubuntu", os.uname().release)
        assert abs(found["time"] - time.time()) < 60
        assert unreadable == []

    def test_its_services_but_systemds_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def output(*command: str) -> str:
            if command[1] == "list-units":
                return json.dumps(UNITS)
            assert command[-3:] == (
                *("autobot-slm-backend.service", "gettytab.service", "redis-server.service"),
            )
            return FILES

        monkeypatch.setattr(system, "output", output)
        assert system.read_units() == [
            {
                "name": "autobot-slm-backend.service",
                "state": "failed",
                "file": "/etc/systemd/system/autobot-slm-backend.service",
            },
            {"name": "gettytab.service", "state": "active", "file": ""},
            {
                "name": "redis-server.service",
                "state": "active",
                "file": "/lib/systemd/system/redis-server.service",
            },
        ]

    @pytest.mark.parametrize("listed", [None, "[]\n"])
    def test_a_host_may_have_no_service(
        self, monkeypatch: pytest.MonkeyPatch, listed: str | None
    ) -> None:
        answers = iter([listed])
        monkeypatch.setattr(system, "output", lambda *_: next(answers))
        assert system.read_units() == []


class TestTree:
    @pytest.fixture
    def tree(self, tmp_path: Path) -> system.Tree:
        for path in (
            *("etc/autobot/slm-secrets.env", "etc/autobot/certs/server-key.pem"),
            *("etc/autobot/certs/server-cert.pem", "etc/autobot/ca/ca.key", "etc/autobot/notes"),
            *("etc/autobot/ca/ca.crt", "etc/autobot/certs/keys/notes"),
            *("opt/autobot/.env", "opt/autobot/autobot-backend/.env", "opt/autobot/readme"),
            *("opt/autobot/a/b/.env", "opt/autobot/slm-server/releases/1a2b/bin/slm"),
            *("opt/other/.env", "opt/autobot/auth/current/file", "var/lib/slm/events.db"),
            "etc/autobot-users/auth.env",
        ):
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
            # Nobody may need to read one.
            file.chmod(0)
        (tmp_path / "opt/autobot/slm-server/current").symlink_to("releases/1a2b")
        return system.Tree(tmp_path)

    def test_names_of_secrets_files(self, tree: system.Tree) -> None:
        assert tree.secrets_files() == [
            "/etc/autobot/ca/ca.key",
            "/etc/autobot/certs/server-key.pem",
            "/etc/autobot/slm-secrets.env",
            "/etc/autobot-users/auth.env",
            "/opt/autobot/.env",
            "/opt/autobot/autobot-backend/.env",
        ]

    def test_releases_of_ours(self, tree: system.Tree, tmp_path: Path) -> None:
        assert tree.releases() == {"slm-server": "1a2b", "auth": ""}
        moved = tmp_path / "opt/autobot-users/slm-server"
        moved.mkdir(parents=True)
        (moved / "current").symlink_to("releases/3c4d")
        assert tree.releases()["slm-server"] == "3c4d"

    def test_directories_and_whose_they_are(self, tree: system.Tree, tmp_path: Path) -> None:
        (tmp_path / "etc/autobot").chmod(0o2750)
        found = {it["path"]: it for it in tree.directories()}
        assert list(found) == [
            *("/etc/autobot", "/etc/autobot/ca", "/etc/autobot/certs", "/etc/autobot-users"),
            *("/opt/autobot", "/opt/autobot/a", "/opt/autobot/auth"),
            *("/opt/autobot/autobot-backend", "/opt/autobot/slm-server", "/var/lib/slm"),
        ]
        assert found["/etc/autobot"]["mode"] == "2750"
        if os.getuid() == 0:
            os.chown(tmp_path / "etc/autobot", 0, 65501)
            assert tree.directories()[0] == {
                "path": "/etc/autobot",
                "owner": "root",
                "group": "65501",
                "mode": "2750",
            }

    def test_a_disk_is_said_once(self, tree: system.Tree, tmp_path: Path) -> None:
        (disk,) = tree.disks()
        assert disk["path"] == "/"
        size = os.statvfs(tmp_path)
        assert disk["size_bytes"] == size.f_blocks * size.f_frsize
        assert 0 < disk["free_bytes"] < disk["size_bytes"]


class TestPrograms:
    def test_they_speak_english_and_their_words_may_be_no_utf8(self) -> None:
        assert reading.output("sh", "-c", r'printf "$LC_ALL bokm\345l"') == "C bokm�l"

    def test_a_host_may_lack_them(self) -> None:
        assert reading.output("autobot-has-no-such-program") is None

    def test_a_status_may_be_an_answer(self) -> None:
        assert reading.output("sh", "-c", "echo none; exit 1", expected=(0, 1)) == "none\n"

    @pytest.mark.parametrize(
        ("script", "said"),
        [("echo no; echo why >&2; exit 3", "why"), ("exit 3", "it ended with 3")],
    )
    def test_a_failure_is_told_in_their_words(self, script: str, said: str) -> None:
        with pytest.raises(reading.UnreadableError, match=f"^{said}$"):
            reading.output("sh", "-c", script)

    def test_one_that_hangs_is_left(self) -> None:
        began = time.monotonic()
        with pytest.raises(reading.UnreadableError, match=r"^no answer within 0.2 seconds$"):
            # What it started may hang too, and has its outputs.
            reading.output("sh", "-c", "sleep 2 & wait", deadline=0.2)
        assert time.monotonic() - began < 1.5


def fails(error: Exception) -> Callable[[], str]:
    def fail() -> str:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (PermissionError(13, "Permission denied", "/etc/x"), "it: /etc/x: Permission denied"),
        (OSError("a story"), "it: a story"),
        (reading.UnreadableError("one line\nand another"), "it: one line"),
        (ValueError(""), "it: ValueError"),
        (KeyError("nftables"), "it: 'nftables'"),
    ],
)
def test_what_cannot_be_read_is_a_sentence(error: Exception, sentence: str) -> None:
    unreadable: list[str] = []
    assert reading.guarded("it", fails(error), "nothing", unreadable) == "nothing"
    assert unreadable == [sentence]


@pytest.mark.parametrize(
    ("said", "active"), [("active", True), ("inactive", False), ("activating", False)]
)
def test_a_unit_runs_or_not(monkeypatch: pytest.MonkeyPatch, said: str, active: bool) -> None:
    monkeypatch.setattr(reading, "output", lambda *_, **__: f"{said}\n")
    assert reading.is_active("x") is active


def test_a_survey_of_this_machine_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has every part, as JSON, whatever this machine has and whatever it refuses."""
    module = load_plugin("modules.host_survey")
    monkeypatch.setattr(module.clusters, "clusters", lambda: [{"name": "main"}])
    monkeypatch.setattr(
        module.databases, "stores", lambda found: [{"cluster": it["name"]} for it in found]
    )

    survey = module.survey()
    assert list(survey) == [
        *("system", "disks", "directories", "secrets_files", "units", "ours"),
        *("programs", "listeners", "outgoing", "firewalls", "web", "postgresql", "stores"),
        "unreadable",
    ]
    assert survey["stores"] == [{"cluster": "main"}]
    assert survey["disks"]
    assert json.loads(json.dumps(survey)) == survey
