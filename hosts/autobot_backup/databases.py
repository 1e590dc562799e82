"""What the server has: its databases, their tables and the revisions of their schemas."""

from __future__ import annotations

from autobot_backup import psql

VERSION_TABLE = "user_management_version"


def system_identifier() -> int:
    """What tells this cluster from every other."""
    ((identifier,),) = psql.query("postgres", "SELECT system_identifier FROM pg_control_system()")
    return int(identifier)


def names(socket_directory: str | None = None) -> list[str]:
    """The databases that hold somebody's data."""
    rows = psql.query(
        "postgres",
        "SELECT datname FROM pg_database"
        " WHERE datallowconn AND NOT datistemplate AND datname <> 'postgres' ORDER BY datname",
        socket_directory,
    )
    return [name for (name,) in rows]


def total_bytes() -> int:
    """The size of all databases; their dumps are compressed and smaller."""
    ((size,),) = psql.query("postgres", "SELECT sum(pg_database_size(oid)) FROM pg_database")
    return int(size)


def tables(session: psql.Session, persistence: str = "'p'") -> list[str]:
    """The permanent tables of a database, or others too, quoted and with their schema."""
    return [
        name
        for (name,) in session.query(
            "SELECT format('%I.%I', nspname, relname)"
            " FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            f" WHERE relkind = 'r' AND relpersistence IN ({persistence})"
            " AND nspname NOT LIKE 'pg\\_%'"
            " AND nspname <> 'information_schema' ORDER BY 1"
        )
    ]


def revisions(database: str, socket_directory: str | None = None) -> list[str]:
    """The revisions of a database's schema: one, or none where nobody has migrated it."""
    ((table,),) = psql.query(
        database,
        # A view of that name is an owner's, and would be run by a superuser.
        f"SELECT count(*) FROM pg_class WHERE oid = to_regclass('public.{VERSION_TABLE}')"
        " AND relkind = 'r'",
        socket_directory,
    )
    if table == "0":
        return []
    sql = f"SELECT version_num FROM public.{VERSION_TABLE} ORDER BY 1"
    return [row[0] for row in psql.query(database, sql, socket_directory)]


def exists(name: str) -> bool:
    """Whether there is a database of that name."""
    sql = f"SELECT 1 FROM pg_database WHERE datname = {psql.quote_literal(name)}"
    return bool(psql.query("postgres", sql))
