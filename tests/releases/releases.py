"""Releases that are not as they should be, made on the hosts of the one that serves."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator

from tests.lab.site import Run, Site, ansible, must, on, superuser, unique, wait_until
from user_management.database import EXPECTED_REVISION

# The part of a deployment in which services change.
CHANGE = "playbooks/parts/services.yml"

ROOTS = {"slm": "/opt/autobot-users/slm-server", "backend": "/opt/autobot-users/auth"}
UNITS = {"slm": "autobot-slm-users", "backend": "autobot-auth"}
DATABASES = {"slm": "slm_users", "redis": "autobot_users"}

# argv: directory of the service, name of the release; stdin: path → text, path → [old, new].
COPY = """
import json, os, pathlib, shutil, sys
root, name = sys.argv[1:]
changes = json.load(sys.stdin)
original = (pathlib.Path(root) / "current").resolve()
copy = original.parent / name
# Links: what is changed becomes a file of its own.
shutil.copytree(
    original, copy, symlinks=True, copy_function=os.link,
    ignore=shutil.ignore_patterns(".served", ".failed"),
)

def write(path, text):
    mode = path.stat().st_mode if path.exists() else 0o644
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(mode)

for path in (*copy.glob("bin/*"), copy / "pyvenv.cfg"):
    if not path.is_symlink():
        write(path, path.read_text().replace(str(original), str(copy)))
for pattern, change in changes.items():
    paths = list(copy.glob(pattern)) if "*" in pattern else [copy / pattern]
    assert paths, f"nothing to break: {pattern}"
    for path in paths:
        text = path.read_text().replace(*change) if isinstance(change, list) else change
        assert not isinstance(change, list) or text != path.read_text(), path
        write(path, text)
"""
# The schema of the release that serves, and the one that the next brings.
SCHEMA = EXPECTED_REVISION
NEXT_SCHEMA = f"{int(SCHEMA) + 1:04}"
MIGRATION = f'''"""A table and a column. Revision ID: {NEXT_SCHEMA}"""

from alembic import op

revision = "{NEXT_SCHEMA}"
down_revision = "{SCHEMA}"
loses = {{"tests_badges": "true", "users": "tests_badge IS NOT NULL"}}


def upgrade() -> None:
    op.execute("CREATE TABLE tests_badges (name text)")
    op.execute("ALTER TABLE users ADD COLUMN tests_badge text")


def downgrade() -> None:
    op.execute("ALTER TABLE users DROP COLUMN tests_badge")
    op.execute("DROP TABLE tests_badges")
'''
# What breaks is the second of the two databases, and there after something was done.
HALF = MIGRATION.replace(
    'op.execute("ALTER TABLE users ADD COLUMN tests_badge text")',
    """if op.get_context().opts["population"] == "autobot":
        op.execute("SELECT 1 / 0")
    op.execute("ALTER TABLE users ADD COLUMN tests_badge text")""",
)
# argv: directory of the service, its unit, the release in use, the one before.
RESET = """
set -eu
systemctl stop "$2-undo.timer" 2>/dev/null || true
cd "$1"
rm -rf undo next previous
if [ "$(readlink current)" != "releases/$3" ]; then
    ln -sfn "releases/$3" current
    systemctl restart "$2"
fi
if [ -n "$4" ]; then ln -s "releases/$4" previous; fi
rm -rf releases/tests_*
"""
UNDO = f"""
DROP TABLE IF EXISTS tests_badges;
ALTER TABLE users DROP COLUMN IF EXISTS tests_badge;
UPDATE user_management_version SET version_num = '{SCHEMA}';
COMMENT ON TABLE user_management_version IS 'Suits code since revision {SCHEMA}.'
"""


def in_use(host: str, link: str = "current") -> str:
    """The release that a link points to; empty where there is none."""
    return on(host, "readlink", f"{ROOTS[host]}/{link}").stdout.strip().removeprefix("releases/")


def links() -> dict[str, tuple[str, str]]:
    return {host: (in_use(host), in_use(host, "previous")) for host in ROOTS}


def revisions() -> dict[str, str]:
    """The schema of each database."""
    query = "SELECT version_num FROM user_management_version"
    return {host: superuser(host, name, query)[0][0] for host, name in DATABASES.items()}


def shown(name: str, kind: str) -> dict[str, str]:
    """A property of each service's unit of a kind, as systemd has it."""
    return {
        host: must(host, "systemctl", "show", f"--property={name}", "--value", f"{unit}.{kind}")
        for host, unit in UNITS.items()
    }


def pids() -> dict[str, str]:
    """The processes that serve."""
    return shown("MainPID", "service")


def sockets() -> dict[str, str]:
    """Since when each service's socket listens: who waits at one that is restarted is refused."""
    return shown("ActiveEnterTimestampMonotonic", "socket")


def make(migration: str = MIGRATION, **breaks: tuple[str, str, str]) -> str:
    """A release like the one that serves, with a migration; of a host one module is changed."""
    release = unique("tests")
    package = "lib/python3*/site-packages"
    for host, root in ROOTS.items():
        changes: dict[str, str | list[str]] = {
            f"migrations/versions/{NEXT_SCHEMA}_tests.py": migration,
            f"{package}/user_management/database.py": [
                f'Final = "{SCHEMA}"',
                f'Final = "{NEXT_SCHEMA}"',
            ],
        }
        if host in breaks:
            module, *change = breaks[host]
            changes[f"{package}/{module}"] = change
        must(host, "python3", "-c", COPY, root, release, stdin=json.dumps(changes))
    return release


@contextlib.contextmanager
def left_as_found() -> Iterator[None]:
    """Whatever was tried: the release, its schema and the directories are as before."""
    before = {host: (in_use(host), in_use(host, "previous")) for host in ROOTS}
    try:
        yield
    finally:
        for host, root in ROOTS.items():
            must(host, "sh", "-c", RESET, "sh", root, UNITS[host], *before[host])
        for host, name in DATABASES.items():
            superuser(host, name, UNDO)


def run(playbook: str, release: str, **variables: object) -> Run:
    return ansible(playbook, "--extra-vars", json.dumps({"release_id": release, **variables}))


def assert_said(run: Run, *parts: str) -> None:
    """The run's output has all that; otherwise its errors are shown."""
    for part in parts:
        errors = re.findall(r"^\[ERROR\].*", run.output, re.MULTILINE)
        assert part in run.output, "\n".join([part, *errors, run.tail()])


def served(site: Site) -> list[tuple[int, str]]:
    """What both services say from outside: whether they are ready, and of which release."""
    said = []
    for client in (site.client(), site.backend_client()):
        with client:
            ready = client.get("/health/ready")
        said.append((ready.status_code, ready.json()["release"]))
    return said


def assert_serves(site: Site, release: str) -> None:
    """Both services are ready, and of this release, once a restart that is under way is over."""
    wanted = [(200, release.rpartition("-")[2])] * 2
    wait_until(lambda: served(site) == wanted, f"{release} serves")
