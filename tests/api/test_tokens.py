"""Tokens that must not be taken."""

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from tests.support.applications import Databases, RunSite, Site
from user_management.population import Population


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(segment: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    )
    return found


def sign(
    header: dict[str, Any], claims: dict[str, Any], key: EllipticCurvePrivateKey | bytes | None
) -> str:
    """A token, made without the code under test. `key`: EC private, bytes (HMAC) or None."""
    signed = f"{encode(json.dumps(header).encode())}.{encode(json.dumps(claims).encode())}"
    if key is None:
        return f"{signed}."
    if isinstance(key, bytes):
        return f"{signed}.{encode(hmac.digest(key, signed.encode(), hashlib.sha256))}"
    r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(SHA256())))
    return f"{signed}.{encode(r.to_bytes(32) + s.to_bytes(32))}"


@pytest.fixture
async def token(admin: httpx2.AsyncClient) -> str:
    """A good token of the administrator."""
    return admin.headers.pop("Authorization").removeprefix("Bearer ")


@pytest.fixture
def parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    header, claims, _ = token.split(".")
    return decode(header), decode(claims)


@pytest.fixture
def key(site: Site) -> EllipticCurvePrivateKey:
    pem = site.settings.slm_signing_key
    assert pem is not None
    key = load_pem_private_key(pem.get_secret_value().encode(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


async def status(site: Site, token: str) -> int:
    response = await site.client.get(
        "/api/slm-auth/me", headers={"Authorization": f"Bearer {token}"}
    )
    if response.status_code == 401:
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["code"] == "not_authenticated"
    return response.status_code


async def test_the_forger_of_these_tests_makes_good_tokens_too(
    site: Site, parts: tuple[dict[str, Any], dict[str, Any]], key: Any
) -> None:
    assert await status(site, sign(*parts, key)) == 200


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", ""])
async def test_no_signature(
    site: Site, parts: tuple[dict[str, Any], dict[str, Any]], algorithm: str
) -> None:
    header, claims = parts
    assert await status(site, sign(header | {"alg": algorithm}, claims, None)) == 401


@pytest.mark.parametrize(
    ("encoding", "form"),
    [
        (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        (Encoding.OpenSSH, PublicFormat.OpenSSH),
        (Encoding.X962, PublicFormat.UncompressedPoint),
    ],
)
async def test_hmac_with_the_public_key(
    site: Site,
    parts: tuple[dict[str, Any], dict[str, Any]],
    key: Any,
    encoding: Encoding,
    form: PublicFormat,
) -> None:
    header, claims = parts
    public = key.public_key().public_bytes(encoding, form)
    assert await status(site, sign(header | {"alg": "HS256"}, claims, public)) == 401


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "sub", "aud", "iss", "jti", "sid", "uid"])
async def test_a_claim_is_missing(
    site: Site, parts: tuple[dict[str, Any], dict[str, Any]], key: Any, claim: str
) -> None:
    header, claims = parts
    del claims[claim]
    assert await status(site, sign(header, claims, key)) == 401


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "autobot-api"},
        {"aud": ["slm-api", "autobot-api"]},
        {"iss": "https://autobot.autobot.internal"},
        {"exp": int(time.time()) - 60},
        {"nbf": int(time.time()) + 86_400},
        {"sid": str(uuid.uuid4())},
        {"uid": str(uuid.uuid4())},
        {"sid": "1 OR 1=1"},
    ],
)
async def test_a_claim_is_wrong(
    site: Site, parts: tuple[dict[str, Any], dict[str, Any]], key: Any, changed: dict[str, Any]
) -> None:
    header, claims = parts
    assert await status(site, sign(header, claims | changed, key)) == 401


@pytest.mark.parametrize(
    "changed", [{"typ": "JWT"}, {"kid": "unknown"}, {"kid": "../../key"}, {"crit": ["exp"]}]
)
async def test_a_header_is_wrong(
    site: Site, parts: tuple[dict[str, Any], dict[str, Any]], key: Any, changed: dict[str, Any]
) -> None:
    header, claims = parts
    assert await status(site, sign(header | changed, claims, key)) == 401


