"""AutoBot's users in the databases of a host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .people import Person, comparable, judge
from .psql import AnswerError, Connect, as_owner, ask, label

OPERATIONAL = "slm_operational"
MANAGED = "user_management"
UNKNOWN = "unknown"
VERSION_TABLE = "user_management_version"
TABLES = {
    OPERATIONAL: ("users",),
    MANAGED: (
        "api_keys",
        "audit_logs",
        "organizations",
        "permissions",
        "role_permissions",
        "roles",
        "sso_providers",
        "team_memberships",
        "teams",
        "user_mfa",
        "user_roles",
        "user_sso_links",
        "users",
    ),
}
_TEXT = ("character varying", "text")
_TIME = ("timestamp with time zone", "timestamp without time zone")
_NUMBER = ("integer", "bigint")
_FLAG = ("boolean",)
_UUID = ("uuid",)
# What an import reads of the table users, and of which types it may be.
COLUMNS: dict[str, dict[str, tuple[str, ...]]] = {
    OPERATIONAL: {
        "id": _NUMBER,
        "username": _TEXT,
        "password_hash": _TEXT,
        "is_active": _FLAG,
        "is_admin": _FLAG,
        "created_at": _TIME,
        "last_login": _TIME,
    },
    MANAGED: {
        "id": _UUID,
        "org_id": _UUID,
        "email": _TEXT,
        "username": _TEXT,
        "password_hash": _TEXT,
        "display_name": _TEXT,
        "avatar_url": _TEXT,
        "bio": _TEXT,
        "is_active": _FLAG,
        "is_verified": _FLAG,
        "mfa_enabled": _FLAG,
        "is_platform_admin": _FLAG,
        "preferences": ("jsonb",),
        "last_login_at": _TIME,
        "email_verified_at": _TIME,
        "deleted_at": _TIME,
        "created_at": _TIME,
    },
}
# What tells AutoBot's tables from those of others.
MARKS = {
    OPERATIONAL: {"username", "password_hash", "is_admin"},
    MANAGED: {"username", "email", "is_platform_admin"},
}

TABLES_QUERY = f"""
SELECT coalesce(json_object_agg(relname, json_build_object('kind', relkind,
'owner', pg_get_userbyid(relowner), 'columns', (
  SELECT coalesce(json_object_agg(attname, format_type(atttypid, NULL)), '{{}}')
  FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped))), '{{}}')
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'public' AND relkind IN ('r', 'p', 'v', 'm', 'f')
AND relname IN ({", ".join(f"'{table}'" for table in (*TABLES[MANAGED], VERSION_TABLE))})
"""  # noqa: S608  constants
HASH_FORM = """
CASE WHEN coalesce(password_hash, '') = '' THEN 'none'
WHEN password_hash COLLATE "C" ~ '^(bcrypt-sha384[$])?[$]2[aby][$]' THEN 'bcrypt'
WHEN password_hash COLLATE "C" ~ '^[$]?argon2' THEN 'argon2'
WHEN password_hash COLLATE "C" ~ '^[$]?scrypt[$:]' THEN 'scrypt'
WHEN password_hash COLLATE "C" ~ '^[$]?pbkdf2[-_:$]' THEN 'pbkdf2'
ELSE 'unknown' END
"""

# More are not compared, because all names are in memory at once.
COMPARED_USERS = 200_000
# AutoBot makes up an address with it for whoever has none.
MADE_UP_DOMAIN = "autobot.local"


def stores(found: Iterable[dict[str, Any]], connect: Connect = as_owner) -> list[dict[str, Any]]:
    """AutoBot's users in the databases of `clusters`.

    Beside what the survey asks for each has `population`, "slm" or "autobot", and `missing`: what
    it lacks of upstream's schema. `users` and `teams` are None where they cannot be read. A
    database that refuses is one of kind "unknown", with what PostgreSQL says as its problem.
    """
    made: list[dict[str, Any]] = []
    people: list[Person] = []
    for cluster in found:
        if not cluster["running"]:
            continue
        for database in cluster["databases"]:
            store = _empty_store(cluster, database["name"])
            try:
                tables = ask(connect, cluster, store["database"], TABLES_QUERY)
                if not _recognized(store, tables):
                    continue
                said = ask(connect, cluster, store["database"], _users_query(store, tables))
            except AnswerError as error:
                store["problems"].append({"user": "", "reason": str(error)})
            else:
                rows = said.pop("people")
                store.update(said)
                people += _people(rows, len(made), store)
            made.append(store)
    judge(made, people)
    return made


def _empty_store(cluster: dict[str, Any], database: str) -> dict[str, Any]:
    return {
        "kind": UNKNOWN,
        # Upstream has one database of each schema for those who run the fleet.
        "population": "slm" if database.startswith("slm") else "autobot",
        "cluster": label(cluster),
        "database": database,
        "users": None,
        "teams": None,
        "hash_forms": {},
        "schema": "partial",
        "owners": [],
        "missing": [],
        "problems": [],
    }


def _recognized(store: dict[str, Any], tables: dict[str, Any]) -> bool:
    """Whether a database holds AutoBot's users; the store then says of which kind, and whether
    all is there. Raises AnswerError when its users are not in a table.
    """
    users = tables.get("users", {"kind": "", "columns": {}})
    for kind, marks in MARKS.items():
        if users["columns"].get("id") in COLUMNS[kind]["id"] and marks <= users["columns"].keys():
            store["kind"] = kind
            break
    else:
        return False
    if store["kind"] == OPERATIONAL:
        store["population"] = "slm"
    if users["kind"] != "r":
        raise AnswerError("public.users is not a plain table, so it is not read.")
    store["missing"] = [name for name in TABLES[store["kind"]] if name not in tables]
    owners = {tables[name]["owner"] for name in TABLES[store["kind"]] if name in tables}
    store["owners"] = sorted(owners)
    for column, types in COLUMNS[store["kind"]].items():
        found = users["columns"].get(column)
        if found not in types:
            it_is = "" if found is None else f" (it is {found})"
            store["missing"].append(f"users.{column}{it_is}")
    if VERSION_TABLE in tables:
        store["schema"] = "ours"
    elif not store["missing"]:
        store["schema"] = "upstream"
    return True


def _users_query(store: dict[str, Any], tables: dict[str, Any]) -> str:
    """What to ask a store: how many there are, and their names. Of hashes only the form is read."""
    types = COLUMNS[store["kind"]]
    columns = tables["users"]["columns"]
    usable = {name for name, found in columns.items() if found in types.get(name, ())}
    email = "email" if "email" in usable else "NULL"
    form = HASH_FORM if "password_hash" in usable else "'unknown'"
    living = "deleted_at IS NULL" if "deleted_at" in usable else "true"
    teams = "0"
    if store["kind"] == MANAGED and tables.get("teams", {}).get("kind") == "r":
        theirs = "deleted_at IS NULL" if "deleted_at" in tables["teams"]["columns"] else "true"
        teams = f"(SELECT count(*) FROM ONLY public.teams WHERE {theirs})"  # noqa: S608
    people = "'[]'::json"
    if "username" in usable:
        people = f"""(
          SELECT coalesce(json_agg(json_build_array(id, coalesce(username, ''), email)), '[]')
          FROM (SELECT id, username, email FROM living ORDER BY username COLLATE "C"
                LIMIT {COMPARED_USERS + 1}) AS person)"""  # noqa: S608
    return f"""
    WITH living AS (
      SELECT id, {"username" if "username" in usable else "NULL"} AS username, {email} AS email,
             {form} AS form
      FROM ONLY public.users WHERE {living})
    SELECT json_build_object(
      'users', (SELECT count(*) FROM living),
      'teams', {teams},
      'hash_forms', (
        SELECT coalesce(json_object_agg(form, number), '{{}}')
        FROM (SELECT form, count(*) AS number FROM living GROUP BY form) AS forms),
      'people', {people})
    """  # noqa: S608  names of columns


def _people(rows: list[list[Any]], number: int, store: dict[str, Any]) -> list[Person]:
    """The users of a store, if they are not too many to compare."""
    if len(rows) > COMPARED_USERS:
        reason = (
            f"Names are not compared, because there are more than {COMPARED_USERS}: a dry run of "
            "the import does it."
        )
        store["problems"].append({"user": "", "reason": reason})
        return []
    found = []
    for identity, name, address in rows:
        word, email = comparable(name), (address or "").strip().lower()
        is_made_up = email == f"{word}@{MADE_UP_DOMAIN}"
        found.append(Person(number, identity, name, word, None if is_made_up else email or None))
    return found
