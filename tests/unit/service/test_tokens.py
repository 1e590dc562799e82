"""Access tokens: what is issued, and that nothing else is believed.

Forged tokens are put together by hand, so that no library refuses to make them.
"""

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from jose import jwt

from user_management.errors import ConfigurationError, NotAuthenticated
from user_management.security import tokens
from user_management.security.tokens import (
    LEEWAY,
    MAX_TOKEN_LENGTH,
    Realm,
    SigningKey,
    TokenIssuer,
    TokenVerifier,
    VerificationKey,
)

REALM = Realm("https://slm.autobot.internal", "slm-api")
ISSUER, AUDIENCE = REALM
LIFETIME = timedelta(minutes=30)
PRIVATE = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
KEY = SigningKey(PRIVATE)
USER, SESSION = uuid4(), uuid4()
# Of a token, as it is or to be written as JSON.
Part = bytes | dict[str, Any] | list[Any]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def encode(data: Part) -> str:
    if isinstance(data, dict | list):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def es256(message: bytes, key: ec.EllipticCurvePrivateKey = PRIVATE) -> bytes:
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def hs256(secret: bytes) -> Callable[[bytes], bytes]:
    return lambda message: hmac.digest(secret, message, "sha256")


def header(**changes: Any) -> dict[str, Any]:
    return {"alg": "ES256", "typ": "at+jwt", "kid": KEY.kid} | changes


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "gwendolyn",
        "uid": str(USER),
        "sid": str(SESSION),
        "jti": "jti-1",
        "iat": now,
        "nbf": now,
        "exp": now + 1800,
        "admin": True,
    } | changes


def without(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


def token(
    head: Part | None = None,
    body: Part | None = None,
    sign: Callable[[bytes], bytes] = es256,
) -> str:
    signed = f"{encode(head or header())}.{encode(body or claims())}"
    return f"{signed}.{encode(sign(signed.encode()))}"


@pytest.fixture
def issuer() -> TokenIssuer:
    return TokenIssuer(KEY, REALM, lifetime=LIFETIME)


@pytest.fixture
def verifier() -> TokenVerifier:
    return TokenVerifier([KEY], REALM)


def read_segment(text: str, index: int) -> Any:
    segment = text.split(".")[index]
    return json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))


class TestIssued:
    def test_header_and_claims(self, issuer: TokenIssuer) -> None:
        before = int(time.time())
        made = issuer.issue(
            subject="gwendolyn", user_id=USER, session_id=SESSION, claims={"admin": True}
        )

        assert read_segment(made, 0) == header()
        body = read_segment(made, 1)
        assert set(body) == set(claims())
        assert len(body["jti"]) >= 22
        assert before <= body["iat"] == body["nbf"] <= time.time()
        assert body["exp"] - body["iat"] == 1800
        assert body["aud"] == AUDIENCE
        assert body["iss"] == ISSUER
        assert body["sub"] == "gwendolyn"
        assert body["admin"] is True
        assert UUID(body["uid"]) == USER
        assert UUID(body["sid"]) == SESSION

    def test_round_trip(self, issuer: TokenIssuer, verifier: TokenVerifier) -> None:
        issued_at = datetime.now(UTC).replace(microsecond=0)
        read = verifier.verify(
            issuer.issue(
                subject="gwendolyn",
                user_id=USER,
                session_id=SESSION,
                claims={"admin": False},
                issued_at=issued_at,
            )
        )

        assert (read.session_id, read.user_id, read.subject) == (SESSION, USER, "gwendolyn")
        assert read.issued_at == issued_at
        assert read.expires_at == issued_at + LIFETIME

    def test_no_two_tokens_share_their_id(
        self, issuer: TokenIssuer, verifier: TokenVerifier
    ) -> None:
        ids = {
            verifier.verify(
                issuer.issue(subject="x", user_id=USER, session_id=SESSION, claims={"admin": False})
            ).token_id
            for _ in range(50)
        }

        assert len(ids) == 50

    def test_the_longest_username_fits(self, issuer: TokenIssuer, verifier: TokenVerifier) -> None:
        made = issuer.issue(
            subject="ü" * 100, user_id=USER, session_id=SESSION, claims={"admin": False}
        )

        assert verifier.verify(made).subject == "ü" * 100

    def test_authorises_nothing(self, issuer: TokenIssuer, verifier: TokenVerifier) -> None:
        made = issuer.issue(subject="x", user_id=USER, session_id=SESSION, claims={"admin": True})

        assert not hasattr(verifier.verify(made), "admin")


