"""Keys and certificates in pairs: at no moment a key stands beside the certificate of another."""

import datetime
import grp
import os
import pwd
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.role_files import load_plugin

LEAF = {"name": "https", "dns": ["slm.test", "localhost"], "ip": ["192.0.2.1"], "mode": "0640"}
AUTHORITY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def module() -> Any:
    return load_plugin("modules.certificate_pairs")


@pytest.fixture
def leaf() -> dict[str, Any]:
    """The tests need not run as root."""
    owner = pwd.getpwuid(os.geteuid()).pw_name
    return {**LEAF, "owner": owner, "group": grp.getgrgid(os.getegid()).gr_name}


def sign(request: str) -> str:
    """What the CA makes of a request."""
    asked = x509.load_pem_x509_csr(request.encode())
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(asked.subject)
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "CA")]))
        .public_key(asked.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    signed = builder.sign(AUTHORITY, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def fits(directory: Path) -> bool:
    """Whether a server that reads both files now would accept them."""
    key = serialization.load_pem_private_key((directory / "https.key").read_bytes(), None)
    certificate = x509.load_pem_x509_certificate((directory / "https.crt").read_bytes())
    return key.public_key() == certificate.public_key()


def test_a_request_asks_for_a_server_certificate(module: Any, leaf: Any, tmp_path: Path) -> None:
    request = x509.load_pem_x509_csr(module.Pair(tmp_path, leaf).request(check=False).encode())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == "CN=slm.test"
    found = {item.oid: item for item in request.extensions}
    names = found[x509.SubjectAlternativeName.oid].value
    assert names.get_values_for_type(x509.DNSName) == LEAF["dns"]
    assert [str(item) for item in names.get_values_for_type(x509.IPAddress)] == LEAF["ip"]
    constraints = found[x509.BasicConstraints.oid]
    assert constraints.critical
    assert not constraints.value.ca
    usage = found[x509.ExtendedKeyUsage.oid].value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_a_new_pair_takes_the_place_of_the_old_one(module: Any, leaf: Any, tmp_path: Path) -> None:
    pair = module.Pair(tmp_path, leaf)
    assert pair.look() == {"certificate": "", "fingerprint": ""}
    for _ in range(3):
        before = pair.look()
        certificate = sign(pair.request(check=False))
        # The servers still find what they had.
        assert pair.look() == before
        pair.install(certificate)
        assert pair.look()["certificate"] == certificate
        assert fits(tmp_path)
        assert pair.is_in_place()
        # One link, and the one pair that it leads to.
        assert len(list((tmp_path / "pairs").iterdir())) == 2
    assert stat.S_IMODE((tmp_path / "https.key").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "https.crt").stat().st_mode) == 0o644


class Killed(BaseException):
    """The process ends here."""


CHANGES = ("rename", "replace", "unlink", "symlink_to")


@pytest.mark.parametrize("step", range(20))
@pytest.mark.parametrize("plain", [False, True])
def test_wherever_it_is_killed_a_pair_fits(
    module: Any,
    leaf: Any,
    tmp_path: Path,
    step: int,
    plain: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Kill before the change number `step` of the file system; then look, and run again."""
    pair = module.Pair(tmp_path, leaf)
    pair.install(sign(pair.request(check=False)))
    if plain:
        make_plain(tmp_path)
    done = 0

    def counted(function: Any) -> Any:
        def change(*arguments: Any, **options: Any) -> Any:
            nonlocal done
            if done == step:
                raise Killed
            done += 1
            result = function(*arguments, **options)
            assert fits(tmp_path)
            return result

        return change

    def renew() -> None:
        pair.bring_in_place()
        pair.install(sign(pair.request(check=False)))

    with monkeypatch.context() as patch:
        for name in CHANGES:
            patch.setattr(Path, name, counted(getattr(Path, name)))
        patch.setattr(os, "link", counted(os.link))
        patch.setattr(shutil, "rmtree", counted(shutil.rmtree))
        try:
            renew()
        except Killed:
            assert done == step
        else:
            assert done <= step
    assert fits(tmp_path)
    renew()
    assert fits(tmp_path)
    assert len(list((tmp_path / "pairs").iterdir())) == 2


def make_plain(directory: Path) -> None:
    """Two plain files, as earlier releases made them."""
    contents = {end: (directory / f"https.{end}").read_bytes() for end in ("key", "crt")}
    for end, content in contents.items():
        (directory / f"https.{end}").unlink()
        (directory / f"https.{end}").write_bytes(content)
    shutil.rmtree(directory / "pairs")


def test_a_pair_of_plain_files_keeps_its_certificate(
    module: Any, leaf: Any, tmp_path: Path
) -> None:
    pair = module.Pair(tmp_path, leaf)
    pair.install(sign(pair.request(check=False)))
    make_plain(tmp_path)
    before = pair.look()
    assert before["fingerprint"]
    assert not pair.is_in_place()
    pair.bring_in_place()
    assert pair.look() == before
    assert pair.is_in_place()
    assert (tmp_path / "https.key").is_symlink()


def test_permissions_of_the_key_are_corrected(module: Any, leaf: Any, tmp_path: Path) -> None:
    pair = module.Pair(tmp_path, leaf)
    pair.install(sign(pair.request(check=False)))
    (tmp_path / "https.key").resolve().chmod(0o644)
    assert not pair.is_in_place()
    pair.bring_in_place()
    assert stat.S_IMODE((tmp_path / "https.key").stat().st_mode) == 0o640


def test_a_certificate_of_another_key_is_not_installed(
    module: Any, leaf: Any, tmp_path: Path
) -> None:
    pair = module.Pair(tmp_path, leaf)
    pair.install(sign(pair.request(check=False)))
    before = pair.look()
    other = sign(pair.request(check=False))
    pair.request(check=False)
    with pytest.raises(ValueError, match="not of the new key"):
        pair.install(other)
    assert pair.look() == before


def test_check_mode_leaves_nothing_behind(module: Any, leaf: Any, tmp_path: Path) -> None:
    assert module.Pair(tmp_path, leaf).request(check=True)
    assert list(tmp_path.iterdir()) == []
