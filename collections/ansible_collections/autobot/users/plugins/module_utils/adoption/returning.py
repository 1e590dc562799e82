"""What AutoBot's own schema can have of what came to its users with us, and what it cannot."""

from __future__ import annotations

from collections.abc import Mapping

from .contents import FENCE
from .servers import Session, identifier, literal

# Names that are unique in AutoBot's schema among all rows, and with us among those that are not
# deleted: among which rows each is unique.
NAMES = {
    "public.users": {"email": ["email"], "username": ["username"]},
    "public.organizations": {"slug": ["slug"]},
    "public.teams": {"name": ["org_id", "name"]},
}
# Who lives keeps the name, else the first of the deleted; as our migrations do it when undone.
FREED = (
    "CASE WHEN deleted_at IS NULL OR row_number() OVER (PARTITION BY {among} "
    "ORDER BY deleted_at IS NULL DESC, id) = 1 THEN {name} ELSE left({name}, 60) || '-' || id END"
)
# It would hold for ever there.
ONE_TIME = (
    "EXISTS (SELECT FROM public.user_credentials WHERE user_id = users.id AND must_change_password)"
)
LASTING = f"CASE WHEN NOT {ONE_TIME} THEN password_hash END"
# AutoBot reads hashes of bcrypt alone.
UNREADABLE = """
SELECT username FROM public.users
WHERE (password_hash LIKE 'bcrypt-sha384$%' OR {one_time}) AND deleted_at IS NULL ORDER BY 1
"""

# AutoBot's own relations, and what makes them what they are: what it is, and how.
SHAPE = f"""
WITH relation AS (
    SELECT c.oid, relkind, format('%I.%I', nspname, relname) AS name
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND relpersistence <> 't' AND nspname !~ '^pg_'
        AND nspname NOT IN ('information_schema', '{FENCE}') AND ({{own}}) AND NOT EXISTS (
            SELECT FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype IN ('e', 'i')
        )
)
SELECT format('%s %s', CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view'
    WHEN 'S' THEN 'sequence' ELSE 'table' END, name), '' FROM relation
UNION ALL
SELECT format('column %s of %s', attname, name), concat_ws(' ',
    format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated,
    pg_get_expr(adbin, adrelid))
FROM relation JOIN pg_attribute ON attrelid = relation.oid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped AND relkind <> 'S'
UNION ALL
SELECT format('constraint %s of %s', conname, name), pg_get_constraintdef(pg_constraint.oid)
FROM relation JOIN pg_constraint ON conrelid = relation.oid
WHERE contype IN ('p', 'u', 'f', 'c', 'x')
UNION ALL
SELECT format('index %s of %s', indexrelid::regclass, name), pg_get_indexdef(indexrelid)
FROM relation JOIN pg_index ON indrelid = relation.oid
UNION ALL
SELECT format('trigger %s of %s', tgname, name), ''
FROM relation JOIN pg_trigger ON tgrelid = relation.oid
WHERE NOT tgisinternal AND tgname <> '{FENCE}'
"""
# Relations of the new home that are not AutoBot's own: its users' tables, and all of ours.
OURS = f"""
SELECT format('%I.%I', nspname, relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p', 'v', 'm', 'S') AND nspname !~ '^pg_'
    AND nspname <> '{FENCE}' AND pg_get_userbyid(relowner) <> {{user}}
"""


def has_credentials(new: Session) -> bool:
    return bool(new.query("SELECT 1 WHERE to_regclass('public.user_credentials') NOTNULL"))


def as_autobot_has_it(new: Session, columns: Mapping[str, list[str]]) -> dict[str, str]:
    """Queries for rows that are to be others there, with these columns of their tables."""
    others = {
        table: {
            name: FREED.format(among=", ".join(map(identifier, among)), name=identifier(name))
            for name, among in names.items()
        }
        for table, names in NAMES.items()
        if table in columns
    }
    if has_credentials(new):
        others["public.users"]["password_hash"] = LASTING
    return {
        table: "SELECT "
        + ", ".join(
            f"{expressions.get(it, identifier(it))} AS {identifier(it)}" for it in columns[table]
        )
        + f" FROM ONLY {table}"
        for table, expressions in others.items()
    }


def unreadable(new: Session) -> list[str]:
    """Who has a password with us that cannot be one there."""
    one_time = ONE_TIME if has_credentials(new) else "false"
    return [name for (name,) in new.query(UNREADABLE.format(one_time=one_time))]


def shape_differences(new: Session, old: Session, user: str) -> list[str]:
    """How AutoBot's own tables, which belong to `user`, differ from those that it had."""
    ours = [name for (name,) in new.query(OURS.format(user=literal(user)))]
    now = shape(new, f"pg_get_userbyid(relowner) = {literal(user)}")
    names = ", ".join(map(literal, ours)) or "''"
    before = shape(old, f"format('%I.%I', nspname, relname) NOT IN ({names})")
    return [
        *(f"{it} is new" for it in now if it not in before),
        *(f"{it} is gone" for it in before if it not in now),
        *(f"{it} is another" for it in now if it in before and now[it] != before[it]),
    ]


def shape(session: Session, own: str) -> dict[str, str]:
    lines = session.lines(f"COPY ({SHAPE.format(own=own)} ORDER BY 1) TO STDOUT")
    return dict(line.split("\t", 1) for line in lines)
