"""Alembic's environment: one history for both databases, one target for each run.

The target is named by `-n slm` or `-x name=slm` (or autobot); where it is comes from
user_management.config. Runs on the same database wait for each other.
"""

import asyncio
import logging.config
from collections.abc import Collection

from alembic import context
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from user_management.config import load_settings
from user_management.database import VERSION_TABLE, create_engine
from user_management.errors import ConfigurationError
from user_management.models import Base
from user_management.population import Population

# pg_advisory_lock's key: any number that others do not use ("user_mgm" in ASCII).
LOCK_KEY = 0x757365725F6D676D
LOCK_NOT_AVAILABLE = "55P03"


def target() -> Population:
    """The population named on the command line."""
    section = context.config.config_ini_section
    names = {section} - {"alembic"}
    if argument := context.get_x_argument(as_dictionary=True).get("name"):
        names.add(argument)
    if len(names) != 1 or not names <= set(Population):
        given = " and ".join(sorted(names)) or "none"
        raise CommandError(
            f"Name one database, slm or autobot (given: {given}): "
            "`alembic -n slm upgrade head` or `alembic -x name=slm upgrade head`."
        )
    return Population(names.pop())


def sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def explain(error: DBAPIError) -> str:
    """What the server said, without the statement."""
    if sqlstate(error) == LOCK_NOT_AVAILABLE:
        return (
            "A table stays locked by somebody else, so the migration gave up and changed nothing. "
            "End long transactions (pg_stat_activity shows them), then migrate again."
        )
    server = error.orig.__cause__ if error.orig else None
    parts = (getattr(server, name, None) for name in ("message", "detail", "hint"))
    return "\n".join(part for part in parts if part) or str(error)


def configure(population: Population, **options: object) -> None:
    context.configure(
        target_metadata=Base.metadata,
        version_table=VERSION_TABLE,
        compare_server_default=True,
        # Tables of AutoBot and others live in the same database and are not ours.
        include_name=lambda name, kind, _: kind != "table" or name in Base.metadata.tables,
        # Fleet administrators belong to organizations of the other database (revision 0003).
        include_object=lambda item, _, kind, *__: (
            population is Population.AUTOBOT
            or kind != "foreign_key_constraint"
            or (item.parent.name, item.column_keys) != ("users", ["org_id"])
        ),
        # A comment marks an adopted table (revision 0001); the models know nothing of it.
        autogenerate_plugins=["alembic.autogenerate.*", "~alembic.autogenerate.comments"],
        population=population,
        **options,
    )


def refuse_unknown(heads: Collection[str]) -> None:
    """The database may be of a later release than this code."""
    known = {script.revision for script in context.script.walk_revisions()}
    if unknown := sorted(set(heads) - known):
        raise CommandError(
            f"The database is at revision {', '.join(unknown)}, which this release does not know: "
            "its schema is ahead of the code. Deploy the release that made it, or downgrade "
            "with that release first."
        )


def seconds(option: str) -> str:
    return f"{context.config.get_main_option(option)}s"


def lock(connection: Connection) -> None:
    """Wait for other migrations of this database. The lock goes with the connection."""
    wait = seconds("migration_wait_seconds")
    set_lock_timeout = text("SELECT set_config('lock_timeout', :value, false)")
    connection.execute(set_lock_timeout, {"value": wait})
    try:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK_KEY})
    except DBAPIError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        raise CommandError(
            f"Another migration is running on this database and did not end within {wait}. "
            "Try again when it has ended."
        ) from error
    connection.execute(set_lock_timeout, {"value": seconds("table_lock_wait_seconds")})
    connection.commit()


def migrate(connection: Connection, population: Population) -> None:
    lock(connection)
    configure(population, connection=connection)
    refuse_unknown(context.get_context().get_current_heads())
    with context.begin_transaction():
        context.run_migrations()


async def run_online(population: Population) -> None:
    engine = create_engine(
        load_settings().database(population),
        deadlines=False,
        application_name="alembic",
        poolclass=NullPool,
    )
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate, population)
    except DBAPIError as error:
        raise CommandError(explain(error)) from error
    except OSError as error:
        raise CommandError(f"The {population} database cannot be reached: {error}") from error
    finally:
        await engine.dispose()


def run_offline(population: Population) -> None:
    configure(
        population,
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        literal_binds=True,
    )
    with context.begin_transaction():
        context.execute(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
        context.run_migrations()


if context.config.config_file_name and context.config.cmd_opts:
    logging.config.fileConfig(context.config.config_file_name, disable_existing_loggers=False)

try:
    if context.is_offline_mode():
        run_offline(target())
    else:
        asyncio.run(run_online(target()))
except ConfigurationError as error:
    raise CommandError(str(error)) from error
