"""The fence around a source: whoever could write to it can only read."""

from __future__ import annotations

from .contents import FENCE, TABLE_NAMES
from .servers import MoveError, Server, Session

LOCK_ATTEMPTS = 3

# A statement for a partitioned table asks its trigger alone.
FENCED = TABLE_NAMES.format(kinds="'r', 'p'")
# It waits for the locks of those who write: when it is done, they have ended.
BLOCK_WRITES = f"""
BEGIN;
SET LOCAL lock_timeout = '5s';
SELECT format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', string_agg(name, ', '))
FROM ({FENCED}) AS own (name) HAVING count(*) > 0 \\gexec
CREATE SCHEMA IF NOT EXISTS {FENCE};
CREATE OR REPLACE FUNCTION {FENCE}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE read_only_sql_transaction USING MESSAGE =
        'The users are being moved to another server, or were: nobody writes here any more.';
END $$;
SELECT format('CREATE OR REPLACE TRIGGER {FENCE} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE '
    'ON %s EXECUTE FUNCTION {FENCE}.refuse()', name)
FROM ({FENCED}) AS own (name) \\gexec
COMMIT;
"""
WRITERS = """
SELECT DISTINCT format('process %s (%s)', pid, concat_ws(', ', usename, client_addr,
    nullif(application_name, ''), state))
FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE datname = current_database() AND granted AND pid <> pg_backend_pid()
    AND mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock',
        'ExclusiveLock', 'AccessExclusiveLock')
ORDER BY 1
"""


def is_fenced(session: Session) -> bool:
    return bool(session.query(f"SELECT 1 WHERE to_regnamespace('{FENCE}') NOTNULL"))


def block_writes(server: Server, database: str, session: Session) -> None:
    """Close a database to all who write. Raises MoveError where somebody does not end.

    `session` is one of the database.
    """
    attempts = 1
    while not _have_ended(server, database):
        if attempts == LOCK_ATTEMPTS:
            writers = ", ".join(it for (it,) in session.query(WRITERS))
            raise MoveError(
                f"The source is being written to by {writers or 'somebody'}, who does not end. "
                "Restart that program, and run again."
            )
        attempts += 1


def _have_ended(server: Server, database: str) -> bool:
    """Whether all who wrote have ended."""
    try:
        server.run(database, BLOCK_WRITES)
    except MoveError as error:
        if any(it in str(error) for it in ("lock timeout", "deadlock detected")):
            return False
        raise
    return True
