"""What is asked of a cluster of PostgreSQL.

It is only read: as the owner of each cluster, over its socket, in sessions that cannot write. Who
owns a database there must not get our superuser to run their code, so no name is looked up in
their schemas, and of their objects only plain tables are read, in columns of PostgreSQL's types.
"""

from __future__ import annotations

import json
import pwd
import re
import subprocess
from collections.abc import Callable
from typing import Any

# The beginning of a command that runs psql against a cluster.
Connect = Callable[[dict[str, Any]], list[str]]
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Seconds for one answer, whatever holds it up; the server gives up after its own timeouts.
DEADLINE = 20
SESSION = (
    "search_path=pg_catalog",
    "default_transaction_read_only=on",
    "statement_timeout=5s",
    "lock_timeout=5s",
    "lc_messages=C",
)
ENVIRONMENT = {
    "PATH": PATH,
    "LC_ALL": "C",
    "PGAPPNAME": "autobot survey",
    "PGCLIENTENCODING": "UTF8",
    "PGCONNECT_TIMEOUT": "5",
    "PGOPTIONS": " ".join(f"-c {setting}" for setting in SESSION),
}
FAULT = re.compile(r"\b(error|fatal):", re.IGNORECASE)
PSQL = ["--no-psqlrc", "--no-password", "--quiet", "--tuples-only", "--no-align", "--command"]


class AnswerError(Exception):
    """A program or a server does not answer, or refuses. The message is what it says."""


def as_owner(cluster: dict[str, Any]) -> list[str]:
    """psql as the cluster's owner, at the cluster's own socket. Raises AnswerError."""
    try:
        group = pwd.getpwnam(cluster["owner"]).pw_gid
    except KeyError:
        raise AnswerError(f"There is no user {cluster['owner']}.") from None
    # It becomes psql, as runuser does not: what is ended at the deadline is psql itself.
    identity = [f"--reuid={cluster['owner']}", f"--regid={group}", "--init-groups"]
    return ["setpriv", *identity, "psql", "--cluster", label(cluster)]


def run(command: list[str], environment: dict[str, str]) -> str:
    """What a program prints. Raises AnswerError."""
    try:
        done = subprocess.run(  # noqa: S603 - the arguments are this module's own
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise AnswerError(f"There was no answer within {DEADLINE} seconds.") from None
    except OSError as error:
        raise AnswerError(str(error)) from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.decode("utf-8", "replace").splitlines()]
        # After the line that says what is wrong come hints and pieces of the statement.
        faults = [line for line in said if FAULT.search(line)]
        ended = f"{command[0]} ended with {done.returncode}."
        raise AnswerError(faults[0] if faults else next(filter(None, reversed(said)), ended))
    return done.stdout.decode("utf-8", "replace")


def ask(connect: Connect, cluster: dict[str, Any], database: str, query: str) -> Any:
    """The JSON document that a query returns. Raises AnswerError."""
    # As an argument a name such as host=elsewhere would be taken for more than a name.
    environment = {**ENVIRONMENT, "PGDATABASE": database}
    answer = run([*connect(cluster), *PSQL, query], environment)
    try:
        return json.loads(answer)
    except ValueError:
        raise AnswerError("The answer is not JSON.") from None


def label(cluster: dict[str, Any]) -> str:
    return f"{cluster['version']}/{cluster['name']}"
