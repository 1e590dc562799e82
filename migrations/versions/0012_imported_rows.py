"""Which rows of AutoBot's own stores were imported, and who they are here.

An import is repeated in each run, and its source goes on to have whoever was renamed, deleted or
erased here since: names alone would bring them back. A row is known by a digest, which tells
nobody's name.

Revision ID: 0012
Revises: 0011
"""

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

loses = {"imported_rows": "true"}

STATEMENTS = (
    """
CREATE TABLE imported_rows (
    source varchar(50) NOT NULL,
    key bytea NOT NULL,
    user_id uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (source, key)
)
""",
    "CREATE INDEX ix_imported_rows_user_id ON imported_rows (user_id)",
    "GRANT SELECT, INSERT ON imported_rows TO slm_service",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.drop_table("imported_rows")
