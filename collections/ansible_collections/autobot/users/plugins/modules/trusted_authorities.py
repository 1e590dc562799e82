#!/usr/bin/python
"""Certificate authorities in the trust store of the system."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.autobot.users.plugins.module_utils.before import Ledger, digest
from ansible_collections.autobot.users.plugins.module_utils.files import replace_file

DOCUMENTATION = """
module: trusted_authorities
short_description: the system trusts these certificate authorities
description:
  - Gives each certificate of a bundle a file of its own in C(/usr/local/share/ca-certificates), as
    the trust store demands, and removes the files of those that are gone.
  - The store itself is asked, so that a run that was killed before the update is made good.
options:
  bundle:
    description: The certificates (PEM).
    type: str
    required: true
  name:
    description: Name of the files, without suffix; a second one gets a number.
    type: str
    required: true
"""

RETURN = ""

OFFERED = Path("/usr/local/share/ca-certificates")
STORE = Path("/etc/ssl/certs")
CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----\n.+?\n-----END CERTIFICATE-----\n", re.DOTALL)


def wanted_files(bundle: str, name: str) -> dict[str, str]:
    """Name of each file to its content."""
    certificates = CERTIFICATE.findall(bundle)
    return {
        f"{name}.crt" if number == 1 else f"{name}-{number}.crt": certificate
        for number, certificate in enumerate(certificates, 1)
    }


def is_offered(path: Path, content: str) -> bool:
    """Whether the file is there. A link is what an earlier release made."""
    return path.is_file() and not path.is_symlink() and path.read_text() == content


class TrustStore:
    """The files that are offered under one name, and what the system has made of them."""

    def __init__(self, name: str) -> None:
        self._pattern = re.compile(rf"{re.escape(name)}(-[0-9]+)?")

    def bring(self, wanted: dict[str, str], *, check: bool) -> bool:
        """Write and remove files; whether the store has to be updated."""
        offered = [path for path in OFFERED.glob("*.crt") if self._pattern.fullmatch(path.stem)]
        surplus = [path for path in offered if path.name not in wanted]
        written = [
            file for file, content in wanted.items() if not is_offered(OFFERED / file, content)
        ]
        links = [path for path in STORE.glob("*.pem") if self._pattern.fullmatch(path.stem)]
        # A link without its file: a run was killed after it had removed that.
        gone = [link for link in links if link.with_suffix(".crt").name not in wanted]
        store = STORE / "ca-certificates.crt"
        trusted = store.read_text() if store.exists() else ""
        if not check:
            self._change(wanted, written, surplus)
        return bool(written or surplus or gone or [x for x in wanted.values() if x not in trusted])

    def _change(self, wanted: dict[str, str], written: list[str], surplus: list[Path]) -> None:
        ledger = Ledger()
        for file, content in wanted.items():
            ledger.note(OFFERED / file, digest(content.encode()))
        for file in written:
            replace_file(OFFERED / file, wanted[file].encode(), mode=0o644)
        for path in surplus:
            path.unlink()

    def forget_links(self) -> None:
        """The update makes links by the subject of a certificate for files that it finds new."""
        stale = {path.name for path in STORE.glob("*.pem") if self._pattern.fullmatch(path.stem)}
        for link in [path for path in STORE.iterdir() if path.is_symlink()]:
            if link.name in stale or link.readlink().name in stale:
                link.unlink()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "bundle": {"type": "str", "required": True},
            "name": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    parameters: dict[str, Any] = module.params
    wanted = wanted_files(parameters["bundle"], parameters["name"])
    if not wanted:
        module.fail_json(msg="The bundle holds no certificate.")
    store = TrustStore(parameters["name"])
    outdated = store.bring(wanted, check=module.check_mode)
    if outdated and not module.check_mode:
        store.forget_links()
        module.run_command(["update-ca-certificates"], check_rc=True)
    module.exit_json(changed=outdated)


if __name__ == "__main__":
    main()
