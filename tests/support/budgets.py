"""How much is spent on what is tried at random, timed or repeated.

On each commit little: enough that the test fails when what it is for is broken. All of it with
FULL=1 in the environment, before a release: `make test FULL=1`. Which test spends what is in
docs/development.md.
"""

import os
from typing import TypeVar

T = TypeVar("T")

FULL = os.environ.get("FULL") == "1"


def budget(*, small: T, full: T) -> T:
    """How often a test tries, or what: `small`, or `full` with FULL=1."""
    return full if FULL else small
