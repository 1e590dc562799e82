"""Locks that only the service can hold: empty tables, which LOCK TABLE asks a right for.

Anybody who may connect can hold an advisory lock, the backend's role too. Releases before this one
know advisory locks only; both kinds go side by side while one release replaces the other.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# They are empty.
loses = {
    "lock_roles": "true",
    "lock_first_administrator": "true",
    "lock_sealing": "true",
    "lock_import": "true",
}

SERVICE = "slm_service"
# What it takes for a caller who is limited to an organization.
TENANT = "slm_tenant"
# Who is limited to an organization gives roles, too.
TENANTS_LOCK = "lock_roles"


def is_autobot() -> bool:
    answer: bool = op.get_context().opts["population"] == "autobot"
    return answer


def upgrade() -> None:
    for lock in loses:
        op.execute(f"CREATE TABLE {lock} ()")
        # The least that LOCK TABLE is content with; there is nothing to update.
        op.execute(f"GRANT UPDATE ON {lock} TO {SERVICE}")
    if is_autobot():
        op.execute(f"GRANT UPDATE ON {TENANTS_LOCK} TO {TENANT}")


def downgrade() -> None:
    for lock in loses:
        op.execute(f"DROP TABLE {lock}")
