"""The fleet manager's table on the way back: each row as its person is with us by now."""

from __future__ import annotations

import json
import secrets
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from .servers import Server, Session, literal

NAME_LENGTH = 64
BCRYPT = "$2"
ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

# Who passes our gateway: AutoBot's own routes ask for little more than a login.
PEOPLE = """
SELECT json_build_object('id', id, 'username', username, 'hash', password_hash,
    'living', deleted_at IS NULL, 'active', is_active AND deleted_at IS NULL,
    'admin', is_platform_admin, 'one_time', coalesce(must_change_password, false),
    'passes', is_platform_admin OR (org_id IS NULL AND EXISTS (
        SELECT FROM public.user_roles JOIN public.role_permissions USING (role_id)
        JOIN public.permissions ON permissions.id = permission_id
        WHERE user_roles.user_id = users.id AND permissions.name = 'admin:access')))
FROM public.users LEFT JOIN public.user_credentials ON user_credentials.user_id = users.id
ORDER BY username, id
"""
# A release before this one had no such table.
RECORDS = "SELECT 1 WHERE to_regclass('public.imported_rows') NOTNULL"
IMPORTED = """
SELECT encode(key, 'hex'), coalesce(user_id::text, '') FROM public.imported_rows
WHERE source = 'slm-table'
"""
ROWS = """
SELECT json_build_object('id', id, 'username', username,
    'key', encode(sha256(convert_to(username, 'UTF8')), 'hex'))
FROM public.users ORDER BY id FOR UPDATE
"""
# AutoBot makes up the time in Python: the column has no default of its own.
CREATED = """
SELECT 1 FROM pg_attribute
WHERE attrelid = 'public.users'::regclass AND attname = 'created_at' AND NOT attisdropped
"""

Person = dict[str, Any]
Row = dict[str, Any]


@dataclass
class Return:
    """What becomes of the table, and what people are told."""

    changes: list[dict[str, Any]] = field(default_factory=list)
    added: list[dict[str, Any]] = field(default_factory=list)
    # Whose password cannot come: AutoBot does not read it, or it was good for one login.
    unreadable: list[str] = field(default_factory=list)
    # Rows of people who are called otherwise with us, where that name is not free.
    kept_names: list[str] = field(default_factory=list)


