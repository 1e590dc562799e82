"""The vault file: made once, added to, never changed, never shown."""

import importlib.util
import json
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

PLUGIN = Path(__file__).parents[2] / "plugins/action/site_secrets.py"

Act = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def plugin() -> Any:
    spec = importlib.util.spec_from_file_location("site_secrets", PLUGIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "vault.yml"


@pytest.fixture
def act(plugin: Any, path: Path) -> Act:
    """Run the action; returns its result."""

    def run(
        secrets: dict[str, str],
        *,
        password: bytes = b"right",
        label: str = "lab",
        check: bool = False,
    ) -> dict[str, Any]:
        loader = DataLoader()
        loader.set_vault_secrets([(label, VaultSecret(password))])
        task = SimpleNamespace(
            args={"path": str(path), "vault_id": "lab", "secrets": secrets},
            action="site_secrets",
            async_val=0,
            check_mode=check,
            diff=True,
        )
        action = plugin.ActionModule(
            task=task,
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
            play_context=SimpleNamespace(),
            loader=loader,
            templar=None,
            shared_loader_obj=None,
        )
        result: dict[str, Any] = action.run(task_vars={})
        return result

    return run


def stored(path: Path, password: bytes = b"right") -> dict[str, str]:
    vault = VaultLib([("lab", VaultSecret(password))])
    values: dict[str, str] = yaml.safe_load(vault.decrypt(path.read_bytes()))
    return values


def test_makes_what_is_missing_and_keeps_what_is_there(act: Act, path: Path) -> None:
    assert act({"first": "password"})["added"] == ["first"]
    first = stored(path)["first"]

    result = act({"first": "password", "second": "password"})

    assert result["changed"]
    assert result["added"] == ["second"]
    assert stored(path)["first"] == first
    assert len({first, stored(path)["second"]}) == 2
    assert min(map(len, stored(path).values())) >= 43


def test_changes_nothing_when_nothing_is_missing(act: Act, path: Path) -> None:
    act({"first": "password"})
    before = path.read_bytes()

    assert not act({"first": "password"})["changed"]
    assert path.read_bytes() == before


def test_a_key_is_p256_in_pkcs8(act: Act, path: Path) -> None:
    act({"key": "ec_private_key"})
    pem = stored(path)["key"]

    assert pem.startswith("-----BEGIN PRIVATE KEY-----\n")
    key = load_pem_private_key(pem.encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    assert isinstance(key.curve, SECP256R1)


def test_the_file_is_encrypted_for_its_label_and_private(act: Act, path: Path) -> None:
    act({"first": "password"})

    assert path.read_bytes().splitlines()[0] == b"$ANSIBLE_VAULT;1.2;AES256;lab"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_no_value_in_results(act: Act, path: Path) -> None:
    result = json.dumps(act({"first": "password", "key": "ec_private_key"}))

    assert "first" in result
    for value in stored(path).values():
        assert value not in result


def test_check_mode_writes_nothing(act: Act, path: Path) -> None:
    result = act({"first": "password"}, check=True)

    assert result["changed"]
    assert not path.exists()


@pytest.mark.parametrize("check", [False, True])
def test_a_wrong_password_is_said_and_changes_nothing(act: Act, path: Path, check: bool) -> None:
    act({"first": "password"})
    before = path.read_bytes()

    with pytest.raises(AnsibleActionFail, match=r"does not open .*\(--vault-id lab@prompt\)"):
        act({"first": "password", "second": "password"}, password=b"wrong", check=check)
    assert path.read_bytes() == before


def test_a_missing_password_is_said(act: Act, path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="--vault-id lab@prompt"):
        act({"first": "password"}, label="other")
    assert not path.exists()


def test_a_plain_file_is_refused(act: Act, path: Path) -> None:
    path.parent.mkdir()
    path.write_text("first: value\n")

    with pytest.raises(AnsibleActionFail, match="ansible-vault encrypt"):
        act({"first": "password"})
    assert path.read_text() == "first: value\n"


@pytest.mark.parametrize("content", ["- a list", "first: 'open-quote-c4f1"])
def test_what_is_no_mapping_is_refused_without_showing_it(
    act: Act, path: Path, content: str
) -> None:
    path.parent.mkdir()
    secret = VaultSecret(b"right")
    path.write_bytes(VaultLib([("lab", secret)]).encrypt(content, secret, "lab"))

    with pytest.raises(AnsibleActionFail, match="ansible-vault edit") as caught:
        act({"first": "password"})
    assert "c4f1" not in str(caught.value)


def test_an_unknown_kind_is_refused(act: Act, path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="allowed are password, ec_private_key"):
        act({"first": "passwrod"})
    assert not path.exists()


def test_a_failed_write_leaves_the_old_file(
    act: Act, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    act({"first": "password"})
    before = path.read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        act({"first": "password", "second": "password"})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
