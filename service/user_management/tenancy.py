"""Who acts for one organization sees its rows only.

Every ORM statement of such a session gets the criterion here, and nowhere else; the database
enforces the same once more by row-level security (migration 0003).
"""

from typing import Final
from uuid import UUID

from sqlalchemy import Connection, or_, text
from sqlalchemy.orm import ORMExecuteState, Session, SessionTransaction, with_loader_criteria

from user_management.models import AuditLog, Organization, Role, Team, User

# The key of a session's `info` that holds the organization's id.
SCOPE: Final = "org_id"

_BECOME_TENANT: Final = text(
    "SELECT set_config('role', 'slm_tenant', true),"
    " set_config('user_management.org_id', :org_id, true)"
)


def enter_scope(session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
    """At the beginning of each transaction: give up what the organization's rows do not need."""
    org_id: UUID | None = session.info.get(SCOPE)
    if org_id is not None:
        connection.execute(_BECOME_TENANT, {"org_id": str(org_id)})


def restrict(state: ORMExecuteState) -> None:
    """Before each statement: add the criterion for every table that organizations share."""
    org_id: UUID | None = state.session.info.get(SCOPE)
    if org_id is None or not (state.is_select or state.is_update or state.is_delete):
        return
    state.statement = state.statement.options(
        with_loader_criteria(Organization, Organization.id == org_id, include_aliases=True),
        with_loader_criteria(User, User.org_id == org_id, include_aliases=True),
        with_loader_criteria(Team, Team.org_id == org_id, include_aliases=True),
        # System roles are everybody's.
        with_loader_criteria(
            Role, or_(Role.org_id == org_id, Role.org_id.is_(None)), include_aliases=True
        ),
        with_loader_criteria(AuditLog, AuditLog.org_id == org_id, include_aliases=True),
    )
