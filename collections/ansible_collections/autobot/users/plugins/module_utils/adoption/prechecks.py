"""What is in the way of a move."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from typing import Any

from .contents import TABLES
from .servers import Server, Session, literal

OLDEST = 14
# The copy, one of a rehearsal that is being dropped, and their WAL.
ROOM = 3
SCRAM = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>\d+):(?P<salt>[^$]+)\$(?P<key>[^:]+):(?P<server>.+)"
)

MADE = "Owner of AutoBot's database of users, made by its move to this server."
ROLE = """
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls,
    coalesce(shobj_description(oid, 'pg_authid'), ''), coalesce(rolpassword, '')
FROM pg_authid WHERE rolname = {name}
"""
OTHER_OWNER = "Give the source another owner (ALTER DATABASE … OWNER TO)."
PEOPLE = "SELECT id, lower(username), lower(email) FROM public.users WHERE deleted_at IS NULL"


def has_password(user: str, password: str, stored: str) -> bool:
    """Whether what a server has stored of a user's password is of this one."""
    if stored.startswith("md5"):
        digest = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
        return stored == f"md5{digest}"
    parts = SCRAM.fullmatch(stored)
    if parts is None:
        return False
    salt = base64.b64decode(parts["salt"])
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, int(parts["iterations"]))
    key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64decode(parts["key"]) == key


def strange_owner(target: Server, source: Server) -> list[str]:
    """Why a role of the owner's name, which is here already, cannot be the owner's."""
    found = target.run("postgres", ROLE.format(name=literal(source.user)))
    if not found:
        return []
    ((is_powerful, comment, password),) = found
    if is_powerful == "t":
        return [
            f"{source.user}, which owns the source, may do more on this server than use "
            f"its own databases: AutoBot could, too. {OTHER_OWNER}"
        ]
    if comment == MADE or has_password(source.user, source.password, password):
        return []
    return [
        f"This server has a role {source.user} already, with another password than the "
        "owner of the source, or none: it would change. Give it the same (\\password), drop it "
        f"if nobody uses it, or: {OTHER_OWNER}"
    ]


def source_facts(
    session: Session, where: str, target: Server, here: list[list[str]], problems: list[str]
) -> dict[str, Any]:
    """What a session sees of the source; what is in the way comes to the problems.

    `here` are the people of the target.
    """
    version, size, role = session.query(
        "SELECT current_setting('server_version_num')::int / 10000,"
        " pg_database_size(current_database()), current_user"
    )[0]
    own = int(target.run("postgres", "SHOW server_version_num")[0][0]) // 10000
    if int(version) < OLDEST:
        problems.append(
            f"The source is PostgreSQL {version}: {OLDEST} and later can be moved. Upgrade it "
            "first (pg_upgradecluster)."
        )
    if int(version) > own:
        problems.append(
            f"The source is PostgreSQL {version}, newer than this server, which is {own}: its "
            f"pg_dump cannot read that. Upgrade this server to {version} or later first "
            "(pg_upgradecluster, postgresql_source, postgresql_version)."
        )
    foreign = session.query(
        "SELECT format('%s %s of %s', kind, name, pg_get_userbyid(owner)) FROM ("
        " SELECT 'the database', datname, datdba FROM pg_database"
        " WHERE datname = current_database()"
        " UNION ALL SELECT 'the table', relname, relowner"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema'"
        ") AS own (kind, name, owner) WHERE NOT pg_has_role(owner, 'MEMBER') ORDER BY 1"
    )
    if foreign:
        listed = ", ".join(it for (it,) in foreign[:5])
        problems.append(
            f"{role} cannot fence what is another's: {listed}"
            f"{' and more' if len(foreign) > 5 else ''}. Let the source be read by their owner."
        )
    room = os.statvfs(target.run("postgres", "SHOW data_directory")[0][0])
    free = room.f_bavail * room.f_frsize
    if free < ROOM * int(size):
        problems.append(
            f"The source has {int(size) // 2**20} MiB, and {free // 2**20} MiB are free here. "
            f"{ROOM * int(size) // 2**20} MiB are needed: make room."
        )
    tables = [table for table, _ in session.query(TABLES)]
    known = {"version": int(version), "bytes": int(size), "tables": len(tables)}
    if "public.users" not in tables:
        problems.append(f"{where} has no table users: it is no store of AutoBot's.")
    if "public.users" not in tables or foreign:
        return known
    counts = session.query(";\n".join(f"SELECT count(*) FROM ONLY {table}" for table in tables))
    people = session.query(PEOPLE)
    problems += people_of_both(people, here)
    revisions = [["none"]]
    if "public.alembic_version" in tables:
        revisions = session.query("SELECT version_num FROM public.alembic_version ORDER BY 1")
    return known | {
        "rows": sum(int(count) for (count,) in counts),
        "users": len(people),
        "revision": ", ".join(it for (it,) in revisions),
    }


def people_of_both(people: list[list[str]], here: list[list[str]]) -> list[str]:
    """Names and addresses that are one person's in the source and another's here."""
    ids = {it[0] for it in people}
    taken = {name for it in people for name in it[1:]}
    both = sorted(name for it in here if it[0] not in ids for name in it[1:] if name in taken)
    if not both:
        return []
    return [
        f"{', '.join(both[:5])}{' and more' if len(both) > 5 else ''}: here and in the source, "
        "and perhaps not the same person. Delete or rename those here: the people of the "
        "source bring their own passwords."
    ]
