"""The API's description of itself: `python -m slm_server.api.openapi > docs/openapi.json`."""

import json
import sys
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi

from slm_server.api.examples import EXAMPLES
from user_management.middleware.problems import PROBLEM_SCHEMA, problem_responses
from user_management.middleware.rbac import require_permission
from user_management.permissions import Permission
from user_management.schemas.fields import JSON_VALUE_SCHEMA

API_VERSION: Final = "1.0.0"

router = APIRouter(tags=["description"])


def describe(app: FastAPI) -> None:
    """Let `app.openapi()` build the whole document, with the schemas that no model stands for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=API_VERSION,
                description=(
                    "Manages fleet administrators (`slm`) and application users (`autobot`). "
                    "Every error is a problem (RFC 9457); docs/api-problems.md lists them."
                ),
                routes=app.routes,
            )
            schemas = document["components"]["schemas"]
            schemas["Problem"] = PROBLEM_SCHEMA
            schemas["JsonValue"] = JSON_VALUE_SCHEMA
            for name, example in EXAMPLES.items():
                schemas[name] = {**schemas[name], "examples": [example]}
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


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

    json.dump(create_app().openapi(), sys.stdout, indent=2)
    sys.stdout.write("\n")
