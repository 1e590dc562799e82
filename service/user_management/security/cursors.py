"""Where a page of a list ends, as an opaque word that clients hand back for the next page."""

import base64
import binascii
import hmac
import struct
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from user_management.errors import InvalidValue
from user_management.moments import Clamped

# The order of every list that is not asked for in another one.
NEWEST_FIRST: Final = "-created_at"
# Of the longest cursor: it holds an e-mail address of 255 characters of four bytes.
CURSOR_LENGTH: Final = 1404

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_POSITION: Final = struct.Struct(">q16s")
# Further back than any moment, in microseconds.
_NEVER: Final = -(2**63)
# Between a position and its text: also an empty one is told from none.
_TEXT: Final = b":"
# Between a position and a moment that Python has no word for.
_MOMENT: Final = b"@"
_MICROSECONDS: Final = struct.Struct(">q")
_MAC_LENGTH: Final = 8


class Position(NamedTuple):
    """The last row of a page, by what the list is sorted by; the next page begins after it."""

    value: datetime | str | None
    id: UUID


class CursorCodec:
    """Signs positions, so that a made-up cursor is told from a real one, and one of this list's
    order from one of another.

    `secret` is the same for all workers; during a rotation cursors that were made with one of
    `others` are good too. The signature guards no data: what a caller may see is decided when rows
    are read.
    """

    def __init__(self, secret: bytes, *others: bytes) -> None:
        self._keys = (secret, *others)

    def encode(self, position: Position, order: str = NEWEST_FIRST) -> str:
        """The cursor for a position in a list of this order."""
        body = _pack(position)
        return base64.urlsafe_b64encode(_mac(self._keys[0], body, order) + body).decode()

    def decode(self, cursor: str, order: str = NEWEST_FIRST) -> Position:
        """The position of a cursor. Raises InvalidValue when it is not one of ours, or not of
        this order.
        """
        try:
            data = base64.urlsafe_b64decode(cursor)
        except (binascii.Error, ValueError):
            data = b""
        mac, body = data[:_MAC_LENGTH], data[_MAC_LENGTH:]
        if (
            len(body) < _POSITION.size
            or not any(hmac.compare_digest(mac, _mac(key, body, order)) for key in self._keys)
            # The decoder passes over what follows the padding.
            or base64.urlsafe_b64encode(data).decode() != cursor
        ):
            raise InvalidValue(
                "cursor",
                "This cursor is not valid. Take `next_cursor` of the page before, or leave it out.",
                where="query",
            )
        return _unpack(body)


def _mac(key: bytes, body: bytes, order: str) -> bytes:
    if order != NEWEST_FIRST:
        key = hmac.digest(key, order.encode(), "sha256")
    return hmac.digest(key, body, "sha256")[:_MAC_LENGTH]


def _pack(position: Position) -> bytes:
    value, identifier = position
    if isinstance(value, str):
        return _POSITION.pack(0, identifier.bytes) + _TEXT + value.encode()
    if isinstance(value, Clamped):
        beyond = _MOMENT + _MICROSECONDS.pack(value.microseconds)
        return _POSITION.pack(0, identifier.bytes) + beyond
    microseconds = _NEVER if value is None else (value - _EPOCH) // timedelta(microseconds=1)
    return _POSITION.pack(microseconds, identifier.bytes)


def _unpack(body: bytes) -> Position:
    microseconds, identifier = _POSITION.unpack_from(body)
    rest = body[_POSITION.size :]
    value: datetime | str | None
    if rest.startswith(_MOMENT):
        value = Clamped.of(*_MICROSECONDS.unpack(rest.removeprefix(_MOMENT)))
    elif rest:
        value = rest.removeprefix(_TEXT).decode()
    elif microseconds == _NEVER:
        value = None
    else:
        value = _EPOCH + timedelta(microseconds=microseconds)
    return Position(value, UUID(bytes=identifier))
