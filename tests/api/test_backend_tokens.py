"""Tokens of the AutoBot backend: worth nothing at the SLM server, as the reverse, and rotated."""

import time
import uuid
from typing import Any

import pytest
from jose import jwt

from tests.support.applications import Backend, Databases, Door, RunBackend, Site
from user_management.population import Population

AUTOBOT = Population.AUTOBOT
REALMS = {
    "slm": {"iss": "https://slm.autobot.internal", "aud": "slm-api"},
    "backend": {"iss": "https://backend.autobot.internal", "aud": "autobot-api"},
}


class Forger:
    """Makes tokens with the private key of one application."""

    def __init__(self, door: Door) -> None:
        self.key = door.resources.issuer._key
        self.headers = door.resources.issuer._headers

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        return jwt.encode(claims, self.key, "ES256", headers=self.headers | headers)


async def status(door: Door, token: str) -> int:
    response = await door.client.get("/api/auth/me", headers=door.bearer(token))
    if response.status_code == 401:
        assert response.json()["code"] == "not_authenticated"
    return response.status_code


@pytest.fixture
async def tokens(site: Site, backend: Backend) -> dict[str, str]:
    """A good token of each application, of users who have everything there, with one id."""
    for population in Population:
        await site.add_user(population, "marta", is_admin=True)
    shared = site.databases[Population.SLM].sql("SELECT id FROM users")
    site.databases[AUTOBOT].sql(f"UPDATE users SET id = '{shared}'")
    return {
        "slm": (await site.try_login("marta")).json()["access_token"],
        "backend": (await backend.enter("marta"))["token"],
    }


async def test_each_token_is_good_at_home_only(
    site: Site, backend: Backend, tokens: dict[str, str]
) -> None:
    doors = {"slm": site, "backend": backend}
    for home, token in tokens.items():
        for name, door in doors.items():
            assert await status(door, token) == (200 if name == home else 401)
    headers = backend.bearer(tokens["slm"])
    assert (await backend.check(headers))["authenticated"] is False
    refused = [
        await backend.client.post("/api/auth/refresh", headers=headers),
        await backend.change_password(headers, site.password, "granite-otter-quilt-52"),
        await site.client.get("/api/slm-users", headers=site.bearer(tokens["backend"])),
        await site.client.post("/api/auth/refresh", headers=site.bearer(tokens["backend"])),
    ]
    assert [response.status_code for response in refused] == [401] * 4


async def test_refresh_tokens_are_good_at_home_only(
    site: Site, backend: Backend, tokens: dict[str, str]
) -> None:
    del tokens
    slm = (await site.try_login("marta")).json()["refresh_token"]
    autobot = (await backend.enter("marta"))["refresh_token"]
    refused = [
        await backend.refresh(slm),
        await site.client.post("/api/auth/refresh", json={"refresh_token": autobot}),
    ]
    assert [response.status_code for response in refused] == [401, 401]
    assert (await backend.refresh(autobot)).status_code == 200


@pytest.mark.parametrize("target", REALMS)
async def test_the_other_ones_key_forges_nothing(
    site: Site, backend: Backend, tokens: dict[str, str], target: str
) -> None:
    """With the session, the user, the issuer and the audience that the target knows."""
    doors = {"slm": site, "backend": backend}
    door = doors.pop(target)
    [other] = doors.values()
    claims = jwt.get_unverified_claims(tokens[target])
    own_kid = jwt.get_unverified_header(tokens[target])["kid"]
    assert claims.items() >= REALMS[target].items()
    assert await status(door, Forger(door).sign(claims)) == 200
    assert await status(door, Forger(other).sign(claims)) == 401
    assert await status(door, Forger(other).sign(claims, kid=own_kid)) == 401


