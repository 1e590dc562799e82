"""AutoBot's frontend comes from another host: browsers ask whether its pages may call this one."""

from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

_REMEMBERED: Final = 600  # seconds: how long a browser need not ask again


class FrontendOrigins:
    """Starlette's CORS for the origins of the settings, which are known once the application runs.

    Tokens travel in a header, so no cookies are allowed. Without an origin nobody is told anything.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._cors: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._cors is None:
            self._cors = CORSMiddleware(
                self._app,
                allow_origins=scope["app"].state.settings.frontend_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type", "X-Request-ID", "X-Session-ID"],
                expose_headers=["Retry-After", "X-Request-ID"],
                max_age=_REMEMBERED,
            )
        await self._cors(scope, receive, send)
