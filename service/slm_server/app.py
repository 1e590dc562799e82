"""The application. Run it with `uvicorn --factory slm_server.app:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import FastAPI

from slm_server.api import (
    audit,
    auth,
    browser,
    description,
    legacy_audit,
    legacy_auth,
    organizations,
    roles,
    sessions,
    teams,
    transfer,
    users,
)
from slm_server.background.audit_sealer import seal_audit_logs
from slm_server.background.blocking_transactions import end_blocking_transactions
from slm_server.examples import EXAMPLES
from slm_server.gateway import GATEWAY_REQUIREMENT
from user_management.config import Settings
from user_management.population import Population
from user_management_web.application import create_application
from user_management_web.gateway import AuthRequestMiddleware
from user_management_web.openapi import describe

_DESCRIPTION: Final = (
    "Manages fleet administrators (`slm`) and application users (`autobot`). "
    "Every error is a problem (RFC 9457); docs/api-problems.md lists them."
)


@asynccontextmanager
async def _background(settings: Settings) -> AsyncIterator[None]:
    async with seal_audit_logs(settings), end_blocking_transactions(settings):
        yield


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; see create_application."""
    routers = [auth.router, browser.router, legacy_auth.router, sessions.own]
    for population in Population:
        routers += [
            # Before those of one user, whose id takes any word.
            transfer.create_router(population),
            users.create_router(population),
            roles.create_router(population),
            sessions.create_router(population),
        ]
    routers += [
        roles.permissions_router,
        organizations.router,
        teams.router,
        audit.router,
        legacy_audit.router,
        description.router,
    ]
    app = create_application(
        "SLM user management",
        routers,
        settings,
        callers=Population.SLM,
        populations=Population,
        logger="slm_server",
        cookies=browser.COOKIES,
        files=transfer.FILES,
        background=_background,
    )
    describe(app, _DESCRIPTION, EXAMPLES, browser.COOKIES)
    app.add_middleware(
        AuthRequestMiddleware, requirement=GATEWAY_REQUIREMENT, claims_of=auth.claims_of
    )
    return app
