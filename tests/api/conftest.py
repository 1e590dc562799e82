"""The application in this process, with two databases of its own for each test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI

from slm_server.app import create_app
from user_management.config import Settings
from user_management.middleware.resources import Resources
from user_management.population import Population
from user_management.schemas.users import UserCreate
from user_management.services import RequestContext, UserService

# The lowest that bcrypt takes: what is tested here are rules, not hashes.
BCRYPT_COST = 4
PASSWORD = "violet-anchor-77-meadow"
ADMINISTRATOR = "captain"


def signing_key() -> str:
    """A new P-256 key as PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@dataclass
class Site:
    """The running application, its databases, and shortcuts for what tests do most."""

    app: FastAPI
    settings: Settings
    databases: dict[Population, Any]
    client: httpx2.AsyncClient
    password: str = PASSWORD
    administrator: str = ADMINISTRATOR

    @property
    def resources(self) -> Resources:
        return self.app.state.resources

    async def add_user(
        self,
        population: Population,
        username: str,
        *,
        is_admin: bool = False,
        password: str | None = PASSWORD,
    ) -> UUID:
        """Create a user past the API."""
        async with self.resources.databases[population].session() as session:
            user = await UserService(session, RequestContext(), self.resources.hasher).create(
                UserCreate(
                    username=username,
                    email=f"{username}@autobot.local",
                    password=password,
                    is_admin=is_admin,
                )
            )
            return user.id

    async def try_login(
        self, username: str, password: str = PASSWORD, path: str = "/api/slm-auth/login"
    ) -> httpx2.Response:
        return await self.client.post(path, json={"username": username, "password": password})

    async def login(self, username: str, password: str = PASSWORD) -> dict[str, str]:
        """Log in; the header that proves it."""
        response = await self.try_login(username, password)
        assert response.status_code == 200, response.text
        return {"Authorization": f"Bearer {response.json()['access_token']}"}

    async def administrate(self) -> dict[str, str]:
        """Create the administrator and log them in."""
        await self.add_user(Population.SLM, ADMINISTRATOR, is_admin=True)
        return await self.login(ADMINISTRATOR)

    def audit(self, population: Population, action: str = "%") -> list[dict[str, Any]]:
        """The audit log, oldest first."""
        import json

        rows = self.databases[population].sql(
            "SELECT coalesce(json_agg(to_jsonb(l) ORDER BY created_at, id), '[]') "
            f"FROM audit_logs l WHERE action LIKE '{action}'"
        )
        return json.loads(rows)


def settings_for(databases: dict[Population, Any], **changes: Any) -> Settings:
    """Settings of a service on these databases; nothing comes from the environment."""
    values: dict[str, Any] = {
        "slm_signing_key": signing_key(),
        "bcrypt_cost": BCRYPT_COST,
        "hash_threads": 2,
    }
    for population, database in databases.items():
        service = database.service
        values |= {
            f"{population}_users_database_url": None,
            f"{population}_postgres_host": service.hosts[0],
            f"{population}_postgres_db": service.database,
            f"{population}_postgres_user": service.user,
            f"{population}_postgres_password": service.password,
        }
    return Settings(**(values | changes))


@asynccontextmanager
async def running(databases: dict[Population, Any], **changes: Any) -> AsyncIterator[Site]:
    """Start the application on these databases."""
    settings = settings_for(databases, **changes)
    app = create_app(settings)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app, client=("203.0.113.7", 1234)),
            base_url="https://slm.example",
            headers={"User-Agent": "pytest"},
        ) as client,
    ):
        yield Site(app, settings, databases, client)


@pytest.fixture
def run_site():
    """Start the application with settings of one's own: `run_site(databases, name=value)`."""
    return running


@pytest.fixture
def databases(slm_database, autobot_database):
    """Both databases, by population."""
    return {Population.SLM: slm_database, Population.AUTOBOT: autobot_database}


@pytest.fixture
async def site(databases) -> AsyncIterator[Site]:
    """The application on two empty databases."""
    async with running(databases) as started:
        yield started


@pytest.fixture
async def admin(site) -> httpx2.AsyncClient:
    """A client that is logged in as the administrator of the fleet."""
    site.client.headers.update(await site.administrate())
    return site.client
