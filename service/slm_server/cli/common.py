"""What all commands share: a session with everything that a service needs, and how they fail."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import NoReturn

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.config import Settings
from user_management.database import Database
from user_management.population import Population
from user_management.security.hashing import PasswordHasher
from user_management.services import OPERATOR, RequestContext


@dataclass(frozen=True, slots=True)
class Connection:
    """What services are made of."""

    session: AsyncSession
    context: RequestContext
    hasher: PasswordHasher


@asynccontextmanager
async def connected(settings: Settings, population: Population) -> AsyncIterator[Connection]:
    """A session of one population's database, which is committed at the end.

    Raises ConfigurationError, DatabaseUnavailable.
    """
    database = Database(population, settings.database(population), pool_size=1)
    hasher = PasswordHasher(settings.bcrypt_cost, threads=1)
    try:
        async with database.session() as session:
            yield Connection(session, RequestContext(authority=OPERATOR), hasher)
    finally:
        hasher.close()
        await database.dispose()


def fail(message: str) -> NoReturn:
    """Say on standard error what is wrong, and end with status 1."""
    typer.echo(message, file=sys.stderr)
    raise typer.Exit(1)
