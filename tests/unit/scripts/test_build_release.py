"""The release archive: complete, the same from the same sources, built only when it must be."""

import gzip
import hashlib
import importlib.util
import json
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).parents[3]
TARGET = "3.13-x86_64"

# Stands in for Node's npm: notes how it was called and what it saw, and builds by a script.
NPM = """#!/bin/sh
set -eu
echo "$*" >> "$NPM_CALLS"
case $1 in
ci)
    find . -type f | sort > "$NPM_CALLS.sources"
    env > "$NPM_CALLS.environment"
    ;;
run)
    sh ./build.sh
    ;;
esac
"""
BUILD = """
mkdir -p dist/assets dist/.vite
echo '<script src="/assets/index-1.js"></script>' > dist/index.html
yes 'let x = 1' | head -n 50 > dist/assets/index-1.js
yes 'a picture' | head -n 50 > dist/assets/picture-1.png
echo x > dist/assets/short-1.css
echo '{}' > dist/.vite/manifest.json
"""


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
        "service/admin_ui/package.json": "{}\n",
        "service/admin_ui/build.sh": BUILD,
        "service/admin_ui/src/main.ts": "let x = 1\n",
    }
    for name, content in files.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return tmp_path / "project"


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "build"


@pytest.fixture(autouse=True)
def npm(builder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Node is replaced; returns the file that notes how npm was called."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"npm": NPM, "node": "#!/bin/sh\n"}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setattr(builder.sysconfig, "get_path", lambda _name: str(programs))
    calls = tmp_path / "npm-calls"
    monkeypatch.setenv("NPM_CALLS", str(calls))
    return calls


@pytest.fixture
def downloads(builder: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Package indexes and build backend are replaced; returns the targets downloaded for."""
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
        "service/admin_ui/package.json",
        "service/admin_ui/src/main.ts",
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


def test_outputs_and_hidden_files_count_for_nothing(
    builder: Any, project: Path, output: Path, downloads: list[str]
) -> None:
    before = builder.release_id(project, [TARGET])
    for name in (
        "migrations/__pycache__/env.cpython-313.pyc",
        "migrations/.env.py.swp",
        "service/admin_ui/.env.local",
        "service/admin_ui/dist/assets/rubbish.js",
        "service/admin_ui/node_modules/rubbish/index.js",
    ):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("rubbish")

    assert builder.release_id(project, [TARGET]) == before
    archive = builder.build(project, output, [TARGET], check=False)["archive"]
    with tarfile.open(archive) as tar:
        assert not [name for name in tar.getnames() if "rubbish" in name or "/." in name]
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
            "admin_ui/assets/index-1.js",
            "admin_ui/assets/index-1.js.gz",
            "admin_ui/assets/picture-1.png",
            "admin_ui/assets/short-1.css",
            "admin_ui/index.html",
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


def test_scripts_of_the_admin_ui_are_there_compressed_too(
    builder: Any, project: Path, tmp_path: Path, npm: Path
) -> None:
    pages = dict(builder.admin_ui(project, tmp_path / "cache", tmp_path / "scratch"))

    packed = pages["admin_ui/assets/index-1.js.gz"]
    assert gzip.decompress(packed) == pages["admin_ui/assets/index-1.js"]
    # The time of packing would make another archive each time.
    assert packed[4:8] == bytes(4)
    assert npm.read_text().splitlines() == [
        "ci --ignore-scripts --no-audit --no-fund --no-update-notifier"
        f" --prefer-offline --cache {tmp_path / 'cache'}",
        "run --silent build",
    ]


def test_the_admin_ui_is_built_from_its_sources_alone(
    builder: Any, project: Path, tmp_path: Path, npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what a developer has beside them nor variables of theirs have a part in it."""
    for name in ("node_modules/vite/index.js", "dist/assets/old.js", ".env.local"):
        (project / "service/admin_ui" / name).parent.mkdir(parents=True, exist_ok=True)
        (project / "service/admin_ui" / name).write_text("x")
    monkeypatch.setenv("NODE_ENV", "production")
    monkeypatch.setenv("VITE_API", "https://elsewhere")
    before = sorted(project.rglob("*"))

    pages = dict(builder.admin_ui(project, tmp_path / "cache", tmp_path / "scratch"))

    assert "admin_ui/assets/old.js" not in pages
    assert sorted(project.rglob("*")) == before
    assert npm.with_suffix(".sources").read_text().split() == [
        "./build.sh",
        "./package.json",
        "./src/main.ts",
    ]
    environment = npm.with_suffix(".environment").read_text()
    assert "NODE_ENV" not in environment
    assert "VITE_" not in environment
    assert f"PATH={tmp_path / 'bin'}:" in environment


@pytest.mark.parametrize("missing", ["npm", "node"])
def test_without_node_it_says_what_to_install(
    builder: Any, project: Path, tmp_path: Path, npm: Path, missing: str
) -> None:
    (tmp_path / "bin" / missing).unlink()
    with pytest.raises(builder.BuildError, match=r"no Node .* -r requirements/controller\.txt"):
        builder.admin_ui(project, tmp_path / "cache", tmp_path / "scratch")
    assert not npm.exists()


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("ci", r"reaches its npm registry.*no host was changed\.\nECONNREFUSED"),
        ("run", r"admin UI could not be built; no host was changed\.\nECONNREFUSED"),
    ],
)
def test_a_failed_build_of_the_admin_ui_says_why(
    builder: Any, project: Path, tmp_path: Path, at: str, message: str
) -> None:
    program = tmp_path / "bin/npm"
    failing = f"{at})\n    echo ECONNREFUSED >&2\n    exit 1\n"
    program.write_text(program.read_text().replace(f"{at})\n", failing))
    with pytest.raises(builder.BuildError, match=message):
        builder.admin_ui(project, tmp_path / "cache", tmp_path / "scratch")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ("echo x > dist/robots.txt", r"robots\.txt, which nothing serves"),
        ("rm dist/index.html", "left no index.html"),
    ],
)
def test_pages_that_would_not_be_served_are_refused(
    builder: Any, project: Path, tmp_path: Path, build: str, message: str
) -> None:
    with (project / "service/admin_ui/build.sh").open("a") as script:
        script.write(f"{build}\n")
    with pytest.raises(builder.BuildError, match=message):
        builder.admin_ui(project, tmp_path / "cache", tmp_path / "scratch")


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
    builder: Any, project: Path, output: Path, downloads: list[str], npm: Path
) -> None:
    first = builder.build(project, output, [TARGET], check=False)
    second = builder.build(project, output, [TARGET], check=False)

    assert second == {**first, "changed": False}
    assert len(downloads) == 1
    assert len(npm.read_text().splitlines()) == 2


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
    assert packages == {
        *("autobot_backend", "slm_server", "user_management", "user_management_web")
    }


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


def test_every_package_of_the_admin_ui_is_the_one_that_was_locked() -> None:
    """npm checks nothing where the lock has no hash, and takes what `resolved` or a link names."""
    lock = json.loads((PROJECT / "service/admin_ui/package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert packages
    for name, package in packages.items():
        assert re.fullmatch(r"sha512-[A-Za-z0-9+/]{86}==", package.get("integrity", "")), name
        assert not {"resolved", "link"} & package.keys(), name
