"""The API's description of itself, for those who are logged in."""

from typing import Any

from fastapi import APIRouter, Depends, Request

from user_management.permissions import Permission
from user_management_web.problems import problem_responses
from user_management_web.rbac import require_permission

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
