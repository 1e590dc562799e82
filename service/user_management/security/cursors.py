"""Where a page of a list ends, as an opaque word that clients hand back for the next page."""

import base64
import binascii
import hmac
import struct
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from user_management.errors import InvalidValue

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION: Final = struct.Struct(">q16s")
_MAC_LENGTH: Final = 8


class Position(NamedTuple):
    """The last row of a page; the next one begins after it."""

    created_at: datetime
    id: UUID


class CursorCodec:
    """Signs positions, so that a made-up cursor is told from a real one.

    `secret` is the same for all workers. The signature guards no data: what a caller may see is
    decided when rows are read.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = secret

    def encode(self, position: Position) -> str:
        """The cursor for a position."""
        microseconds = (position.created_at - _EPOCH) // timedelta(microseconds=1)
        body = _POSITION.pack(microseconds, position.id.bytes)
        return base64.urlsafe_b64encode(self._mac(body) + body).decode()

    def decode(self, cursor: str) -> Position:
        """The position of a cursor. Raises InvalidValue when it is not one of ours."""
        try:
            data = base64.urlsafe_b64decode(cursor)
        except (binascii.Error, ValueError):
            data = b""
        mac, body = data[:_MAC_LENGTH], data[_MAC_LENGTH:]
        if (
            len(body) != _POSITION.size
            or not hmac.compare_digest(mac, self._mac(body))
            # The decoder passes over what follows the padding.
            or base64.urlsafe_b64encode(data).decode() != cursor
        ):
            raise InvalidValue(
                "cursor",
                "This cursor is not valid. Take `next_cursor` of the page before, or leave it out.",
                where="query",
            )
        microseconds, identifier = _POSITION.unpack(body)
        return Position(_EPOCH + timedelta(microseconds=microseconds), UUID(bytes=identifier))

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_MAC_LENGTH]
