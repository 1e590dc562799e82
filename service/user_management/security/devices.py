"""What a browser keeps to be known again: a number.

It opens nothing. Who logs in with it, and has done so before, has a limit of failures of their own.
"""

import secrets
from typing import Final

DEVICE_BYTES: Final = 16


def new_device() -> bytes:
    """The number of a browser that is not known yet."""
    return secrets.token_bytes(DEVICE_BYTES)
