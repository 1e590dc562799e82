"""Releases that are not as they should be, made on the hosts of the one that serves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from lab import must, on, superuser, unique

ROOTS = {"slm": "/opt/autobot/slm-server", "backend": "/opt/autobot/auth"}
UNITS = {"slm": "autobot-slm-backend", "backend": "autobot-auth"}
DATABASES = {"slm": "slm_users", "redis": "autobot_users"}

# What is not as in the original: (path in the release, Python expression of the old text → new).
COPY = """
set -eu
cd "$1/releases"
cp -a "$2" "$3"
rm -f "$3/.served" "$3/.failed"
grep -rlI --null "releases/$2" "$3/bin" "$3/pyvenv.cfg" | xargs -0 sed -i "s#releases/$2#releases/$3#g"
"""
MIGRATION = '''"""A table and a column. Revision ID: 0006"""

from alembic import op

revision = "0006"
down_revision = "0005"
loses = {"tests_badges": "true", "users": "tests_badge IS NOT NULL"}


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
UNDO = """
DROP TABLE IF EXISTS tests_badges;
ALTER TABLE users DROP COLUMN IF EXISTS tests_badge;
UPDATE user_management_version SET version_num = '0005';
COMMENT ON TABLE user_management_version IS 'Suits code since revision 0005.'
"""


def in_use(host: str, link: str = "current") -> str:
    """The release that a link points to; empty where there is none."""
    return on(host, "readlink", f"{ROOTS[host]}/{link}").stdout.strip().removeprefix("releases/")


def revisions() -> dict[str, str]:
    """The schema of each database."""
    query = "SELECT version_num FROM user_management_version"
    return {host: superuser(host, name, query)[0][0] for host, name in DATABASES.items()}


def pids() -> dict[str, str]:
    """The processes that serve."""
    return {
        host: must(host, "systemctl", "show", "--property=MainPID", "--value", unit)
        for host, unit in UNITS.items()
    }


@dataclass
class Release:
    """A release that lies on the hosts beside the one in use."""

    name: str

    def write(self, host: str, path: str, text: str) -> None:
        must(host, "tee", f"{ROOTS[host]}/releases/{self.name}/{path}", stdin=text)

    def edit(self, host: str, module: str, old: str, new: str) -> None:
        """Replace a text in a module of the service."""
        place = must(
            host,
            "sh",
            "-c",
            f"ls {ROOTS[host]}/releases/{self.name}/lib/python3*/site-packages/{module}",
        )
        assert old in must(host, "cat", place)
        must(host, "python3", "-c", EDIT, place, old, new)


EDIT = """
import pathlib, sys
path, old, new = sys.argv[1:]
path = pathlib.Path(path)
path.write_text(path.read_text().replace(old, new))
"""


def make(migration: str = MIGRATION) -> Release:
    """A release like the one that serves, with a migration."""
    release = Release(unique("tests"))
    for host, root in ROOTS.items():
        must(host, "sh", "-c", COPY, "sh", root, in_use(host), release.name)
        release.write(host, "migrations/versions/0006_tests.py", migration)
        release.edit(host, "user_management/database.py", 'Final = "0005"', 'Final = "0006"')
    return release


@contextlib.contextmanager
def left_as_found() -> Iterator[None]:
    """Whatever was tried: the release, its schema and the directories are as before."""
    before = {
        (host, link): in_use(host, link) for host in ROOTS for link in ("current", "previous")
    }
    try:
        yield
    finally:
        for host, root in ROOTS.items():
            must(host, "sh", "-c", f"systemctl stop '{UNITS[host]}-undo.*'; rm -rf {root}/undo")
            for link in ("current", "previous"):
                must(host, "rm", "-f", f"{root}/{link}")
                if before[host, link]:
                    must(host, "ln", "-s", f"releases/{before[host, link]}", f"{root}/{link}")
            must(host, "systemctl", "restart", UNITS[host])
            must(host, "sh", "-c", f"rm -rf {root}/releases/tests_*")
        for host, name in DATABASES.items():
            superuser(host, name, UNDO)
