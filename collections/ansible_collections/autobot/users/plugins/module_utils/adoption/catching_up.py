"""Make rows of one database what they are in another: of the copy, before the switch, and of the
source, on the way back.

They travel as COPY writes them, so that each value of each type comes as it is. What has changed is
deleted before anything is inserted: two rows can have swapped what is unique.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from .contents import FENCE, SEEDED, Contents, digests, row_digest, row_text, rows_of
from .servers import Session, identifier, literal

# More rows of one table are copied faster as a whole.
MOST_ROWS = 20_000
# Of each table: its owner, the columns of its primary key, and those that the server computes.
FACTS = """
SELECT format('%I.%I', nspname, relname), json_build_object('owner', pg_get_userbyid(relowner),
    'keys', ARRAY(
        SELECT attname FROM pg_index CROSS JOIN
            unnest(indkey::int2[]) WITH ORDINALITY AS key (number, position)
            JOIN pg_attribute ON attrelid = indrelid AND attnum = number
        WHERE indrelid = c.oid AND indisprimary ORDER BY position
    ),
    'computed', ARRAY(
        SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attgenerated <> ''
    )
)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND nspname !~ '^pg_'
"""
# What would act on rows of `tables` that come: foreign keys delete others, triggers change them.
# The first statement takes it away, the second brings it back; a foreign key judges all rows then.
ACTING = f"""
SELECT format('ALTER TABLE %I.%I DROP CONSTRAINT %I', nspname, relname, conname),
    format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', nspname, relname, conname,
        pg_get_constraintdef(own.oid))
FROM pg_constraint AS own JOIN pg_class c ON c.oid = conrelid
    JOIN pg_namespace n ON n.oid = relnamespace
WHERE contype = 'f' AND conparentid = 0 AND (
    relkind = 'p' OR conrelid::regclass::text IN ({{tables}})
    OR confrelid::regclass::text IN ({{tables}})
)
UNION ALL
SELECT format('ALTER TABLE %I.%I DISABLE TRIGGER %I', nspname, relname, tgname),
    format('ALTER TABLE %I.%I ENABLE %s TRIGGER %I', nspname, relname,
        CASE tgenabled WHEN 'A' THEN 'ALWAYS' END, tgname)
FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid JOIN pg_namespace n ON n.oid = relnamespace
WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgname <> '{FENCE}'
    AND tgrelid::regclass::text IN ({{tables}})
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
    columns = {table: now[table]["columns"] for table in changed}
    copy.query("BEGIN")
    replay(source, copy, columns, most=MOST_ROWS)
    follow_sequences(source, copy)
    if digests(copy.query, columns) != {table: now[table] for table in changed}:
        raise UnsuitedError
    copy.query("COMMIT")


def replay(
    source: Session,
    copy: Session,
    columns: Mapping[str, list[str]],
    *,
    most: int | None = None,
    seen: Mapping[str, str] | None = None,
) -> int:
    """Make rows of the copy what they are in the source, in a transaction that is open there.

    `columns` are those of the tables that differ, `most` how many rows of one may; `seen` has, of
    some tables, the query of what is to come. Returns how many rows were changed.
    """
    if not columns:
        return 0
    facts = {table: json.loads(said) for table, said in copy.query(FACTS)}
    # A table without a key has whole rows for keys.
    changed = [
        ChangedTable(table, listed, facts[table], rows_of(table, seen or {}))
        for table, listed in columns.items()
    ]
    for side in (source, copy):
        side.query("CREATE TEMPORARY TABLE row_key (key text)")
    # Whoever owns a table changes it: what acts on its rows has the rights of nobody else.
    copy.query("GRANT SELECT ON pg_temp.row_key TO PUBLIC")
    count = 0
    with suspended(source, copy, list(columns)):
        for table in changed:
            count += table.replay(source, copy, most)
    source.query("DROP TABLE pg_temp.row_key")
    return count


class ChangedTable:
    """A table whose rows differ, with `columns` that both sides have."""

    def __init__(
        self, name: str, columns: list[str], facts: Mapping[str, Any], wanted: str
    ) -> None:
        self._name = name
        self._columns = columns
        self._owner: str = facts["owner"]
        self._key = row_text(facts["keys"] or columns)
        self._written = [it for it in columns if it not in facts["computed"]]
        self._wanted = wanted

    def replay(self, source: Session, copy: Session, most: int | None) -> int:
        wanted, there = (
            self._digests(source, self._wanted),
            self._digests(copy, f"ONLY {self._name}"),
        )
        old = [key for key, digest in there.items() if wanted.get(key) != digest]
        new = [key for key, digest in wanted.items() if there.get(key) != digest]
        count = len({*old, *new})
        if most is not None and count > most:
            raise UnsuitedError
        for side, keys in ((source, new), (copy, old)):
            side.query("TRUNCATE pg_temp.row_key")
            side.load("pg_temp.row_key", keys)
        among = f"{self._key} IN (SELECT key FROM pg_temp.row_key)"
        listed = ", ".join(map(identifier, self._written))
        copy.query(f"SET LOCAL ROLE {identifier(self._owner)}")
        copy.query(f"DELETE FROM ONLY {self._name} WHERE {among}")
        rows = source.lines(f"COPY (SELECT {listed} FROM {self._wanted} WHERE {among}) TO STDOUT")
        copy.load(f"{self._name} ({listed})", rows)
        copy.query("RESET ROLE")
        return count

    def _digests(self, side: Session, rows: str) -> dict[str, str]:
        """By key, as COPY writes it: a digest, and how many rows there are."""
        lines = side.lines(
            f"COPY (SELECT {self._key}, {row_digest(self._columns)}, count(*) FROM {rows} "
            "GROUP BY 1, 2) TO STDOUT"
        )
        return dict(line.split("\t", 1) for line in lines)


@contextmanager
def suspended(source: Session, copy: Session, tables: list[str]) -> Iterator[None]:
    """Let nothing act on rows of the copy that has acted on them in the source."""
    acts = ACTING.format(tables=", ".join(map(literal, tables)))
    there = {take for take, _ in source.query(acts)}
    acting = [(take, bring) for take, bring in copy.query(acts) if take in there]
    for take, _ in acting:
        copy.query(take)
    yield
    copy.query("SET CONSTRAINTS ALL IMMEDIATE")
    for _, bring in acting:
        copy.query(bring)


def follow_sequences(source: Session, copy: Session) -> None:
    for (statement,) in source.query(SEQUENCES):
        ((name, value, called),) = source.query(statement)
        copy.query(
            f"SELECT setval(to_regclass({literal(name)}), {value}, {literal(called)}) "
            f"WHERE to_regclass({literal(name)}) NOTNULL"
        )
