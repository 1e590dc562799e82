"""What is in a database: tables, their rows as digests, and how two of them differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .servers import Rows, Session, identifier, literal

# Rows of these come and change with the migrations: roles of the system, and what they may do.
SEEDED = ("public.roles", "public.permissions", "public.role_permissions")
FENCE = "autobot_fence"
# Tables as SQL has them; `kinds` as pg_class has them.
TABLE_NAMES = f"""
SELECT format('%I.%I', nspname, relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ({{kinds}}) AND relpersistence <> 't' AND nspname !~ '^pg_'
    AND nspname NOT IN ('information_schema', '{FENCE}')
"""
TABLES = f"""
SELECT name, array_to_json(ARRAY(
    SELECT attname FROM pg_attribute
    WHERE attrelid = name::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
))
FROM ({TABLE_NAMES.format(kinds="'r'")}) AS own (name) ORDER BY 1
"""

# Of each table: its columns, how many rows, and a digest that their order does not change.
Contents = dict[str, dict[str, Any]]
Query = Callable[[str], Rows]


def row_text(columns: Iterable[str]) -> str:
    """A row as text.

    Not a cast: owners can make one of their own from a row, and it would be called.
    """
    return f"textin(record_out(ROW({', '.join(map(identifier, columns))})))"


def row_digest(columns: Iterable[str]) -> str:
    return f"encode(sha256(convert_to({row_text(columns)}, 'UTF8')), 'hex')"


def rows_of(table: str, seen: Mapping[str, str]) -> str:
    """Where a table's rows are read: `seen` has queries for those that are to be seen otherwise."""
    return f"({seen[table]}) AS seen" if table in seen else f"ONLY {table}"


def digest_query(table: str, columns: list[str], seen: Mapping[str, str]) -> str:
    """How many rows, and the sum over hashes of them."""
    bits = row_digest(columns)
    halves = (f"('x' || substr({bits}, {at}, 16))::bit(64)::bigint::numeric" for at in (1, 17))
    sums = ", ".join(f"coalesce(sum({half}), 0)" for half in halves)
    return f"SELECT {literal(table)}, count(*), {sums} FROM {rows_of(table, seen)}"


def digests(
    query: Query, columns: Mapping[str, list[str]], seen: Mapping[str, str] | None = None
) -> Contents:
    """Digests of tables, over these of their columns."""
    if not columns:
        return {}
    rows = query(";\n".join(digest_query(*each, seen or {}) for each in columns.items()))
    return {
        table: {"columns": columns[table], "rows": int(count), "digest": f"{one}/{other}"}
        for table, count, one, other in rows
    }


def differences(wanted: Contents, found: Contents, *, migrated: bool) -> list[str]:
    """In which tables what was found is not what is wanted; `migrated`, what migrations add is."""
    said = []
    for table, content in wanted.items():
        if table not in found:
            said.append(f"{table} is missing")
        elif migrated and table in SEEDED:
            if found[table]["rows"] < content["rows"]:
                said.append(f"{table} has {found[table]['rows']} rows instead of {content['rows']}")
        elif content["rows"] != found[table]["rows"]:
            said.append(f"{table} has {found[table]['rows']} rows instead of {content['rows']}")
        elif content["digest"] != found[table]["digest"]:
            said.append(f"{table} has other rows")
    return said + ([] if migrated else [f"{it} is new" for it in found if it not in wanted])


def columns_of(session: Session) -> dict[str, list[str]]:
    return {table: json.loads(listed) for table, listed in session.query(TABLES)}


def contents(session: Session) -> Contents:
    """What a session sees: digests of all tables."""
    return digests(session.query, columns_of(session))


def summary(found: Contents) -> dict[str, Any]:
    """What of it people are told."""
    return {
        "tables": len(found),
        "rows": sum(it["rows"] for it in found.values()),
        "users": found["public.users"]["rows"],
        "digest": found["public.users"]["digest"],
    }
