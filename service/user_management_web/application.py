"""What the applications have in common: how they start, and their middlewares."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from types import MappingProxyType

from fastapi import APIRouter, FastAPI

from user_management.config import Settings, load_settings
from user_management.population import Population
from user_management_web import health, jwks
from user_management_web.asgi import Body, add_middlewares
from user_management_web.browser import BrowserCookies
from user_management_web.logs import configure_logging
from user_management_web.problems import add_problem_handlers
from user_management_web.resources import open_resources


def create_application(
    title: str,
    routers: Iterable[APIRouter],
    settings: Settings | None,
    *,
    callers: Population,
    populations: Iterable[Population],
    logger: str,
    cookies: BrowserCookies | None = None,
    files: Mapping[str, Body] = MappingProxyType({}),
    background: Callable[[Settings], AbstractAsyncContextManager[None]] = lambda _: nullcontext(),
) -> FastAPI:
    """An application with `routers` under /api; `settings` are read when it starts, unless given.

    It lets `callers` in, by `cookies` too if it has some, and works with the databases of
    `populations`; `files` are the bodies that are no JSON, by path; `background` goes on as long
    as it serves. Starting raises ConfigurationError when a setting is missing or wrong. No database
    need be up.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        configure_logging(logger)
        configured = settings or load_settings()
        async with (
            open_resources(
                configured, callers=callers, populations=populations, cookies=cookies
            ) as resources,
            background(configured),
        ):
            app.state.settings = configured
            app.state.resources = resources
            yield

    app = FastAPI(
        title=title,
        lifespan=lifespan,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    add_problem_handlers(app)
    # Each by itself: a router of routers looks for the route of each request once more.
    for router in routers:
        app.include_router(router, prefix="/api")
    app.include_router(health.autobot_router, prefix="/api")
    app.include_router(health.router)
    app.include_router(jwks.router)
    add_middlewares(app, files)
    return app
