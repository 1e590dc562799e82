"""A server's key and certificate, made on the controller, for a host that makes none itself."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ansible.errors import AnsibleActionFail
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.autobot.users.plugins.filter.certificates import certificates_due
from ansible_collections.autobot.users.plugins.module_utils.certificates import (
    fingerprint,
    for_server,
    private_pem,
)
from ansible_collections.autobot.users.plugins.plugin_utils.actions import ControllerAction
from ansible_collections.autobot.users.plugins.plugin_utils.private_files import write_private

DOCUMENTATION = """
name: site_leaf
short_description: a key and its certificate, made and kept on the controller
description:
  - For a host that Ansible does not manage. Hosts that it does make their keys themselves, and keep
    them (C(certificate_pairs)).
  - Makes both anew where C(certificates_due) says so. One file holds both, is for its owner only,
    and is replaced as a whole. In check mode nothing is written.
  - Runs on the controller.
options:
  path:
    description: The file with the key and the certificate (PEM).
    type: path
    required: true
  leaf:
    description: "What the certificate is for: C(name), C(dns), C(ip)."
    type: dict
    required: true
  authority:
    description: Certificate (PEM) of the CA.
    type: str
    required: true
  authority_key:
    description: Its private key (PEM).
    type: str
    required: true
  days:
    description: Days for which a new certificate is valid.
    type: int
    required: true
  renew_days:
    description: A certificate with fewer days left is renewed.
    type: int
    required: true
  renew:
    description: Renew it, due or not.
    type: bool
    default: false
"""

RETURN = """
key:
  description: The private key (PEM). Only a task with C(no_log) may use this.
  type: str
  returned: always
certificate:
  description: The certificate (PEM).
  type: str
  returned: always
reason:
  description: Why both are new; empty where they are not.
  type: str
  returned: always
"""


def read(path: Path) -> tuple[str, str, str]:
    """Key, certificate, and fingerprint of the key; empty where the file is none of ours."""
    try:
        text = path.read_text()
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except (OSError, ValueError, TypeError):
        return "", "", ""
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        return "", "", ""
    place = text.find("-----BEGIN CERTIFICATE-----")
    return text[:place], text[place:], fingerprint(key.public_key())


def sign(
    leaf: Mapping[str, Any],
    key: ec.EllipticCurvePrivateKey,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.Certificate:
    """A certificate for a server of these names and addresses."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(leaf["dns"][0]))])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The host's clock may be behind the controller's.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
    )
    return (
        for_server(builder, leaf)
        .add_extension(issuer, critical=False)
        .sign(authority_key, hashes.SHA256())
    )


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    OPTIONS: ClassVar = {
        "path": {"type": "path", "required": True},
        "leaf": {"type": "dict", "required": True},
        "authority": {"type": "str", "required": True},
        "authority_key": {"type": "str", "required": True, "no_log": True},
        "days": {"type": "int", "required": True},
        "renew_days": {"type": "int", "required": True},
        "renew": {"type": "bool", "default": False},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        path, leaf = Path(arguments["path"]), arguments["leaf"]
        key, certificate, digest = read(path)
        (due, *_) = certificates_due(
            [leaf],
            [{"certificate": certificate, "fingerprint": digest}],
            *(arguments["authority"], arguments["renew_days"], arguments["renew"]),
        ) or [{}]
        if due:
            authority_key = serialization.load_pem_private_key(
                arguments["authority_key"].encode(), None
            )
            authority = x509.load_pem_x509_certificate(arguments["authority"].encode())
            if not isinstance(authority_key, ec.EllipticCurvePrivateKey):
                raise AnsibleActionFail("The key of the CA in the vault is no EC key. Restore it.")
            new = ec.generate_private_key(ec.SECP256R1())
            key = private_pem(new).decode()
            signed = sign(leaf, new, authority, authority_key, arguments["days"])
            certificate = signed.public_bytes(serialization.Encoding.PEM).decode()
            if not self._task.check_mode:
                write_private(path, (key + certificate).encode())
        reason = str(due.get("reason", ""))
        return {"changed": bool(due), "key": key, "certificate": certificate, "reason": reason}
