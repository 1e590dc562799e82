"""The certificates of the site's CA: one, or two while one replaces the other."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from ansible.errors import AnsibleActionFail
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ansible_collections.autobot.users.plugins.module_utils.files import replace_file
from ansible_collections.autobot.users.plugins.plugin_utils.actions import ControllerAction
from ansible_collections.autobot.users.plugins.plugin_utils.secret_versions import versions_of

DOCUMENTATION = """
name: site_authority
short_description: certificates of the site's CA, one for each of its keys
description:
  - Makes the file hold one self-signed certificate for each key of the CA in the vault, and no
    other. A certificate that is there stays as it is, and where it is.
  - The file is replaced as a whole; the keys stay in memory.
  - Runs on the controller.
options:
  path:
    description: The file with the certificates (PEM), public.
    type: path
    required: true
  vault:
    description: The vault file.
    type: path
    required: true
  key:
    description: Name of the key in the vault. During a rotation there is another beside it.
    type: str
    required: true
  name:
    description: Common name of a new certificate. A part of its key's fingerprint is added, so that
      no two are called alike.
    type: str
    required: true
  permitted:
    description: "Below what the CA can sign: C(DNS:name) or C(IP:network)."
    type: list
    elements: str
    required: true
  days:
    description: Days for which a new certificate is valid.
    type: int
    required: true
"""

RETURN = """
certificates:
  description: How many certificates the file holds.
  type: int
  returned: always
"""


def name_constraints(permitted: Sequence[str]) -> x509.NameConstraints:
    """Whoever steals the key can impersonate this site and no other."""
    names: list[x509.GeneralName] = []
    for item in permitted:
        kind, _, value = str(item).partition(":")
        match kind:
            case "DNS":
                names.append(x509.DNSName(value))
            case "IP":
                names.append(x509.IPAddress(ipaddress.ip_network(value)))
            case _:
                raise AnsibleActionFail(f"permitted has {item}; allowed are DNS: and IP:.")
    return x509.NameConstraints(permitted_subtrees=names, excluded_subtrees=None)


def self_signed(
    key: ec.EllipticCurvePrivateKey, name: str, permitted: Sequence[str], days: int
) -> x509.Certificate:
    """A new certificate of the CA."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    common_name = f"{name} {identifier.digest.hex()[:8]}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = datetime.datetime.now(datetime.UTC)
    usage = dict.fromkeys(
        (
            *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
            *("key_agreement", "encipher_only", "decipher_only"),
        ),
        False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The hosts' clocks may be behind the controller's.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(key_cert_sign=True, crl_sign=True, **usage), critical=True)
        .add_extension(name_constraints(permitted), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def present_certificates(path: Path) -> list[x509.Certificate]:
    """What the file holds; nothing where there is none. Raises AnsibleActionFail."""
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise AnsibleActionFail(
            f"{path} holds no certificate that can be read. Restore it; or move it away and run "
            "again, which makes a new one of the same key: clients then need the new file."
        ) from error


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    OPTIONS: ClassVar = {
        "path": {"type": "path", "required": True},
        "vault": {"type": "path", "required": True},
        # Its name.
        "key": {"type": "str", "required": True, "no_log": False},
        "name": {"type": "str", "required": True},
        "permitted": {"type": "list", "elements": "str", "required": True},
        "days": {"type": "int", "required": True},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        path = Path(arguments["path"])
        keys = self._keys(Path(arguments["vault"]), str(arguments["key"]))
        present = present_certificates(path)
        wanted = [item for item in present if item.public_key() in [k.public_key() for k in keys]]
        known = [item.public_key() for item in wanted]
        wanted += [
            self_signed(key, str(arguments["name"]), arguments["permitted"], arguments["days"])
            for key in keys
            if key.public_key() not in known
        ]
        changed = wanted != present
        if changed and not self._task.check_mode:
            pem = b"".join(item.public_bytes(serialization.Encoding.PEM) for item in wanted)
            # Clients of everybody need it.
            replace_file(path, pem, mode=0o644)
        return {"changed": changed, "certificates": len(wanted)}

    def _keys(self, vault: Path, name: str) -> list[ec.EllipticCurvePrivateKey]:
        values = yaml.safe_load(self._loader.get_text_file_contents(str(vault)))
        versions = versions_of(name)
        names = (versions.name, versions.next, versions.previous)
        pems = [str(values[name]) for name in names if values.get(name)]
        try:
            keys = [serialization.load_pem_private_key(pem.encode(), None) for pem in pems]
        except (ValueError, TypeError):
            keys = []
        if not keys or not all(isinstance(key, ec.EllipticCurvePrivateKey) for key in keys):
            raise AnsibleActionFail(
                f"{vault} holds no usable key of the certificate authority. Restore the vault file."
            )
        return [key for key in keys if isinstance(key, ec.EllipticCurvePrivateKey)]
