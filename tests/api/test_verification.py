"""AutoBot's other services know their callers: the program of docs/examples."""

import os
import runpy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx2
import pytest
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from fastapi import FastAPI

from tests.support.applications import Backend, Databases, RunBackend, Site
from user_management.errors import ConfigurationError
from user_management.permissions import Permission
from user_management.population import Population

AUTOBOT = Population.AUTOBOT
ROOT = Path(__file__).parents[2]


def public_key(signing_key: str) -> str:
    """As openssl pkey -pubout writes it."""
    key = load_pem_private_key(signing_key.encode(), None).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
async def backend(
    databases: Databases, run_backend: RunBackend, signing_key: str
) -> AsyncIterator[Backend]:
    async with run_backend(databases[AUTOBOT], autobot_signing_key=signing_key) as started:
        yield started


@pytest.fixture
def environment(databases: Databases, signing_key: str, tmp_path: Path) -> dict[str, str]:
    """What the program is started with."""
    keys = tmp_path / "public-keys.pem"
    keys.write_text(public_key(signing_key))
    settings = databases[AUTOBOT].backend
    return {
        "AUTOBOT_PUBLIC_KEYS_FILE": str(keys),
        "AUTOBOT_POSTGRES_HOST": settings.hosts[0],
        "AUTOBOT_POSTGRES_DB": settings.database,
        "AUTOBOT_POSTGRES_USER": settings.user,
        "AUTOBOT_POSTGRES_PASSWORD": settings.password.get_secret_value(),
    }


@asynccontextmanager
async def running(environment: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    app = runpy.run_path(str(ROOT / "docs/examples/files.py"))["app"]
    with patch.dict(os.environ, environment):
        async with _client(app) as client:
            yield client


@asynccontextmanager
async def _client(app: FastAPI) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app), base_url="https://files.example"
        ) as client,
    ):
        yield client


def trust(environment: dict[str, str], pem: str) -> None:
    """Replace the public keys that the program finds."""
    Path(environment["AUTOBOT_PUBLIC_KEYS_FILE"]).write_text(pem)


@pytest.fixture
async def files(environment: dict[str, str]) -> AsyncIterator[httpx2.AsyncClient]:
    """The program, running."""
    async with running(environment) as client:
        yield client


@pytest.mark.parametrize(
    ("permissions", "statuses"),
    [
        (None, [200, 401, 401, 401, 401]),
        ([], [200, 200, 403, 403, 403]),
        ([Permission.FILES_VIEW], [200, 200, 200, 403, 403]),
        ([Permission.CHAT_HISTORY], [200, 200, 403, 200, 403]),
        ([Permission.FILES_DELETE], [200, 200, 403, 403, 403]),
        ([Permission.FILES_VIEW, Permission.FILES_DELETE], [200, 200, 200, 403, 200]),
    ],
)
async def test_who_may_do_what(
    site: Site,
    backend: Backend,
    files: httpx2.AsyncClient,
    permissions: list[Any] | None,
    statuses: list[int],
) -> None:
    if permissions is not None:
        await site.add_user(AUTOBOT, "marta", permissions=permissions)
        files.headers.update(await backend.login("marta"))
    answers = [
        await files.get("/"),
        await files.get("/hello"),
        await files.get("/files"),
        await files.get("/chats"),
        await files.delete("/files/harbour.pdf"),
    ]
    assert [answer.status_code for answer in answers] == statuses
    for answer in answers:
        if answer.status_code == 403:
            assert answer.json()["code"] == "permission_denied"
        if answer.status_code == 401:
            assert answer.headers["content-type"] == "application/problem+json"
    if answers[-1].status_code == 200:
        assert answers[-1].json() == "marta has deleted harbour.pdf"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ("UPDATE users SET is_active = false", 401),
        ("UPDATE users SET deleted_at = now()", 401),
        ("UPDATE auth_sessions SET ended_at = now()", 401),
        ("DELETE FROM user_roles", 403),
    ],
)
async def test_a_change_is_felt_by_the_next_request(
    site: Site,
    backend: Backend,
    files: httpx2.AsyncClient,
    databases: Databases,
    change: str,
    status: int,
) -> None:
    await site.add_user(AUTOBOT, "marta", permissions=[Permission.FILES_VIEW])
    headers = await backend.login("marta")
    assert (await files.get("/files", headers=headers)).status_code == 200
    databases[AUTOBOT].sql(change)
    assert (await files.get("/files", headers=headers)).status_code == status


async def test_what_is_held_within_an_organization_is_not_held_for_the_site(
    site: Site, backend: Backend, files: httpx2.AsyncClient
) -> None:
    acme = site.add_organization("acme")
    await site.add_user(AUTOBOT, "marta", org_id=acme, permissions=[Permission.FILES_VIEW])
    await site.add_user(AUTOBOT, "ada", permissions=[Permission.FILES_VIEW])
    of_acme, of_site = await backend.login("marta"), await backend.login("ada")
    assert (await files.get("/files", headers=of_acme)).status_code == 200
    assert (await files.get("/usage", headers=of_acme)).status_code == 403
    assert (await files.get("/usage", headers=of_site)).status_code == 200
    assert (await files.get("/usage")).status_code == 401


async def test_a_one_time_password_opens_nothing_here(
    site: Site, backend: Backend, files: httpx2.AsyncClient
) -> None:
    user_id = await site.add_user(AUTOBOT, "marta")
    site.give_one_time_password(user_id, population=AUTOBOT)
    refused = await files.get("/hello", headers=await backend.login("marta"))
    assert (refused.status_code, refused.json()["code"]) == (403, "password_change_required")


async def test_a_token_of_a_fleet_administrator_opens_nothing_here(
    site: Site, files: httpx2.AsyncClient
) -> None:
    assert (await files.get("/hello", headers=await site.administrate())).status_code == 401


async def test_during_a_rotation_tokens_of_both_keys_are_good(
    site: Site,
    backend: Backend,
    databases: Databases,
    run_backend: RunBackend,
    environment: dict[str, str],
    signing_key: str,
) -> None:
    await site.add_user(AUTOBOT, "marta")
    old = await backend.login("marta")
    async with run_backend(databases[AUTOBOT]) as rotated:
        new = await rotated.login("marta")
        async with running(environment) as client:
            assert (await client.get("/hello", headers=old)).status_code == 200
            assert (await client.get("/hello", headers=new)).status_code == 401
        pem = rotated.app.state.settings.autobot_signing_key.get_secret_value()
        trust(environment, public_key(pem) + public_key(signing_key))
        async with running(environment) as client:
            assert (await client.get("/hello", headers=old)).status_code == 200
            assert (await client.get("/hello", headers=new)).status_code == 200


async def test_a_database_that_is_away_is_said(
    site: Site, backend: Backend, environment: dict[str, str], tmp_path: Path
) -> None:
    await site.add_user(AUTOBOT, "marta")
    headers = await backend.login("marta")
    async with running(environment | {"AUTOBOT_POSTGRES_HOST": str(tmp_path)}) as client:
        refused = await client.get("/hello", headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")
    assert refused.headers["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "AUTOBOT_PUBLIC_KEYS_FILE is not set"),
        ("/nowhere/public-keys.pem", "cannot be read"),
        (str(ROOT / "README.md"), "P-256 public keys in PEM form"),
    ],
)
async def test_without_public_keys_it_does_not_start(
    environment: dict[str, str], path: str, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        async with running(environment | {"AUTOBOT_PUBLIC_KEYS_FILE": path}):
            pass
