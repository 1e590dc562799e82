"""What PostgreSQL keeps instead of a password, and how psql reads a value."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

DOCUMENTATION = """
name: scram_verifiers
short_description: SCRAM-SHA-256 verifiers of passwords, as pg_authid keeps them
description:
  - The same host, role and password give the same verifier, so that it can be compared with the one
    that the server has, and the password itself never travels.
positional: host, roles
options:
  _input:
    description: Passwords by role, in printable ASCII (which SASLprep leaves as it is).
    type: dict
    required: true
  roles:
    description: Names of the roles that get one; those without a password get none.
    type: list
    elements: str
    required: true
  host:
    description: Name of the server's host; with the role it makes the salt.
    type: str
    required: true
"""

# PostgreSQL's own default (scram_iterations).
ITERATIONS = 4096

Role = Mapping[str, Any]


def verifier(password: str, salt: bytes) -> str:
    """What pg_authid keeps of a password (RFC 5803)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    encoded = [base64.b64encode(value).decode() for value in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def scram_verifiers(
    passwords: Mapping[str, str], host: str, roles: Sequence[str]
) -> dict[str, str]:
    """See DOCUMENTATION. Raises AnsibleFilterError for a password that is not printable ASCII."""
    verifiers = {}
    for role in roles:
        if role not in passwords:
            continue
        password, context = passwords[role], f"{host}/{role}"
        if not password or not (password.isascii() and password.isprintable()):
            raise AnsibleFilterError(
                f"The password of {context} must be printable ASCII and not empty. "
                "Generate it anew, or change it in the vault file."
            )
        # A salt must be unlike any other, not secret.
        verifiers[role] = verifier(password, hashlib.sha256(context.encode()).digest()[:16])
    return verifiers


def merged(roles: Sequence[Role]) -> dict[str, Any]:
    """One role of a cluster, of what each of its databases wants of it."""
    found: dict[str, Any] = {
        "name": roles[0]["name"],
        "connection_limit": sum(int(role["connection_limit"]) for role in roles),
        "login": any(role.get("login", True) for role in roles),
        "members": sorted({member for role in roles for member in role.get("members", [])}),
        "settings": {},
    }
    for right in ("bypass_rls", "advisory_locks"):
        found[right] = any(role.get(right, False) for role in roles)
    for role in roles:
        found["settings"] |= role.get("settings", {})
    return found


def cluster_roles(databases: Sequence[Mapping[str, Any]], name: str = "") -> list[dict[str, Any]]:
    """The roles of a cluster, or those of one of its databases, each as all of them want it.

    Roles belong to the cluster: one that several databases have is one role, and may have as many
    connections as it may have to all of them.
    """
    wanted: dict[str, list[Role]] = {}
    asked = set()
    for database in databases:
        for role in database["roles"]:
            wanted.setdefault(role["name"], []).append(role)
            if name in ("", database["name"]):
                asked.add(role["name"])
    return [merged(roles) for role, roles in wanted.items() if role in asked]


def psql_quote(value: Any) -> str:
    r"""A value as one argument of a psql command such as \set."""
    text = str(value)
    if "\0" in text:
        raise AnsibleFilterError("A value for psql must not contain NUL.")
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"


class FilterModule:
    """Makes the filters known to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "scram_verifiers": scram_verifiers,
            "cluster_roles": cluster_roles,
            "psql_quote": psql_quote,
        }
