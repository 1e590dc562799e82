"""How long sessions last, how passwords are remembered, and how many failures are too many."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules of logging in; docs/security.md describes each."""

    session_idle: timedelta
    session_absolute: timedelta
    # So many passwords before the current one may not be used again.
    password_history: int
    # So many failures are allowed; see LimitService for what counts together, and how long.
    failures_per_pair: int
    failures_per_account: int
    failures_per_address: int
    failures_global: int
