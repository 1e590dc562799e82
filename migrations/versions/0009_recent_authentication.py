"""When the person of a session last proved who they are, and the browsers that people log in with.

Only the password opens the place of a proof: whoever writes to the database with the backend's
role can make no session look as if somebody had just given it.

Revision ID: 0009
Revises: 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None
# The next login makes again what goes: no condition selects anything worth keeping.
loses = {"auth_sessions": "false", "known_devices": "false"}

SERVICE = "slm_service"
BACKEND = "autobot_backend"

# Nobody knows it of the sessions that go on. All that begin have just proved it, also those that
# the release before begins.
AUTHENTICATED_AT = (
    "ALTER TABLE auth_sessions ADD COLUMN authenticated_at timestamptz",
    "ALTER TABLE auth_sessions ALTER COLUMN authenticated_at SET DEFAULT now()",
)
# It runs as the owner of the tables, as the functions of revision 0004 do.
CONFIRM_SESSION = """
CREATE FUNCTION confirm_session(which uuid, whose uuid, hash text) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = public, pg_temp
AS $$
BEGIN
    UPDATE auth_sessions SET authenticated_at = now()
    WHERE id = which AND user_id = whose AND ended_at IS NULL AND expires_at > now()
        AND EXISTS (
            SELECT FROM users
            WHERE id = whose AND password_hash = hash AND setting_of_password_hash(hash) <> ''
                AND is_active AND deleted_at IS NULL
        );
    RETURN FOUND;
END
$$
"""
KNOWN_DEVICES = (
    """
CREATE TABLE known_devices (
    device bytea NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_login_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (device, user_id)
)
""",
    "CREATE INDEX ix_known_devices_user_id ON known_devices (user_id)",
    "CREATE INDEX ix_known_devices_last_login_at ON known_devices (last_login_at)",
    f"GRANT SELECT, INSERT, UPDATE, DELETE ON known_devices TO {SERVICE}",
)
OF_BACKEND = (
    f"GRANT SELECT (authenticated_at) ON auth_sessions TO {BACKEND}",
    f"GRANT SELECT, INSERT (device, user_id), UPDATE (last_login_at) ON known_devices TO {BACKEND}",
)


def is_autobot() -> bool:
    answer: bool = op.get_context().opts["population"] == "autobot"
    return answer


def upgrade() -> None:
    for statement in (*AUTHENTICATED_AT, CONFIRM_SESSION, *KNOWN_DEVICES):
        op.execute(statement)
    op.execute("REVOKE ALL ON FUNCTION confirm_session FROM PUBLIC")
    callers = f"{SERVICE}, {BACKEND}" if is_autobot() else SERVICE
    op.execute(f"GRANT EXECUTE ON FUNCTION confirm_session TO {callers}")
    if is_autobot():
        for statement in OF_BACKEND:
            op.execute(statement)


def downgrade() -> None:
    op.drop_table("known_devices")
    op.execute("DROP FUNCTION confirm_session")
    op.drop_column("auth_sessions", "authenticated_at")
