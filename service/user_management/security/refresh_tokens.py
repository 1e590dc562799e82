"""Refresh tokens: opaque, 256 bits.

What is stored of one is made with a key of the service. Whoever reads the database can make no
token, and whoever writes to it cannot make one of their own count.
"""

import base64
import hmac
import secrets
from collections.abc import Sequence

_BYTES = 32


def new_refresh_secret() -> bytes:
    """What a session's tokens after the first follow from, together with the one before."""
    return secrets.token_bytes(_BYTES)


def new_refresh_token() -> str:
    """The first token of a session."""
    return secrets.token_urlsafe(_BYTES)


def successor(token: str, secret: bytes) -> str:
    """The token that follows. Two tabs that present the same one thus get the same one."""
    digest = hmac.digest(secret, token.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class RefreshTokenHasher:
    """What is stored of a token. During a rotation `keys` are the current and the previous one."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def hash(self, token: str) -> bytes:
        """What is stored of a new token."""
        return self.hashes(token)[0]

    def hashes(self, token: str) -> list[bytes]:
        """All that may be stored of a token."""
        return [hmac.digest(key, token.encode(), "sha256") for key in self._keys]
