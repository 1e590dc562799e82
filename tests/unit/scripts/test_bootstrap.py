"""`scripts/bootstrap` asks for root only where it must, and says which command helps."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.role_files import ROOT

# Of the packages, the named ones are missing; nothing is installed, but what was asked is noted.
DPKG_QUERY = """#!/bin/sh
for package; do :; done
case " {missing} " in *" $package "*) ;; *) printf installed ;; esac
"""
APT_GET = """#!/bin/sh
echo "$*" >> "{directory}/asked"
"""
ID = """#!/bin/sh
echo {user}
"""

Bootstrap = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bootstrap(tmp_path: Path) -> Bootstrap:
    """Run it in a checkout that has everything: `bootstrap(purpose, user=…, missing=…)`."""
    checkout, programs = tmp_path / "checkout", tmp_path / "programs"
    for directory in (
        checkout / "scripts",
        checkout / "requirements",
        checkout / ".venv",
        programs,
    ):
        directory.mkdir(parents=True)
    shutil.copy(ROOT / "scripts/bootstrap", checkout / "scripts")
    lock = checkout / "requirements/controller.txt"
    lock.touch()
    (checkout / ".venv/lock").write_text(hashlib.sha256(lock.read_bytes()).hexdigest())
    admin_ui = checkout / "service/admin_ui"
    (admin_ui / "node_modules").mkdir(parents=True)
    (admin_ui / "package-lock.json").touch()
    (admin_ui / "node_modules/.lock").write_text(hashlib.sha256().hexdigest())
    (checkout / ".cache").mkdir()
    for name in ("promtool", "nginx"):
        (checkout / ".cache" / name).touch(mode=0o755)

    locks = checkout / "requirements/postgresql"
    locks.mkdir()
    for file in (locks / "package-lock.json", checkout / "requirements/postgresql.txt"):
        file.touch()
    (checkout / ".cache/postgresql").mkdir()
    (checkout / ".cache/postgresql/lock").write_text(hashlib.sha256().hexdigest())

    def run(
        purpose: str, *, user: str | None = None, missing: str = ""
    ) -> subprocess.CompletedProcess[str]:
        stand_ins = {"dpkg-query": DPKG_QUERY, "apt-get": APT_GET} | ({"id": ID} if user else {})
        for name, text in stand_ins.items():
            (programs / name).write_text(
                text.format(directory=tmp_path, user=user, missing=missing)
            )
            (programs / name).chmod(0o755)
        return subprocess.run(
            [checkout / "scripts/bootstrap", purpose],
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def asked(directory: Path) -> list[str]:
    """What apt-get was asked for."""
    file = directory / "asked"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("purpose", ["lint", "unit", "check"])
def test_where_everything_is_there_it_does_nothing(
    bootstrap: Bootstrap, tmp_path: Path, purpose: str
) -> None:
    """Whoever runs it, as these tests may be run by anybody."""
    done = bootstrap(purpose)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert asked(tmp_path) == []


@pytest.mark.parametrize("purpose", ["lab", "test"])
def test_the_lab_needs_root(bootstrap: Bootstrap, tmp_path: Path, purpose: str) -> None:
    done = bootstrap(purpose, user="daemon", missing="podman")
    assert done.returncode == 1
    assert done.stderr.endswith("which needs root: use sudo make\n")
    assert asked(tmp_path) == []


def test_who_is_not_root_is_told_how_to_install_what_is_missing(
    bootstrap: Bootstrap, tmp_path: Path
) -> None:
    done = bootstrap("unit", user="daemon", missing="postgresql python3-venv podman")
    assert done.returncode == 1
    assert done.stderr.endswith(
        ": sudo apt-get install --no-install-recommends python3-venv postgresql\n"
    )
    assert asked(tmp_path) == []


def test_root_installs_what_is_missing(bootstrap: Bootstrap, tmp_path: Path) -> None:
    done = bootstrap("lint", user="root", missing="python3-venv postgresql")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "bootstrap: installing python3-venv\n"
    assert asked(tmp_path) == [
        "update -qq",
        "install -qq --yes --no-install-recommends python3-venv",
    ]


def test_what_others_left_in_the_checkout_is_named_with_the_command_that_takes_it_back(
    bootstrap: Bootstrap,
) -> None:
    done = bootstrap("lint", user="daemon")
    assert done.returncode == 1
    assert done.stderr == "bootstrap: . is not yours: sudo chown --recursive daemon: .\n"
