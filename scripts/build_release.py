#!/usr/bin/env python3
"""Build the release archive of the service, so that hosts need no package index.

The archive holds the project's wheel, the locked wheels of every target, the lock itself, the
migrations and the pages of the admin UI. Its name is the project's version and a hash over
everything that goes in: the same sources give the same release, on any controller. Prints one JSON
object:

    {"release": "1.0.0-3f2a…", "archive": "/…/release-1.0.0-3f2a….tar", "installed_bytes": 9,
     "changed": false}

`installed_bytes` is the room that an unpacked and installed release takes (0 when `--check` finds
no archive yet). Exit status 1 and a message on standard error when it cannot be built.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
LOCK = "requirements/service.txt"
# What a release is made of; a missing one is an error.
SOURCES = ("pyproject.toml", LOCK, "alembic.ini", "migrations", "service")
ADMIN_UI = "service/admin_ui"
# What programs leave among the sources.
OUTPUTS = {"__pycache__", "dist", "node_modules"}
# Of the admin UI's pages; pictures and fonts are compressed already.
COMPRESSIBLE = {".css", ".html", ".js", ".json", ".svg"}
# One fixed date for every member: the archive depends on its contents only. Zip has none before.
EPOCH = 315_532_800
# The oldest glibc among the supported systems is 2.35 (Ubuntu 22.04).
GLIBC_MINORS = range(35, 4, -1)
VENV_BYTES = 16 * 2**20


class BuildError(Exception):
    """The release cannot be built; the message says why and what to do."""


def source_files(project: Path) -> list[Path]:
    """All files of a release, sorted by path, without outputs of programs and hidden files."""
    found: list[Path] = []
    for name in SOURCES:
        source = project / name
        if not source.exists():
            raise BuildError(f"{source} is missing: this checkout is not complete")
        found += [source] if source.is_file() else _files(source)
    return sorted(found)


def _files(directory: Path) -> Iterator[Path]:
    # Names are left out on the way: node_modules alone has more files than all the rest.
    for path in directory.iterdir():
        if path.name in OUTPUTS or path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def release_id(project: Path, targets: Iterable[str]) -> str:
    """`<version>-<12 hex digits>` over the sources, the targets and this script."""
    version = tomllib.loads((project / "pyproject.toml").read_text())["project"]["version"]
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for target in sorted(targets):
        digest.update(f"\0target {target}".encode())
    for path in source_files(project):
        digest.update(f"\0{path.relative_to(project)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{version}-{digest.hexdigest()[:12]}"


def wheelhouse(project: Path, cache: Path, target: str) -> list[Path]:
    """The locked wheels of a target (`3.13-x86_64`), downloaded only where the cache lacks them."""
    lock = (project / LOCK).read_bytes()
    directory = cache / target
    marker = directory / ".complete"
    complete = hashlib.sha256(lock).hexdigest()
    if not (marker.is_file() and marker.read_text() == complete):
        directory.mkdir(parents=True, exist_ok=True)
        marker.unlink(missing_ok=True)
        _download(project, directory, target)
        allowed = set(re.findall(r"--hash=sha256:([0-9a-f]{64})", lock.decode()))
        for wheel in directory.glob("*.whl"):
            if hashlib.sha256(wheel.read_bytes()).hexdigest() not in allowed:
                wheel.unlink()
        marker.write_text(complete)
    return sorted(directory.glob("*.whl"))


def _download(project: Path, directory: Path, target: str) -> None:
    python, architecture = target.split("-", 1)
    tags = [f"manylinux_2_{minor}" for minor in GLIBC_MINORS] + ["manylinux2014", "manylinux1"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--dest", str(directory)]
    command += ["--requirement", str(project / LOCK)]
    command += ["--implementation", "cp", "--python-version", python]
    for tag in tags:
        command += ["--platform", f"{tag}_{architecture}"]
    _run(
        command,
        f"The wheels for Python {python} on {architecture} could not be downloaded. Check that "
        "this machine reaches its Python package index, then run again; no host was changed.",
    )


def project_wheel(project: Path, directory: Path) -> Path:
    """Build the project's own wheel, reproducibly, with the controller's build backend."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    _run(
        [*command, "--directory", str(directory)],
        "The project's wheel could not be built; no host was changed.",
        cwd=project,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
    )
    (wheel,) = directory.glob("*.whl")
    return wheel


