"""A logical dump beside the physical backups; PostgreSQL's and OpenSSL's programs alone open it.

It survives what a physical backup does not: a damaged page that was backed up, another major
version, the end of pgBackRest.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

from autobot_backup import databases, files, lock, paths, sftp
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError

# OWASP's figure for PBKDF2 with SHA-256; the key is random anyway.
CIPHER = ("-aes-256-cbc", "-pbkdf2", "-iter", "600000", "-salt")
KEEP = 7


def key() -> str:
    """The key of the first repository, which pgBackRest's configuration holds."""
    found = re.search(
        r"^repo1-cipher-pass=(.+)$", paths.PGBACKREST_CONFIGURATION.read_text(), re.MULTILINE
    )
    if found is None:
        raise BackupError(
            f"{paths.PGBACKREST_CONFIGURATION} has no repo1-cipher-pass. Run site.yml."
        )
    return found[1]


def encrypted(producer: list[str], target: Path) -> None:
    """Let a program's output be encrypted into a file; the key passes through a pipe only."""
    reader, writer = os.pipe()
    with target.open("wb") as output, tempfile.TemporaryFile() as said:
        os.write(writer, f"{key()}\n".encode())
        os.close(writer)
        source = subprocess.Popen(producer, stdout=subprocess.PIPE, stderr=said)
        cipher = subprocess.run(
            ["openssl", "enc", *CIPHER, "-pass", f"fd:{reader}"],
            stdin=source.stdout,
            stdout=output,
            stderr=said,
            pass_fds=[reader],
            check=False,
        )
        os.close(reader)
        if source.stdout is not None:
            source.stdout.close()
        if source.wait() or cipher.returncode:
            said.seek(0)
            raise BackupError(f"{Path(producer[0]).name}: {said.read().decode().strip()}")


def old(names: list[str], keep: int = KEEP) -> list[str]:
    """The dumps to remove: of each kind all but the newest; a name begins with its time."""
    kinds: dict[str, list[str]] = {}
    for name in sorted(names):
        kinds.setdefault(name.partition("-")[2], []).append(name)
    return [name for kind in kinds.values() for name in kind[:-keep]]


def dump(configuration: Configuration, known: dict[str, str]) -> dict[str, str]:
    """Dump all databases and the roles, and put them beside the repository.

    Returns the SHA-256 of each dump that is kept; `known` has those of the older ones.
    """
    repository = configuration.backup_repositories[0]
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    producers = {f"{stamp}-roles.sql.enc": [f"{configuration.programs}/pg_dumpall", "--roles-only"]}
    for name in databases.names():
        producers[f"{stamp}-{name}.dump.enc"] = [
            f"{configuration.programs}/pg_dump",
            "--format=custom",
            "--no-password",
            f"--dbname={name}",
        ]
    # PostgreSQL's own files are on that disk, too.
    files.require_space(paths.STATE, databases.total_bytes(), "The dump")
    with tempfile.TemporaryDirectory(dir=paths.STATE) as directory:
        for name, producer in producers.items():
            encrypted(producer, Path(directory) / name)
        place = f"{repository.directory}/dump"
        # A dash before a command: it may fail.
        batch = [f"-mkdir {place}", f"lcd {directory}", f"cd {place}"]
        for name in producers:
            batch += [f"put {name} {name}.part", f"rename {name}.part {name}"]
        sftp.run(configuration, *batch)
        sizes = {name: (Path(directory) / name).stat().st_size for name in producers}
        checksums = dict(known)
        for name in producers:
            checksums[name] = files.sha256(Path(directory) / name)
    # ls -ln: mode, links, user, group, size, three words of time, name.
    listed = {
        line.split()[-1].rsplit("/", 1)[-1]: int(line.split()[4])
        for line in sftp.run(configuration, f"ls -ln {place}").splitlines()
        if line.startswith("-")
    }
    wrong = [name for name, size in sizes.items() if listed.get(name) != size]
    if wrong:
        raise BackupError(f"{repository.name}/dump: {', '.join(wrong)} did not arrive whole.")
    whole = [name for name in listed if name.endswith(".enc")]
    if rubbish := [*old(whole), *(name for name in listed if name.endswith(".part"))]:
        sftp.run(configuration, *(f"rm {place}/{name}" for name in rubbish))
    return {name: checksums[name] for name in whole if name in checksums and name not in rubbish}


def run(configuration: Configuration) -> dict[str, str]:
    """Dump, and write what came of it; the checksums of all dumps by their names."""
    start, failure = time.time(), ""
    previous = files.read_json(paths.DUMP_RESULT)
    checksums: dict[str, str] = previous.get("files", {})
    try:
        with lock.exclusive():
            checksums = dump(configuration, checksums)
    except (BackupError, OSError) as error:
        failure = str(error)
    files.write_json(
        paths.DUMP_RESULT,
        {
            "ok": not failure,
            "finished": time.time(),
            "failure": failure,
            "made": previous.get("made") if failure else start,
            "files": checksums,
        },
    )
    if failure:
        raise BackupError(failure)
    return checksums
