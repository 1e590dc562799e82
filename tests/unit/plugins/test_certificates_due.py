"""Which certificates are signed anew, and for what reason."""

import datetime
import ipaddress
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest
from ansible.errors import AnsibleFilterError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.role_files import load_plugin

DNS, IP = ["slm.test", "localhost"], ["192.0.2.1"]
LEAF = {"name": "https", "dns": DNS, "ip": IP}


class Names(TypedDict, total=False):
    """The hosts that a certificate names."""

    dns: list[str]
    ip: list[str]


def subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass
class Authority:
    name: str = "CA"
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def sign(
        self,
        key: ec.EllipticCurvePublicKey | None = None,
        days: float = 100,
        dns: list[str] = DNS,
        ip: list[str] = IP,
    ) -> str:
        """A certificate of `key`, by default of the CA's own, in PEM."""
        now = datetime.datetime.now(datetime.UTC)
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ip]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject("slm.test" if key else self.name))
            .issuer_name(subject(self.name))
            .public_key(key or self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=300))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePublicKey:
    return ec.generate_private_key(ec.SECP256R1()).public_key()


def pair(key: ec.EllipticCurvePublicKey, certificate: str) -> dict[str, Any]:
    """As the module certificate_pairs reports them."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return {"certificate": certificate, "fingerprint": digest.finalize().hex()}


def reasons(
    certificate: str,
    key: ec.EllipticCurvePublicKey,
    authority: Authority,
    days: int = 30,
    renew: bool = False,
) -> list[str]:
    due = load_plugin("filter.certificates").certificates_due(
        [LEAF], [pair(key, certificate)], authority.sign(), days, renew
    )
    return [leaf["reason"] for leaf in due]


def test_a_certificate_is_renewed_when_that_is_asked_for(
    authority: Authority, key: ec.EllipticCurvePublicKey
) -> None:
    good = authority.sign(key)
    assert reasons(good, key, authority, renew=True) == ["a new one was asked for"]
    assert reasons("", key, authority, renew=True) == ["there is none"]


def test_the_key_tells_which_certificate_of_a_bundle_signs() -> None:
    old, new = Authority("old"), Authority("new")
    filters = load_plugin("filter.certificates")
    certificates = {name: each.sign() for name, each in (("old", old), ("new", new))}

    def private(authority: Authority) -> str:
        return authority.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    for order in (("old", "new"), ("new", "old")):
        bundle = "".join(certificates[name] for name in order)
        assert filters.certificate_of_key(bundle, private(old)) == certificates["old"]
        assert filters.certificate_of_key(bundle, private(new)) == certificates["new"]
    with pytest.raises(AnsibleFilterError, match="No certificate of the CA is of the key"):
        filters.certificate_of_key(certificates["old"], private(new))
    for bundle, key in (("nonsense", private(old)), (certificates["old"], "nonsense")):
        with pytest.raises(AnsibleFilterError, match="cannot be read"):
            filters.certificate_of_key(bundle, key)


def test_a_good_certificate_stays(authority: Authority, key: ec.EllipticCurvePublicKey) -> None:
    assert reasons(authority.sign(key), key, authority) == []


def test_the_order_of_names_does_not_matter(
    authority: Authority, key: ec.EllipticCurvePublicKey
) -> None:
    assert reasons(authority.sign(key, dns=["localhost", "slm.test"]), key, authority) == []


def test_a_missing_certificate_is_due(authority: Authority, key: ec.EllipticCurvePublicKey) -> None:
    assert reasons("", key, authority) == ["there is none"]


def test_a_damaged_certificate_is_due(authority: Authority, key: ec.EllipticCurvePublicKey) -> None:
    assert reasons("-----BEGIN CERTIFICATE-----\n", key, authority) == ["it cannot be read"]


def test_a_certificate_of_another_key_is_due(
    authority: Authority, key: ec.EllipticCurvePublicKey
) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert reasons(authority.sign(other), key, authority) == ["it is not of the host's key"]


@pytest.mark.parametrize(
    "names",
    [
        {"dns": ["slm.test"]},
        {"dns": ["slm.test", "localhost", "more.test"]},
        {"ip": ["192.0.2.2"]},
        {"ip": []},
    ],
)
def test_a_certificate_with_other_names_is_due(
    authority: Authority, key: ec.EllipticCurvePublicKey, names: Names
) -> None:
    assert reasons(authority.sign(key, **names), key, authority) == ["it names other hosts"]


@pytest.mark.parametrize("name", ["CA", "another CA"])
def test_a_certificate_of_another_ca_is_due_even_of_one_with_the_same_name(
    authority: Authority, key: ec.EllipticCurvePublicKey, name: str
) -> None:
    certificate = Authority(name).sign(key)
    assert reasons(certificate, key, authority) == ["it was signed by another CA"]


def test_a_certificate_is_renewed_before_it_expires(
    authority: Authority, key: ec.EllipticCurvePublicKey
) -> None:
    assert reasons(authority.sign(key, days=31), key, authority) == []
    (reason,) = reasons(authority.sign(key, days=29), key, authority)
    day = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=29)
    assert reason == f"it expires on {day:%Y-%m-%d}"


def test_only_the_leaves_that_are_due_are_named(
    authority: Authority, key: ec.EllipticCurvePublicKey
) -> None:
    due = load_plugin("filter.certificates").certificates_due(
        [LEAF, {**LEAF, "name": "postgresql", "group": "ssl-cert"}],
        [pair(key, authority.sign(key)), pair(key, "")],
        authority.sign(),
        30,
    )
    assert [(leaf["name"], leaf["group"]) for leaf in due] == [("postgresql", "ssl-cert")]


def test_a_damaged_ca_certificate_stops_the_run(key: ec.EllipticCurvePublicKey) -> None:
    with pytest.raises(AnsibleFilterError, match="CA's certificate cannot be read"):
        load_plugin("filter.certificates").certificates_due(
            [LEAF], [pair(key, "")], "no certificate", 30
        )
