"""Writes the OpenAPI document: `python -m autobot_backend.openapi > docs/openapi-backend.json`."""

from autobot_backend.app import create_app
from user_management_web.openapi import write

if __name__ == "__main__":
    write(create_app())
