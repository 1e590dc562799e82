"""Refresh tokens: a code of 256 bits, when its session began, and a seal over it all.

Of a code a hash is stored, of the seal nothing; both are made with a key of the service. Whoever
reads the database can make no token, and whoever writes to it cannot make one count for another
session or user than it was made for, not even one that was their own, nor for longer than a session
may last.
"""

import base64
import hmac
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

_BYTES = 32
_CODE_LENGTH = 43  # of so many bytes as text
_BODY_LENGTH = _CODE_LENGTH + 8  # with the seconds since 1970, in hexadecimal digits


def new_refresh_secret() -> bytes:
    """What a session's codes after the first follow from, together with the one before."""
    return secrets.token_bytes(_BYTES)


def new_code() -> str:
    """The code of a session's first token."""
    return secrets.token_urlsafe(_BYTES)


def code_of(token: str) -> str:
    """The token without its seal and the beginning of its session."""
    return token[:_CODE_LENGTH]


def began_at(token: str) -> datetime:
    """When the session of a token began that was made here: see `is_sealed`."""
    return datetime.fromtimestamp(int(token[_CODE_LENGTH:_BODY_LENGTH], 16), UTC)


def next_code(code: str, secret: bytes) -> str:
    """The code that follows. Two tabs that present the same token thus get the same code."""
    return _text(hmac.digest(secret, code.encode(), "sha256"))


class RefreshTokenKeys:
    """Hashes codes and seals tokens. During a rotation `keys` are the current and the previous
    one.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def hash(self, code: str) -> bytes:
        """What is stored of a new code."""
        return self.hashes(code)[0]

    def hashes(self, code: str) -> list[bytes]:
        """All that may be stored of a code."""
        return [hmac.digest(key, code.encode(), "sha256") for key in self._keys]

    def sealed(self, code: str, began: datetime, session_id: UUID, user_id: UUID) -> str:
        """The token for a code of this session of this user."""
        body = f"{code}{int(began.timestamp()):08x}"
        return body + _seal(self._keys[0], body, session_id, user_id)

    def is_sealed(self, token: str, session_id: UUID, user_id: UUID) -> bool:
        """Whether the token was made here, for this session of this user."""
        body, seal = token[:_BODY_LENGTH], token[_BODY_LENGTH:].encode()
        return any(
            hmac.compare_digest(seal, _seal(key, body, session_id, user_id).encode())
            for key in self._keys
        )


def _seal(key: bytes, body: str, session_id: UUID, user_id: UUID) -> str:
    return _text(hmac.digest(key, f"{body} {session_id} {user_id}".encode(), "sha256"))


def _text(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
