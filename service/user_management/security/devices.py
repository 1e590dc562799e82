"""What a browser keeps to be known again: a number, and a seal over it.

It opens nothing. Who logs in with it, and has done so before, has a limit of failures of their own.
The seal is made with a key of the service: nobody takes part with a number of their own choice, and
whoever reads the database, where the number stands, can make no cookie of it.
"""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from typing import Final

_BYTES: Final = 16
# Of the number and a seal of 32 bytes, in base64 that needs no padding.
COOKIE_LENGTH: Final = 64


def new_device() -> bytes:
    """The number of a browser that is not known yet."""
    return secrets.token_bytes(_BYTES)


class DeviceKeys:
    """Seals numbers of browsers. During a rotation `keys` are the current and the previous one."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = keys

    def sealed(self, device: bytes) -> str:
        """The cookie for a browser."""
        return base64.urlsafe_b64encode(device + _seal(self._keys[0], device)).decode()

    def opened(self, cookie: str) -> bytes | None:
        """The number in a cookie that was made here, None in any other."""
        if len(cookie) != COOKIE_LENGTH:
            return None
        try:
            content = base64.urlsafe_b64decode(cookie)
        except (ValueError, binascii.Error):
            return None
        device, seal = content[:_BYTES], content[_BYTES:]
        if any(hmac.compare_digest(seal, _seal(key, device)) for key in self._keys):
            return device
        return None


def _seal(key: bytes, device: bytes) -> bytes:
    return hmac.digest(key, device, "sha256")
