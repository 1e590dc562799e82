"""Alembic's environment: one history for both databases, one target for each run.

The target is named by `-n slm` or `-x name=slm` (or autobot); where it is comes from
user_management.config. Runs on the same database wait for each other.

What a revision says of itself besides what Alembic asks for, and what is done with it, is in
docs/releases.md:

    contract = "0006"                 it removes what no code uses since this revision
    loses = {"badges": "true"}        the rows that undoing it would lose: table, condition

`-x serving=DIRECTORY` names the release that serves meanwhile: a schema that does not suit it is
refused. `-x lose_rows=true` lets a downgrade lose rows.
"""

import asyncio
import logging.config
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic import command, context
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import NullPool

from user_management.config import load_settings
from user_management.database import SUITS, VERSION_TABLE, create_engine
from user_management.errors import ConfigurationError, reason
from user_management.models import Base
from user_management.population import Population

# pg_advisory_lock's key: any number that others do not use ("user_mgm" in ASCII).
LOCK_KEY = 0x757365725F6D676D
LOCK_NOT_AVAILABLE = "55P03"
QUERY_CANCELED = "57014"
UNDEFINED = {"42P01", "42703"}  # a table, a column
# The newest revision from before revisions said what they suit and what they lose.
SILENT = "0005"

BLOCKERS = """
SELECT format('process %s (%s)', pid, concat_ws(', ', usename, nullif(application_name, '')))
FROM pg_stat_activity WHERE pid = ANY (pg_blocking_pids(:pid)) ORDER BY pid
"""

# Who holds the advisory lock :key.
MIGRATING = """
SELECT format('process %s (%s)', pid, concat_ws(', ', usename, nullif(application_name, '')))
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND objsubid = 1
    AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND (classid::bigint << 32) | objid::bigint = :key
"""

log = logging.getLogger("alembic.runtime.migration")


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


def explain(error: DBAPIError, blockers: Collection[str]) -> str:
    """What the server said, without the statement."""
    if sqlstate(error) == LOCK_NOT_AVAILABLE:
        who = ", ".join(blockers) or "somebody else"
        return (
            f"A table stays locked by {who}, so the migration gave up and changed no table. "
            "End long transactions (pg_stat_activity shows them), then migrate again."
        )
    if sqlstate(error) == QUERY_CANCELED:
        return (
            f"A statement took longer than {seconds('statement_seconds')} or was cancelled, and "
            "no table was changed. Give it more time (statement_seconds in alembic.ini), or "
            "migrate when less is going on."
        )
    server = error.orig.__cause__ if error.orig else None
    parts = (getattr(server, name, None) for name in ("message", "detail", "hint"))
    return "\n".join(part for part in parts if part) or str(error)


@asynccontextmanager
async def watching(engine: AsyncEngine, pid: int) -> AsyncIterator[list[str]]:
    """Who keeps the session waiting, as last seen: afterwards nobody could say."""
    blockers: list[str] = []

    async def watch() -> None:
        await asyncio.sleep(0.5)
        try:
            async with engine.connect() as connection:
                while True:
                    found = await connection.scalars(text(BLOCKERS), {"pid": pid})
                    if names := list(found):
                        blockers[:] = names
                    await connection.rollback()
                    await asyncio.sleep(0.5)
        except (SQLAlchemyError, OSError) as error:
            log.debug("Nobody watches who blocks: %s", error)

    watcher = asyncio.create_task(watch())
    try:
        yield blockers
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)


def revision(name: str) -> ModuleType:
    return context.script.get_revision(name).module


def history(newest: str, oldest: str | None = None) -> Iterator[str]:
    """The revisions down to `oldest`, without it."""
    for script in context.script.iterate_revisions(newest, oldest or "base"):
        yield script.revision


def suits_since(name: str) -> str:
    """The oldest revision whose code runs on the schema of this one."""
    if name <= SILENT:
        return name
    contracts = (getattr(revision(each), "contract", None) for each in history(name, SILENT))
    found: str = max([SILENT, *filter(None, contracts)])
    return found


def note_whom_it_suits(ctx: MigrationContext, heads: Collection[str], **_: object) -> None:
    """Where code that knows nothing of this revision can read it."""
    comment = f"'{SUITS.format(suits_since(max(heads)))}'" if heads else "NULL"
    ctx.execute(f"COMMENT ON TABLE {VERSION_TABLE} IS {comment}")


def configure(population: Population, **options: Any) -> None:
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
        # It is called with names, which its declared type does not say.
        on_version_apply=note_whom_it_suits,  # type: ignore[arg-type]
        population=population,
        **options,
    )


def is_ahead(connection: Connection, heads: Collection[str]) -> bool:
    """Whether the schema is of a later release and suits this code: there is nothing to do then."""
    known = set(history("heads"))
    unknown = sorted(set(heads) - known)
    if not unknown:
        return False
    comment = connection.scalar(
        text("SELECT obj_description(to_regclass(:table), 'pg_class')"), {"table": VERSION_TABLE}
    )
    upgrades = getattr(context.config.cmd_opts, "cmd", [None])[0] is command.upgrade
    if upgrades and comment in {SUITS.format(name) for name in known}:
        log.info("The schema is at revision %s, which suits this release.", unknown[0])
        return True
    raise CommandError(
        f"The database is at revision {', '.join(unknown)}, which this release does not know: "
        "its schema is ahead of the code. Deploy the release that made it, or downgrade "
        "with that release first."
    )


