"""Bring a copy up to what its source has become since, row by row, while nobody writes there.

What cannot be done in this way, whatever the reason, is left to a new copy: the caller compares.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .contents import SEEDED, Contents, digests
from .servers import Session, identifier, literal

# More rows of one table are copied faster as a whole.
MOST_ROWS = 20_000
CHUNK = 2_000
KEYS = """
SELECT format('%I.%I', nspname, relname), attname
FROM pg_index JOIN pg_class c ON c.oid = indrelid JOIN pg_namespace n ON n.oid = relnamespace
    CROSS JOIN unnest(indkey::int2[]) WITH ORDINALITY AS key (number, position)
    JOIN pg_attribute ON attrelid = c.oid AND attnum = number
WHERE indisprimary AND nspname !~ '^pg_' ORDER BY 1, position
"""
REFERENCES = """
SELECT DISTINCT conrelid::regclass, confrelid::regclass FROM pg_constraint
WHERE contype = 'f' AND conrelid <> confrelid
"""
SEQUENCES = """
SELECT format('SELECT %L, last_value, is_called FROM %I.%I', format('%I.%I', nspname, relname),
    nspname, relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'S' AND nspname !~ '^pg_'
"""


class UnsuitedError(Exception):
    """A new copy is needed."""


def catch_up(source: Session, copy: Session, before: Contents, now: Contents) -> None:
    """Change the copy, which has what was `before` in the source and was migrated, so that it has
    what is there `now`. Raises UnsuitedError, and MoveError for what the server refuses.
    """
    changed = [table for table, content in now.items() if content != before.get(table)]
    new_shape = any(
        table not in before or before[table]["columns"] != now[table]["columns"] for table in now
    )
    if new_shape or before.keys() != now.keys() or set(changed) & set(SEEDED):
        raise UnsuitedError
    copy.query("BEGIN")
    replay(source, copy, {table: now[table]["columns"] for table in changed}, MOST_ROWS)
    found = digests(copy.query, {table: now[table]["columns"] for table in changed})
    if found != {table: now[table] for table in changed}:
        raise UnsuitedError
    copy.query("COMMIT")


def replay(
    source: Session,
    copy: Session,
    columns: Mapping[str, list[str]],
    most: int,
    kept: Collection[str] = (),
) -> dict[str, int]:
    """Make rows of the copy what they are in the source, in a transaction that is open there.

    `columns` are those of the tables that differ, `most` how many rows of one may; of the tables
    that are `kept` none goes. Returns how many rows of each table were changed.
    """
    keys: dict[str, list[str]] = {}
    for table, column in copy.query(KEYS):
        keys.setdefault(table, []).append(column)
    if keyless := sorted(columns.keys() - keys.keys()):
        raise UnsuitedError(f"{', '.join(keyless)} without a primary key")
    ordered = in_order(list(columns), copy)
    differing = {
        table: difference(source, copy, table, keys[table], columns[table]) for table in ordered
    }
    if any(len(gone) + len(come) > most for gone, come in differing.values()):
        raise UnsuitedError
    # Who refers to others goes first, and comes last.
    for table in reversed(ordered):
        if table not in kept:
            delete(copy, table, keys[table], differing[table][0])
    for table in ordered:
        come = differing[table][1]
        for at in range(0, len(come), CHUNK):
            bring(source, copy, table, keys[table], columns[table], come[at : at + CHUNK])
    for (statement,) in source.query(SEQUENCES):
        ((name, value, called),) = source.query(statement)
        copy.query(
            f"SELECT setval(to_regclass({literal(name)}), {value}, {literal(called)}) "
            f"WHERE to_regclass({literal(name)}) NOTNULL"
        )
    return {table: len(gone) + len(come) for table, (gone, come) in differing.items()}


def in_order(tables: list[str], copy: Session) -> list[str]:
    """The tables, each behind those to which it refers."""
    # regclass says the schema of all that is not on the search path, where only pg_catalog is.
    left = {
        table: {other for one, other in copy.query(REFERENCES) if one == table and other in tables}
        for table in tables
    }
    found: list[str] = []
    while left:
        free = [table for table, others in left.items() if not others - set(found)]
        if not free:
            raise UnsuitedError(f"{', '.join(left)}, which refer to each other")
        found += free
        for table in free:
            del left[table]
    return found


def key_of(columns: list[str]) -> str:
    """A row's key as one line of text."""
    return f"json_build_array({', '.join(map(identifier, columns))})::text"


def difference(
    source: Session, copy: Session, table: str, keys: list[str], columns: list[str]
) -> tuple[list[str], list[str]]:
    """The keys of rows that the source has no more, and of those that are new or have changed."""
    row = f"record_out(ROW({', '.join(map(identifier, columns))}))"
    query = f"SELECT {key_of(keys)}, md5(textin({row})) FROM ONLY {table}"
    wanted, there = ({it[0]: it[1] for it in side.query(query)} for side in (source, copy))
    gone = [key for key in there if key not in wanted]
    return gone, [key for key, digest in wanted.items() if there.get(key) != digest]


def among(keys: list[str], values: list[str]) -> str:
    return f"{key_of(keys)} = ANY (ARRAY[{', '.join(map(literal, values))}]::text[])"


def delete(copy: Session, table: str, keys: list[str], gone: list[str]) -> None:
    if gone:
        copy.query(f"DELETE FROM ONLY {table} WHERE {among(keys, gone)}")


def bring(
    source: Session,
    copy: Session,
    table: str,
    keys: list[str],
    columns: list[str],
    come: list[str],
) -> None:
    """Insert or replace rows of the source, these columns of them."""
    listed = ", ".join(map(identifier, columns))
    rows = source.query(
        f"SELECT row_to_json(own) FROM (SELECT {listed} FROM ONLY {table} "
        f"WHERE {among(keys, come)}) AS own"
    )
    others = [identifier(it) for it in columns if it not in keys]
    replaced = f"UPDATE SET {', '.join(f'{it} = EXCLUDED.{it}' for it in others)}"
    text = f"[{','.join(it for (it,) in rows)}]"
    copy.query(
        f"INSERT INTO {table} ({listed}) OVERRIDING SYSTEM VALUE SELECT {listed} "
        f"FROM json_populate_recordset(NULL::{table}, {literal(text)}) "
        f"ON CONFLICT ({', '.join(map(identifier, keys))}) "
        f"DO {replaced if others else 'NOTHING'}"
    )
