"""What lives as long as the application, and how a request reaches it."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Literal, overload

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.database import AutobotSession, Database, SlmSession
from user_management.population import Population
from user_management.security.hashing import PasswordHasher
from user_management.security.tokens import TokenIssuer, TokenVerifier


@dataclass(frozen=True, slots=True)
class Resources:
    """Databases, the pool of hashing threads, and the keys."""

    databases: Mapping[Population, Database]
    hasher: PasswordHasher
    issuer: TokenIssuer
    verifier: TokenVerifier

    @overload
    def session(
        self, population: Literal[Population.SLM]
    ) -> AbstractAsyncContextManager[SlmSession]: ...

    @overload
    def session(
        self, population: Literal[Population.AUTOBOT]
    ) -> AbstractAsyncContextManager[AutobotSession]: ...

    @overload
    def session(self, population: Population) -> AbstractAsyncContextManager[AsyncSession]: ...

    def session(self, population: Population) -> AbstractAsyncContextManager[AsyncSession]:
        """A session of that population's database, typed as such: see Database.session."""
        return self.databases[population].session()


def get_resources(request: Request) -> Resources:
    """The resources that the application's lifespan made."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]
