"""A service of AutoBot's that knows its callers: `uvicorn files:app`."""

from typing import Annotated

from fastapi import Depends, FastAPI

from user_management_web.verification import (
    AuthenticatedUser,
    CurrentUserDep,
    Permission,
    add_problem_handlers,
    require_all_permissions,
    require_any_permission,
    require_permission,
    require_site_permission,
    verifying,
)

app = FastAPI(lifespan=verifying)
add_problem_handlers(app)


@app.get("/")
async def welcome() -> str:
    """For everybody: a route that asks nothing."""
    return "Welcome"


@app.get("/hello")
async def hello(user: CurrentUserDep) -> str:
    """For those who have logged in."""
    return f"Hello {user.username}, here you may {', '.join(sorted(user.authority.permissions))}"


@app.get("/files", dependencies=[Depends(require_permission(Permission.FILES_VIEW))])
async def list_files() -> list[str]:
    """For those whose roles have the permission."""
    return ["harbour.pdf"]


@app.get(
    "/chats",
    dependencies=[Depends(require_any_permission(Permission.CHAT_USE, Permission.CHAT_HISTORY))],
)
async def list_chats() -> list[str]:
    """One of the permissions is enough."""
    return ["Harbour"]


@app.get("/usage", dependencies=[Depends(require_site_permission(Permission.FILES_VIEW))])
async def show_usage() -> dict[str, int]:
    """Only for those who hold the permission for the whole site, not within an organization."""
    return {"files": 1}


@app.delete("/files/{name}")
async def delete_file(
    name: str,
    user: Annotated[
        AuthenticatedUser,
        Depends(require_all_permissions(Permission.FILES_VIEW, Permission.FILES_DELETE)),
    ],
) -> str:
    """All of them, where the route wants to know who it is."""
    return f"{user.username} has deleted {name}"