@pytest.mark.parametrize(
    "changed",
    [
        REALMS["slm"],
        {"iss": REALMS["slm"]["iss"]},
        {"aud": REALMS["slm"]["aud"]},
        {"aud": ["autobot-api", "slm-api"]},
        {"exp": int(time.time()) - 60},
        {"sid": str(uuid.UUID(int=0))},
        {"uid": str(uuid.UUID(int=0))},
    ],
)
async def test_a_claim_is_wrong(
    backend: Backend, tokens: dict[str, str], changed: dict[str, object]
) -> None:
    claims = jwt.get_unverified_claims(tokens["backend"])
    assert await status(backend, Forger(backend).sign(claims | changed)) == 401


async def test_a_token_of_a_session_of_somebody_else(
    site: Site, backend: Backend, tokens: dict[str, str]
) -> None:
    other = await site.add_user(AUTOBOT, "other")
    claims = jwt.get_unverified_claims(tokens["backend"])
    assert await status(backend, Forger(backend).sign(claims | {"uid": str(other)})) == 401
    # What is there for AutoBot's programs decides nothing here.
    forged = Forger(backend).sign(claims | {"user_id": str(other), "sub": str(other)})
    me = (await backend.me(backend.bearer(forged))).json()
    assert me["username"] == "marta"


async def test_the_public_key_is_published_and_the_private_one_is_not(
    backend: Backend, site: Site, tokens: dict[str, str]
) -> None:
    response = await backend.client.get("/.well-known/jwks.json")
    assert response.headers["cache-control"] == "public, max-age=300"
    [published] = response.json()["keys"]
    assert set(published) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert published["kid"] == jwt.get_unverified_header(tokens["backend"])["kid"]
    decoded = jwt.decode(
        tokens["backend"],
        published,
        "ES256",
        audience="autobot-api",
        issuer=REALMS["backend"]["iss"],
    )
    assert decoded["username"] == "marta"
    assert published not in (await site.client.get("/.well-known/jwks.json")).json()["keys"]


async def test_a_rotation_of_the_key_logs_nobody_out(
    databases: Databases, run_backend: RunBackend, backend: Backend, site: Site
) -> None:
    await site.add_user(AUTOBOT, "marta")
    database = databases[AUTOBOT]
    login = await backend.enter("marta")
    old = backend.settings.autobot_signing_key
    async with run_backend(database, autobot_previous_signing_key=old) as rotated:
        assert await status(rotated, login["token"]) == 200
        keys = (await rotated.client.get("/.well-known/jwks.json")).json()["keys"]
        assert len(keys) == 2
        response = await rotated.refresh(login["refresh_token"])
        assert response.status_code == 200, response.text
        again = response.json()
        assert jwt.get_unverified_header(again["token"])["kid"] == keys[0]["kid"]
        new = rotated.settings.autobot_signing_key
    async with run_backend(database, autobot_signing_key=new) as later:
        assert await status(later, login["token"]) == 401
        assert await status(later, again["token"]) == 200
        assert (await later.refresh(again["refresh_token"])).status_code == 200
    async with run_backend(database) as stranger:
        assert await status(stranger, again["token"]) == 401
        assert (await stranger.refresh(again["refresh_token"])).status_code == 401


async def test_two_tabs_on_both_sides_of_a_rotation_go_on_together(
    databases: Databases, run_backend: RunBackend, backend: Backend, site: Site
) -> None:
    await site.add_user(AUTOBOT, "marta")
    login = await backend.enter("marta")
    one = (await backend.refresh(login["refresh_token"])).json()["refresh_token"]
    old = backend.settings.autobot_signing_key
    async with run_backend(databases[AUTOBOT], autobot_previous_signing_key=old) as rotated:
        other = (await rotated.refresh(login["refresh_token"])).json()["refresh_token"]
        following = [(await rotated.refresh(token)).json() for token in (one, other)]
    # The new key seals anew what the old one has hashed.
    assert one[:43] == other[:43]
    assert following[0]["refresh_token"] == following[1]["refresh_token"]
