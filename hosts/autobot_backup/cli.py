"""Backups of this host's PostgreSQL: see docs/backups.md of the deployment."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from autobot_backup import backup, check, drill, dump, lock, pgbackrest, prepare, process, records
from autobot_backup.configuration import Configuration
from autobot_backup.errors import BackupError
from autobot_backup.restore.cluster import restore_cluster
from autobot_backup.restore.database import restore_database
from autobot_backup.restore.plan import LiveState, archive_live_wal, make_plan
from autobot_backup.restore.report import plan_report, restore_report
from autobot_backup.restore.verify import verify

# Between attempts: long enough for a peer to restart.
PAUSE = 60

Verb = Callable[[Configuration, argparse.Namespace], int]
# What argparse gives for subcommands has no public name.
Verbs = Any


def pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not (separator and re.fullmatch(r"[a-z][a-z0-9_-]*", key) and value):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def point_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,58}", text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a restore point: letters, digits, _ . -, 59 at most"
        )
    return text


# -- backups -------------------------------------------------------------------------------------


def do_backup(configuration: Configuration, arguments: argparse.Namespace) -> int:
    labels = dict(arguments.label)
    taken = backup.take(configuration, arguments.type, labels, arguments.point)
    print(json.dumps(taken))
    return 0


def do_record(configuration: Configuration, arguments: argparse.Namespace) -> int:
    with lock.exclusive():
        repository = configuration.backup_repositories[0]
        known = pgbackrest.backups(configuration, repository)
        if not known:
            raise BackupError(f"{repository.name} has no backup to record.")
        found = records.take(known[-1]["label"], arguments.point)
        print(records.save(configuration, repository, found))
    return 0


def do_complete(configuration: Configuration, arguments: argparse.Namespace) -> int:
    missing = backup.unrecorded_tables(configuration)
    if missing:
        print(f"took a backup that has {len(missing)} tables more than the last one")
        if not arguments.check:
            backup.take(configuration, "incr")
    return 0


def do_prepare(configuration: Configuration, arguments: argparse.Namespace) -> int:
    for line in prepare.prepare(
        configuration, check=arguments.check, new_cluster=arguments.new_cluster
    ):
        print(line)
    return 0


def do_dump(configuration: Configuration, arguments: argparse.Namespace) -> int:
    del arguments
    files = dump.run(configuration)
    repository = configuration.backup_repositories[0]
    newest = max(files).partition("-")[0]
    for name in sorted(each for each in files if each.startswith(newest)):
        print(f"{repository.host}:{repository.place}/dump/{name}")
    return 0


# -- whether they could be restored --------------------------------------------------------------


def do_check(configuration: Configuration, arguments: argparse.Namespace) -> int:
    failure = check.check(configuration, force=arguments.verify)
    if failure:
        raise BackupError(failure)
    print(f"{', '.join(each.name for each in configuration.repositories)}: nothing is wrong")
    return 0


def do_accept_gaps(configuration: Configuration, arguments: argparse.Namespace) -> int:
    del arguments
    missing = check.accept_gaps(configuration)
    print(f"no longer asked for: {', '.join(missing) or 'nothing is missing'}")
    return 0


def do_drill(configuration: Configuration, arguments: argparse.Namespace) -> int:
    del arguments
    with process.ended_by_signal():
        result = drill.Drill(configuration).run()
    print(json.dumps(result))
    if not result["ok"]:
        raise BackupError(f"The drill failed. {result['failure']}")
    return 0


# -- restores ------------------------------------------------------------------------------------


def do_plan(configuration: Configuration, arguments: argparse.Namespace) -> int:
    process.become_postgres()
    live = archive_live_wal(configuration) if arguments.archive else LiveState()
    plan = make_plan(
        configuration,
        arguments.to,
        database=arguments.database,
        beside=arguments.beside,
        stamp=arguments.stamp,
        live=live,
    )
    print(json.dumps({**plan, "report": plan_report(plan)}))
    return 0


def do_restore(configuration: Configuration, arguments: argparse.Namespace) -> int:
    if os.geteuid():
        raise BackupError("A restore stops and starts PostgreSQL: run it as root.")
    # In a process of its own, which is not root.
    done = process.run(
        [sys.argv[0], "plan", "--archive", f"--to={arguments.to}", f"--stamp={arguments.stamp}"]
        + [f"--database={arguments.database}"]
        + (["--beside"] if arguments.beside else [])
    )
    if done.returncode:
        raise BackupError(
            done.stderr.strip().removeprefix("autobot-backup: ")
            or f"The plan ended with status {done.returncode}."
        )
    plan = json.loads(done.stdout)
    with process.ended_by_signal():
        bring = restore_database if plan["database"] else restore_cluster
        result = bring(configuration, plan)
    try:
        verified = verify(configuration, plan, arguments.revision)
    except (BackupError, OSError, subprocess.SubprocessError) as error:
        # It was restored; what has to follow must not be left out for this.
        verified = {"databases": {}, "problems": [f"What was restored could not be read: {error}"]}
    result = {**plan, **result, **verified}
    print(json.dumps({**result, "report": restore_report(result)}))
    return 1 if result["problems"] else 0


# -- command line --------------------------------------------------------------------------------


def add(verbs: Verbs, name: str, do: Verb, description: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=description, description=description
    )
    parser.set_defaults(do=do)
    return parser


def add_backup_verbs(verbs: Verbs) -> None:
    take = add(verbs, "backup", do_backup, "take a backup and record what is in it")
    take.add_argument("type", choices=["full", "diff", "incr"])
    take.add_argument("--label", type=pair, action="append", default=[], metavar="KEY=VALUE")
    take.add_argument("--point", type=point_name, help="name of the restore point")
    again = add(
        verbs, "record", do_record, "record what is in the databases, for the newest backup"
    )
    again.add_argument("--point", type=point_name, required=True)
    whole = add(
        verbs, "complete", do_complete, "take a backup where tables came after the newest one"
    )
    whole.add_argument("--check", action="store_true", help="say what would be done")
    ready = add(verbs, "prepare", do_prepare, "create what the repositories lack")
    ready.add_argument("--check", action="store_true", help="say what would be done")
    ready.add_argument("--new-cluster", action="store_true", help="accept another cluster")


def add_check_verbs(verbs: Verbs) -> None:
    whole = add(verbs, "check", do_check, "check that the backups could be restored")
    whole.add_argument("--verify", action="store_true", help="read every file now")
    add(verbs, "accept-gaps", do_accept_gaps, "do not ask again for WAL that is missing now")
    add(verbs, "drill", do_drill, "restore into a scratch cluster, and compare")
    add(
        verbs, "dump", do_dump, "dump the databases and the roles, encrypted, beside the repository"
    )


def add_restore_verbs(verbs: Verbs) -> None:
    plan = add(verbs, "plan", do_plan, "say what a restore would do, and touch nothing")
    restore = add(verbs, "restore", do_restore, "restore; without asking")
    for verb in (plan, restore):
        verb.add_argument("--to", required=True, help="latest, a time or a restore point")
        verb.add_argument("--database", default="", help="this database only")
        verb.add_argument(
            "--beside", action="store_true", help="leave that database beside the live one"
        )
        verb.add_argument("--stamp", default="", help="what names of what is kept end with")
    plan.add_argument("--archive", action="store_true", help="archive what is committed first")
    restore.add_argument(
        "--revision", action="append", default=[], help="a schema that the release knows"
    )


def attempt(arguments: argparse.Namespace) -> int:
    try:
        configuration = Configuration.load()
        return int(arguments.do(configuration, arguments))
    except (BackupError, OSError, subprocess.SubprocessError) as error:
        print(f"autobot-backup: {error}", file=sys.stderr, flush=True)
        return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="autobot-backup", description=__doc__)
    parser.add_argument(
        "--attempts", type=int, default=1, help="how often what fails is tried, a minute apart"
    )
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    add_backup_verbs(verbs)
    add_check_verbs(verbs)
    add_restore_verbs(verbs)
    arguments = parser.parse_args()
    for _ in range(arguments.attempts - 1):
        if attempt(arguments) == 0:
            return 0
        time.sleep(PAUSE)
    return attempt(arguments)