def public(encoding: Encoding, form: PublicFormat) -> bytes:
    return PRIVATE.public_key().public_bytes(encoding, form)


CONFUSED_KEYS = {
    "PEM": public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    "DER": public(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "SSH": public(Encoding.OpenSSH, PublicFormat.OpenSSH),
    "point": public(Encoding.X962, PublicFormat.UncompressedPoint),
    "JWK": json.dumps(KEY.public_jwk).encode(),
    "empty": b"",
}
OTHER_JWK = without(SigningKey(OTHER).public_jwk, "kid")
NOW = int(time.time())
RANDOM = {KEY.kid: "KID", KEY.kid.lower(): "kid", str(SESSION): "SESSION", str(USER): "USER"}


def said(value: object) -> str:
    """A value as it is called in every run: what is random by its name, times by their distance."""
    text = repr(value)
    for word, name in RANDOM.items():
        text = text.replace(word, name)
    return re.sub(r"(?<!\d)\d{10}(?!\d)", lambda moment: f"NOW{int(moment[0]) - NOW:+}", text)


WRONG_CLAIMS: dict[str, tuple[Any, ...]] = {
    "exp": (NOW - LEEWAY - 1, 0, -1, str(NOW + 900), NOW + 900.5, None, True, 10**300),
    "iat": (NOW + 86_400, str(NOW), None, True, float("inf"), [NOW]),
    "nbf": (NOW + 86_400, str(NOW), None, False, float("nan"), {}),
    "aud": (
        "autobot-api",
        "",
        None,
        [AUDIENCE],
        [AUDIENCE, "other"],
        [],
        {},
        AUDIENCE + "x",
    ),
    "iss": ("https://autobot.internal", "", None, [ISSUER], ISSUER + "/", 1),
    "sub": ("", None, 7, ["gwendolyn"], "x" * 256),
    "jti": ("", None, 7, "x" * 256),
    "sid": ("", None, 7, "not-a-uuid", "../" + str(SESSION)),
    "uid": ("", None, 7, "not-a-uuid", [str(USER)]),
}
FORGED: dict[str, Callable[[], str]] = {
    **{
        f"algorithm {name!r}": partial(token, header(alg=name), sign=lambda _: b"")
        for name in ("none", "None", "NONE", "", None)
    },
    **{
        f"{alg} with the public key as {form}": partial(token, header(alg=alg), sign=hs256(secret))
        for form, secret in CONFUSED_KEYS.items()
        for alg in ("HS256", "ES256")
    },
    "RS256": lambda: token(
        header(alg="RS256"), sign=lambda m: RSA.sign(m, padding.PKCS1v15(), hashes.SHA256())
    ),
    "RSA signature said to be ES256": lambda: token(
        sign=lambda m: RSA.sign(m, padding.PKCS1v15(), hashes.SHA256())
    ),
    "our signature said to be ES384": lambda: token(header(alg="ES384")),
    "algorithm in lower case": lambda: token(header(alg="es256")),
    "algorithms as a list": lambda: token(header(alg=["ES256"])),
    "no algorithm": lambda: token(without(header(), "alg")),
    "another key under our kid": lambda: token(sign=lambda m: es256(m, OTHER)),
    "another key with its own jwk": lambda: token(
        header(jwk=OTHER_JWK), sign=lambda m: es256(m, OTHER)
    ),
    "another key with its own jwk and no kid": lambda: token(
        without(header(jwk=OTHER_JWK), "kid"), sign=lambda m: es256(m, OTHER)
    ),
    **{
        f"another key at {name}": partial(
            token, header(**{name: "https://example.org/keys"}), sign=lambda m: es256(m, OTHER)
        )
        for name in ("jku", "x5u")
    },
    **{
        f"kid {said(kid)}": partial(token, header(kid=kid))
        for kid in (
            "",
            "unknown",
            "../../../../dev/null",
            "/etc/passwd",
            "' OR '1'='1",
            "'; DROP TABLE users; --",
            KEY.kid + "\0",
            KEY.kid.lower(),
            [KEY.kid],
            {"kid": KEY.kid},
            0,
            None,
            "x" * 2000,
        )
    },
    "no kid": lambda: token(without(header(), "kid")),
    "crit": lambda: token(header(crit=["exp"])),
    "crit, empty": lambda: token(header(crit=[])),
    "crit, null": lambda: token(header(crit=None)),
    **{
        f"type {typ!r}": partial(token, header(typ=typ))
        for typ in ("JWT", "jwt", "rt+jwt", "AT+JWT", "", None, ["at+jwt"])
    },
    "no type": lambda: token(without(header(), "typ")),
    "a header member twice": lambda: token(
        json.dumps(header()).encode().removesuffix(b"}") + b', "alg": "ES256"}'
    ),
    "header is a list": lambda: token([header()]),
    "header is nested without end": lambda: token(b"[" * 2000),
    "header is no JSON": lambda: token(b"no JSON"),
    "header is no UTF-8": lambda: token(b"\xff\xfe"),
    "claims are a list": lambda: token(body=[claims()]),
    "claims are nested without end": lambda: token(body=b"[" * 2000),
    **{
        f"no {name}": partial(lambda name: token(body=without(claims(), name)), name)
        for name in ("exp", "iat", "nbf", "sub", "aud", "iss", "jti", "sid", "uid")
    },
    **{
        f"{name} {said(value)}": partial(
            lambda changes: token(body=claims(**changes)), {name: value}
        )
        for name, values in WRONG_CLAIMS.items()
        for value in values
    },
    "signature stripped": lambda: token().rpartition(".")[0] + ".",
    "no signature": lambda: token().rpartition(".")[0],
    "signature of another token": lambda: (
        token(body=claims(sub="admin")).rpartition(".")[0] + "." + token().rpartition(".")[2]
    ),
    "signature of zeros": lambda: token(sign=lambda _: bytes(64)),
    "signature in DER": lambda: token(sign=lambda m: PRIVATE.sign(m, ec.ECDSA(hashes.SHA256()))),
    "claims changed": lambda: ".".join(
        [(parts := token().split("."))[0], encode(claims(sub="admin")), parts[2]]
    ),
    **{
        f"trailing {garbage!r}": partial(lambda garbage: token() + garbage, garbage)
        for garbage in (".", ".AAAA", "=", "==", "\n", " ", "A", "AAAA", "!", "\0", "é")
    },
    "the other base64 alphabet": lambda: token(sign=lambda _: b"\xff" * 64).replace("_", "/"),
    "leading space": lambda: " " + token(),
    "scheme left on": lambda: "Bearer " + token(),
    "padding inside": lambda: token().replace(".", "=.", 1),
    "characters that lenient decoders drop": lambda: token()[:-3] + "!\n " + token()[-3:],
    "another spelling of the signature's last bits": lambda: respell(token()),
    "empty": lambda: "",
    "dots": lambda: "..",
    "too long": lambda: token(body=claims(note="x" * MAX_TOKEN_LENGTH)),
    "endless": lambda: "A" * 10_000_000,
}


def respell(text: str) -> str:
    """64 bytes leave four bits of the last character unused: 16 spellings of one signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) + 1]


# Of those, the ones that were good once.
EXPIRED = {f"exp {said(value)}" for value in (NOW - LEEWAY - 1, 0, -1)}


class TestRefused:
    def test_the_untouched_token_is_valid(self, verifier: TokenVerifier) -> None:
        """Otherwise the forgeries below would be refused for the wrong reason."""
        assert verifier.verify(token()).subject == "gwendolyn"

    @pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
    def test_forged(self, verifier: TokenVerifier, forge: Callable[[], str]) -> None:
        with pytest.raises(NotAuthenticated) as refusal:
            verifier.verify(forge())

        assert refusal.value.detail == "The access token is invalid or has expired. Log in again."
        assert refusal.value.__cause__ is None

    @pytest.mark.parametrize("forgery", FORGED)
    def test_it_names_its_session_only_if_it_was_good_once(
        self, verifier: TokenVerifier, forgery: str
    ) -> None:
        if forgery in EXPIRED:
            named = verifier.identify(FORGED[forgery]())
            assert (named.session_id, named.user_id) == (SESSION, USER)
        else:
            with pytest.raises(NotAuthenticated):
                verifier.identify(FORGED[forgery]())

    @settings(max_examples=300)
    @given(st.one_of(st.text(max_size=200), st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*")))
    def test_any_text(self, text: str) -> None:
        with pytest.raises(NotAuthenticated):
            TokenVerifier([KEY], REALM).verify(text)

    @settings(max_examples=300)
    @given(st.data())
    def test_any_changed_character(self, data: st.DataObject) -> None:
        made = token()
        at = data.draw(st.integers(0, len(made) - 1))
        other = data.draw(st.characters().filter(lambda character: character != made[at]))

        with pytest.raises(NotAuthenticated):
            TokenVerifier([KEY], REALM).verify(made[:at] + other + made[at + 1 :])

    def test_the_other_populations_tokens(self, verifier: TokenVerifier) -> None:
        """Each population has its own key, issuer and audience, and each alone suffices."""
        for key, issuer, audience in (
            (SigningKey(OTHER), "https://autobot.internal", "autobot-api"),
            (SigningKey(OTHER), ISSUER, AUDIENCE),
            (KEY, "https://autobot.internal", AUDIENCE),
            (KEY, ISSUER, "autobot-api"),
        ):
            made = TokenIssuer(key, Realm(issuer, audience), lifetime=LIFETIME).issue(
                subject="admin", user_id=USER, session_id=SESSION, claims={"admin": True}
            )
            with pytest.raises(NotAuthenticated):
                verifier.verify(made)

    def test_headers_that_name_other_keys_are_not_looked_at(self, verifier: TokenVerifier) -> None:
        """Under our own signature they change nothing either."""
        head = header(jwk=OTHER_JWK, jku="https://example.org/keys", x5u="https://example.org/x")

        assert verifier.verify(token(head)).subject == "gwendolyn"


class TestTime:
    @pytest.mark.parametrize(
        ("changes", "valid"),
        [
            ({"exp": +2}, True),
            ({"exp": -LEEWAY + 2}, True),
            ({"exp": -LEEWAY}, False),
            ({"nbf": LEEWAY - 2}, True),
            ({"nbf": LEEWAY + 3}, False),
            ({"iat": LEEWAY - 2}, True),
            ({"iat": LEEWAY + 3}, False),
        ],
        ids=str,
    )
    def test_clocks_may_differ_by_the_leeway_and_no_more(
        self, verifier: TokenVerifier, changes: dict[str, Any], valid: bool
    ) -> None:
        now = int(time.time())
        made = token(body=claims(**{name: now + offset for name, offset in changes.items()}))

        if valid:
            verifier.verify(made)
        else:
            with pytest.raises(NotAuthenticated):
                verifier.verify(made)

    def test_a_token_expires(self, issuer: TokenIssuer, verifier: TokenVerifier) -> None:
        past = datetime.now(UTC) - LIFETIME - timedelta(seconds=LEEWAY + 1)
        made = issuer.issue(
            subject="x", user_id=USER, session_id=SESSION, claims={"admin": False}, issued_at=past
        )

        # That it names its session is not remembered as if it were good.
        assert verifier.identify(made).session_id == SESSION
        with pytest.raises(NotAuthenticated):
            verifier.verify(made)


class TestKeys:
    def test_kid_is_the_thumbprint_of_rfc_7638(self) -> None:
        numbers = PRIVATE.public_key().public_numbers()
        text = (
            f'{{"crv":"P-256","kty":"EC","x":"{encode(numbers.x.to_bytes(32))}",'
            f'"y":"{encode(numbers.y.to_bytes(32))}"}}'
        )

        assert KEY.kid == encode(hashlib.sha256(text.encode()).digest())

    def test_coordinates_keep_their_leading_zeros(self) -> None:
        """RFC 7518, 6.2.1.2: always 32 bytes."""
        small = next(
            key
            for value in range(1, 100_000)
            if (key := ec.derive_private_key(value, ec.SECP256R1()))
            .public_key()
            .public_numbers()
            .x.bit_length()
            <= 248
        )

        assert len(SigningKey(small).public_jwk["x"]) == 43

    def test_the_key_set_verifies_tokens_and_holds_nothing_private(
        self, issuer: TokenIssuer, verifier: TokenVerifier
    ) -> None:
        (jwk,) = verifier.jwks()["keys"]
        assert {name: jwk[name] for name in ("kty", "crv", "alg", "use", "kid")} == {
            "kty": "EC",
            "crv": "P-256",
            "alg": "ES256",
            "use": "sig",
            "kid": KEY.kid,
        }
        assert set(jwk) == {"kty", "crv", "alg", "use", "kid", "x", "y"}

        made = issuer.issue(subject="x", user_id=USER, session_id=SESSION, claims={"admin": False})
        signed, _, signature = made.rpartition(".")
        x, y = (int.from_bytes(base64.urlsafe_b64decode(jwk[name] + "=")) for name in ("x", "y"))
        raw = base64.urlsafe_b64decode(signature + "==")
        ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
            encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:])),
            signed.encode(),
            ec.ECDSA(hashes.SHA256()),
        )

    def test_rotation(self, issuer: TokenIssuer) -> None:
        """Old tokens live on while the previous key is named, and no longer."""
        current = SigningKey(OTHER)
        made = issuer.issue(subject="x", user_id=USER, session_id=SESSION, claims={"admin": False})
        during = TokenVerifier([current, KEY], REALM)
        after = TokenVerifier([current], REALM)

        assert during.verify(made).session_id == SESSION
        assert [key["kid"] for key in during.jwks()["keys"]] == [current.kid, KEY.kid]
        with pytest.raises(NotAuthenticated):
            after.verify(made)
        # The kid decides which key is tried: the other one's signature is not accepted for it.
        with pytest.raises(NotAuthenticated):
            during.verify(token(header(kid=current.kid)))

    def test_the_same_key_twice_is_published_once(self) -> None:
        verifier = TokenVerifier([KEY, SigningKey(PRIVATE)], REALM)

        assert len(verifier.jwks()["keys"]) == 1

    def test_a_verifier_without_keys_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least one key"):
            TokenVerifier([], REALM)


def private(
    key: PrivateKey,
    form: PrivateFormat = PrivateFormat.PKCS8,
    encoding: Encoding = Encoding.PEM,
    encryption: KeySerializationEncryption | None = None,
) -> str:
    return key.private_bytes(encoding, form, encryption or NoEncryption()).decode("latin-1")


PEM = private(PRIVATE)
WRONG_KEYS = {
    "empty": "",
    "a word": "changeme",
    "DER": private(PRIVATE, encoding=Encoding.DER),
    "DER in base64": "".join(PEM.splitlines()[1:-1]),
    "OpenSSH": private(PRIVATE, PrivateFormat.OpenSSH),
    "SEC 1": private(PRIVATE, PrivateFormat.TraditionalOpenSSL),
    "encrypted": private(PRIVATE, encryption=BestAvailableEncryption(b"secret")),
    "public": public(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    "public, OpenSSH": public(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    "RSA": private(RSA),
    "P-384": private(ec.generate_private_key(ec.SECP384R1())),
    "secp256k1": private(ec.generate_private_key(ec.SECP256K1())),
    "Ed25519": private(ed25519.Ed25519PrivateKey.generate()),
    "two keys": PEM + private(OTHER),
    "line breaks lost": PEM.replace("\n", " "),
    "line breaks escaped": PEM.replace("\n", "\\n"),
    "cut off": PEM[: len(PEM) // 2],
    "middle missing": PEM[:60] + PEM[100:],
    "nothing inside": "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n",
    "text before it": "key: " + PEM,
}


class TestLoading:
    def test_pkcs8_pem(self) -> None:
        assert SigningKey.from_pem(PEM, variable="SLM_SIGNING_KEY").kid == KEY.kid
        assert SigningKey.from_pem(f"\n{PEM}\n\n", variable="SLM_SIGNING_KEY").kid == KEY.kid

    @pytest.mark.parametrize("text", WRONG_KEYS.values(), ids=WRONG_KEYS.keys())
    def test_anything_else_is_refused_by_name_and_without_the_value(self, text: str) -> None:
        with pytest.raises(ConfigurationError) as refusal:
            SigningKey.from_pem(text, variable="SLM_PREVIOUS_SIGNING_KEY")

        message = str(refusal.value)
        assert message.startswith("SLM_PREVIOUS_SIGNING_KEY must be a P-256 private key")
        assert "openssl genpkey" in message
        assert refusal.value.__cause__ is None
        lines = [line for line in text.splitlines() if len(line) > 8 and "-----" not in line]
        assert not [line for line in lines if line in message]

    def test_the_key_does_not_show_in_its_text(self) -> None:
        secret = str(PRIVATE.private_numbers().private_value)

        assert secret not in f"{KEY!r}{KEY}"
        assert "private" not in repr(KEY.public_jwk)


def issue(issuer: TokenIssuer) -> str:
    return issuer.issue(
        subject="gwendolyn", user_id=USER, session_id=SESSION, claims={"admin": False}
    )


def test_a_verified_token_is_remembered_until_it_expires(
    issuer: TokenIssuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issue(issuer)
    first = verifier.verify(token)
    monkeypatch.setattr(jwt, "decode", None)
    assert verifier.verify(token) == first
    monkeypatch.undo()
    later = time.time() + LIFETIME.total_seconds() + LEEWAY
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(NotAuthenticated):
        verifier.verify(token)


def test_only_so_many_tokens_are_remembered(
    issuer: TokenIssuer, verifier: TokenVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_REMEMBERED", 2)
    first, *others = (issue(issuer) for _ in range(3))
    for token in (first, *others):
        verifier.verify(token)
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: pytest.fail("decoded"))
    for token in others:
        verifier.verify(token)
    with pytest.raises(pytest.fail.Exception):
        verifier.verify(first)


def public_pem(key: PrivateKey) -> str:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


PUBLIC_PEM = public_pem(PRIVATE)
WRONG_PUBLIC_KEYS = {
    "empty": "",
    "a word": "changeme",
    "private": PEM,
    "private beside it": PUBLIC_PEM + PEM,
    "private before it": PEM + PUBLIC_PEM,
    "RSA": public_pem(RSA),
    "P-384": public_pem(ec.generate_private_key(ec.SECP384R1())),
    "secp256k1": public_pem(ec.generate_private_key(ec.SECP256K1())),
    "Ed25519": public_pem(ed25519.Ed25519PrivateKey.generate()),
    "RSA after a good one": PUBLIC_PEM + public_pem(RSA),
    "OpenSSH": public(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
    "line breaks lost": PUBLIC_PEM.replace("\n", " "),
    "cut off": PUBLIC_PEM[: len(PUBLIC_PEM) // 2],
    "cut off before a good one": PUBLIC_PEM[: len(PUBLIC_PEM) // 2] + "\n" + public_pem(OTHER),
    "cut off after a good one": PUBLIC_PEM + public_pem(OTHER)[: len(PUBLIC_PEM) // 2],
    "middle missing": PUBLIC_PEM[:60] + PUBLIC_PEM[100:],
    "nothing inside": "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
    "garbage inside": "-----BEGIN PUBLIC KEY-----\ngarbage\n-----END PUBLIC KEY-----\n",
}


class TestLoadingPublicKeys:
    def load(self, pem: str) -> list[str]:
        return [
            key.kid
            for key in VerificationKey.all_from_pem(pem, variable="AUTOBOT_PUBLIC_KEYS_FILE")
        ]

    def test_one_or_during_a_rotation_two(self) -> None:
        other = SigningKey(OTHER).kid

        assert self.load(PUBLIC_PEM) == [KEY.kid]
        assert self.load(f"\n{PUBLIC_PEM}\n\n") == [KEY.kid]
        assert self.load(PUBLIC_PEM + public_pem(OTHER)) == [KEY.kid, other]
        assert self.load(f"# previous\n{public_pem(OTHER)}# new\n{PUBLIC_PEM}") == [other, KEY.kid]

    def test_they_verify_what_the_private_ones_sign(self, issuer: TokenIssuer) -> None:
        made = issuer.issue(subject="x", user_id=USER, session_id=SESSION, claims={})
        keys = VerificationKey.all_from_pem(
            public_pem(OTHER) + PUBLIC_PEM, variable="AUTOBOT_PUBLIC_KEYS_FILE"
        )

        assert TokenVerifier(keys, REALM).verify(made).session_id == SESSION
        with pytest.raises(NotAuthenticated):
            TokenVerifier(keys[:1], REALM).verify(made)

    @pytest.mark.parametrize("text", WRONG_PUBLIC_KEYS.values(), ids=WRONG_PUBLIC_KEYS.keys())
    def test_anything_else_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(ConfigurationError) as refusal:
            self.load(text)

        message = str(refusal.value)
        assert message.startswith("AUTOBOT_PUBLIC_KEYS_FILE must name a file of P-256 public keys")
        assert "openssl pkey -pubout" in message
        assert refusal.value.__cause__ is None
        lines = [line for line in text.splitlines() if len(line) > 8 and "-----" not in line]
        assert not [line for line in lines if line in message]
