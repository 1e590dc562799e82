"""A file of PostgreSQL's configuration is tried before it takes the place of the one in use."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.database_server import postgresql_binaries
from tests.support.role_files import ROOT

SCRIPT = ROOT / "roles" / "postgresql" / "files" / "try_configuration.sh"
HBA = "local all all peer\n"


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Path, Path]]:
    """A certificate and its key, where the server may read them."""
    directory = Path(tempfile.mkdtemp())
    certificate, key = directory / "server.crt", directory / "server.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=server", "-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    if os.geteuid() == 0:
        subprocess.run(["chown", "--recursive", "postgres:", directory], check=True)
    yield certificate, key
    shutil.rmtree(directory)


def tried(
    kind: str, text: str, directory: Path, pair: tuple[Path, Path]
) -> subprocess.CompletedProcess[str]:
    file = directory / "file"
    file.write_text(text)
    return subprocess.run(
        ["sh", SCRIPT, postgresql_binaries(), kind, file, *pair],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            "settings",
            "shared_buffers = 512MB\nmax_connections = 100\nhuge_pages = try\n"
            "archive_mode = on\narchive_command = 'exit 1'\nlisten_addresses = '*'\n",
        ),
        ("access", HBA),
    ],
)
def test_what_serves_is_taken(
    kind: str, text: str, tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    done = tried(kind, text, tmp_path, pair)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("settings", "work_mem = 4MBit\n", "work_mem"),
        ("settings", "shared_preload_libraries = 'nowhere'\n", "nowhere"),
        # What only the server's start tells.
        ("settings", "shared_buffers = 8000GB\n", "could not map anonymous shared memory"),
        ("access", "host all all all\n", "end-of-line before authentication method"),
    ],
)
def test_what_would_not_start_is_refused_with_the_servers_words(
    kind: str, text: str, said: str, tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    done = tried(kind, text, tmp_path, pair)
    assert done.returncode != 0
    assert said in done.stderr


def test_huge_pages_are_refused_where_there_are_none(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    are_none = "HugePages_Total:       0\n" in Path("/proc/meminfo").read_text()
    done = tried("settings", "huge_pages = on\n", tmp_path, pair)
    assert (done.returncode != 0) is are_none, done.stderr
