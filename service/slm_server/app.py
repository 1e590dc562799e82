"""The application. Run it with `uvicorn --factory slm_server.app:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from slm_server.api import (
    audit,
    auth,
    browser,
    legacy,
    openapi,
    organizations,
    roles,
    security,
    sessions,
    teams,
    transfer,
    users,
)
from slm_server.api.examples import EXAMPLES
from slm_server.sealing import sealing
from slm_server.unblocking import unblocking
from user_management.config import Settings
from user_management.middleware.application import create_application
from user_management.middleware.openapi import describe
from user_management.population import Population


@asynccontextmanager
async def _background(settings: Settings) -> AsyncIterator[None]:
    async with sealing(settings), unblocking(settings):
        yield


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; see create_application."""
    api = APIRouter()
    api.include_router(auth.router)
    api.include_router(browser.router)
    api.include_router(legacy.router)
    api.include_router(sessions.own)
    for population in Population:
        # Before those of one user, whose id takes any word.
        api.include_router(transfer.create_router(population))
        api.include_router(users.create_router(population))
        api.include_router(roles.create_router(population))
        api.include_router(sessions.create_router(population))
    api.include_router(roles.permissions_router)
    api.include_router(organizations.router)
    api.include_router(teams.router)
    api.include_router(audit.router)
    api.include_router(security.router)
    api.include_router(openapi.router)
    app = create_application(
        "SLM user management",
        api,
        settings,
        callers=Population.SLM,
        populations=Population,
        logger="slm_server",
        cookies=browser.COOKIES,
        files=transfer.FILES,
        meanwhile=_background,
    )
    describe(app, openapi.DESCRIPTION, EXAMPLES, browser.COOKIES)
    return app