async def test_another_key(site: Site, parts: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert await status(site, sign(*parts, ec.generate_private_key(ec.SECP256R1()))) == 401


@pytest.mark.parametrize("token_text", ["", "x", "a.b.c", "Bearer", "é", "a" * 5000])
async def test_no_token_at_all(site: Site, token_text: str) -> None:
    response = await site.client.get(
        "/api/slm-auth/me", headers={b"Authorization": f"Bearer {token_text}".encode()}
    )
    assert response.status_code == 401
    assert (await site.client.get("/api/slm-auth/me")).status_code == 401
    basic = await site.client.get("/api/slm-auth/me", headers={"Authorization": "Basic eDp5"})
    assert basic.status_code == 401


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("UPDATE users SET is_active = false", 401),
        ("UPDATE users SET deleted_at = now()", 401),
        ("UPDATE auth_sessions SET ended_at = now()", 401),
        ("DELETE FROM auth_sessions", 401),
        ("UPDATE users SET is_platform_admin = false", 403),
    ],
)
async def test_a_good_token_whose_user_changed(
    site: Site, token: str, change: str, expected: int
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    assert (await site.client.get("/api/slm-users", headers=headers)).status_code == 200
    site.databases[Population.SLM].sql(change)
    assert (await site.client.get("/api/slm-users", headers=headers)).status_code == expected


async def test_the_claim_admin_makes_no_administrator(site: Site, key: Any) -> None:
    await site.add_user(Population.SLM, "marta")
    token = (await site.login("marta"))["Authorization"].removeprefix("Bearer ")
    header, claims, _ = token.split(".")
    forged = sign(decode(header), decode(claims) | {"admin": True}, key)
    response = await site.client.get(
        "/api/slm-users", headers={"Authorization": f"Bearer {forged}"}
    )
    assert response.status_code == 403


async def test_existing_clients_find_their_claims(
    parts: tuple[dict[str, Any], dict[str, Any]], site: Site
) -> None:
    _, claims = parts
    assert (claims["sub"], claims["admin"]) == (site.administrator, True)


async def test_the_public_key_is_published_and_the_private_one_is_not(
    site: Site, parts: tuple[dict[str, Any], dict[str, Any]], key: Any
) -> None:
    response = await site.client.get("/.well-known/jwks.json")
    assert response.headers["cache-control"] == "public, max-age=300"
    [published] = response.json()["keys"]
    numbers = key.public_key().public_numbers()
    assert published == {
        "kty": "EC",
        "crv": "P-256",
        "x": encode(numbers.x.to_bytes(32)),
        "y": encode(numbers.y.to_bytes(32)),
        "kid": parts[0]["kid"],
        "use": "sig",
        "alg": "ES256",
    }


async def test_tokens_survive_a_rotation_of_the_key(
    databases: Databases, run_site: RunSite, site: Site, token: str
) -> None:
    old = site.settings.slm_signing_key
    async with run_site(databases, slm_previous_signing_key=old) as rotated:
        assert await status(rotated, token) == 200
        keys = (await rotated.client.get("/.well-known/jwks.json")).json()["keys"]
        assert len(keys) == 2
        new = (await rotated.login(site.administrator))["Authorization"].removeprefix("Bearer ")
        assert decode(new.split(".")[0])["kid"] == keys[0]["kid"]
    async with run_site(databases) as later:
        assert await status(later, token) == 401


async def test_what_clients_hold_survives_a_rotation_of_the_key(
    databases: Databases, run_site: RunSite, site: Site, admin: httpx2.AsyncClient
) -> None:
    old, path = site.settings.slm_signing_key, "/api/autobot-users"
    for name in ("anna", "bela", "cleo"):
        await site.add_user(Population.AUTOBOT, name)
    page = (await admin.get(path, params={"limit": 2})).json()
    once: dict[str, Any] = {
        "json": {"username": "dora", "email": "dora@autobot.local"},
        "headers": {"Idempotency-Key": "rotation"},
    }
    created = await admin.post(path, **once)
    assert created.status_code == 201, created.text

    async def answers(keys: Any) -> tuple[Any, ...]:
        async with run_site(databases, **keys) as rotated:
            client = rotated.client
            client.headers.update(await rotated.login(rotated.administrator))
            cursor = {"limit": 2, "cursor": page["next_cursor"]}
            following = await client.get(path, params=cursor)
            repeated = await client.post(path, **once)
            return following.status_code, repeated.status_code

    assert await answers({"slm_previous_signing_key": old}) == (200, 201)
    assert await answers({}) == (422, 422)
