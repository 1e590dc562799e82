"""The move itself: look, copy, fence, switch. Each step can be killed, and done again.

What was done is read off the servers: the names of databases, and a note in the comment of one.

    NAME_incoming          the copy; its note has what was in the source
    NAME                   serves; its note says from where it was moved, once it was
    NAME_before_adoption   what served before
    NAME_given_back        what served until the source did again
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .catching_up import UnsuitedError, catch_up, follow_sequences, replay
from .contents import FENCE, TABLE_NAMES, TABLES, Contents, differences, digests
from .returning import as_autobot_has_it, shape_differences, unreadable
from .servers import LOCK_TIMEOUT, MoveError, Server, Session, identifier, literal, words

OLDEST = 14
# AutoBot's processes, with their pools; the firewall counts with as many.
CONNECTIONS = 40
# The copy, one of a rehearsal that is being dropped, and their WAL.
ROOM = 3
LOCK_ATTEMPTS = 3
SCRAM = re.compile(
    r"SCRAM-SHA-256\$(?P<iterations>\d+):(?P<salt>[^$]+)\$(?P<key>[^:]+):(?P<server>.+)"
)

# A statement for a partitioned table asks its trigger alone.
FENCED = TABLE_NAMES.format(kinds="'r', 'p'")
# It waits for the locks of those who write: when it is done, they have ended.
RAISE_FENCE = f"""
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
MADE = "Owner of AutoBot's database of users, made by its move to this server."
ROLE = """
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls,
    coalesce(shobj_description(oid, 'pg_authid'), ''), coalesce(rolpassword, '')
FROM pg_authid WHERE rolname = {name}
"""
OTHER_OWNER = "Give the source another owner (ALTER DATABASE … OWNER TO)."
PEOPLE = "SELECT id, lower(username), lower(email) FROM public.users WHERE deleted_at IS NULL"


