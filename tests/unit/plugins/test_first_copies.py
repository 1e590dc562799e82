"""What a host was like before its first deployment is kept once, and as it was."""

from __future__ import annotations

import grp
import hashlib
import json
import os
import pwd
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.role_files import load_plugin


@pytest.fixture(scope="module")
def copies() -> Any:
    return load_plugin("modules.first_copies")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's files: a web server's directory with a link, and a secret."""
    sites = tmp_path / "nginx/sites"
    sites.mkdir(parents=True)
    (sites / "theirs").write_text("server {}\n")
    (sites / "theirs").chmod(0o640)
    os.utime(sites / "theirs", (1_000_000_000, 1_000_000_000))
    (tmp_path / "nginx/enabled").symlink_to("sites/theirs")
    (tmp_path / "secret").write_text("their password\n")
    (tmp_path / "secret").chmod(0o600)
    return tmp_path


@pytest.fixture(autouse=True)
def running(copies: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = f"echo asked >> {tmp_path}/asked; echo rules; echo a warning >&2"
    monkeypatch.setattr(
        copies, "RUNNING", {"rules": ["sh", "-c", counted], "gone": ["no-such-program"]}
    )
    monkeypatch.setattr(copies, "CLUSTERS", ["no-such-program"])
    monkeypatch.setattr(copies, "PSQL", ["false"])


def bring(copies: Any, host: Path, *names: str, deployed: str = "ours") -> list[str]:
    paths = [host / name for name in names]
    kept: list[str] = copies.bring(host / "before", paths, [host / deployed])
    return kept


def manifest(host: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((host / "before/manifest.json").read_text())
    return said


def test_copies_are_as_the_files_were(copies: Any, host: Path) -> None:
    assert bring(copies, host, "nginx", "secret", "none") == [f"{host}/nginx", f"{host}/secret"]
    kept = Path(f"{host}/before/files{host}")
    state = (kept / "nginx/sites/theirs").stat()
    assert (kept / "nginx/sites/theirs").read_text() == "server {}\n"
    assert (stat.S_IMODE(state.st_mode), state.st_mtime) == (0o640, 1_000_000_000)
    assert (kept / "nginx/enabled").readlink() == Path("sites/theirs")
    assert not (kept / "none").exists()

    said = manifest(host)
    assert list(said["paths"].values()) == ["kept", "kept", "absent"]
    assert set(said["files"]) == {
        *(f"{host}/nginx{below}" for below in ("", "/sites", "/sites/theirs", "/enabled")),
        f"{host}/secret",
    }
    theirs = said["files"][f"{host}/nginx/sites/theirs"]
    assert theirs["sha256"] == hashlib.sha256(b"server {}\n").hexdigest()
    assert theirs["mode"] == "0640"
    me, mine = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    assert (theirs["owner"], theirs["group"]) == (me, mine)
    assert said["files"][f"{host}/nginx/enabled"]["link"] == "sites/theirs"


def test_nobody_else_reads_them(copies: Any, host: Path) -> None:
    (host / "before").mkdir(mode=0o755)
    bring(copies, host, "secret")
    assert stat.S_IMODE((host / "before").stat().st_mode) == 0o700
    assert stat.S_IMODE((host / "before/manifest.json").stat().st_mode) == 0o600


def test_what_was_kept_is_never_replaced(copies: Any, host: Path) -> None:
    bring(copies, host, "secret", "none")
    (host / "secret").write_text("ours\n")
    (host / "none").write_text("ours\n")
    assert bring(copies, host, "secret", "none", "nginx") == [f"{host}/nginx"]
    kept = Path(f"{host}/before/files{host}")
    assert (kept / "secret").read_text() == "their password\n"
    assert manifest(host)["paths"][f"{host}/none"] == "absent"
    assert not (kept / "none").exists()


def test_what_ran_is_said_as_it_was_at_the_first_time(copies: Any, host: Path) -> None:
    bring(copies, host, "secret")
    bring(copies, host, "secret", "nginx")
    running = host / "before/running"
    assert [path.name for path in running.iterdir()] == ["rules"]
    assert (running / "rules").read_text() == "rules\na warning\n"
    assert (host / "asked").read_text() == "asked\n"


def test_of_a_host_that_was_deployed_before_nothing_is_a_first_copy(
    copies: Any, host: Path
) -> None:
    (host / "ours").symlink_to("nowhere")
    assert bring(copies, host, "secret", "none") == []
    assert list(manifest(host)["paths"].values()) == ["ours", "absent"]
    assert not (host / "before/files").exists()
    assert not (host / "before/running").exists()


def test_an_interrupted_run_is_begun_again(copies: Any, host: Path) -> None:
    half = Path(f"{host}/before/files{host}/nginx/sites")
    half.mkdir(parents=True)
    (half / "theirs").write_text("serv")
    (half / "stranger").touch()
    Path(f"{host}/before/files{host}/secret").write_text("thei")
    assert len(bring(copies, host, "nginx", "secret")) == 2
    assert [path.name for path in half.iterdir()] == ["theirs"]
    assert (half / "theirs").read_text() == "server {}\n"
    assert (half.parents[1] / "secret").read_text() == "their password\n"


def test_what_cannot_be_copied_is_not_said_to_be_kept(
    copies: Any, host: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cp = tmp_path / "bin/cp"
    cp.parent.mkdir()
    cp.write_text("#!/bin/sh\necho 'cp: No space left on device' >&2; exit 1\n")
    cp.chmod(0o755)
    monkeypatch.setenv("PATH", f"{cp.parent}:{os.environ['PATH']}")
    with pytest.raises(subprocess.CalledProcessError) as raised:
        bring(copies, host, "secret")
    assert "No space left" in raised.value.stderr
    assert not (host / "before/manifest.json").exists()


class TestSilentCluster:
    """PostgreSQL that somebody has stopped for the evening has databases all the same."""

    @pytest.fixture
    def listed(self, copies: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        monkeypatch.setattr(
            copies, "PSQL", ["sh", "-c", "echo 'psql: error: no such file' >&2; exit 2"]
        )

        def listed(*lines: str) -> None:
            monkeypatch.setattr(copies, "CLUSTERS", ["printf", "%s\\n", *lines])

        return listed

    @pytest.mark.parametrize(
        ("name", "port", "is_taken_over"),
        [("main", 5432, True), ("main", 5433, True), ("old", 5432, True), ("old", 5433, False)],
    )
    def test_what_the_run_would_take_over_must_say_what_it_has(
        self,
        copies: Any,
        host: Path,
        listed: Callable[..., None],
        name: str,
        port: int,
        is_taken_over: bool,
    ) -> None:
        listed(f"17  {name}  {port} down postgres /data/17 /log")
        if not is_taken_over:
            bring(copies, host, "secret")
            return
        with pytest.raises(copies.UnheardError) as raised:
            bring(copies, host, "secret")
        assert f"The cluster 17/{name} " in str(raised.value)
        assert "psql: error: no such file The run" in str(raised.value)
        assert f"pg_ctlcluster 17 {name} start" in str(raised.value)
        assert not (host / "before/manifest.json").exists()

    def test_only_the_first_run_asks(
        self, copies: Any, host: Path, listed: Callable[..., None]
    ) -> None:
        listed()
        bring(copies, host, "secret")
        listed("17 main 5432 down postgres /data /log")
        assert bring(copies, host, "nginx") == [f"{host}/nginx"]

    def test_a_host_that_an_earlier_release_has_deployed_is_not_asked(
        self, copies: Any, host: Path, listed: Callable[..., None]
    ) -> None:
        listed("17 main 5432 down postgres /data /log")
        (host / "ours").touch()
        assert bring(copies, host, "secret") == []

    @pytest.mark.parametrize("version", ["17", "15"])
    def test_what_an_undo_has_stopped_was_made_by_a_deployment(
        self, copies: Any, host: Path, listed: Callable[..., None], version: str
    ) -> None:
        for at, unit in (("20261130_1", "gone"), ("20261130_2", "postgresql@17-main.service")):
            done = host / f"before-undone-{at}"
            done.mkdir()
            (done / "stopped").write_text(f"{unit}\n")
        listed(f"{version} main 5432 down postgres /data /log")
        if version == "17":
            assert bring(copies, host, "secret") == [f"{host}/secret"]
        else:
            with pytest.raises(copies.UnheardError):
                bring(copies, host, "secret")
