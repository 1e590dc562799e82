"""What a browser keeps and cannot make itself: some bytes, and a seal over them.

The seal is made with a key of the service: nobody takes part with bytes of their own choice, and
whoever reads the database, where they may stand, can make no cookie of them.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Final

_SEAL_BYTES: Final = 32


class Seals:
    """Seals contents of `size` bytes. During a rotation `keys` are the current and the
    previous one.
    """

    def __init__(self, keys: Sequence[bytes], size: int) -> None:
        self._keys = keys
        self._size = size

    def sealed(self, content: bytes) -> str:
        """The cookie for a content."""
        whole = content + _seal(self._keys[0], content)
        return base64.urlsafe_b64encode(whole).rstrip(b"=").decode()

    def opened(self, cookie: str) -> bytes | None:
        """The content of a cookie that was made here, None of any other."""
        # Of three bytes base64 makes four characters; padding would have to be quoted in a cookie.
        if len(cookie) != -(-(self._size + _SEAL_BYTES) * 4 // 3):
            return None
        try:
            opened = base64.urlsafe_b64decode(cookie + "=" * (-len(cookie) % 4))
        except (ValueError, binascii.Error):
            return None
        content, seal = opened[: self._size], opened[self._size :]
        if any(hmac.compare_digest(seal, _seal(key, content)) for key in self._keys):
            return content
        return None


def _seal(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")
