"""Who asks, and from where."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from user_management.population import Population


@dataclass(frozen=True, slots=True)
class Actor:
    """The person on whose behalf something is done, in the population that they belong to."""

    population: Population
    user_id: UUID
    username: str


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What the audit log keeps of a request. Nothing is known of a command's caller."""

    actor: Actor | None = None
    ip_address: str | None = None
    user_agent: str | None = None


def population_of(session: AsyncSession) -> Population:
    """The population in whose database this session is."""
    population: Population = session.info["database"].population
    return population
