"""Who asks, from where, and what they may do."""

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from user_management.permissions import ALL_PERMISSIONS
from user_management.population import Population


@dataclass(frozen=True, slots=True)
class Actor:
    """The person on whose behalf something is done, in the population that they belong to."""

    population: Population
    user_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class Authority:
    """What somebody may do: all that `permissions` name, and a platform administrator everything.

    With `org_id` they may do it to that organization of AutoBot only.
    """

    permissions: frozenset[str] = frozenset()
    is_platform_admin: bool = False
    org_id: UUID | None = None

    @property
    def scope(self) -> UUID | None:
        """The organization that this authority is limited to, None when it is not."""
        return None if self.is_platform_admin else self.org_id

    def holds(self, permissions: frozenset[str]) -> bool:
        """Whether all of the permissions are held."""
        return self.is_platform_admin or permissions <= self.permissions


# Whoever runs a command on the host has the databases' passwords: nothing can be kept from them.
OPERATOR: Final = Authority(ALL_PERMISSIONS, is_platform_admin=True)
NOBODY: Final = Authority()


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What the audit log keeps of a request, what the caller may do, and in which session."""

    actor: Actor | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    authority: Authority = NOBODY
    session_id: UUID | None = None


def is_oneself(actor: Actor | None, population: Population, user_id: UUID) -> bool:
    """Whether the user of the population is the actor."""
    return actor is not None and (actor.population, actor.user_id) == (population, user_id)


def population_of(session: AsyncSession) -> Population:
    """The population in whose database this session is."""
    population: Population = session.info["database"].population
    return population


def id_in(session: AsyncSession, actor: Actor | None) -> UUID | None:
    """The actor's id, if they are one of the session's database."""
    if actor is None or actor.population is not population_of(session):
        return None
    return actor.user_id
