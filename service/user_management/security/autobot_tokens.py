"""Access tokens of AutoBot's own form: JWT signed with HS256 and the secret that AutoBot has.

AutoBot's services believe whoever has one of these. They are made for requests that the gateway
passes on, last for a minute, and are never taken from anybody: here no token is verified by HS256.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from jose import jwt

LIFETIME: Final = timedelta(seconds=60)
# Until then the same one is given again: to sign costs as much as all else that is asked.
_REUSED: Final = LIFETIME / 2
_REMEMBERED: Final = 2048  # tokens, of about 0.5 KiB each

Claims = Mapping[str, str | bool | None]


class AutobotTokens:
    """Makes tokens for AutoBot's services of one host."""

    def __init__(self, secret: str) -> None:
        self._secret = secret
        self._made: OrderedDict[frozenset[tuple[str, str | bool | None]], tuple[float, str]] = (
            OrderedDict()
        )

    def token(self, claims: Claims) -> str:
        """A token with these claims and an expiry, of 30 to 60 seconds from now."""
        now, key = time.time(), frozenset(claims.items())
        made_at, token = self._made.get(key, (0.0, ""))
        # A clock that was put back makes none older than it is.
        if 0 <= now - made_at < _REUSED.total_seconds():
            return token
        issued = int(now)
        lifetime = int(LIFETIME.total_seconds())
        token = jwt.encode(
            {**claims, "iat": issued, "exp": issued + lifetime}, self._secret, algorithm="HS256"
        )
        if len(self._made) >= _REMEMBERED:
            self._made.popitem(last=False)
        self._made[key] = now, token
        return token
