"""An index of the deleted users of whom something is known still.

Revision ID: 0007
Revises: 0006
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

loses: dict[str, str] = {}

# As services/erasure.py asks for them.
KNOWN = "deleted_at IS NOT NULL AND email NOT LIKE '%@deleted.invalid'"


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_users_known_deleted")
        op.execute(
            f"CREATE INDEX CONCURRENTLY ix_users_known_deleted ON users (deleted_at) WHERE {KNOWN}"
        )


def downgrade() -> None:
    op.execute("DROP INDEX ix_users_known_deleted")
