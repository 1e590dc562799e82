#!/usr/bin/python
"""Keys and certificates in pairs: whoever reads them finds both of the same moment."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.files import replace_file

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    # It imports cryptography, too.
    from ansible_collections.autobot.users.plugins.module_utils.certificates import (
        fingerprint,
        for_server,
        private_pem,
    )

    HAS_CRYPTOGRAPHY = True
except ImportError:
    HAS_CRYPTOGRAPHY = False

DOCUMENTATION = """
module: certificate_pairs
short_description: private keys that never leave the host, each with its certificate
description:
  - C(<name>.key) and C(<name>.crt) lead into one directory C(pairs/<name>), which is a link. A new
    key and its certificate are made beside it and take its place by one change of that link, so
    that no moment, and no run that is killed, leaves a key with the certificate of another.
  - Pairs that are two plain files, as earlier releases made them, are moved as they are.
options:
  directory:
    description: Where the pairs are. It exists.
    type: path
    required: true
  leaves:
    description: "The pairs: C(name), C(dns), C(ip), and C(owner), C(group), C(mode) of the key."
    type: list
    elements: dict
    required: true
  state:
    description:
      - "V(present): see what is there, and give it its place and its permissions."
      - "V(requested): make a new key for each leaf beside the one in use, and a request for its
        certificate."
      - "V(installed): put the new key and its certificate in place."
    type: str
    choices: [present, requested, installed]
    default: present
  certificates:
    description: With V(installed), the certificate (PEM) of each leaf, in their order.
    type: list
    elements: str
    default: []
"""

RETURN = """
pairs:
  description: "With V(present), C(certificate) (PEM) and C(fingerprint) of the key (SHA-256 of the
    public key) of each leaf; empty where there is none."
  type: list
  elements: dict
  returned: success
requests:
  description: With V(requested), the requests (PEM) for each leaf.
  type: list
  elements: str
  returned: success
"""

ENDS = ("key", "crt")


def key_fingerprint(path: Path) -> str:
    """Of a private key; empty for what is none."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError):
        return ""
    return fingerprint(key.public_key())


def link(path: Path, target: str) -> None:
    """A link in the place of whatever file is there, in one step."""
    partial = path.with_name(f".{path.name}.new")
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(path)


