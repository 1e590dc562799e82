"""Refresh tokens: opaque, 256 bits. Of a stored hash or secret alone none can be made."""

import base64
import hashlib
import hmac
import secrets

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


def refresh_token_hash(token: str) -> bytes:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).digest()
