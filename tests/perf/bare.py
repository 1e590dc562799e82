"""What a page of users is compared with: the same page by FastAPI and asyncpg, and nothing else.

There is only the first page, and whoever asks gets it.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from fastapi import FastAPI, Request
from pydantic import BaseModel

PAGE = """
SELECT id, email, username, display_name, bio, avatar_url, org_id, is_active, is_verified,
    mfa_enabled, is_platform_admin, preferences, last_login_at, created_at, updated_at,
    coalesce(
        (
            SELECT json_agg(
                json_build_object(
                    'id', r.id, 'name', r.name, 'description', r.description,
                    'is_system', r.is_system
                )
                ORDER BY r.priority DESC, r.name
            )
            FROM user_roles ur
            JOIN roles r ON r.id = ur.role_id
            WHERE ur.user_id = users.id
        ),
        '[]'
    ) AS roles
FROM users
WHERE deleted_at IS NULL
ORDER BY created_at DESC, id DESC
LIMIT $1
"""


class Role(BaseModel):
    id: UUID
    name: str
    description: str | None
    is_system: bool


class User(BaseModel):
    id: UUID
    email: str
    username: str
    display_name: str | None
    bio: str | None
    avatar_url: str | None
    org_id: UUID | None
    is_active: bool
    is_verified: bool
    mfa_enabled: bool
    is_platform_admin: bool
    preferences: dict[str, Any]
    roles: list[Role]
    last_login_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Page(BaseModel):
    users: list[User]


async def _read_json(connection: asyncpg.Connection) -> None:
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["BARE_DATABASE_URL"], init=_read_json) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/users")
async def list_users(request: Request, limit: int = 100) -> Page:
    rows = await request.app.state.pool.fetch(PAGE, limit)
    return Page(users=[User(**row) for row in rows])
