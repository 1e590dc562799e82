"""The application. Run it with `uvicorn --factory autobot_backend.app:create_app`."""

from typing import Final

from fastapi import FastAPI

from autobot_backend import auth
from autobot_backend.examples import EXAMPLES
from autobot_backend.origins import FrontendOrigins
from user_management.config import Settings
from user_management.population import Population
from user_management_web.application import create_application
from user_management_web.caller import get_current_user
from user_management_web.gateway import AuthRequestMiddleware
from user_management_web.openapi import describe

_DESCRIPTION: Final = (
    "Lets application users in, and manages nobody. "
    "Every error is a problem (RFC 9457); docs/api-problems.md lists them."
)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application; see create_application. It knows nothing of the SLM server."""
    app = create_application(
        "AutoBot backend",
        [auth.router],
        settings,
        callers=Population.AUTOBOT,
        populations=[Population.AUTOBOT],
        logger="autobot_backend",
    )
    describe(app, _DESCRIPTION, EXAMPLES)
    app.add_middleware(FrontendOrigins)
    app.add_middleware(
        AuthRequestMiddleware, requirement=get_current_user, claims_of=auth.claims_of
    )
    return app
