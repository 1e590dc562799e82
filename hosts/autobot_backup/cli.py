"""Backups of this host's PostgreSQL: see /usr/local/lib/autobot-backup."""

import argparse
import subprocess
import sys
import time

from autobot_backup import backup, check, drill, dump
from autobot_backup.restore import cluster

# Between attempts: long enough for a peer to restart.
PAUSE = 60


def attempt(arguments: argparse.Namespace) -> int:
    try:
        configuration = backup.Configuration.load()
        return int(arguments.do(configuration, arguments))
    except (backup.BackupError, OSError, subprocess.SubprocessError) as error:
        print(f"autobot-backup: {error}", file=sys.stderr, flush=True)
        return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="autobot-backup", description=__doc__)
    parser.add_argument(
        "--attempts", type=int, default=1, help="how often what fails is tried, a minute apart"
    )
    commands = backup.Commands(parser)
    for module in (backup, check, drill, dump, cluster):
        module.add_commands(commands)
    arguments = parser.parse_args()
    for _ in range(arguments.attempts - 1):
        if attempt(arguments) == 0:
            return 0
        time.sleep(PAUSE)
    return attempt(arguments)
