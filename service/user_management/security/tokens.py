"""Access tokens: JWT signed with ES256 (RFC 9068), through python-jose.

This is the only module that knows python-jose. Used bare it picks the algorithm from the token,
does not require a claim, ignores `crit` and decodes base64 leniently, so the form of a token and
its header are checked here before it, and the types of the claims after it. Keys are handed over
as objects of one type; nothing is ever parsed as a key on behalf of a token.
"""

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_pem_public_key,
)
from jose import jwt
from jose.backends.cryptography_backend import CryptographyECKey
from jose.exceptions import JOSEError

from user_management.errors import ConfigurationError, NotAuthenticated
from user_management.population import Population

ALGORITHM: Final = "ES256"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105  a media type
# Seconds by which exp, nbf and iat may be off: hosts behind one name have not quite one clock.
LEEWAY: Final = 5
MAX_TOKEN_LENGTH: Final = 4096
MAX_REMEMBERED: Final = 2048  # tokens, of about 1 KiB each

_PUBLIC_KEY = re.compile("-----BEGIN PUBLIC KEY-----\n.+?\n-----END PUBLIC KEY-----", re.DOTALL)
_REQUIRED = ("exp", "iat", "nbf", "sub", "aud", "iss", "jti")
_REFUSED = "The access token is invalid or has expired. Log in again."


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """What a valid token says. It identifies a session; it authorises nothing."""

    session_id: UUID
    user_id: UUID
    subject: str
    token_id: str
    issued_at: datetime
    expires_at: datetime


class Realm(NamedTuple):
    """Where tokens of one population come from, and what they are good for."""

    issuer: str
    audience: str


# A token of one population is worth nothing at the other.
REALMS: Final[Mapping[Population, Realm]] = {
    Population.SLM: Realm("https://slm.autobot.internal", "slm-api"),
    Population.AUTOBOT: Realm("https://backend.autobot.internal", "autobot-api"),
}


