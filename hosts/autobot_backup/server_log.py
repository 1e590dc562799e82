"""What a server's log says of its recovery."""

from __future__ import annotations

import re

MISSED_TARGET = "recovery ended before configured recovery target was reached"


def failure(log: str) -> str:
    """Why a server ended, from its log; what it told its clients meanwhile is no reason."""
    telling: list[str] = re.findall(
        r"^(?:.*\[\d+\] )?(?:FATAL|PANIC): +(?!the database system is)(.*)", log, re.MULTILINE
    )
    return telling[-1] if telling else " ".join(log.splitlines()[-2:])


def last_transaction(log: str) -> str:
    """When the last transaction that recovery brought back was committed, from the server's log."""
    times: list[str] = re.findall(r"last completed transaction was at log time (.*)", log)
    return times[-1].strip() if times else ""
