"""Keys, and what a certificate says of a server."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

Builder = TypeVar("Builder", x509.CertificateBuilder, x509.CertificateSigningRequestBuilder)


def fingerprint(public_key: Any) -> str:
    """SHA-256 of a public key, in hexadecimal digits."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(
        public_key.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return digest.finalize().hex()


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key as its file has it: PKCS8, not encrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def for_server(builder: Builder, leaf: Any) -> Builder:
    """A certificate, or a request of one, for a server with the names and addresses of a leaf."""
    names: list[x509.GeneralName] = [x509.DNSName(str(name)) for name in leaf["dns"]]
    names += [x509.IPAddress(ip_address(str(address))) for address in leaf["ip"]]
    usage = dict.fromkeys(
        (
            *("content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
            *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
        ),
        False,
    )
    return (
        builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, **usage), critical=True)
        # A server's certificate must not pass for a client's.
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
