"""Generate the site's secrets once and keep them in one vault-encrypted file on the controller."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.vault import AnsibleVaultError, VaultLib, is_encrypted
from ansible.plugins.action import ActionBase
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

DOCUMENTATION = """
name: site_secrets
short_description: secrets of the site, generated once
description:
  - Adds to the vault file what it lacks; a value that is there is never changed.
  - The file is replaced as a whole, with mode 0600; a run that is killed leaves the old one.
  - Runs on the controller. Results and diffs name the secrets and never show a value.
options:
  path:
    description: The vault file, a flat mapping of variable names to values.
    type: path
    required: true
  vault_id:
    description: Label of the vault password that encrypts the file.
    type: str
    required: true
  secrets:
    description:
      - "Variable name to kind. V(password): 43 random URL-safe characters (256 bits).
        V(ec_private_key): a P-256 key, PKCS8 PEM."
    type: dict
    required: true
"""

RETURN = """
added:
  description: Names of the secrets that were generated in this run.
  type: list
  elements: str
  returned: always
"""


def _ec_private_key() -> str:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


GENERATORS: Mapping[str, Callable[[], str]] = {
    "password": lambda: secrets.token_urlsafe(32),
    "ec_private_key": _ec_private_key,
}


class ActionModule(ActionBase):
    """See DOCUMENTATION."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        super().run(tmp, task_vars)
        _, arguments = self.validate_argument_spec(
            {
                "path": {"type": "path", "required": True},
                "vault_id": {"type": "str", "required": True},
                # The values are names of kinds, so nothing here is secret.
                "secrets": {"type": "dict", "required": True, "no_log": False},
            }
        )
        path, vault_id = Path(arguments["path"]), str(arguments["vault_id"])
        # Plain strings: Ansible's own carry their origin, which YAML cannot represent.
        wanted = {str(name): str(kind) for name, kind in arguments["secrets"].items()}
        for name, kind in wanted.items():
            if kind not in GENERATORS:
                raise AnsibleActionFail(
                    f"secrets.{name}: unknown kind {kind!r}; allowed are {', '.join(GENERATORS)}."
                )
        vault: VaultLib = self._loader._vault
        present = self._read(path, vault, vault_id)
        missing = [name for name in wanted if name not in present]
        if missing and not self._task.check_mode:
            generated = {name: GENERATORS[wanted[name]]() for name in missing}
            self._write(path, vault, vault_id, present | generated)
        return {
            "changed": bool(missing),
            "added": missing,
            "diff": {
                "before_header": str(path),
                "after_header": str(path),
                "before": "".join(f"{name}\n" for name in present),
                "after": "".join(f"{name}\n" for name in [*present, *missing]),
            },
        }

    def _read(self, path: Path, vault: VaultLib, vault_id: str) -> dict[str, Any]:
        """The secrets in the file; nothing where there is no file yet."""
        try:
            encrypted = path.read_bytes()
        except FileNotFoundError:
            return {}
        if not is_encrypted(encrypted):
            raise AnsibleActionFail(
                f"{path} is not encrypted. Encrypt it with: "
                f"ansible-vault encrypt --encrypt-vault-id {vault_id} "
                f"--vault-id {vault_id}@prompt {path}"
            )
        self._secret(vault, vault_id)
        try:
            values = yaml.safe_load(vault.decrypt(encrypted))
        except AnsibleVaultError as error:
            raise AnsibleActionFail(
                f"The vault password for '{vault_id}' does not open {path}. Nothing was changed. "
                f"Run again with the right password ({_option(vault_id)})."
            ) from error
        except yaml.YAMLError:
            # The parser's message quotes the text around the fault, which is secret.
            raise AnsibleActionFail(
                f"{path} opens, but is not YAML. Repair it with: ansible-vault edit {path}"
            ) from None
        if not isinstance(values, dict):
            raise AnsibleActionFail(
                f"{path} must hold a mapping of names to values. "
                f"Repair it with: ansible-vault edit {path}"
            )
        return values

    def _write(self, path: Path, vault: VaultLib, vault_id: str, values: dict[str, Any]) -> None:
        text = yaml.safe_dump(values, default_style="|", sort_keys=True)
        encrypted = vault.encrypt(text, secret=self._secret(vault, vault_id), vault_id=vault_id)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # mkstemp makes the file with mode 0600.
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(encrypted)
                stream.flush()
                os.fsync(stream.fileno())
            Path(partial).replace(path)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise

    def _secret(self, vault: VaultLib, vault_id: str) -> Any:
        for name, secret in vault.secrets or []:
            if name == vault_id:
                return secret
        raise AnsibleActionFail(
            f"No vault password was given for '{vault_id}'. Run again with {_option(vault_id)}."
        )


def _option(vault_id: str) -> str:
    return f"--vault-id {vault_id}@prompt"
