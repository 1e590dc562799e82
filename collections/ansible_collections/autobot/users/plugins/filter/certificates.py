"""Which certificates must be signed anew, and why."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from ansible_collections.autobot.users.plugins.module_utils.certificates import fingerprint

DOCUMENTATION = """
name: certificates_due
short_description: leaves whose certificate must be signed anew
description:
  - Returns those leaves whose certificate is missing, is not of the key, names other hosts, was not
    signed by this CA, or expires soon; each with C(reason).
positional: pairs, ca_certificate, days, renew
options:
  _input:
    description: The leaves, each with C(name), C(dns) and C(ip).
    type: list
    elements: dict
    required: true
  pairs:
    description: "What C(certificate_pairs) has found of each leaf: C(certificate), C(fingerprint)."
    type: list
    elements: dict
    required: true
  ca_certificate:
    description: Certificate of the CA (PEM).
    type: str
    required: true
  days:
    description: A certificate that is valid for fewer days is due.
    type: int
    required: true
  renew:
    description: Whether all certificates are due, whatever they are.
    type: bool
    default: false
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


def reason_to_sign(
    leaf: Mapping[str, Any],
    key_fingerprint: str,
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
    if fingerprint(certificate.public_key()) != key_fingerprint:
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
    pairs: Sequence[Mapping[str, Any]],
    ca_certificate: str,
    days: int,
    renew: bool = False,
) -> list[dict[str, Any]]:
    """See DOCUMENTATION."""
    try:
        authority = x509.load_pem_x509_certificate(ca_certificate.encode())
    except ValueError as error:
        raise AnsibleFilterError(f"The CA's certificate cannot be read: {error}") from error
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    due = []
    for leaf, pair in zip(leaves, pairs, strict=True):
        pem = str(pair["certificate"])
        reason = reason_to_sign(leaf, pair["fingerprint"], pem, authority, until)
        if renew and reason is None:
            reason = "a new one was asked for"
        if reason is not None:
            due.append({**leaf, "reason": reason})
    return due


def certificate_of_key(bundle: str, private_key: str) -> str:
    """The certificate (PEM) in a bundle that belongs to a private key (PEM)."""
    try:
        wanted = serialization.load_pem_private_key(str(private_key).encode(), None).public_key()
        certificates = x509.load_pem_x509_certificates(str(bundle).encode())
    except (ValueError, TypeError) as error:
        raise AnsibleFilterError(
            "The CA's certificate, or its key in the vault, cannot be read. Restore them."
        ) from error
    for certificate in certificates:
        if certificate.public_key() == wanted:
            return certificate.public_bytes(serialization.Encoding.PEM).decode()
    raise AnsibleFilterError(
        "No certificate of the CA is of the key in the vault. Run site.yml, which makes it."
    )


class FilterModule:
    """Makes the filter known to Ansible."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "certificates_due": certificates_due,
            "certificate_of_key": certificate_of_key,
        }
