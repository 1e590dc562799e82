"""An application's description of itself."""

import importlib.metadata
import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from user_management.schemas.fields import JSON_VALUE_SCHEMA
from user_management_web.browser import BrowserCookies, describe_cookies
from user_management_web.problems import PROBLEM_SCHEMA


def version() -> str:
    """The project's, of the installed wheel; in a checkout that of pyproject.toml."""
    try:
        return importlib.metadata.version("autobot-user-management")
    except importlib.metadata.PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        return str(tomllib.loads(project.read_text())["project"]["version"])


def describe(
    app: FastAPI,
    description: str,
    examples: Mapping[str, Mapping[str, Any]],
    cookies: BrowserCookies | None = None,
) -> None:
    """Let `app.openapi()` build the whole document, with the schemas that no model stands for.

    `examples` are shown with the schemas that they are named after, `cookies` with the routes that
    take them.
    """

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title, version=version(), description=description, routes=app.routes
            )
            schemas = document["components"]["schemas"]
            schemas["Problem"] = PROBLEM_SCHEMA
            schemas["JsonValue"] = JSON_VALUE_SCHEMA
            for name, example in examples.items():
                schemas[name] = {**schemas[name], "examples": [example]}
            if cookies is not None:
                describe_cookies(document, cookies)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def write(app: FastAPI) -> None:
    """Write the document to standard output."""
    json.dump(app.openapi(), sys.stdout, indent=2)
    sys.stdout.write("\n")
