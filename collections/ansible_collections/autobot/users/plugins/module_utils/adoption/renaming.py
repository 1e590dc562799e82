"""Databases under other names, while nobody is connected."""

from __future__ import annotations

from collections.abc import Mapping

from .servers import MoveError, Server, Session, identifier, literal


def end_sessions(session: Session, database: str) -> None:
    session.query(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        f"WHERE datname = {literal(database)} AND pid <> pg_backend_pid()"
    )


def rename(server: Server, names: Mapping[str, str], also: str = "SELECT") -> None:
    """New names for databases, and another statement, in one transaction while nobody is in."""
    try:
        with Session(server, "postgres") as session:
            for name in names:
                session.query(f"ALTER DATABASE {identifier(name)} ALLOW_CONNECTIONS false")
            for name in names:
                end_sessions(session, name)
            renames = (
                f"ALTER DATABASE {identifier(one)} RENAME TO {identifier(other)}"
                for one, other in names.items()
            )
            session.query(";\n".join(["BEGIN", *renames, also, "COMMIT"]))
    finally:
        allow(server, *names, *names.values())


def allow(server: Server, *names: str) -> bool:
    """Let databases be connected to that refuse it; whether one did."""
    listed = ", ".join(map(literal, names))
    shut = server.run(
        "postgres",
        f"SELECT datname FROM pg_database WHERE NOT datallowconn AND datname IN ({listed})",
    )
    for (name,) in shut:
        server.run("postgres", f"ALTER DATABASE {identifier(name)} ALLOW_CONNECTIONS true")
    return bool(shut)


def set_aside(server: Server, database: str, kept: str, *, check: bool = False) -> bool:
    """Another name for what was moved: who still has the old one is refused; whether it had it.

    `server` is that of the source, asked by its superuser.
    """
    listed = f"{literal(database)}, {literal(kept)}"
    there = {
        name
        for (name,) in server.run(
            "postgres", f"SELECT datname FROM pg_database WHERE datname IN ({listed})"
        )
    }
    if there == {database, kept}:
        raise MoveError(f"Both {database} and {kept} are there. Rename the older one.")
    if check or database not in there:
        if not check:
            allow(server, kept)
        return database in there
    rename(server, {database: kept})
    return True
