"""The API's description of itself: `python -m slm_server.describe.openapi > docs/openapi.json`."""

from typing import Any, Final

from fastapi import APIRouter, Depends, Request

from user_management.permissions import Permission
from user_management_web.openapi import write
from user_management_web.problems import problem_responses
from user_management_web.rbac import require_permission

DESCRIPTION: Final = (
    "Manages fleet administrators (`slm`) and application users (`autobot`). "
    "Every error is a problem (RFC 9457); docs/api-problems.md lists them."
)

router = APIRouter(tags=["description"])


@router.get(
    "/openapi.json",
    operation_id="get_openapi",
    dependencies=[Depends(require_permission(Permission.ADMIN_ACCESS))],
    responses=problem_responses(
        "not_authenticated",
        "permission_denied",
        "password_change_required",
        "internal_error",
        "database_unavailable",
    ),
)
async def get_document(request: Request) -> dict[str, Any]:
    """This document."""
    document: dict[str, Any] = request.app.openapi()
    return document


if __name__ == "__main__":
    from slm_server.app import create_app

    write(create_app())
