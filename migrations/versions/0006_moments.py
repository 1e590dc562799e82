"""No service writes a moment before 1970 or at the end of Python's calendar.

What AutoBot or a person has written stays, and may be written again with the rest of its row.

Revision ID: 0006
Revises: 0005
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

loses: dict[str, str] = {}

SERVICES = ("slm_service", "slm_tenant", "autobot_backend")
EARLIEST = "1970-01-01 00:00:00+00"
LATEST = "9999-12-30 00:00:00+00"
# Table → its columns of type timestamptz, but for those of AutoBot's that no service writes.
MOMENTS = {
    "organizations": ("created_at", "updated_at", "deleted_at"),
    "users": ("created_at", "updated_at", "deleted_at", "last_login_at", "email_verified_at"),
    "user_credentials": (
        *("created_at", "updated_at"),
        *("one_time_expires_at", "password_changed_at"),
    ),
    "password_history": ("created_at",),
    "roles": ("created_at", "updated_at"),
    "user_roles": ("created_at", "updated_at"),
    "teams": ("created_at", "updated_at", "deleted_at"),
    "team_memberships": ("created_at", "updated_at", "joined_at"),
    "audit_logs": ("created_at",),
    "auth_sessions": ("created_at", "expires_at", "refreshed_at", "ended_at"),
}
REFUSE = f"""
CREATE FUNCTION refuse_moment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'A moment before {EARLIEST} or after {LATEST} is not written to %.', TG_TABLE_NAME
        USING ERRCODE = 'check_violation';
END
$$
"""


# By their names they come after the triggers that set moments: those of 0004.
def upgrade() -> None:
    op.execute(REFUSE)
    services = ", ".join(f"'{service}'" for service in SERVICES)
    for table, columns in MOMENTS.items():
        outside = {
            column: f"(NEW.{column} < '{EARLIEST}' OR NEW.{column} > '{LATEST}')"
            for column in columns
        }
        changed = [
            f"(NEW.{column} IS DISTINCT FROM OLD.{column} AND {is_outside})"
            for column, is_outside in outside.items()
        ]
        for event, wrong in (("INSERT", outside.values()), ("UPDATE", changed)):
            op.execute(
                f"CREATE TRIGGER within_calendar_{event.lower()} BEFORE {event} ON {table}"
                f" FOR EACH ROW WHEN (current_user IN ({services}) AND ({' OR '.join(wrong)}))"
                " EXECUTE FUNCTION refuse_moment()"
            )


def downgrade() -> None:
    for table in MOMENTS:
        for event in ("insert", "update"):
            op.execute(f"DROP TRIGGER within_calendar_{event} ON {table}")
    op.execute("DROP FUNCTION refuse_moment")
