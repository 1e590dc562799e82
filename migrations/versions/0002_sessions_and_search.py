"""What AutoBot's tables lack: sessions, one-time passwords, and indexes for long lists.

Revision ID: 0002
Revises: 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

SERVICE = "slm_service"
BACKEND = "autobot_backend"
BACKEND_GRANTS = (
    "SELECT, INSERT, UPDATE (ended_at, end_reason) ON auth_sessions",
    "SELECT ON user_credentials",
)

# The extension may have been there before us; then it stays when this is undone.
CREATE_TRIGRAM = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_trgm') THEN
        CREATE EXTENSION pg_trgm;
        COMMENT ON EXTENSION pg_trgm IS 'Made by user_management.';
    END IF;
END
$$
"""
DROP_TRIGRAM = """
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_extension
        WHERE extname = 'pg_trgm'
          AND obj_description(oid, 'pg_extension') = 'Made by user_management.'
    ) THEN
        DROP EXTENSION pg_trgm;
    END IF;
END
$$
"""


def time(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)


def now(name: str) -> sa.Column[Any]:
    return time(name, nullable=False, server_default=sa.func.now())


def upgrade() -> None:
    op.create_table(
        "auth_sessions",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        now("created_at"),
        time("expires_at", nullable=False),
        time("ended_at"),
        sa.Column("end_reason", sa.String(50)),
        sa.Column("ip_address", sa.String(45)),
        sa.Column("user_agent", sa.String(500)),
    )
    op.create_index("ix_auth_sessions_user_id", "auth_sessions", ["user_id"])
    op.create_table(
        "user_credentials",
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column(
            "must_change_password", sa.Boolean, nullable=False, server_default=sa.text("false")
        ),
        time("one_time_expires_at"),
        time("password_changed_at"),
        now("created_at"),
        now("updated_at"),
    )
    op.execute(
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON auth_sessions, user_credentials TO {SERVICE}"
    )
    if op.get_context().opts["population"] == "autobot":
        for grant in BACKEND_GRANTS:
            op.execute(f"GRANT {grant} TO {BACKEND}")

    op.execute(CREATE_TRIGRAM)
    op.execute("CREATE INDEX ix_users_created_at_id ON users (created_at DESC, id)")
    op.execute(
        "CREATE INDEX ix_users_search ON users USING gin (lower(email) gin_trgm_ops,"
        " lower(username) gin_trgm_ops, lower(display_name) gin_trgm_ops)"
    )


def downgrade() -> None:
    op.drop_index("ix_users_search", "users")
    op.drop_index("ix_users_created_at_id", "users")
    op.execute(DROP_TRIGRAM)
    op.drop_table("user_credentials")
    op.drop_table("auth_sessions")