def admin_ui(project: Path, cache: Path, scratch: Path) -> list[tuple[str, bytes]]:
    """Build the admin UI with the controller's Node; (name, contents) of what is served.

    Sources are copied to `scratch`, so that nothing else in the checkout has a part in it.
    """
    programs = sysconfig.get_path("scripts")
    npm = shutil.which("npm", path=programs)
    if npm is None or shutil.which("node", path=programs) is None:
        raise BuildError(
            f"There is no Node in {programs}, which builds the admin UI. Install the controller's "
            "environment again: pip install --require-hashes -r requirements/controller.txt"
        )
    directory = scratch / "admin_ui"
    for path in source_files(project):
        if path.is_relative_to(project / ADMIN_UI):
            copy = directory / path.relative_to(project / ADMIN_UI)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    # npm would leave out what builds, and Vite would put these variables into the pages.
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "NODE_ENV" and not name.startswith("VITE_")
    }
    environment["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
    command += ["--prefer-offline", "--cache", str(cache)]
    _run(
        command,
        "The packages that build the admin UI could not be installed. Check that this machine "
        "reaches its npm registry, then run again; no host was changed.",
        cwd=directory,
        env=environment,
    )
    _run(
        [npm, "run", "--silent", "build"],
        "The admin UI could not be built; no host was changed.",
        cwd=directory,
        env=environment,
    )
    return list(_pages(directory / "dist"))


def _pages(built: Path) -> Iterator[tuple[str, bytes]]:
    if not (built / "index.html").is_file():
        raise BuildError("The build of the admin UI left no index.html; no host was changed.")
    for path in sorted(_files(built)):
        name = path.relative_to(built).as_posix()
        if name != "index.html" and not name.startswith("assets/"):
            raise BuildError(
                f"The admin UI has the file {name}, which nothing serves: import it, so that it "
                "comes to assets/ with its hash. No host was changed."
            )
        contents = path.read_bytes()
        yield f"admin_ui/{name}", contents
        packed = gzip.compress(contents, mtime=0) if path.suffix in COMPRESSIBLE else contents
        if len(packed) < len(contents):
            yield f"admin_ui/{name}.gz", packed


def _run(
    command: list[str], hint: str, *, cwd: Path | None = None, env: dict[str, str] | None = None
) -> None:
    result = subprocess.run(  # noqa: S603 - the arguments are this script's own
        command, cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    if result.returncode:
        lines = (result.stderr or result.stdout).strip().splitlines()
        reason = "\n".join([line for line in lines if not line.startswith("WARNING:")][-5:])
        raise BuildError(f"{hint}\n{reason or f'{command[0]} ended with {result.returncode}.'}")


def _members(
    project: Path, wheels: Iterable[Path], own: Path, pages: Iterable[tuple[str, bytes]]
) -> Iterator[tuple[str, bytes]]:
    """(name, contents) of everything in the archive."""
    yield from pages
    yield "alembic.ini", (project / "alembic.ini").read_bytes()
    for path in source_files(project):
        name = path.relative_to(project).as_posix()
        if name.startswith("migrations/"):
            yield name, path.read_bytes()
    # The project's wheel is locked like the rest, so one pip command installs and checks them all.
    checksum = hashlib.sha256(own.read_bytes()).hexdigest()
    lock = (project / LOCK).read_text()
    yield "requirements.txt", f"{lock}./wheels/{own.name} --hash=sha256:{checksum}\n".encode()
    for wheel in sorted({path.name: path for path in [*wheels, own]}.values()):
        yield f"wheels/{wheel.name}", wheel.read_bytes()


def write_archive(archive: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a tar with fixed owners, modes and dates; it appears whole or not at all."""
    partial = archive.with_suffix(".partial")
    with tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, contents in members:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(contents), EPOCH, 0o644
            tar.addfile(entry, io.BytesIO(contents))
    partial.replace(archive)


def installed_bytes(wheels: Iterable[Path]) -> int:
    """Room of the wheels once installed: their files, bytecode as large as the sources, a venv."""
    total = VENV_BYTES
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as contents:
            for entry in contents.infolist():
                total += entry.file_size * (2 if entry.filename.endswith(".py") else 1)
    return total


def build(project: Path, output: Path, targets: list[str], *, check: bool) -> dict[str, object]:
    """Build the release unless it is there; returns what is printed (see the module)."""
    release = release_id(project, targets)
    archive = output / f"release-{release}.tar"
    facts = archive.with_suffix(".json")
    if facts.is_file() and archive.is_file():
        return {**json.loads(facts.read_text()), "archive": str(archive), "changed": False}
    result: dict[str, object] = {"release": release, "installed_bytes": 0}
    if not check:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output) as scratch:
            own = project_wheel(project, Path(scratch))
            pages = admin_ui(project, output / "npm", Path(scratch))
            houses = [wheelhouse(project, output / "wheels", target) for target in targets]
            write_archive(archive, _members(project, [w for h in houses for w in h], own, pages))
            # A host installs the wheels of one target only.
            largest = max(installed_bytes([*house, own]) for house in houses)
        result["installed_bytes"] = largest + archive.stat().st_size
        _forget_others(output, keep=archive)
        # Written last and as a whole: with it the archive is complete.
        partial = facts.with_suffix(".partial")
        partial.write_text(json.dumps(result))
        partial.replace(facts)
    return {**result, "archive": str(archive), "changed": True}


def _forget_others(output: Path, keep: Path) -> None:
    """Older archives are of no use here: hosts keep the releases that they can go back to."""
    for path in output.glob("release-*"):
        if path != keep:
            path.unlink()
    # What killed builds left: where it cannot go, the release is as good.
    for path in output.glob("tmp*"):
        shutil.rmtree(path, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the release archive of the service.")
    parser.add_argument("--output", type=Path, required=True, help="directory of the archive")
    parser.add_argument(
        "--target",
        dest="targets",
        action="append",
        required=True,
        metavar="PYTHON-ARCH",
        help="Python version and architecture of a host, such as 3.13-x86_64; may be repeated",
    )
    parser.add_argument("--check", action="store_true", help="only say what would be built")
    options = parser.parse_args(arguments)
    for target in options.targets:
        if not re.fullmatch(r"3\.\d+-[a-z0-9_]+", target):
            parser.error(f"--target {target!r}: expected PYTHON-ARCH, such as 3.13-x86_64")
    try:
        result = build(
            PROJECT, options.output.resolve(), sorted(set(options.targets)), check=options.check
        )
    except (BuildError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    json.dump(result, sys.stdout)
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
