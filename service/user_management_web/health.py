"""Is the process alive, and is what it needs there?"""

import asyncio
import sys
from pathlib import Path
from typing import Any, Final, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from user_management.database import EXPECTED_REVISION, Database
from user_management.errors import DatabaseUnavailable
from user_management.population import Population
from user_management_web.problems import problem_responses
from user_management_web.rbac import public
from user_management_web.resources import ResourcesDep

router = APIRouter(prefix="/health", tags=["health"], responses=problem_responses("internal_error"))
# Where AutoBot's clients look.
autobot_router = APIRouter(
    prefix="/health", tags=["health"], responses=problem_responses("internal_error")
)


def _release() -> str | None:
    """The last part of the release's name, which says nothing to whoever does not know it."""
    prefix = Path(sys.prefix)
    return prefix.name.rpartition("-")[2] if prefix.parent.name == "releases" else None


RELEASE: Final = _release()


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class DatabaseHealth(BaseModel):
    """`revision` is the schema's, null where unknown; `expected_revision` this release's.

    A later revision is `ok` too where it was made for this release to run on.
    """

    status: Literal["ok", "unavailable", "wrong_revision"]
    revision: str | None
    expected_revision: str


class Readiness(BaseModel):
    """`ready` when all databases are `ok`; each stands under its population.

    `release` tells the releases of the service apart; null outside of a deployment.
    """

    status: Literal["ready", "not_ready"]
    release: str | None
    databases: dict[Population, DatabaseHealth]


_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": Readiness, "description": "Something is missing; it is named."}
}


@autobot_router.get("", operation_id="get_health", dependencies=[Depends(public)])
@router.get("/live", operation_id="get_liveness", dependencies=[Depends(public)])
async def live() -> Liveness:
    """Answers as long as the process does; asks no database."""
    return Liveness()


@autobot_router.get(
    "/database",
    operation_id="get_database_health",
    dependencies=[Depends(public)],
    responses=_NOT_READY,
)
@router.get(
    "/ready",
    operation_id="get_readiness",
    dependencies=[Depends(public)],
    responses=_NOT_READY,
)
async def ready(resources: ResourcesDep, response: Response) -> Readiness:
    """The databases answer and have the schema that this release works with."""
    found = await asyncio.gather(*map(_check, resources.databases.values()))
    databases = dict(zip(resources.databases, found, strict=True))
    if all(database.status == "ok" for database in found):
        return Readiness(status="ready", release=RELEASE, databases=databases)
    response.status_code = 503
    return Readiness(status="not_ready", release=RELEASE, databases=databases)


async def _check(database: Database) -> DatabaseHealth:
    try:
        schema = await database.schema()
    except DatabaseUnavailable:
        return DatabaseHealth(
            status="unavailable", revision=None, expected_revision=EXPECTED_REVISION
        )
    return DatabaseHealth(
        status="ok" if schema.fits else "wrong_revision",
        revision=schema.revision,
        expected_revision=EXPECTED_REVISION,
    )
