"""The move itself: look, copy, fence, switch. Each step can be killed, and done again.

What was done is read off the servers: the names of databases, and a note in the comment of one.

    NAME_incoming          the copy; its note has what was in the source
    NAME                   serves; its note says from where it was moved, once it was
    NAME_before_adoption   what served before
    NAME_given_back        what served until the source did again
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .catching_up import UnsuitedError, catch_up, follow_sequences, replay
from .contents import FENCE, TABLES, Contents, columns_of, contents, differences, digests, summary
from .copying import carry, transfer
from .fence import BLOCK_WRITES, block_writes, is_fenced
from .prechecks import MADE, OTHER_OWNER, PEOPLE, source_facts, strange_owner
from .renaming import allow, rename
from .returning import as_autobot_has_it, shape_differences, unreadable
from .servers import MoveError, Server, Session, identifier, literal

# AutoBot's processes, with their pools; the firewall counts with as many.
CONNECTIONS = 40


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
        here = self._own_people()
        found: dict[str, Any] = {"moved": False, "here": len(here)}
        if self.source.user in self.ours:
            problems.append(
                f"{self.source.user}, which owns the source, is a role of this site: its password "
                f"would change. {OTHER_OWNER}"
            )
        problems += strange_owner(self.target, self.source)
        if self.is_there(self.previous):
            problems.append(
                f"The database {self.previous} is here already, from an earlier move. Rename it, "
                "or drop it if nobody needs it."
            )
        try:
            with Session(self.source, self.database) as session:
                found |= source_facts(session, self.where, self.target, here, problems)
        except MoveError as error:
            problems.append(f"The source {self.where} does not let {self.source.user} in: {error}")
        return found | {"problems": problems, "report": {}}

    def _own_people(self) -> list[list[str]]:
        """Who is in the target by now; nobody before it has its schema."""
        if not self.target.run(self.name, "SELECT 1 WHERE to_regclass('public.users') NOTNULL"):
            return []
        return self.target.run(self.name, PEOPLE)

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
            transfer(self.source, self.database, snapshot, self.target, self.incoming)
        with Session(self.target, self.incoming) as session:
            session.query(f"DROP SCHEMA IF EXISTS {FENCE} CASCADE")
            found = contents(session)
            if different := differences(wanted, found, migrated=False):
                raise MoveError(f"The copy is not what the source has: {'; '.join(different)}.")
            session.query("ANALYZE")
        note = {"from": self.where, "contents": wanted, "agreed": fenced}
        self.target.run("postgres", self.remember(self.incoming, note))
        return summary(wanted) | {"seconds": round(time.monotonic() - begin, 1)}

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
            block_writes(self.source, self.database, session)
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

    def allow_writes(self) -> bool:
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
        changed = self.allow_writes()
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
        self.target.run(self.name, BLOCK_WRITES)
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
