"""The application. Run it with `uvicorn --factory slm_server.app:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from fastapi import APIRouter, FastAPI

from slm_server.api import (
    audit,
    auth,
    health,
    keys,
    legacy,
    openapi,
    organizations,
    roles,
    security,
    sessions,
    teams,
    users,
)
from slm_server.logs import configure_logging
from slm_server.sealing import sealing
from user_management.config import Settings, load_settings
from user_management.database import Database
from user_management.errors import ConfigurationError
from user_management.middleware.asgi import BodyLimit, HeadAsGet, JsonOnly, NoStore, RequestLog
from user_management.middleware.problems import add_problem_handlers
from user_management.middleware.resources import Resources
from user_management.population import Population
from user_management.security.cursors import CursorCodec
from user_management.security.hashing import PasswordHasher
from user_management.security.tokens import SigningKey, TokenIssuer, TokenVerifier

ISSUER: Final = "https://slm.autobot.internal"
AUDIENCE: Final = "slm-api"
MAX_BODY_SIZE: Final = 64 * 1024  # bytes


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; `settings` are read from the environment when it starts, unless given.

    Starting raises ConfigurationError when a setting is missing or wrong. No database need be up.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logging()
        configured = settings or load_settings()
        async with _open(configured) as resources, sealing(configured):
            app.state.resources = resources
            yield

    app = FastAPI(
        title="SLM user management",
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_problem_handlers(app)
    api = APIRouter(prefix="/api")
    api.include_router(auth.router)
    api.include_router(legacy.router)
    api.include_router(sessions.own)
    for population in Population:
        api.include_router(users.create_router(population))
        api.include_router(roles.create_router(population))
        api.include_router(sessions.create_router(population))
    api.include_router(roles.permissions_router)
    api.include_router(health.autobot_router)
    api.include_router(organizations.router)
    api.include_router(teams.router)
    api.include_router(audit.router)
    api.include_router(security.router)
    api.include_router(openapi.router)
    app.include_router(api)
    app.include_router(health.router)
    app.include_router(keys.router)
    openapi.describe(app)
    # The last one added is the outermost.
    app.add_middleware(JsonOnly)
    app.add_middleware(BodyLimit, size=MAX_BODY_SIZE)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestLog)
    app.add_middleware(NoStore)
    return app


@asynccontextmanager
async def _open(settings: Settings) -> AsyncIterator[Resources]:
    verified = _signing_keys(settings)
    lifetime = timedelta(minutes=settings.access_token_expire_minutes)
    resources = Resources(
        callers=Population.SLM,
        databases={
            population: Database(population, settings.database(population))
            for population in Population
        },
        hasher=PasswordHasher(settings.bcrypt_cost, settings.hash_threads),
        issuer=TokenIssuer(verified[0], issuer=ISSUER, audience=AUDIENCE, lifetime=lifetime),
        verifier=TokenVerifier(verified, issuer=ISSUER, audience=AUDIENCE),
        cursors=CursorCodec(verified[0].derive("cursors of lists")),
        request_key=verified[0].derive("requests with an Idempotency-Key"),
        policy=settings.policy,
    )
    try:
        yield resources
    finally:
        resources.hasher.close()
        for database in resources.databases.values():
            await database.dispose()


def _signing_keys(settings: Settings) -> list[SigningKey]:
    """The key that signs, then the one that still verifies during a rotation."""
    if settings.slm_signing_key is None:
        raise ConfigurationError(
            "SLM_SIGNING_KEY is not set. Set it (or the file slm_signing_key in "
            "$CREDENTIALS_DIRECTORY) to a P-256 private key in PKCS#8 PEM form."
        )
    keys_by_variable = {
        "SLM_SIGNING_KEY": settings.slm_signing_key,
        "SLM_PREVIOUS_SIGNING_KEY": settings.slm_previous_signing_key,
    }
    return [
        SigningKey.from_pem(secret.get_secret_value(), variable=variable)
        for variable, secret in keys_by_variable.items()
        if secret is not None
    ]