@dataclass(frozen=True)
class Move:
    """A database of `source`, and the one of `target` whose place it takes.

    The owner of the source owns AutoBot's own tables here, too: its SCRAM `verifier` is that of
    the password which it has there. `ours` are names that it cannot have.
    """

    source: Server
    database: str
    target: Server
    name: str
    verifier: str = ""
    ours: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return f"{self.source.host}:{self.source.port}/{self.database}"

    @property
    def incoming(self) -> str:
        return f"{self.name}_incoming"

    @property
    def previous(self) -> str:
        return f"{self.name}_before_adoption"

    # -- what is known ---------------------------------------------------------------------------

    def note(self, database: str) -> dict[str, Any]:
        """What an earlier step has noted of a database of the target; nothing where it is not."""
        rows = self.target.run(
            "postgres",
            "SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database "
            f"WHERE datname = {literal(database)}",
        )
        try:
            said = json.loads(rows[0][0]) if rows else {}
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    def remember(self, database: str, note: Mapping[str, Any]) -> str:
        """The statement that notes it."""
        return f"COMMENT ON DATABASE {identifier(database)} IS {literal(json.dumps(note))}"

    def is_there(self, database: str) -> bool:
        query = f"SELECT 1 FROM pg_database WHERE datname = {literal(database)}"
        return bool(self.target.run("postgres", query))

    @property
    def returned(self) -> str:
        return f"{self.name}_given_back"

    @property
    def report(self) -> dict[str, Any]:
        """What the move has noted of itself; nothing before the switch."""
        note = self.note(self.name)
        return note if note.get("from") == self.where else {}

    # -- look ------------------------------------------------------------------------------------

    def look(self) -> dict[str, Any]:
        """What would be moved, and all that is in the way. Reads only."""
        if report := self.report:
            return {"moved": True, "problems": [], "report": report}
        problems = []
        found: dict[str, Any] = {"moved": False, "here": len(self._own_people())}
        if self.source.user in self.ours:
            problems.append(
                f"{self.source.user}, which owns the source, is a role of this site: its password "
                f"would change. {OTHER_OWNER}"
            )
        problems += self._of_another()
        if self.is_there(self.previous):
            problems.append(
                f"The database {self.previous} is here already, from an earlier move. Rename it, "
                "or drop it if nobody needs it."
            )
        try:
            with Session(self.source, self.database) as session:
                found |= self._source(session, problems)
        except MoveError as error:
            problems.append(f"The source {self.where} does not let {self.source.user} in: {error}")
        return found | {"problems": problems, "report": {}}

    def _of_another(self) -> list[str]:
        """Why a role of the owner's name, which is here already, cannot be the owner's."""
        found = self.target.run("postgres", ROLE.format(name=literal(self.source.user)))
        if not found:
            return []
        ((is_powerful, comment, password),) = found
        if is_powerful == "t":
            return [
                f"{self.source.user}, which owns the source, may do more on this server than use "
                f"its own databases: AutoBot could, too. {OTHER_OWNER}"
            ]
        if comment == MADE or has_password(self.source.user, self.source.password, password):
            return []
        return [
            f"This server has a role {self.source.user} already, with another password than the "
            "owner of the source, or none: it would change. Give it the same (\\password), drop it "
            f"if nobody uses it, or: {OTHER_OWNER}"
        ]

    def _source(self, session: Session, problems: list[str]) -> dict[str, Any]:
        version, size, role = session.query(
            "SELECT current_setting('server_version_num')::int / 10000,"
            " pg_database_size(current_database()), current_user"
        )[0]
        own = int(self.target.run("postgres", "SHOW server_version_num")[0][0]) // 10000
        if int(version) < OLDEST:
            problems.append(
                f"The source is PostgreSQL {version}: {OLDEST} and later can be moved. Upgrade it "
                "first (pg_upgradecluster)."
            )
        if int(version) > own:
            problems.append(
                f"The source is PostgreSQL {version}, newer than this server, which is {own}: its "
                f"pg_dump cannot read that. Upgrade this server to {version} or later first "
                "(pg_upgradecluster, postgresql_source, postgresql_version)."
            )
        foreign = session.query(
            "SELECT format('%s %s of %s', kind, name, pg_get_userbyid(owner)) FROM ("
            " SELECT 'the database', datname, datdba FROM pg_database"
            " WHERE datname = current_database()"
            " UNION ALL SELECT 'the table', relname, relowner"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema'"
            ") AS own (kind, name, owner) WHERE NOT pg_has_role(owner, 'MEMBER') ORDER BY 1"
        )
        if foreign:
            listed = ", ".join(it for (it,) in foreign[:5])
            problems.append(
                f"{role} cannot fence what is another's: {listed}"
                f"{' and more' if len(foreign) > 5 else ''}. Let the source be read by their owner."
            )
        room = os.statvfs(self.target.run("postgres", "SHOW data_directory")[0][0])
        free = room.f_bavail * room.f_frsize
        if free < ROOM * int(size):
            problems.append(
                f"The source has {int(size) // 2**20} MiB, and {free // 2**20} MiB are free here. "
                f"{ROOM * int(size) // 2**20} MiB are needed: make room."
            )
        tables = [table for table, _ in session.query(TABLES)]
        known = {"version": int(version), "bytes": int(size), "tables": len(tables)}
        if "public.users" not in tables:
            problems.append(f"{self.where} has no table users: it is no store of AutoBot's.")
        if "public.users" not in tables or foreign:
            return known
        counts = session.query(";\n".join(f"SELECT count(*) FROM ONLY {table}" for table in tables))
        people = session.query(PEOPLE)
        problems += self._both(people)
        revisions = [["none"]]
        if "public.alembic_version" in tables:
            revisions = session.query("SELECT version_num FROM public.alembic_version ORDER BY 1")
        return known | {
            "rows": sum(int(count) for (count,) in counts),
            "users": len(people),
            "revision": ", ".join(it for (it,) in revisions),
        }

    def _own_people(self) -> list[list[str]]:
        """Who is in the target by now; nobody before it has its schema."""
        if not self.target.run(self.name, "SELECT 1 WHERE to_regclass('public.users') NOTNULL"):
            return []
        return self.target.run(self.name, PEOPLE)

    def _both(self, people: list[list[str]]) -> list[str]:
        """Names and addresses that are one person's in the source and another's here."""
        ids = {it[0] for it in people}
        taken = {name for it in people for name in it[1:]}
        both = sorted(
            name
            for it in self._own_people()
            if it[0] not in ids
            for name in it[1:]
            if name in taken
        )
        if not both:
            return []
        return [
            f"{', '.join(both[:5])}{' and more' if len(both) > 5 else ''}: here and in the source, "
            "and perhaps not the same person. Delete or rename those here: the people of the "
            "source bring their own passwords."
        ]

    # -- copy ------------------------------------------------------------------------------------

    def copy(self) -> dict[str, Any]:
        """The database as it is at one moment, under its incoming name, row for row the same."""
        begin = time.monotonic()
        owner = identifier(self.source.user)
        role = f"SELECT 1 FROM pg_roles WHERE rolname = {literal(self.source.user)}"
        if not self.target.run("postgres", role):
            self.target.run(
                "postgres",
                f"BEGIN; CREATE ROLE {owner} CONNECTION LIMIT {CONNECTIONS};"
                f"COMMENT ON ROLE {owner} IS {literal(MADE)}; COMMIT",
            )
        self.target.run(
            "postgres",
            # Of its own, for those who read the server's log.
            f"ALTER ROLE {owner} LOGIN PASSWORD {literal(self.verifier)};\n"
            f"DROP DATABASE IF EXISTS {identifier(self.incoming)} WITH (FORCE);\n"
            # As roles/postgresql/files/database.sql makes one.
            "SELECT format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8'' "
            "LOCALE ''C.UTF-8'' %s', "
            f"{literal(self.incoming)}, {literal(self.source.user)}, "
            "CASE WHEN current_setting('server_version_num')::int >= 170000 "
            "THEN 'LOCALE_PROVIDER builtin BUILTIN_LOCALE ''C.UTF-8''' END) \\gexec",
        )
        with Session(self.source, self.database) as session:
            session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            ((snapshot,),) = session.query("SELECT pg_export_snapshot()")
            wanted = contents(session)
            # Under a fence that is up, nothing changes any more.
            fenced = is_fenced(session)
            self._transfer(snapshot)
        with Session(self.target, self.incoming) as session:
            session.query(f"DROP SCHEMA IF EXISTS {FENCE} CASCADE")
            found = contents(session)
            if different := differences(wanted, found, migrated=False):
                raise MoveError(f"The copy is not what the source has: {'; '.join(different)}.")
            session.query("ANALYZE")
        note = {"from": self.where, "contents": wanted, "agreed": fenced}
        self.target.run("postgres", self.remember(self.incoming, note))
        return summary(wanted) | {"seconds": round(time.monotonic() - begin, 1)}

    def _transfer(self, snapshot: str) -> None:
        with tempfile.TemporaryFile("w+") as said:
            dump = self.source.start(
                "pg_dump",
                "--no-password",
                "--format=custom",
                "--compress=0",
                "--no-owner",
                "--no-privileges",
                "--no-publications",
                "--no-subscriptions",
                "--no-tablespaces",
                f"--snapshot={snapshot}",
                f"--lock-wait-timeout={LOCK_TIMEOUT}",
                f"--dbname={self.source.connection(self.database)}",
                stdout=subprocess.PIPE,
                stderr=said,
            )
            restore = self.target.start(
                "pg_restore",
                "--no-password",
                "--no-owner",
                "--no-privileges",
                f"--role={self.source.user}",
                "--exit-on-error",
                f"--dbname={self.target.connection(self.incoming)}",
                stdin=dump.stdout,
                stderr=said,
            )
            # A dump that nobody reads ends.
            if dump.stdout is not None:
                dump.stdout.close()
            if restore.wait() + abs(dump.wait()):
                said.seek(0)
                raise MoveError(f"The copy was refused: {words(said.read())}")

    def check(self) -> dict[str, Any]:
        """Whether the copy still has the rows of the source, now that it was migrated."""
        wanted: Contents = self.note(self.incoming).get("contents", {})
        if not wanted:
            raise MoveError(f"{self.incoming} is not here, or not whole. Run again.")
        with Session(self.target, self.incoming) as session:
            there = {table for table, _ in session.query(TABLES)}
            columns = {table: it["columns"] for table, it in wanted.items() if table in there}
            found = digests(session.query, columns)
        if different := differences(wanted, found, migrated=True):
            raise MoveError(
                f"The migration has changed rows of the source: {'; '.join(different)}."
            )
        return summary(wanted)

    # -- fence -----------------------------------------------------------------------------------

    def fence(self) -> dict[str, Any]:
        """Let nobody write to the source from now on; and whether the copy has all that it has.

        Who was writing has ended before; readers go on. Rows that have changed since the copy are
        brought to it. Where that cannot be, a new copy is needed: then it is not the `same`.
        """
        begin = time.time()
        note = self.note(self.incoming)
        with Session(self.source, self.database) as session:
            self._close(session)
            session.query(
                f"ALTER DATABASE {identifier(self.database)} SET default_transaction_read_only = on"
            )
            now = contents(session)
            same = bool(note) and (now == note["contents"] or self._caught_up(session, note, now))
        if same:
            agreed = note | {"contents": now, "agreed": True}
            self.target.run("postgres", self.remember(self.incoming, agreed))
        return {"since": begin, "same": same}

    def _caught_up(self, source: Session, note: dict[str, Any], now: Contents) -> bool:
        try:
            with Session(self.target, self.incoming) as copy:
                catch_up(source, copy, note["contents"], now)
        except (MoveError, UnsuitedError):
            return False
        return True

    def _close(self, session: Session) -> None:
        attempts = 1
        while not self._closed():
            if attempts == LOCK_ATTEMPTS:
                writers = ", ".join(it for (it,) in session.query(WRITERS))
                raise MoveError(
                    f"The source is being written to by {writers or 'somebody'}, who does not end. "
                    "Restart that program, and run again."
                )
            attempts += 1

    def _closed(self) -> bool:
        """Whether all who wrote have ended."""
        try:
            self.source.run(self.database, RAISE_FENCE)
        except MoveError as error:
            if any(it in str(error) for it in ("lock timeout", "deadlock detected")):
                return False
            raise
        return True

    def lift(self) -> bool:
        """Let everybody write to the source again; whether somebody could not."""
        if self.report:
            raise MoveError(f"{self.where} was moved, and is not to be written to any more.")
        with Session(self.source, self.database) as session:
            fenced = is_fenced(session)
            session.query(
                f"DROP SCHEMA IF EXISTS {FENCE} CASCADE;\n"
                f"ALTER DATABASE {identifier(self.database)} RESET default_transaction_read_only"
            )
        return fenced

    def undo(self) -> bool:
        """As it was before the first step; whether there was anything to undo."""
        changed = self.lift()
        if self.is_there(self.incoming):
            changed = True
            self.target.run("postgres", f"DROP DATABASE {identifier(self.incoming)} WITH (FORCE)")
        return changed

    # -- back ------------------------------------------------------------------------------------

    def rehearse(self, kept: str) -> dict[str, Any]:
        """Give the source back and take that back: raises MoveError for what is in the way.

        The source may have its name still, or the one that it is `kept` by. Nobody is kept from
        writing to what serves.
        """
        if not self.report:
            return {"changed": False}
        database = self._name_of_source(kept)
        if self._is_given_back(database):
            return {"changed": False}
        return {"changed": False} | self._given_back(database, rehearsal=True)

    def _name_of_source(self, kept: str) -> str:
        names = (self.database, kept)
        refused = {name: why for name in names if (why := self._refusal(name))}
        if len(refused) == 1:
            return kept if self.database in refused else self.database
        if not refused:
            raise MoveError(f"Both {self.database} and {kept} are there. Rename the younger one.")
        raise MoveError(f"The source {self.where} cannot be reached: {'; '.join(refused.values())}")

    def _refusal(self, name: str) -> str:
        """Why the source's server lets nobody into a database."""
        try:
            self.source.run(name, "SELECT")
        except MoveError as error:
            return str(error)
        return ""

    def give_back(self) -> dict[str, Any]:
        """The source serves again, with all that came to the database since it was moved.

        In one transaction the source gets the rows, and the fence around it falls. What served
        meanwhile is kept under another name, and what was there before has its own again.
        """
        if not self.report:
            return {"changed": self.undo(), "rows": 0, "unreadable": []}
        if self._is_given_back(self.database):
            # By a run that was killed then. Somebody may have written to the source since.
            with Session(self.target, self.name) as session:
                given = {"rows": 0, "unreadable": unreadable(session)}
            self._names_back()
            return {"changed": True} | given
        self.target.run(self.name, RAISE_FENCE)
        try:
            given = self._given_back(self.database)
        except MoveError:
            self.target.run(self.name, f"DROP SCHEMA {FENCE} CASCADE")
            raise
        self._names_back()
        return {"changed": True} | given

    def _is_given_back(self, database: str) -> bool:
        with Session(self.source, database) as session:
            return not is_fenced(session)

    def _given_back(self, database: str, *, rehearsal: bool = False) -> dict[str, Any]:
        with Session(self.target, self.name) as new, Session(self.source, database) as old:
            new.query("BEGIN ISOLATION LEVEL REPEATABLE READ")
            if different := shape_differences(new, old, self.source.user):
                raise MoveError(
                    f"AutoBot's tables are not those of {self.where} any more: "
                    f"{'; '.join(different[:10])}{' and more' if len(different) > 10 else ''}. "
                    f"Make the same changes there, as {self.source.user} and after SET "
                    "default_transaction_read_only = off; their rows then come by themselves."
                )
            columns = columns_of(old)
            seen = as_autobot_has_it(new, columns)
            old.query(
                f"BEGIN; SET LOCAL lock_timeout = '10s';DROP SCHEMA IF EXISTS {FENCE} CASCADE"
            )
            now, before = digests(new.query, columns, seen), digests(old.query, columns)
            differing = {table: it for table, it in columns.items() if now[table] != before[table]}
            rows = replay(new, old, differing, seen=seen)
            if left := differences(now, digests(old.query, columns), migrated=False):
                raise MoveError(f"What was brought back is not the same: {'; '.join(left)}.")
            found = {"rows": rows, "unreadable": unreadable(new)}
            if rehearsal:
                old.query("ROLLBACK")
                return found
            follow_sequences(new, old)
            old.query(
                f"ALTER DATABASE {identifier(database)} RESET default_transaction_read_only; COMMIT"
            )
        return found

    def _names_back(self) -> None:
        self.target.run(
            "postgres", f"DROP DATABASE IF EXISTS {identifier(self.returned)} WITH (FORCE)"
        )
        names = {self.name: self.returned}
        # Nobody may have needed it any more.
        if self.is_there(self.previous):
            names[self.previous] = self.name
        rename(self.target, names)

    # -- switch ----------------------------------------------------------------------------------

    def switch(self) -> dict[str, Any]:
        """The copy in the place of what serves: in one transaction, while nobody is connected."""
        note = self.note(self.incoming)
        with Session(self.source, self.database) as session:
            if not is_fenced(session):
                raise MoveError("The source is not fenced: somebody could write to it meanwhile.")
        if not note.get("agreed"):
            raise MoveError("Somebody has written to the source since the copy. Run again.")
        self._carry()
        self._carry_imports()
        report = summary(note["contents"]) | {"from": self.where, "at": int(time.time())}
        names = {self.name: self.previous, self.incoming: self.name}
        rename(self.target, names, self.remember(self.name, report))
        return report

    def _carry(self) -> None:
        """What is special about the passwords of those who were here: an import leaves it out."""
        if not self._own_people():
            return
        with Session(self.target, self.incoming) as session:
            with Session(self.target, self.name) as here:
                carry(here, session, "public.user_credentials", "DELETE FROM {rows}")
            known = {it[0] for it in session.query(PEOPLE)}
        lost = [name for key, name, _ in self._own_people() if key not in known]
        if lost:
            raise MoveError(
                f"{', '.join(lost[:5])}{' and more' if len(lost) > 5 else ''} of those who are "
                "here would be lost."
            )

    def _carry_imports(self) -> None:
        """Who was imported before: a repeated import brings nobody back who was erased."""
        known = "SELECT 1 WHERE to_regclass('public.imported_rows') NOTNULL"
        if not self.target.run(self.name, known) or not self.target.run(self.incoming, known):
            return
        with Session(self.target, self.incoming) as there, Session(self.target, self.name) as here:
            carry(here, there, "public.imported_rows", "UPDATE {rows} SET user_id = NULL")

    def open(self) -> bool:
        """Let databases be connected to that a switch which was killed has left shut."""
        names = (self.name, self.incoming, self.previous)
        return allow(self.target, *names)