def comparable(name: str) -> str:
    """What is the same for names that are one person's: case and ways of writing aside."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def unusable_password_hash() -> str:
    """A hash that AutoBot can read, and of no password that anybody knows."""
    return "$2b$12$" + "".join(secrets.choice(ALPHABET) for _ in range(21)) + "O" * 32


def is_readable(person: Person) -> bool:
    return (person["hash"] or "").startswith(BCRYPT) and not person["one_time"]


def persons(
    rows: list[Row], people: list[Person], imported: dict[str, str]
) -> dict[int, Person | None]:
    """Whose each row is, by its id; None where the person is gone. Rows of nobody are left out.

    What was noted when it was imported comes before the name, and the living before the deleted.
    """
    by_id = {it["id"]: it for it in people}
    living = {comparable(it["username"]): it for it in people if it["living"]}
    gone = {comparable(it["username"]) for it in people if not it["living"]}
    noted = {row["id"]: by_id.get(imported.get(row["key"], "")) for row in rows}
    found = {key: it for key, it in noted.items() if it is not None and it["living"]}
    taken = {it["id"] for it in found.values()}
    whose: dict[int, Person | None] = dict(found)
    for row in rows:
        if row["id"] in whose:
            continue
        name = comparable(row["username"])
        was_imported = row["key"] in imported
        named = living.get(name)
        if named is not None and not (was_imported and named["id"] in taken):
            whose[row["id"]] = named
        elif was_imported or name in gone:
            whose[row["id"]] = None
    return whose


def new_names(rows: list[Row], whose: dict[int, Person | None]) -> tuple[dict[int, str], list[str]]:
    """The names of rows that get another one, and what cannot get it, in words."""
    wanted: dict[int, str] = {}
    for row in rows:
        person = whose.get(row["id"])
        if person and comparable(person["username"]) != comparable(row["username"]):
            wanted[row["id"]] = person["username"]
    kept: list[str] = []
    while True:
        taken = {comparable(row["username"]) for row in rows if row["id"] not in wanted}
        refused = [
            row
            for row in rows
            if (name := wanted.get(row["id"]))
            and (comparable(name) in taken or len(name) > NAME_LENGTH)
        ]
        if not refused:
            return wanted, kept
        kept += [f"{row['username']} ({wanted.pop(row['id'])} here)" for row in refused]


def plan(rows: list[Row], people: list[Person], imported: dict[str, str]) -> Return:
    """What is to be done, from what was read."""
    whose = persons(rows, people, imported)
    names, kept_names = new_names(rows, whose)
    done = Return(kept_names=kept_names)
    for row in rows:
        if row["id"] not in whose:
            continue
        change: dict[str, Any] = {"id": row["id"], "username": names.get(row["id"])}
        person = whose[row["id"]]
        if person is None:
            done.changes.append(change | {"active": False})
            continue
        change |= {"active": person["active"], "admin": person["admin"]}
        if is_readable(person):
            change["hash"] = person["hash"]
        else:
            # The former password was taken from them; any other that AutoBot had stays theirs.
            if person["one_time"]:
                change["hash"] = unusable_password_hash()
            if person["active"] and person["hash"]:
                done.unreadable.append(person["username"])
        done.changes.append(change)
    taken = {comparable(it) for it in names.values()}
    taken |= {comparable(row["username"]) for row in rows if row["id"] not in names}
    known = {person["id"] for person in whose.values() if person}
    for person in people:
        if person["id"] in known or not (person["active"] and person["passes"]):
            continue
        name = person["username"]
        if not is_readable(person):
            done.unreadable.append(name)
        elif comparable(name) in taken or len(name) > NAME_LENGTH:
            done.kept_names.append(f"nobody ({name} here)")
        else:
            done.added.append({"username": name, "hash": person["hash"], "admin": person["admin"]})
    done.unreadable.sort()
    return done


def give_back_table(ours: Server, database: str, theirs: Server, table_of: str) -> Return:
    """Give the table `users` of the fleet manager's database what its people have with us.

    Both servers are asked by their superusers.
    """
    with Session(ours, database) as session:
        people = [json.loads(it) for (it,) in session.query(PEOPLE)]
        imported: dict[str, str] = {}
        if session.query(RECORDS):
            imported = {row[0]: row[1] for row in session.query(IMPORTED)}
    with Session(theirs, table_of) as session:
        session.query("BEGIN")
        found = plan([json.loads(it) for (it,) in session.query(ROWS)], people, imported)
        created = ", created_at" if session.query(CREATED) else ""
        session.query(
            "CREATE TEMPORARY TABLE change ON COMMIT DROP AS SELECT * FROM json_to_recordset("
            f"{literal(json.dumps(found.changes))}) AS change "
            "(id int, username text, hash text, active boolean, admin boolean);"
            # Two may have exchanged their names.
            "UPDATE public.users SET username = 'autobot-' || gen_random_uuid() FROM change "
            "WHERE users.id = change.id AND change.username NOTNULL;"
            "UPDATE public.users SET username = coalesce(change.username, users.username),"
            " password_hash = coalesce(hash, password_hash), is_active = active,"
            " is_admin = coalesce(admin, is_admin) FROM change WHERE users.id = change.id;"
            f"INSERT INTO public.users (username, password_hash, is_active, is_admin{created}) "
            f"SELECT username, hash, true, admin{', now()' if created else ''} "
            f"FROM json_to_recordset({literal(json.dumps(found.added))}) AS added "
            "(username text, hash text, admin boolean);"
            "COMMIT"
        )
    return found


def is_there(server: Server, database: str) -> bool:
    query = f"SELECT 1 FROM pg_database WHERE datname = {literal(database)}"
    return bool(server.run("postgres", query))
