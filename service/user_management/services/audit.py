"""Writing the audit log."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from user_management.models import AuditAction, AuditLog, AuditResourceType
from user_management.population import Population
from user_management.services.context import Actor, RequestContext, id_in, population_of

SUCCESS = "success"
FAILURE = "failure"


class AuditService:
    """Adds events to the audit log of the session's database, within its transaction."""

    def __init__(self, session: AsyncSession, context: RequestContext) -> None:
        self.session = session
        self._context = context

    async def record(
        self,
        action: AuditAction,
        resource_type: AuditResourceType,
        resource_id: UUID | None,
        *,
        outcome: str = SUCCESS,
        details: Mapping[str, Any] | None = None,
        actor: Actor | None = None,
        org_id: UUID | None = None,
    ) -> None:
        """Add one event. `actor` is the context's unless given; `details` hold no secret.

        `org_id` is the organization that the event belongs to, for application users.
        An actor of the other population has no row in this database that `user_id` could refer
        to; `details.actor` names them instead.
        """
        actor = actor or self._context.actor
        population = population_of(self.session)
        await self.session.execute(
            insert(AuditLog).values(
                # Fleet administrators' organizations are in the other database.
                org_id=org_id if population is Population.AUTOBOT else None,
                user_id=id_in(self.session, actor),
                action=action,
                resource_type=resource_type,
                resource_id=resource_id,
                outcome=outcome,
                details={**(details or {}), **foreign_actor(self.session, actor)},
                ip_address=self._context.ip_address,
                user_agent=self._context.user_agent,
            )
        )

    async def record_export(
        self,
        action: AuditAction,
        resource_type: AuditResourceType,
        form: str,
        wanted: Mapping[str, Any],
    ) -> None:
        """Add the event that something was taken away: in which form, and which part of it."""
        await self.record(
            action,
            resource_type,
            None,
            org_id=self._context.authority.scope,
            details={"format": form, "filter": dict(wanted)},
        )


def foreign_actor(session: AsyncSession, actor: Actor | None) -> dict[str, Any]:
    """What the details of an event say of an actor who has no row in the session's database."""
    if actor is None or id_in(session, actor) is not None:
        return {}
    return {
        "actor": {
            "population": actor.population,
            "user_id": str(actor.user_id),
            "username": actor.username,
        }
    }
