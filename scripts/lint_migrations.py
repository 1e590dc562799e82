#!/usr/bin/env python3
"""Judge whether the release before runs on what a migration makes: docs/releases.md has the rules.

Reads the declarations of each revision after 0005 from its source, and what it does from the SQL
that Alembic makes of it for both databases, without a database. Exit status 1 when a rule is
broken; each line names the revision, the rule and the statement.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

ROOT = Path(__file__).resolve().parent.parent
# The revisions up to this one were released before there were rules.
BASELINE = "0005"
POPULATIONS = ("slm", "autobot")

NAME = r'(?:IF EXISTS |IF NOT EXISTS |ONLY )*(?:"?public"?\.)?"?(\w+)"?'
TABLE = re.compile(rf"^ALTER TABLE {NAME}", re.IGNORECASE)
CREATED = re.compile(rf"^CREATE (?:UNLOGGED )?TABLE {NAME}", re.IGNORECASE)
CREATED_FUNCTION = re.compile(rf"^CREATE FUNCTION {NAME}", re.IGNORECASE)
# Everybody may call a new function, unless that is taken back: nothing relied on it yet.
CLOSES_FUNCTION = re.compile(rf"^REVOKE ALL ON FUNCTION {NAME} FROM PUBLIC$", re.IGNORECASE)
INDEX = re.compile(r"^CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY)", re.IGNORECASE)
INDEXED = re.compile(rf"\bON {NAME}", re.IGNORECASE)
# What code of the release before may still use.
TAKES_AWAY = re.compile(
    r"\bDROP (TABLE|COLUMN|VIEW|MATERIALIZED VIEW|FUNCTION|TYPE|SEQUENCE|SCHEMA|DEFAULT)\b"
    r"|\bRENAME\b|\bREVOKE\b",
    re.IGNORECASE,
)
NEW_TYPE = re.compile(r"\bALTER (COLUMN )?\S+ (SET DATA )?TYPE\b", re.IGNORECASE)
NOT_NULL = re.compile(r"\bSET NOT NULL\b", re.IGNORECASE)
NEW_COLUMN = re.compile(r"\bADD COLUMN\b[^,]*\bNOT NULL\b[^,]*", re.IGNORECASE)
FILLED = re.compile(r"\b(DEFAULT|GENERATED)\b", re.IGNORECASE)
VALIDATED = re.compile(
    r"\bADD (CONSTRAINT \S+ )?(FOREIGN KEY|CHECK|UNIQUE|PRIMARY KEY|EXCLUDE)\b", re.IGNORECASE
)
VALIDATED_LATER = re.compile(r"\bNOT VALID\b|\bUSING INDEX\b", re.IGNORECASE)
VALIDATES = re.compile(r"\bVALIDATE CONSTRAINT\b", re.IGNORECASE)
DROPPED_TABLE = re.compile(rf"\bDROP TABLE {NAME}", re.IGNORECASE)
LOSES_ROWS = re.compile(rf"\b(?:DELETE FROM|TRUNCATE(?: TABLE)?) {NAME}", re.IGNORECASE)
# Alembic's own: the revision, and what it says of itself.
BOOKKEEPING = re.compile(r"\buser_management_version\b|^SELECT pg_advisory")
PIECES = re.compile(r"(\$\w*\$).*?\1|'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/|;|[^;$'/-]+|.", re.DOTALL)


@dataclass
class Statement:
    """One statement; `alone` when it is not in a transaction with others."""

    text: str
    alone: bool


@dataclass
class Revision:
    """What a revision says of itself, and what it does to one database."""

    name: str
    path: Path
    contract: str | None = None
    loses: dict[str, str] | None = None
    upgrade: list[Statement] = field(default_factory=list)
    downgrade: list[Statement] = field(default_factory=list)


def statements(sql: str) -> Iterator[Statement]:
    """The statements of a script, on one line each, without comments, texts and bookkeeping."""
    text, alone = "", True
    for piece in PIECES.finditer(f"{sql};"):
        if piece[0] != ";":
            # What DO does is done now; what a function does, later.
            done = text.lstrip().upper().startswith("DO")
            if piece[0].startswith("'") or (piece[1] is not None and not done):
                text += "''"
            elif not piece[0].startswith(("--", "/*")):
                text += piece[0]
            continue
        statement = " ".join(text.split())
        text = ""
        if statement.upper() in {"BEGIN", "COMMIT"}:
            alone = statement.upper() == "COMMIT"
        elif statement and not BOOKKEEPING.search(statement):
            yield Statement(statement, alone)


def configuration(migrations: Path, population: str) -> Config:
    config = Config(ROOT / "alembic.ini", ini_section=population)
    config.set_main_option("script_location", str(migrations))
    return config


def offline(config: Config, run: str, revisions: str) -> list[Statement]:
    config.output_buffer = io.StringIO()
    with contextlib.redirect_stderr(io.StringIO()):
        getattr(command, run)(config, revisions, sql=True)
    return list(statements(config.output_buffer.getvalue()))


def declared(source: str) -> dict[str, object]:
    """The literals that a module gives its names."""
    found: dict[str, object] = {}
    for node in ast.parse(source).body:
        match node:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=value)
                | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
            ):
                with contextlib.suppress(ValueError):
                    found[name] = ast.literal_eval(value)
    return found


def read(script: Script, config: Config) -> Revision:
    path = Path(script.path)
    said = declared(path.read_text())
    before, name = str(script.down_revision), script.revision
    contract, loses = said.get("contract"), said.get("loses")
    return Revision(
        name,
        path,
        contract if contract is None or isinstance(contract, str) else str(contract),
        loses if isinstance(loses, dict) else None,
        offline(config, "upgrade", f"{before}:{name}"),
        offline(config, "downgrade", f"{name}:{before}"),
    )


def judge_declarations(revision: Revision, earlier: list[str]) -> Iterator[str]:
    if revision.name != f"{len(earlier) + 1:04}":
        yield f"a revision is a number of four digits: this is {len(earlier) + 1:04}"
    if revision.contract is not None and revision.contract not in earlier:
        yield (
            f"contract names the revision since which nothing uses what goes: {revision.contract} "
            f"is none before {revision.name}"
        )
    if revision.loses is None:
        yield "say what undoing it loses: loses = {table: condition of the rows}, or {}"


def is_of(text: str, tables: set[str], functions: set[str]) -> bool:
    """Whether a statement goes on with one of these tables, or closes one of these functions."""
    closed = CLOSES_FUNCTION.search(text)
    table = (TABLE if text.upper().startswith("ALTER") else INDEXED).search(text)
    return (closed is not None and closed[1] in functions) or (
        table is not None and table[1] in tables
    )


def judge_expansion(text: str) -> Iterator[str]:
    """What only a contract may do."""
    if TAKES_AWAY.search(text):
        yield f"only a contract takes away, and renaming takes away: {text}"
    if NEW_TYPE.search(text):
        yield f"add a column of the new type instead of changing one: {text}"
    if NOT_NULL.search(text):
        yield f"the release before may leave it empty: {text}"


def judge_upgrade(revision: Revision) -> Iterator[str]:
    new = {match[1] for each in revision.upgrade if (match := CREATED.search(each.text))}
    functions = {
        match[1] for each in revision.upgrade if (match := CREATED_FUNCTION.search(each.text))
    }
    for statement in revision.upgrade:
        text = statement.text
        if is_of(text, new, functions):
            continue
        if revision.contract is None:
            yield from judge_expansion(text)
        for column in NEW_COLUMN.finditer(text):
            if not FILLED.search(column[0]):
                yield f"a new column that must be filled needs a default: {text}"
        if INDEX.search(text):
            yield f"an index of a table that is there is made CONCURRENTLY: {text}"
        if VALIDATED.search(text) and not VALIDATED_LATER.search(text):
            yield f"add it NOT VALID or USING INDEX, so that nobody waits for the check: {text}"
        if VALIDATES.search(text) and not statement.alone:
            yield f"validate in an autocommit_block, without the lock of what was added: {text}"


def judge_downgrade(revision: Revision) -> Iterator[str]:
    if revision.upgrade and not revision.downgrade:
        yield "it has no downgrade"
    for statement in revision.downgrade:
        tables = DROPPED_TABLE.findall(statement.text) + LOSES_ROWS.findall(statement.text)
        if re.search(r"\bDROP COLUMN\b", statement.text, re.IGNORECASE):
            tables += TABLE.findall(statement.text)
        for table in tables:
            if table not in (revision.loses or {}):
                yield f"loses does not say what becomes of the rows of {table}: {statement.text}"


def judge(migrations: Path) -> list[str]:
    """The rules that are broken, in the order of the revisions."""
    configs = [configuration(migrations, population) for population in POPULATIONS]
    directory = ScriptDirectory.from_config(configs[0])
    scripts = list(directory.walk_revisions())[::-1]
    if not scripts:
        return [f"{migrations}: there is no revision to judge"]
    faults: dict[str, None] = {}
    for number, script in enumerate(scripts):
        if script.revision <= BASELINE:
            continue
        earlier = [each.revision for each in scripts[:number]]
        for config in configs:
            revision = read(script, config)
            for judged in (judge_upgrade, judge_downgrade):
                for fault in judged(revision):
                    faults[f"{revision.path.name}: {fault}"] = None
        for fault in judge_declarations(revision, earlier):
            faults[f"{revision.path.name}: {fault}"] = None
    return list(faults)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge the migrations by docs/releases.md.")
    parser.add_argument("migrations", type=Path, nargs="?", default=ROOT / "migrations")
    try:
        faults = judge(parser.parse_args(arguments).migrations)
    except CommandError as error:
        faults = [str(error)]
    sys.stdout.writelines(f"{fault}\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