def carry(here: Session, there: Session, table: str, without_user: str) -> None:
    """Rows of a table about people, where nothing is yet; what becomes of those of nobody there is
    said by the beginning of a statement.
    """
    one, other = (columns_of(side)[table] for side in (here, there))
    listed = ", ".join(identifier(it) for it in one if it in other)
    rows = "pg_temp.carried"
    there.query(
        f"BEGIN; CREATE TEMPORARY TABLE carried ON COMMIT DROP AS SELECT {listed} FROM {table} "
        "WITH NO DATA"
    )
    there.load(rows, here.lines(f"COPY (SELECT {listed} FROM {table}) TO STDOUT"))
    there.query(
        f"{without_user.format(rows=rows)} WHERE user_id NOT IN (SELECT id FROM public.users);"
        f"INSERT INTO {table} ({listed}) SELECT {listed} FROM {rows} ON CONFLICT DO NOTHING; COMMIT"
    )


def has_password(user: str, password: str, stored: str) -> bool:
    """Whether what a server has stored of a user's password is of this one."""
    if stored.startswith("md5"):
        digest = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
        return stored == f"md5{digest}"
    parts = SCRAM.fullmatch(stored)
    if parts is None:
        return False
    salt = base64.b64decode(parts["salt"])
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, int(parts["iterations"]))
    key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    return base64.b64decode(parts["key"]) == key


def is_fenced(session: Session) -> bool:
    return bool(session.query(f"SELECT 1 WHERE to_regnamespace('{FENCE}') NOTNULL"))


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
