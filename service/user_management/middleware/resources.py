"""What lives as long as the application, and how a request reaches it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from user_management.database import Database
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


def get_resources(request: Request) -> Resources:
    """The resources that the application's lifespan made."""
    resources: Resources = request.app.state.resources
    return resources


ResourcesDep = Annotated[Resources, Depends(get_resources)]
