"""Which certificates must be signed anew, and why."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization

DOCUMENTATION = """
name: certificates_due
short_description: leaves whose certificate must be signed anew
description:
  - Returns those leaves whose certificate is missing, is not of the key, names other hosts, was not
    signed by this CA, or expires soon; each with C(reason).
positional: keys, certificates, ca_certificate, days
options:
  _input:
    description: The leaves, each with C(name), C(dns) and C(ip).
    type: list
    elements: dict
    required: true
  keys:
    description: Results of M(community.crypto.openssl_privatekey), one for each leaf.
    type: list
    elements: dict
    required: true
  certificates:
    description: The certificate of each leaf (PEM); empty where there is none.
    type: list
    elements: str
    required: true
  ca_certificate:
    description: Certificate of the CA (PEM).
    type: str
    required: true
  days:
    description: A certificate that is valid for fewer days is due.
    type: int
    required: true
"""


def _names(certificate: x509.Certificate) -> set[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    return {
        *extension.value.get_values_for_type(x509.DNSName),
        *map(str, extension.value.get_values_for_type(x509.IPAddress)),
    }


def _fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the public key, written as community.crypto does: aa:bb:…"""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return digest.finalize().hex(":")


def reason_to_sign(
    leaf: Mapping[str, Any],
    key_fingerprint: str | None,
    pem: str,
    authority: x509.Certificate,
    until: datetime.datetime,
) -> str | None:
    """Why `pem` cannot stay the certificate of `leaf`; None where it can."""
    if not pem.strip():
        return "there is none"
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return "it cannot be read"
    if _fingerprint(certificate) != key_fingerprint:
        return "it is not of the host's key"
    wanted = {*map(str, leaf["dns"]), *(str(ipaddress.ip_address(str(ip))) for ip in leaf["ip"])}
    if _names(certificate) != wanted:
        return "it names other hosts"
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return "it was signed by another CA"
    if certificate.not_valid_after_utc < until:
        return f"it expires on {certificate.not_valid_after_utc:%Y-%m-%d}"
    return None


def certificates_due(
    leaves: Sequence[Mapping[str, Any]],
    keys: Sequence[Mapping[str, Any]],
    certificates: Sequence[str],
    ca_certificate: str,
    days: int,
) -> list[dict[str, Any]]:
    """See DOCUMENTATION."""
    try:
        authority = x509.load_pem_x509_certificate(ca_certificate.encode())
    except ValueError as error:
        raise AnsibleFilterError(f"The CA's certificate cannot be read: {error}") from error
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    due = []
    for leaf, key, pem in zip(leaves, keys, certificates, strict=True):
        fingerprint = (key.get("fingerprint") or {}).get("sha256")
        reason = reason_to_sign(leaf, fingerprint, str(pem), authority, until)
        if reason is not None:
            due.append({**leaf, "reason": reason})
    return due


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"certificates_due": certificates_due}
