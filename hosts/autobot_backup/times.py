"""Times as people write them, and as they can be asked for again."""

from __future__ import annotations

import re
from datetime import datetime, timezone

from autobot_backup.errors import BackupError

WRITTEN_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[Tt ](?P<time>\d\d:\d\d)(?P<second>:\d\d)?"
    r"([.,](?P<fraction>\d+))?((?P<utc>[Zz])|(?P<hours>[+-]\d\d):?(?P<minutes>\d\d)?)?",
    re.ASCII,
)


def format_time(seconds: float) -> str:
    """A time as it can be asked for again."""
    text = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds")
    return text.replace(".000000", "").replace("+00:00", "Z")


def parse_time(text: str) -> float:
    """Seconds since 1970 of a time with its zone."""
    parts = WRITTEN_TIME.fullmatch(text)
    try:
        if parts is None:
            raise ValueError(text)
        # Python 3.10 reads no Z, no offset of hours alone and no fraction but one of six digits.
        hours, minutes = parts["hours"], parts["minutes"]
        fraction = (parts["fraction"] or "").ljust(6, "0")[:6]
        zone = f"{hours}:{minutes or '00'}" if hours else "+00:00" if parts["utc"] else ""
        parsed = datetime.fromisoformat(
            f"{parts['date']}T{parts['time']}{parts['second'] or ':00'}.{fraction}{zone}"
        )
    except ValueError:
        raise BackupError(
            f"{text} is no time. Write it like 2026-01-31T17:45:00Z or 2026-01-31T18:45:00+01:00."
        ) from None
    if parsed.tzinfo is None:
        raise BackupError(
            f"{text} says no time zone. Write {text}Z for UTC, or its offset, such as {text}+01:00."
        )
    return parsed.timestamp()