class VerificationKey:
    """The public half of an ES256 key pair. `kid` is its RFC 7638 thumbprint."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey) -> None:
        self._public_key = public_key
        numbers = public_key.public_numbers()
        point = {"crv": "P-256", "kty": "EC", "x": _coordinate(numbers.x)}
        point["y"] = _coordinate(numbers.y)
        # The thumbprint is defined over exactly these members, sorted, without white space.
        canonical = json.dumps(point, separators=(",", ":"), sort_keys=True).encode()
        self.kid = _base64url(hashlib.sha256(canonical).digest())
        self.public_jwk = {**point, "kid": self.kid, "use": "sig", "alg": ALGORITHM}

    @classmethod
    def all_from_pem(cls, pem: str, *, variable: str) -> "list[VerificationKey]":
        """Load P-256 public keys from PEM text: one or, during a rotation, two.

        Raises ConfigurationError, which names `variable`.
        """
        advice = (
            f"{variable} must name a file of P-256 public keys in PEM form "
            '("-----BEGIN PUBLIC KEY-----"), as openssl pkey -pubout writes them'
        )
        texts = _PUBLIC_KEY.findall(pem)
        # Nothing else: a private key does not belong here, and half a key is none.
        if not texts or pem.count("-----BEGIN ") != len(texts):
            raise ConfigurationError(advice)
        known = []
        for text in texts:
            try:
                key = load_pem_public_key(text.encode())
            except (ValueError, UnsupportedAlgorithm):
                raise ConfigurationError(advice) from None
            if not isinstance(key, ec.EllipticCurvePublicKey) or not _is_p256(key):
                raise ConfigurationError(advice)
            known.append(cls(key))
        return known

    def verifier(self) -> CryptographyECKey:
        """The public key as python-jose takes it."""
        return CryptographyECKey(self._public_key, ALGORITHM)


class SigningKey(VerificationKey):
    """An ES256 key pair."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        super().__init__(private_key.public_key())
        self._private_key = private_key

    @classmethod
    def from_pem(cls, pem: str, *, variable: str) -> "SigningKey":
        """Load a P-256 private key from PKCS#8 PEM text, the only accepted form.

        Raises ConfigurationError, which names `variable` and never holds the value.
        """
        advice = (
            f"{variable} must be a P-256 private key in unencrypted PKCS#8 PEM form "
            '("-----BEGIN PRIVATE KEY-----"). Make one with: '
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
        )
        text = pem.strip()
        if not (
            text.startswith("-----BEGIN PRIVATE KEY-----\n")
            and text.endswith("\n-----END PRIVATE KEY-----")
            and text.count("-----BEGIN ") == 1
        ):
            raise ConfigurationError(advice)
        try:
            key = load_pem_private_key(text.encode(), password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ConfigurationError(advice) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not _is_p256(key):
            raise ConfigurationError(advice)
        return cls(key)

    def signer(self) -> CryptographyECKey:
        """The private key as python-jose takes it."""
        return CryptographyECKey(self._private_key, ALGORITHM)

    def derive(self, purpose: str) -> bytes:
        """32 secret bytes for another use: they follow from the key and tell nothing of it."""
        secret = self._private_key.private_numbers().private_value.to_bytes(32)
        return hmac.digest(secret, purpose.encode(), "sha256")


class TokenIssuer:
    """Signs access tokens of one population with its current key."""

    def __init__(self, key: SigningKey, realm: Realm, *, lifetime: timedelta) -> None:
        self._key = key.signer()
        self._headers = {"kid": key.kid, "typ": TOKEN_TYPE}
        self._realm = realm
        self.lifetime = lifetime

    def issue(
        self,
        *,
        subject: str,
        user_id: UUID,
        session_id: UUID,
        claims: Mapping[str, str | bool | None],
        issued_at: datetime | None = None,
        lifetime: timedelta | None = None,
    ) -> str:
        """Return a token for a session; it expires `lifetime` after `issued_at` (default now).

        `claims` are there for existing clients, besides those that every token has.
        """
        issued = int(time.time() if issued_at is None else issued_at.timestamp())
        return jwt.encode(
            {
                **claims,
                "iss": self._realm.issuer,
                "aud": self._realm.audience,
                "sub": subject,
                "uid": str(user_id),
                "sid": str(session_id),
                "jti": secrets.token_urlsafe(16),
                "iat": issued,
                "nbf": issued,
                "exp": issued + int((lifetime or self.lifetime).total_seconds()),
            },
            self._key,
            algorithm=ALGORITHM,
            headers=self._headers,
        )


class TokenVerifier:
    """Verifies access tokens of one population: one issuer, one audience, the keys given.

    During a rotation `keys` are the current and the previous one.
    """

    def __init__(self, keys: Iterable[VerificationKey], realm: Realm) -> None:
        """Raises ValueError without a key."""
        known = list(keys)
        if not known:
            raise ValueError("a verifier needs at least one key")
        self._keys = {key.kid: key.verifier() for key in known}
        self._jwks = {key.kid: key.public_jwk for key in known}
        self._realm = realm
        self._verified: OrderedDict[str, AccessClaims] = OrderedDict()

    def jwks(self) -> dict[str, list[dict[str, str]]]:
        """Return the public keys as a JSON Web Key Set."""
        return {"keys": [dict(key) for key in self._jwks.values()]}

    def verify(self, token: str) -> AccessClaims:
        """Return the claims of a valid token.

        Raises NotAuthenticated, with one text for all reasons. exp, nbf and iat may be off by
        LEEWAY seconds. A token that was good is remembered until it expires: its signature does
        not change, and verifying costs more than everything else that a request does.
        """
        known = self._verified.get(token)
        if known is not None:
            if time.time() < known.expires_at.timestamp() + LEEWAY:
                return known
            del self._verified[token]
        claims = self._decode(token)
        if len(self._verified) >= MAX_REMEMBERED:
            self._verified.popitem(last=False)
        self._verified[token] = claims
        return claims

    def identify(self, token: str) -> AccessClaims:
        """Return the claims of a token that is valid or has been: it may have expired.

        It lets nobody in; it names the session that is to end. Raises NotAuthenticated.
        """
        return self._decode(token, may_be_expired=True)

    def _decode(self, token: str, *, may_be_expired: bool = False) -> AccessClaims:
        try:
            key = self._keys[_key_id(token)]
            claims = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                audience=self._realm.audience,
                issuer=self._realm.issuer,
                options={"leeway": LEEWAY, "verify_exp": not may_be_expired}
                # It verifies what it requires; `_read` misses the claim too.
                | {f"require_{claim}": claim != "exp" or not may_be_expired for claim in _REQUIRED},
            )
            return self._read(claims, may_be_expired=may_be_expired)
        except (JOSEError, KeyError, ValueError, TypeError, OverflowError, RecursionError):
            raise NotAuthenticated(_REFUSED) from None

    def _read(self, claims: dict[str, Any], *, may_be_expired: bool) -> AccessClaims:
        """Check what python-jose does not: types, one audience, the clock of iat and exp."""
        issued, expires = _seconds(claims["iat"]), _seconds(claims["exp"])
        not_before, now = _seconds(claims["nbf"]), time.time()
        if claims["aud"] != self._realm.audience or claims["iss"] != self._realm.issuer:
            raise ValueError("not for this service")
        has_begun = issued - LEEWAY <= now and not_before - LEEWAY <= now
        if not (has_begun and (may_be_expired or now < expires + LEEWAY)):
            raise ValueError("outside its time")
        return AccessClaims(
            session_id=UUID(_text(claims["sid"])),
            user_id=UUID(_text(claims["uid"])),
            subject=_text(claims["sub"]),
            token_id=_text(claims["jti"]),
            issued_at=datetime.fromtimestamp(issued, UTC),
            expires_at=datetime.fromtimestamp(expires, UTC),
        )


def _key_id(token: str) -> str:
    """Return the header's `kid` of a well-formed token; raises ValueError for any other.

    `jku`, `jwk`, `x5u` and the like are never looked at.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise ValueError("too long")
    header_bytes, _, _ = map(_decode_segment, token.split("."))
    header = json.loads(header_bytes, object_pairs_hook=_unique)
    if (
        not isinstance(header, dict)
        or header.get("alg") != ALGORITHM
        or header.get("typ") != TOKEN_TYPE
        or "crit" in header
    ):
        raise ValueError("not an access token")
    return _text(header["kid"])


def _decode_segment(segment: str) -> bytes:
    """Decode base64url strictly: no padding, no other characters, one spelling per value.

    Python's decoder drops what it does not know, so the proof is that encoding gives it back.
    """
    try:
        decoded = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if _base64url(decoded) != segment:
        raise ValueError("not canonical base64url")
    return decoded


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _is_p256(key: ec.EllipticCurvePrivateKey | ec.EllipticCurvePublicKey) -> bool:
    return isinstance(key.curve, ec.SECP256R1)


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or len(value) > 255:
        raise ValueError("not a text of sane length")
    return value


def _seconds(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("not whole seconds")
    return value


def _coordinate(value: int) -> str:
    return _base64url(value.to_bytes(32))


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
