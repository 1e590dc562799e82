#!/usr/bin/python
"""Keep what a host was like before its first deployment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.before import Before, copy, members
from ansible_collections.autobot.users.plugins.module_utils.files import replace_file
from ansible_collections.autobot.users.plugins.module_utils.survey.reading import (
    group_name,
    user_name,
)

DOCUMENTATION = """
module: first_copies
short_description: what a host was like before its first deployment
description:
  - Copies each path, with owner, mode and time, below C(files) of the directory, once - what was
    kept is never replaced. C(manifest.json) says of each path whether it was there, and of each
    file its checksum, owner, group and mode. C(running) has what ran and listened, the packages,
    the checksums of C(/etc), and the rules of the firewalls, as they were at the first time;
    C(databases.json) says who owned what in PostgreSQL, and might do what. A cluster that is there
    and does not answer is refused, for the run would start and take over what nobody has read; but
    for one that an undo has stopped, as it says in C(stopped) of its own directory.
  - A path that is added later is kept as it is then. Where O(deployed) is there at the first time,
    the host is one that an earlier release has deployed, and nothing of it is a first copy.
options:
  directory:
    description: Where it is kept, for root only.
    type: path
    required: true
  paths:
    description: Files and directories that a deployment writes to.
    type: list
    elements: path
    required: true
  deployed:
    description: Paths of which one is there where a release was deployed before.
    type: list
    elements: path
    required: true
"""

RETURN = """
kept:
  description: Paths that were there, and of which there is a copy now.
  type: list
  elements: str
  returned: always
"""

# What ran, by the name of the file that holds it. A program that is missing has nothing to say.
RUNNING = {
    "units": ["systemctl", "list-units", "--all", "--plain", "--no-legend", "--no-pager"],
    "unit-files": ["systemctl", "list-unit-files", "--plain", "--no-legend", "--no-pager"],
    "sockets": ["ss", "--no-header", "--tcp", "--udp", "--listening", "--numeric", "--processes"],
    "nftables": ["nft", "list", "ruleset"],
    "iptables": ["iptables-save"],
    "ufw": ["ufw", "status", "verbose"],
    "etc": ["find", "/etc", "-xdev", "-type", "f", "-exec", "sha256sum", "{}", "+"],
    "packages": ["dpkg-query", "--show", "--showformat=${db:Status-Abbrev}${Package}\n"],
}
SECONDS = 30
CLUSTERS = ["pg_lsclusters", "--no-header"]
PSQL = ["runuser", "-u", "postgres", "--", "psql", "--no-psqlrc", "--quiet", "-At"]
DATABASES = "SELECT datname FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1"
# Of a database: it, its schema public and the tables there, and the functions that a deployment
# takes from everybody. Each with who owns it, and who may do what; PUBLIC has no name.
RIGHTS = """
WITH object (kind, name, owner, acl) AS (
    SELECT 'DATABASE', datname::text, datdba, coalesce(datacl, acldefault('d', datdba))
    FROM pg_database WHERE datname = current_database()
    UNION ALL
    SELECT 'SCHEMA', nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner))
    FROM pg_namespace WHERE nspname = 'public'
    UNION ALL
    SELECT 'TABLE', relname, relowner, coalesce(relacl, acldefault('r', relowner))
    FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
    UNION ALL
    SELECT
        'FUNCTION', oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
        AND proname ~ '^(pg_(try_)?advisory_|lo_(?!import|export)|loread$|lowrite$)'
)
SELECT json_agg(json_build_object(
    'kind', kind, 'name', name, 'owner', pg_get_userbyid(owner), 'rights', (
        SELECT json_agg(json_build_object(
            'grantee', CASE WHEN grantee <> 0 THEN pg_get_userbyid(grantee) END,
            'privilege', privilege_type, 'grantable', is_grantable
        ))
        FROM aclexplode(acl)
    )
))
FROM object
"""


def describe(path: Path) -> dict[str, Any]:
    """What a file is; a link is not followed."""
    state = path.lstat()
    said: dict[str, Any] = {
        "owner": user_name(state.st_uid),
        "group": group_name(state.st_gid),
        "mode": f"{state.st_mode & 0o7777:04o}",
    }
    if path.is_symlink():
        said["link"] = str(path.readlink())
    elif path.is_file():
        said["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return said


def asked(database: str, query: str) -> str:
    """What PostgreSQL answers. Raises CalledProcessError, whose `stderr` says why."""
    done = subprocess.run(
        [*PSQL, f"--dbname={database}", "--command", f"SET search_path = pg_catalog; {query}"],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return done.stdout


class UnheardError(Exception):
    """PostgreSQL is there, and does not say what it has. The message says what to do."""


def clusters() -> list[tuple[str, str]]:
    """Version and name of each cluster that a deployment would take over."""
    if not shutil.which(CLUSTERS[0]):
        return []
    listed = subprocess.run(
        CLUSTERS, capture_output=True, text=True, timeout=SECONDS, check=True
    ).stdout
    every = [line.split() for line in listed.splitlines() if line.strip()]
    return [(it[0], it[1]) for it in every if it[1] == "main" or it[2] == "5432"]


def stopped(directory: Path) -> list[str]:
    """The units of clusters that the last undo has stopped, because a deployment had made them."""
    lists = sorted(directory.parent.glob(f"{directory.name}-undone-*/stopped"))
    return lists[-1].read_text().split() if lists else []


def databases(directory: Path) -> dict[str, Any]:
    """Roles of PostgreSQL, and who owns what; nothing where no server is.

    Raises UnheardError where one does not answer, and CalledProcessError where it does not say it.
    """
    try:
        names = asked("postgres", DATABASES).splitlines()
    except subprocess.CalledProcessError as error:
        for version, name in clusters():
            if f"postgresql@{version}-{name}.service" not in stopped(directory):
                raise UnheardError(
                    f"The cluster {version}/{name} of PostgreSQL is there and does not answer: "
                    f"{error.stderr.strip()} The run would take it over, and no way back would "
                    f"know what it has. Start it (pg_ctlcluster {version} {name} start), or drop "
                    f"it if nobody needs it (pg_dropcluster {version} {name}), and run again."
                ) from error
        return {}
    return {
        "roles": asked("postgres", "SELECT rolname FROM pg_roles ORDER BY 1").splitlines(),
        "databases": {name: json.loads(asked(name, RIGHTS)) for name in names},
    }


class Copies:
    """The copies of one host, and what is known of them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._manifest = directory / "manifest.json"
        # What became of each path: "kept", "absent", or "ours".
        self.paths: dict[str, str] = {}
        self.files: dict[str, dict[str, Any]] = {}
        self.is_first = not self._manifest.exists()
        if not self.is_first:
            known = json.loads(self._manifest.read_text())
            self.paths, self.files = known["paths"], known["files"]

    def keep(self, path: Path) -> None:
        """Copy a path, whatever an interrupted run has left of it."""
        kept = Before(self._directory).copy_of(path)
        if kept.is_dir() and not kept.is_symlink():
            shutil.rmtree(kept)
        else:
            kept.unlink(missing_ok=True)
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        copy(path, kept)
        self.files |= {str(each): describe(each) for each in members(path)}
        self.paths[str(path)] = "kept"

    def note_what_runs(self) -> None:
        directory = self._directory / "running"
        directory.mkdir(mode=0o700, exist_ok=True)
        for name, command in RUNNING.items():
            if shutil.which(command[0]):
                result = subprocess.run(
                    command,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    env=os.environ | {"LC_ALL": "C"},
                    timeout=SECONDS,
                    check=False,
                )
                (directory / name).write_text(result.stdout + result.stderr)

    def note_databases(self) -> None:
        """Nothing where no server is. Raises what `databases` raises."""
        if said := databases(self._directory):
            (self._directory / "databases.json").write_text(json.dumps(said, indent=1) + "\n")

    def write(self) -> None:
        """Say what is kept. Until this is written, nothing is."""
        text = json.dumps({"paths": self.paths, "files": self.files}, indent=1) + "\n"
        replace_file(self._manifest, text.encode())