class Pair:
    """The pair of one leaf."""

    def __init__(self, directory: Path, leaf: dict[str, Any]) -> None:
        self._leaf = leaf
        self._directory = directory
        self._pairs = directory / "pairs"
        self._in_use = self._pairs / leaf["name"]
        self._next = self._pairs / f"{leaf['name']}.next"

    def look(self) -> dict[str, str]:
        """What is in use."""
        try:
            certificate = (self._directory / f"{self._leaf['name']}.crt").read_text()
        except (OSError, UnicodeDecodeError):
            certificate = ""
        key = self._directory / f"{self._leaf['name']}.key"
        return {"certificate": certificate, "fingerprint": key_fingerprint(key)}

    def is_in_place(self) -> bool:
        """Whether both names lead into the pair in use, and its key has its permissions."""
        if not self._in_use.is_symlink():
            return False
        links = all(self._name(end).is_symlink() for end in ENDS)
        key = self._in_use / "key"
        return links and (not key.exists() or self._permissions(key) == self._wanted())

    def bring_in_place(self) -> None:
        """Move a pair of plain files, and correct links and permissions."""
        if not self._in_use.is_symlink() and all(self._name(end).exists() for end in ENDS):
            self._begin()
            for end in ENDS:
                # Another name of the same file: nothing changes for those who read it.
                os.link(self._name(end), self._next / end)
            self._switch()
        if self._in_use.is_symlink():
            key = self._in_use / "key"
            if key.exists() and self._permissions(key) != self._wanted():
                self._permit(key)
            self._lead()

    def request(self, *, check: bool) -> str:
        """Make a new key beside the one in use; a request for its certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        if not check:
            self._begin()
            path = self._next / "key"
            replace_file(path, private_pem(key))
            self._permit(path)
        subject = [x509.NameAttribute(NameOID.COMMON_NAME, self._leaf["dns"][0])]
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
        request = for_server(builder, self._leaf).sign(key, hashes.SHA256())
        return str(request.public_bytes(serialization.Encoding.PEM).decode())

    def install(self, certificate: str) -> None:
        """Put the new pair in place. Raises ValueError when it is none."""
        public_key = x509.load_pem_x509_certificate(certificate.encode()).public_key()
        if fingerprint(public_key) != key_fingerprint(self._next / "key"):
            raise ValueError(f"the certificate of {self._leaf['name']} is not of the new key")
        replace_file(self._next / "crt", certificate.encode(), mode=0o644)
        self._switch()
        self._lead()

    def _name(self, end: str) -> Path:
        return self._directory / f"{self._leaf['name']}.{end}"

    def _begin(self) -> None:
        """An empty directory for a pair. What a run left there that was killed goes."""
        if self._next.exists():
            shutil.rmtree(self._next)
        for path in (self._pairs, self._next):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)

    def _switch(self) -> None:
        """Let the link lead to the new pair, and remove all others."""
        number = len(self._leaf["name"]) + 1
        known = self._pairs.glob(f"{self._leaf['name']}.[0-9]*")
        place = max((int(path.name[number:]) for path in known), default=0) + 1
        new = self._pairs / f"{self._leaf['name']}.{place}"
        self._next.rename(new)
        link(self._in_use, new.name)
        for path in self._pairs.glob(f"{self._leaf['name']}.[0-9]*"):
            if path != new:
                shutil.rmtree(path)

    def _lead(self) -> None:
        for end in ENDS:
            if not self._name(end).is_symlink():
                link(self._name(end), f"pairs/{self._leaf['name']}/{end}")

    def _wanted(self) -> tuple[int, int, int]:
        leaf = self._leaf
        return (
            pwd.getpwnam(leaf.get("owner", "root")).pw_uid,
            grp.getgrnam(leaf.get("group", "root")).gr_gid,
            int(leaf.get("mode", "0600"), 8),
        )

    @staticmethod
    def _permissions(path: Path) -> tuple[int, int, int]:
        state = path.stat()
        return state.st_uid, state.st_gid, state.st_mode & 0o777

    def _permit(self, path: Path) -> None:
        owner, group, mode = self._wanted()
        os.chown(path, owner, group)
        path.chmod(mode)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "leaves": {"type": "list", "elements": "dict", "required": True},
            "state": {
                "type": "str",
                "choices": ["present", "requested", "installed"],
                "default": "present",
            },
            "certificates": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    parameters = module.params
    pairs = [Pair(Path(parameters["directory"]), leaf) for leaf in parameters["leaves"]]
    if not HAS_CRYPTOGRAPHY:
        if module.check_mode:
            # A bare host, which would have it.
            nothing = {"certificate": "", "fingerprint": ""}
            module.exit_json(changed=False, pairs=[nothing for _ in pairs], requests=[])
        module.fail_json(msg="The package python3-cryptography is missing on the host.")
    match parameters["state"]:
        case "present":
            misplaced = [pair for pair in pairs if not pair.is_in_place()]
            if not module.check_mode:
                for pair in misplaced:
                    pair.bring_in_place()
            module.exit_json(
                changed=any(pair.look()["certificate"] for pair in misplaced),
                pairs=[pair.look() for pair in pairs],
            )
        case "requested":
            requests = [pair.request(check=module.check_mode) for pair in pairs]
            module.exit_json(changed=True, requests=requests)
        case _:
            if not module.check_mode:
                for pair, certificate in zip(pairs, parameters["certificates"], strict=True):
                    pair.install(certificate)
            module.exit_json(changed=bool(pairs))


if __name__ == "__main__":
    main()
