"""Generate, rotate and keep the site's secrets: one vault-encrypted file on the controller."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.vault import AnsibleVaultError, VaultLib, VaultSecret, is_encrypted
from cryptography.hazmat.primitives.asymmetric import ec

from ansible_collections.autobot.users.plugins.module_utils.certificates import private_pem
from ansible_collections.autobot.users.plugins.plugin_utils.actions import ControllerAction
from ansible_collections.autobot.users.plugins.plugin_utils.private_files import write_private
from ansible_collections.autobot.users.plugins.plugin_utils.secret_versions import (
    BESIDE,
    SecretVersions,
    versions_of,
)

DOCUMENTATION = """
name: site_secrets
short_description: secrets of the site, generated once and rotated on demand
description:
  - Adds to the vault file what it lacks; a value that is there is changed by a rotation only.
  - The file is replaced as a whole, with mode 0600; a run that is killed leaves the old one.
  - Runs on the controller. Results and diffs name the secrets and never show a value.
  - "During a rotation a secret C(x) has others beside it: C(x_next), which is known before it is
    used, and C(x_previous), which is known after that. An empty one counts as none: a run that has
    loaded the file before sees that it is gone. C(x_previous_since) says when nobody used the
    previous one any more, in seconds since 1970."
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
    default: {}
  adopted:
    description:
      - Variable name to value, of secrets that others have made. With V(complete), they take the
        place of those in the file.
    type: dict
    default: {}
  stage:
    description:
      - "V(complete): add what is missing. The others are the stages of a rotation, in their order;
        each can be repeated."
      - "V(next): make the next of each secret. One that is being rotated already is left alone;
        one whose previous value is still needed is refused."
      - "V(promote): the next one becomes the secret, the secret the previous one."
      - "V(forget): forget the previous ones."
      - "V(settle): note when the previous ones were used last, and remove what is empty."
      - "V(finish): forget the previous ones, unless one is still needed."
    type: str
    choices: [complete, next, promote, forget, settle, finish]
    default: complete
  rotate:
    description: "Groups of secrets to rotate: C(secrets), each with C(name) and C(kind), the
      C(hours) for which the previous ones are needed, and what C(ends) when they are forgotten
      before."
    type: list
    elements: dict
    default: []
  now:
    description: With V(finish), forget also what is still needed.
    type: bool
    default: false
  new_password:
    description: With V(settle), encrypt the file with this password from now on.
    type: str
  password_file:
    description:
      - With V(settle), encrypt the file with a new random password, which replaces that in this
        file. Whoever reads it looks into the file with the suffix C(.next) first; see
        C(scripts/lab-vault-password).
    type: path
"""

RETURN = """
added:
  description: Names that are in the file now and were not before.
  type: list
  elements: str
  returned: always