def bring(directory: Path, paths: list[Path], deployed: list[Path]) -> list[str]:
    """Keep what is not kept yet; the paths of which there is a new copy.

    Raises OSError or CalledProcessError where it cannot be copied, for example on a full disk, and
    UnheardError.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    copies = Copies(directory)
    ours = copies.is_first and is_deployed(deployed)
    if copies.is_first and not ours:
        copies.note_what_runs()
        copies.note_databases()
    kept = []
    for path in new_of(copies, paths):
        if not os.path.lexists(path):
            copies.paths[str(path)] = "absent"
        elif ours:
            copies.paths[str(path)] = "ours"
        else:
            copies.keep(path)
            kept.append(str(path))
    copies.write()
    return kept


def is_deployed(marks: list[Path]) -> bool:
    return any(map(os.path.lexists, marks))


def new_of(copies: Copies, paths: list[Path]) -> list[Path]:
    """The paths of which nothing is known yet."""
    return [path for path in paths if str(path) not in copies.paths]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "paths": {"type": "list", "elements": "path", "required": True},
            "deployed": {"type": "list", "elements": "path", "required": True},
        },
        supports_check_mode=True,
    )
    directory = Path(module.params["directory"])
    paths = [Path(path) for path in module.params["paths"]]
    deployed = [Path(path) for path in module.params["deployed"]]
    copies = Copies(directory)
    if not new_of(copies, paths):
        module.exit_json(changed=False, kept=[])
    try:
        if module.check_mode:
            if copies.is_first and not is_deployed(deployed):
                databases(directory)
            module.exit_json(changed=True, kept=[])
        kept = bring(directory, paths, deployed)
    except UnheardError as error:
        module.fail_json(msg=f"{error} Nothing was changed.")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", "") or error
        module.fail_json(
            msg=f"What the host is like cannot be kept in {directory}: {said} Nothing was changed: "
            "remove the cause, and run again."
        )
    module.exit_json(changed=True, kept=kept)


if __name__ == "__main__":
    main()
