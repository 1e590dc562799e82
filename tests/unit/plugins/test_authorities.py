"""The CA: its certificates on the controller, and in the trust stores of the hosts."""

import functools
import stat
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.role_files import load_plugin

PERMITTED = ["DNS:site.test", "DNS:localhost", "IP:192.0.2.0/24", "IP:127.0.0.0/8"]


def new_key() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


Make = Callable[..., list[x509.Certificate]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Run the action for these keys in the vault; the certificates that the file holds then."""
    plugin = load_plugin("action.site_authority")

    def run(*, check: bool = False, changed: bool | None = None, **vault: str) -> Any:
        (tmp_path / "vault.yml").write_text(yaml.safe_dump(vault))
        arguments = {
            "path": str(tmp_path / "ca.crt"),
            "vault": str(tmp_path / "vault.yml"),
            "key": "key",
            "name": "Site CA",
            "permitted": PERMITTED,
            "days": 100,
        }
        task = SimpleNamespace(
            args=arguments, action="site_authority", async_val=0, check_mode=check, diff=False
        )
        action = plugin.ActionModule(
            task=task,
            connection=SimpleNamespace(_shell=SimpleNamespace(tmpdir=None)),
            play_context=SimpleNamespace(),
            loader=DataLoader(),
            templar=None,
            shared_loader_obj=None,
        )
        result = action.run(task_vars={})
        assert changed is None or result["changed"] is changed
        file = tmp_path / "ca.crt"
        return x509.load_pem_x509_certificates(file.read_bytes()) if file.exists() else []

    return run


def test_the_authority_can_sign_for_the_site_alone(make: Make, tmp_path: Path) -> None:
    (certificate,) = make(key=new_key(), changed=True)
    found = {item.oid: item for item in certificate.extensions}
    constraints = found[x509.NameConstraints.oid]
    assert constraints.critical
    permitted = constraints.value.permitted_subtrees
    assert [str(item.value) for item in permitted] == [x.split(":")[1] for x in PERMITTED]
    basic = found[x509.BasicConstraints.oid]
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
    assert found[x509.KeyUsage.oid].value.key_cert_sign
    certificate.verify_directly_issued_by(certificate)
    assert stat.S_IMODE((tmp_path / "ca.crt").stat().st_mode) == 0o644


def test_two_authorities_while_one_replaces_the_other(make: Make) -> None:
    old, new = new_key(), new_key()
    (first,) = make(key=old, changed=True)
    assert make(key=old, key_next="", key_previous="", changed=False) == [first]
    assert make(key=old, key_next=new, changed=True, check=True) == [first]
    both = make(key=old, key_next=new, changed=True)
    assert both[0] == first
    assert len({item.subject for item in both}) == 2
    # No service has to read it again because another one signs.
    assert make(key=new, key_previous=old, changed=False) == both
    assert make(key=new, changed=True) == both[1:]


def test_what_cannot_be_read_is_not_replaced(make: Make, tmp_path: Path) -> None:
    for vault in ({"key": "no key"}, {}):
        with pytest.raises(AnsibleActionFail, match="no usable key"):
            make(**vault)
    (tmp_path / "ca.crt").write_text("damaged")
    with pytest.raises(AnsibleActionFail, match="no certificate that can be read"):
        make(key=new_key())
    assert (tmp_path / "ca.crt").read_text() == "damaged"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], bool]:
    """Bring a bundle into a trust store; whether it had to be updated. None of the system's."""
    module = load_plugin("modules.trusted_authorities")
    offered, links = tmp_path / "offered", tmp_path / "store"
    for path in (offered, links):
        path.mkdir()
    monkeypatch.setattr(module, "OFFERED", offered)
    monkeypatch.setattr(module, "STORE", links)
    before = load_plugin("module_utils.before").Before(tmp_path)
    before.manifest.touch()
    monkeypatch.setattr(module, "Ledger", functools.partial(module.Ledger, before))
    trust = module.TrustStore("autobot")

    def bring(bundle: str, *, killed: bool = False, check: bool = False) -> bool:
        outdated = bool(trust.bring(module.wanted_files(bundle, "autobot"), check=check))
        if outdated and not check and not killed:
            trust.forget_links()
            files = sorted(offered.glob("*.crt"))
            # As update-ca-certificates does it.
            (links / "ca-certificates.crt").write_text("".join(x.read_text() for x in files))
            for file in files:
                link = links / f"{file.stem}.pem"
                if not link.is_symlink():
                    link.symlink_to(file)
                    (links / f"{abs(hash(file.read_text()))}.0").symlink_to(link.name)
        return outdated

    return bring


def pem(text: str) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"


def test_each_authority_has_a_file_of_its_own(store: Any, tmp_path: Path) -> None:
    other = tmp_path / "offered" / "autobot-someone.crt"
    other.write_text(pem("someone"))
    # What an earlier release made.
    (tmp_path / "ca.crt").write_text(pem("old"))
    (tmp_path / "offered" / "autobot.crt").symlink_to(tmp_path / "ca.crt")

    def offered() -> dict[str, str]:
        files = (tmp_path / "offered").iterdir()
        return {file.name: file.read_text() for file in files if file != other}

    def links() -> set[str]:
        return {link.name for link in (tmp_path / "store").iterdir() if not link.exists()}

    assert store(pem("old"))
    assert not (tmp_path / "offered" / "autobot.crt").is_symlink()
    assert not store(pem("old"))
    assert store(pem("old") + pem("new"), check=True)
    assert store(pem("old") + pem("new"))
    assert offered() == {"autobot.crt": pem("old"), "autobot-2.crt": pem("new")}
    assert not store(pem("old") + pem("new"))
    assert store(pem("new"))
    assert offered() == {"autobot.crt": pem("new")}
    assert not store(pem("new"))
    assert links() == set()
    assert other.exists()


def test_what_is_offered_is_noted_and_what_was_there_is_kept(store: Any, tmp_path: Path) -> None:
    (tmp_path / "offered" / "autobot.crt").write_text(pem("AutoBot's own"))
    store(pem("ours"))
    offered = tmp_path / "offered" / "autobot.crt"
    assert (tmp_path / "written").read_text().endswith(f" {offered}\n")
    assert Path(f"{tmp_path}/files{offered}").read_text() == pem("AutoBot's own")


def test_an_update_that_was_killed_is_made_good(store: Any) -> None:
    assert store(pem("old"), killed=True)
    assert store(pem("old"))
    assert store(pem("old") + pem("new"))
    assert store(pem("new"), killed=True)
    assert store(pem("new"))
    assert not store(pem("new"))
