"""The release archive: complete, the same from the same sources, built only when it must be."""

import hashlib
import importlib.util
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[2]
TARGET = "3.13-x86_64"

Download = Callable[[Path, Path, str], None]


@pytest.fixture
def builder() -> Any:
    spec = importlib.util.spec_from_file_location(
        "build_release", PROJECT / "scripts/build_release.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_wheel(path: Path, **files: str) -> str:
    """A wheel with these files; returns its SHA-256."""
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            wheel.writestr(zipfile.ZipInfo(f"{name}.py"), content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with one dependency."""
    checksum = write_wheel(tmp_path / "library-1-py3-none-any.whl", library="x = 1\n")
    files = {
        "pyproject.toml": '[project]\nname = "example"\nversion = "2.5.0"\n',
        "requirements/service.txt": f"library==1 --hash=sha256:{checksum}\n",
        "alembic.ini": "[alembic]\n",
        "migrations/env.py": "\n",
        "migrations/versions/0001_first.py": "\n",
        "service/example/app.py": "app = 1\n",
        "service/example/words.txt": "one\n",
    }
    for name, content in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "project"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "build"


@pytest.fixture
def downloads(builder: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Package index and build backend are replaced; returns the targets downloaded for."""
    targets: list[str] = []

    def download(_project: Path, directory: Path, target: str) -> None:
        targets.append(target)
        write_wheel(directory / "library-1-py3-none-any.whl", library="x = 1\n")

    def project_wheel(_project: Path, directory: Path) -> Path:
        wheel = directory / "example-2.5.0-py3-none-any.whl"
        write_wheel(wheel, app="app = 1\n")
        return wheel

    monkeypatch.setattr(builder, "_download", download)
    monkeypatch.setattr(builder, "project_wheel", project_wheel)
    return targets


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "requirements/service.txt",
        "alembic.ini",
        "migrations/versions/0001_first.py",
        "service/example/app.py",
        "service/example/words.txt",
    ],
)
def test_every_source_is_part_of_the_name(builder: Any, project: Path, name: str) -> None:
    before = builder.release_id(project, [TARGET])

    with (project / name).open("a") as source:
        source.write("# changed\n")

    assert before.startswith("2.5.0-")
    assert builder.release_id(project, [TARGET]) != before


def test_a_renamed_source_is_another_release(builder: Any, project: Path) -> None:
    before = builder.release_id(project, [TARGET])
    (project / "service/example/app.py").rename(project / "service/example/main.py")
    assert builder.release_id(project, [TARGET]) != before


def test_the_name_depends_on_the_targets_but_not_on_their_order(
    builder: Any, project: Path
) -> None:
    both = builder.release_id(project, ["3.11-x86_64", TARGET])
    assert both == builder.release_id(project, [TARGET, "3.11-x86_64"])
    assert both != builder.release_id(project, [TARGET])


def test_caches_and_hidden_files_count_for_nothing(
    builder: Any, project: Path, output: Path, downloads: list[str]
) -> None:
    before = builder.release_id(project, [TARGET])
    for name in ("migrations/__pycache__/env.cpython-313.pyc", "migrations/.env.py.swp"):
        (project / name).parent.mkdir(exist_ok=True)
        (project / name).write_text("rubbish")

    assert builder.release_id(project, [TARGET]) == before
    archive = builder.build(project, output, [TARGET], check=False)["archive"]
    with tarfile.open(archive) as tar:
        assert not [name for name in tar.getnames() if "rubbish" in name or "swp" in name]
        assert not [name for name in tar.getnames() if "__pycache__" in name]
    assert downloads == [TARGET]


def test_the_archive_holds_what_a_host_needs(
    builder: Any, project: Path, output: Path, downloads: list[str]
) -> None:
    result = builder.build(project, output, [TARGET, "3.11-x86_64"], check=False)

    assert downloads == [TARGET, "3.11-x86_64"]
    assert result["changed"]
    with tarfile.open(result["archive"]) as tar:
        assert sorted(tar.getnames()) == [
            "alembic.ini",
            "migrations/env.py",
            "migrations/versions/0001_first.py",
            "requirements.txt",
            "wheels/example-2.5.0-py3-none-any.whl",
            "wheels/library-1-py3-none-any.whl",
        ]
        assert {(entry.uid, entry.mode, entry.mtime) for entry in tar} == {
            (0, 0o644, builder.EPOCH)
        }
        lock = tar.extractfile("requirements.txt")
        own = tar.extractfile("wheels/example-2.5.0-py3-none-any.whl")
        assert lock is not None
        assert own is not None
        lines = lock.read().decode().splitlines()
        checksum = hashlib.sha256(own.read()).hexdigest()
    assert lines[0].startswith("library==1 --hash=sha256:")
    assert lines[1] == f"./wheels/example-2.5.0-py3-none-any.whl --hash=sha256:{checksum}"