def option(name: str) -> str | None:
    value: str | None = context.get_x_argument(as_dictionary=True).get(name)
    return value


def refuse_to_strand(heads: Collection[str]) -> None:
    """The release that serves meanwhile must run on the new schema."""
    serving = Path(option("serving") or "") / "migrations"
    newest = context.script.get_current_head()
    if option("serving") is None or not serving.exists() or newest is None or newest in heads:
        return
    code = ScriptDirectory(str(serving)).get_current_head()
    needed = suits_since(newest)
    if code is not None and SILENT <= code < needed:
        raise CommandError(
            f"The release in use is of revision {code}, and the new schema suits code since "
            f"{needed} only: it would fail meanwhile. Deploy a release of revision {needed} first."
        )


def count(connection: Connection, table: str, condition: str) -> int:
    """Rows, of which there will be no more; none where a later revision has taken them away."""
    try:
        with connection.begin_nested():
            connection.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
            query = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608
            number: int = connection.scalar(text(query))
            return number
    except DBAPIError as error:
        if sqlstate(error) in UNDEFINED:
            return 0
        raise


def refuse_to_lose(connection: Connection, heads: Collection[str]) -> None:
    """Before a downgrade: the rows that it would lose, counted while nobody can add to them."""
    if getattr(context.config.cmd_opts, "cmd", [None])[0] is not command.downgrade:
        return
    target = context.get_revision_argument()
    lost: list[str] = []
    for head in heads:
        # As the downgrade itself reads its target, which may be relative.
        for script in context.script.iterate_revisions(head, target, select_for_downgrade=True):
            for table, condition in getattr(script.module, "loses", {}).items():
                if rows := count(connection, table, condition):
                    lost.append(f"{rows} of {table} ({script.revision}: {condition})")
    if lost and option("lose_rows") != "true":
        raise CommandError(
            f"The downgrade would lose what these rows hold: {'; '.join(lost)}. No database "
            "was changed. The old code runs on the schema as it is; to lose them, say so: "
            "rollback_lose_rows=true (alembic: -x lose_rows=true)."
        )


def seconds(option: str) -> str:
    return f"{context.config.get_main_option(option)}s"


def lock(connection: Connection) -> None:
    """Wait for other migrations of this database. The lock goes with the connection.

    Asked for again and again: whoever waited within a statement would be waited for by an index
    that the other one makes CONCURRENTLY.
    """
    wait = seconds("migration_wait_seconds")
    end = time.monotonic() + float(wait.removesuffix("s"))
    while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": LOCK_KEY}):
        if time.monotonic() > end:
            who = connection.scalar(text(MIGRATING), {"key": LOCK_KEY})
            raise CommandError(
                f"Another migration is running on this database and did not end within {wait}: "
                f"{who or 'it has ended just now'}. Try again when it has ended."
            )
        connection.rollback()
        time.sleep(0.2)
    limit = text("SELECT set_config(:name, :value, false)")
    for name, option in (
        ("lock_timeout", "table_lock_wait_seconds"),
        ("statement_timeout", "statement_seconds"),
    ):
        connection.execute(limit, {"name": name, "value": seconds(option)})
    connection.commit()


def migrate(connection: Connection, population: Population, blockers: Collection[str]) -> None:
    lock(connection)
    attempts = int(context.config.get_main_option("table_lock_attempts") or 1)
    while True:
        attempts -= 1
        try:
            run(connection, population)
        except DBAPIError as error:
            if attempts <= 0 or sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
        else:
            return
        log.info("A table is locked by %s: trying again.", ", ".join(blockers) or "somebody else")
        # Who had to wait behind us goes first.
        time.sleep(1)


def run(connection: Connection, population: Population) -> None:
    """All that is to be done, in one transaction."""
    configure(population, connection=connection)
    heads = context.get_context().get_current_heads()
    if is_ahead(connection, heads):
        return
    refuse_to_strand(heads)
    connection.rollback()
    with context.begin_transaction():
        refuse_to_lose(connection, heads)
        context.run_migrations()


async def run_online(population: Population) -> None:
    engine = create_engine(
        load_settings().database(population),
        deadlines=False,
        application_name="alembic",
        poolclass=NullPool,
    )
    blockers: Collection[str] = ()
    try:
        async with engine.connect() as connection:
            pid = await connection.scalar(text("SELECT pg_backend_pid()"))
            await connection.rollback()
            async with watching(engine, pid) as blockers:
                await connection.run_sync(migrate, population, blockers)
    except DBAPIError as error:
        raise CommandError(explain(error, blockers)) from error
    except OSError as error:
        raise CommandError(
            f"The {population} database cannot be reached: {reason(error)}"
        ) from error
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
