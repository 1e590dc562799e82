"""What lives as long as the application, and how a request reaches it."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Literal, overload
from uuid import UUID

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import AutobotSession, Database, SlmSession
from user_management.policy import Policy
from user_management.population import Population
from user_management.security.cursors import CursorCodec
from user_management.security.hashing import PasswordHasher
from user_management.security.tokens import TokenIssuer, TokenVerifier


@dataclass(frozen=True, slots=True)
class Resources:
    """Databases, the pool of hashing threads, the keys, and the rules of logging in.

    `request_key` is secret: of a hash that was made with it nobody can guess the request.
    """

    # Whose tokens are taken.
    callers: Population
    databases: Mapping[Population, Database]
    hasher: PasswordHasher
    issuer: TokenIssuer
    verifier: TokenVerifier
    cursors: CursorCodec
    request_key: bytes
    policy: Policy

    @overload
    def session(
        self, population: Literal[Population.SLM], org_id: UUID | None = None
    ) -> AbstractAsyncContextManager[SlmSession]: ...

    @overload
    def session(
        self, population: Literal[Population.AUTOBOT], org_id: UUID | None = None
    ) -> AbstractAsyncContextManager[AutobotSession]: ...

    @overload
    def session(
        self, population: Population, org_id: UUID | None = None
    ) -> AbstractAsyncContextManager[AsyncSession]: ...

    def session(
        self, population: Population, org_id: UUID | None = None
    ) -> AbstractAsyncContextManager[AsyncSession]:
        """A session of that population's database, typed as such: see Database.session."""
        return self.databases[population].session(org_id)


def get_resources_of(request: Request) -> Resources:
    """The resources that the application's lifespan made."""
    resources: Resources = request.app.state.resources
    return resources


async def get_resources(request: Request) -> Resources:
    """The same, as a dependency."""
    return get_resources_of(request)


ResourcesDep = Annotated[Resources, Depends(get_resources)]
