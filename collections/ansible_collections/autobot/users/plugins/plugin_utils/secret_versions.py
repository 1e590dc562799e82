"""The versions of a secret, as the vault file names them."""

from __future__ import annotations

from typing import NamedTuple

# Of the names that are beside that of a secret during a rotation.
BESIDE = ("_next", "_previous", "_previous_since")


class SecretVersions(NamedTuple):
    """The names of the version in use, of those beside it, and of when the last rotation ended."""

    name: str
    next: str
    previous: str
    since: str


def versions_of(name: str) -> SecretVersions:
    return SecretVersions(name, *(f"{name}{suffix}" for suffix in BESIDE))