"""


GENERATORS: Mapping[str, Callable[[], str]] = {
    "password": lambda: secrets.token_urlsafe(32),
    "ec_private_key": lambda: private_pem(ec.generate_private_key(ec.SECP256R1())).decode(),
}


Values = dict[str, str]


def _rotated(rotate: Mapping[str, Any]) -> list[SecretVersions]:
    return [versions_of(name) for name in rotate]


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _refuse_while_needed(values: Values, each: SecretVersions, terms: Mapping[str, Any]) -> None:
    since = float(values[each.since])
    until = since + float(terms["hours"]) * 3600
    if time.time() < until:
        raise AnsibleActionFail(
            f"{each.name} was rotated at {_moment(since)}, and the one before is needed until "
            f"{_moment(until)}. Nothing was changed. Leave it out "
            "(-e rotate=…), or run again then. If it has leaked, forget it now with "
            "-e rotate_phase=finish -e rotate_finish_now=true, which ends "
            f"{terms['ends']}."
        )


def next_stage(values: Values, rotate: Mapping[str, Any]) -> Values:
    """Each secret with its next one. Raises AnsibleActionFail while a previous one is needed."""
    result = dict(values)
    for each in _rotated(rotate):
        if values.get(each.previous):
            if not values.get(each.since):
                continue  # a rotation that was interrupted after its promotion goes on
            _refuse_while_needed(values, each, rotate[each.name])
            result |= {each.previous: "", each.since: ""}
        if not values.get(each.next):
            result[each.next] = GENERATORS[rotate[each.name]["kind"]]()
    return result


def promote(values: Values, rotate: Mapping[str, Any]) -> Values:
    """The next ones in their places."""
    result = dict(values)
    for each in _rotated(rotate):
        if values.get(each.next):
            result |= {
                each.previous: values[each.name],
                each.name: values[each.next],
                each.next: "",
            }
    return result


def forget(values: Values, rotate: Mapping[str, Any]) -> Values:
    """Without the previous ones."""
    gone = [name for each in _rotated(rotate) for name in (each.previous, each.since)]
    return values | {name: "" for name in gone if values.get(name)}


def settle(values: Values, rotate: Mapping[str, Any]) -> Values:
    """With the time from which on the previous ones were used no more; without what is empty."""
    now = str(int(time.time()))
    result = dict(values)
    for each in _rotated(rotate):
        if values.get(each.previous):
            result[each.since] = result.get(each.since) or now
    # What an operator has put into the file besides is theirs, also when it is empty.
    return {name: value for name, value in result.items() if value or not name.endswith(BESIDE)}


def finish(values: Values, rotate: Mapping[str, Any], *, now: bool) -> Values:
    """Without the previous ones. Raises AnsibleActionFail while one is needed, unless told `now`,
    and where a rotation has not come to its end.
    """
    for each in _rotated(rotate):
        if values.get(each.next) or (values.get(each.previous) and not values.get(each.since)):
            raise AnsibleActionFail(
                f"The rotation of {each.name} was interrupted. Nothing was changed. Complete it "
                "first: run this again without rotate_phase=finish."
            )
        if values.get(each.previous) and not now:
            _refuse_while_needed(values, each, rotate[each.name])
    return forget(values, rotate)


class ActionModule(ControllerAction):
    """See DOCUMENTATION."""

    OPTIONS: ClassVar = {
        "path": {"type": "path", "required": True},
        "vault_id": {"type": "str", "required": True},
        # The values are names of kinds, so nothing here is secret.
        "secrets": {"type": "dict", "default": {}, "no_log": False},
        "adopted": {"type": "dict", "default": {}, "no_log": True},
        "stage": {
            "type": "str",
            "choices": ["complete", "next", "promote", "forget", "settle", "finish"],
            "default": "complete",
        },
        "rotate": {"type": "list", "elements": "dict", "default": []},
        "now": {"type": "bool", "default": False},
        "new_password": {"type": "str", "no_log": True},
        # A name, not a password.
        "password_file": {"type": "path", "no_log": False},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        path, vault_id = Path(arguments["path"]), str(arguments["vault_id"])
        # Plain strings: Ansible's own carry their origin, which YAML cannot represent.
        kinds = {str(name): str(kind) for name, kind in arguments["secrets"].items()}
        for name, kind in kinds.items():
            if kind not in GENERATORS:
                raise AnsibleActionFail(
                    f"secrets.{name}: unknown kind {kind!r}; allowed are {', '.join(GENERATORS)}."
                )
        vault: VaultLib = self._loader._vault
        present = self._read(path, vault, vault_id)
        wanted = self._wanted(present, kinds, arguments)
        new_key = bool(arguments["new_password"] or arguments["password_file"])
        changed = wanted != present or new_key
        if changed and not self._task.check_mode:
            if new_key:
                self._write_anew(path, vault_id, wanted, arguments)
            else:
                write_private(path, _encrypted(wanted, vault_id, self._secret(vault, vault_id)))
        before = [name for name, value in present.items() if value]
        after = [name for name, value in wanted.items() if value]
        return {
            "changed": changed,
            "added": [name for name in after if name not in before],
            "diff": {
                "before_header": str(path),
                "after_header": str(path),
                "before": "".join(f"{name}\n" for name in before),
                "after": "".join(f"{name}\n" for name in after),
            },
        }

    @staticmethod
    def _wanted(present: Values, kinds: Mapping[str, str], arguments: Mapping[str, Any]) -> Values:
        """What the file has to hold after this stage."""
        stage = arguments["stage"]
        rotate = {
            str(secret["name"]): group | {"kind": secret["kind"]}
            for group in arguments["rotate"]
            for secret in group["secrets"]
        }
        if unknown := [name for name in rotate if not present.get(name)]:
            raise AnsibleActionFail(
                f"The vault file has no {', '.join(unknown)} to rotate. Run site.yml first."
            )
        match stage:
            case "next":
                return next_stage(present, rotate)
            case "promote":
                return promote(present, rotate)
            case "forget":
                return forget(present, rotate)
            case "settle":
                return settle(present, rotate)
            case "finish":
                return finish(present, rotate, now=arguments["now"])
        missing = [name for name in kinds if name not in present]
        adopted = {str(name): str(value) for name, value in arguments["adopted"].items()}
        return present | {name: GENERATORS[kinds[name]]() for name in missing} | adopted

    def _read(self, path: Path, vault: VaultLib, vault_id: str) -> Values:
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

    @staticmethod
    def _write_anew(
        path: Path, vault_id: str, values: Values, arguments: Mapping[str, Any]
    ) -> None:
        """Write with a new vault password. At no moment nobody knows one that opens the file."""
        given = arguments["new_password"]
        password = str(given or secrets.token_urlsafe(32)).encode()
        secret = VaultSecret(password)
        encrypted = _encrypted(values, vault_id, secret)
        if yaml.safe_load(VaultLib([(vault_id, secret)]).decrypt(encrypted)) != values:
            raise AnsibleActionFail("The new vault password does not open what it has encrypted.")
        if given:
            write_private(path, encrypted)
            return
        known = Path(arguments["password_file"])
        following = known.with_name(f"{known.name}.next")
        digest = hashlib.sha256(encrypted).hexdigest().encode()
        write_private(following, digest + b"\n" + password + b"\n")
        write_private(path, encrypted)
        write_private(known, password + b"\n")
        following.unlink(missing_ok=True)

    def _secret(self, vault: VaultLib, vault_id: str) -> Any:
        for name, secret in vault.secrets or []:
            if name == vault_id:
                return secret
        raise AnsibleActionFail(
            f"No vault password was given for '{vault_id}'. Run again with {_option(vault_id)}."
        )


def _encrypted(values: Values, vault_id: str, secret: VaultSecret) -> bytes:
    text = yaml.safe_dump(values, default_style="|", sort_keys=True)
    encrypted: bytes = VaultLib().encrypt(text, secret=secret, vault_id=vault_id)
    return encrypted


def _option(vault_id: str) -> str:
    return f"--vault-id {vault_id}@prompt"
