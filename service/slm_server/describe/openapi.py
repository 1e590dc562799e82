"""Writes the OpenAPI document: `python -m slm_server.describe.openapi > docs/openapi.json`."""

from slm_server.app import create_app
from user_management_web.openapi import write

if __name__ == "__main__":
    write(create_app())