def test_the_room_is_that_of_the_largest_target(
    builder: Any, project: Path, output: Path, downloads: list[str]
) -> None:
    result = builder.build(project, output, [TARGET, "3.11-x86_64"], check=False)

    archive = Path(result["archive"]).stat().st_size
    sources = len("x = 1\n") + len("app = 1\n")
    assert result["installed_bytes"] == archive + 2 * sources + builder.VENV_BYTES
    assert len(downloads) == 2


def test_the_same_sources_give_the_same_archive(
    builder: Any, project: Path, tmp_path: Path, downloads: list[str]
) -> None:
    archives = [
        Path(builder.build(project, tmp_path / name, [TARGET], check=False)["archive"])
        for name in ("one", "two")
    ]
    assert archives[0].name == archives[1].name
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert len(downloads) == 2


def test_nothing_is_done_twice(
    builder: Any, project: Path, output: Path, downloads: list[str]
) -> None:
    first = builder.build(project, output, [TARGET], check=False)
    second = builder.build(project, output, [TARGET], check=False)

    assert second == {**first, "changed": False}
    assert len(downloads) == 1


def test_a_change_of_the_sources_downloads_nothing(
    builder: Any, project: Path, output: Path, downloads: list[str]
) -> None:
    first = builder.build(project, output, [TARGET], check=False)
    (project / "service/example/app.py").write_text("app = 2\n")
    second = builder.build(project, output, [TARGET], check=False)

    assert second["changed"]
    assert second["release"] != first["release"]
    assert not Path(first["archive"]).exists()
    assert len(downloads) == 1


def test_an_interrupted_build_is_made_good(
    builder: Any, project: Path, output: Path, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: Any, **_options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(builder, "_forget_others", interrupt)
        with pytest.raises(KeyboardInterrupt):
            builder.build(project, output, [TARGET], check=False)

    assert builder.build(project, output, [TARGET], check=False)["changed"]
    assert not builder.build(project, output, [TARGET], check=False)["changed"]
    assert len(downloads) == 1


def test_check_builds_nothing(
    builder: Any, project: Path, output: Path, downloads: list[str]
) -> None:
    result = builder.build(project, output, [TARGET], check=True)

    assert result["changed"]
    assert not output.exists()
    assert downloads == []


def test_a_wheel_that_is_not_locked_does_not_get_in(
    builder: Any, project: Path, output: Path, downloads: list[str]
) -> None:
    stranger = output / "wheels" / TARGET / "stranger-1-py3-none-any.whl"
    stranger.parent.mkdir(parents=True)
    write_wheel(stranger, stranger="x = 2\n")

    names = [path.name for path in builder.wheelhouse(project, output / "wheels", TARGET)]

    assert names == ["library-1-py3-none-any.whl"]
    assert downloads == [TARGET]


def test_a_failed_download_says_what_to_do(
    builder: Any, project: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builder.sys, "executable", "/bin/false")
    with pytest.raises(builder.BuildError, match="reaches its Python package index"):
        builder.wheelhouse(project, output / "wheels", TARGET)
    assert not (output / "wheels" / TARGET / ".complete").exists()


def test_a_missing_source_is_named(builder: Any, project: Path) -> None:
    (project / "alembic.ini").unlink()
    with pytest.raises(builder.BuildError, match=r"alembic\.ini is missing"):
        builder.release_id(project, [TARGET])


def test_a_wrong_target_is_refused(builder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        builder.main(["--output", "unused", "--target", "python3"])
    assert stopped.value.code == 2
    assert "such as 3.13-x86_64" in capsys.readouterr().err


def test_the_projects_wheel_is_reproducible_and_whole(builder: Any, tmp_path: Path) -> None:
    wheels = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        wheels.append(builder.project_wheel(PROJECT, tmp_path / name))

    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    with zipfile.ZipFile(wheels[0]) as wheel:
        packages = {name.split("/")[0] for name in wheel.namelist() if name.endswith(".py")}
    assert packages == {"autobot_backend", "slm_server", "user_management"}


def test_main_prints_one_json_object(
    builder: Any,
    project: Path,
    output: Path,
    downloads: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(builder, "PROJECT", project)

    assert builder.main(["--output", str(output), "--target", TARGET, "--target", TARGET]) == 0

    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"release", "archive", "installed_bytes", "changed"}
    assert downloads == [TARGET]
