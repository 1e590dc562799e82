"""Roles that mean something, tenants, refresh tokens, limits, and the seals of the audit log.

Revision ID: 0003
Revises: 0002
"""
# ruff: noqa: S608  all that is put into statements stands in this file

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SERVICE = "slm_service"
BACKEND = "autobot_backend"
# Whoever acts for one organization only: slm_service takes this role for the transaction.
TENANT = "slm_tenant"

PERMISSIONS = {
    "users:read": "See users",
    "users:create": "Create users",
    "users:update": "Change users, end their sessions, reset their passwords",
    "users:delete": "Delete users",
    "teams:read": "See teams and organizations",
    "teams:create": "Create teams",
    "teams:manage": "Change teams and their members",
    "teams:delete": "Delete teams",
    "knowledge:read": "Read the knowledge base",
    "knowledge:write": "Write to the knowledge base",
    "knowledge:delete": "Delete from the knowledge base",
    "chat:use": "Use the chat",
    "chat:history": "See the history of chats",
    "files:view": "See files",
    "files:upload": "Upload files",
    "files:download": "Download files",
    "files:delete": "Delete files",
    "settings:read": "See settings",
    "settings:write": "Change settings",
    "admin:access": "Enter the administration",
    "admin:users": "Manage roles and who has them",
    "admin:organization": "Manage organizations",
    "audit:read": "Read the audit log",
    "audit:write": "Write to the audit log",
}
USER = (
    *("users:read", "teams:read", "knowledge:read", "knowledge:write", "chat:use", "chat:history"),
    *("files:view", "files:upload", "files:download", "settings:read"),
)
READONLY = (
    *("users:read", "teams:read", "knowledge:read", "chat:history"),
    *("files:view", "files:download", "settings:read"),
)
# name → (priority, description, permissions)
ROLES = {
    "admin": (100, "Full administrative access", tuple(PERMISSIONS)),
    "user": (50, "Standard user access", USER),
    "readonly": (10, "Read-only access", READONLY),
}

# Names are unique among what is not deleted. Not all of these are named as one would today.
FREED = {
    "ix_users_email": ("users", "email"),
    "ix_users_username": ("users", "username"),
    "ix_organizations_slug": ("organizations", "slug"),
}

# What the tenant role sees, and what it may write where that is less. A row that a condition
# selects from another table is one that the tenant sees there.
OWN = "nullif(current_setting('user_management.org_id', true), '')::uuid"
OWN_USER = "user_id IN (SELECT id FROM users)"
SEEN_ROLE = "role_id IN (SELECT id FROM roles)"
OWN_ROLE = f"role_id IN (SELECT id FROM roles WHERE org_id = {OWN})"
TENANT_ROWS = {
    "organizations": (f"id = {OWN}", None),
    "users": (f"org_id = {OWN}", None),
    "teams": (f"org_id = {OWN}", None),
    "team_memberships": (
        "team_id IN (SELECT id FROM teams) AND user_id IN (SELECT id FROM users)",
        None,
    ),
    "roles": (f"org_id = {OWN} OR org_id IS NULL", f"org_id = {OWN}"),
    "role_permissions": (SEEN_ROLE, OWN_ROLE),
    "user_roles": (OWN_USER, f"{OWN_USER} AND {SEEN_ROLE}"),
    "audit_logs": (f"org_id = {OWN}", None),
    "auth_sessions": (OWN_USER, None),
    "refresh_tokens": (
        "session_id IN (SELECT id FROM auth_sessions)",
        None,
    ),
    "user_credentials": (OWN_USER, None),
    "password_history": (OWN_USER, None),
}
# What it may do with them where that is not everything.
TENANT_RIGHTS = {"organizations": "SELECT, UPDATE", "audit_logs": "SELECT, INSERT"}
# Tables without rows of an organization.
TENANT_GRANTS = (
    "SELECT ON permissions",
    "SELECT, INSERT, DELETE ON idempotency_records",
    "SELECT, DELETE ON rate_limits",
)

# A separator that no term has keeps fields apart. One index for all three is half the size of
# three, and asked once.
SEARCH_TEXT = """
CREATE FUNCTION user_search_text(email varchar, username varchar, display_name varchar)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
SELECT lower(chr(10) || email || chr(10) || username || chr(10) || coalesce(display_name, ''))
$$
"""

ANCHOR_ONLY_GROWS = (
    """
CREATE FUNCTION audit_anchor_only_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.population <> OLD.population OR NEW.seq < OLD.seq
        OR (NEW.seq = OLD.seq AND NEW.hash <> OLD.hash) THEN
        RAISE 'An anchor of the audit log only moves forward.' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$
""",
    "CREATE TRIGGER only_grows BEFORE UPDATE ON audit_anchors"
    " FOR EACH ROW EXECUTE FUNCTION audit_anchor_only_grows()",
)

REQUIRE_TENANT = f"""
DO $$
BEGIN
    IF to_regrole('{TENANT}') IS NULL THEN
        RAISE EXCEPTION 'Role {TENANT} does not exist.'
        USING HINT = 'The deployment makes it: run site.yml first.';
    END IF;
END
$$
"""


def time(name: str, **options: Any) -> sa.Column[Any]:
    return sa.Column(name, sa.DateTime(timezone=True), **options)


def now(name: str) -> sa.Column[Any]:
    return time(name, nullable=False, server_default=sa.func.now())


def is_autobot() -> bool:
    answer: bool = op.get_context().opts["population"] == "autobot"
    return answer


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def upgrade() -> None:
    if is_autobot():
        op.execute(REQUIRE_TENANT)
    create_tables()
    seed()
    free_names()
    if is_autobot():
        divide_by_organization()
    else:
        # Of a fleet administrator, org_id names the organization of AutoBot, which lives in the
        # other database, that they are limited to.
        op.drop_constraint("users_org_id_fkey", "users", type_="foreignkey")


def create_tables() -> None:
    op.add_column("auth_sessions", time("refreshed_at"))
    op.add_column("auth_sessions", sa.Column("refresh_secret", sa.LargeBinary))
    op.create_index(
        "ix_auth_sessions_over_at", "auth_sessions", [sa.text("least(ended_at, expires_at)")]
    )
    op.create_table(
        "refresh_tokens",
        sa.Column("token_hash", sa.LargeBinary, primary_key=True),
        sa.Column(
            "session_id",
            sa.Uuid,
            sa.ForeignKey("auth_sessions.id", ondelete="CASCADE"),
            nullable=False,
        ),
        now("created_at"),
        time("used_at"),
    )
    op.create_index("ix_refresh_tokens_session_id", "refresh_tokens", ["session_id"])
    op.create_table(
        "password_history",
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()),
        sa.Column(
            "user_id", sa.Uuid, sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("password_hash", sa.String(255), nullable=False),
        now("created_at"),
    )
    op.create_index("ix_password_history_user_id", "password_history", ["user_id"])
    op.create_table(
        "rate_limits",
        sa.Column("scope", sa.String(20), primary_key=True),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        now("window_started_at"),
        time("blocked_until"),
        time("expires_at", nullable=False),
        # Lost when the server crashes, which costs an attacker more than it gives.
        prefixes=["UNLOGGED"],
    )
    op.create_index("ix_rate_limits_expires_at", "rate_limits", ["expires_at"])
    op.create_table(
        "idempotency_records",
        sa.Column("caller_id", sa.Uuid, primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("request_hash", sa.LargeBinary, nullable=False),
        sa.Column("resource_id", sa.Uuid, nullable=False),
        now("created_at"),
    )
    op.create_index("ix_idempotency_records_created_at", "idempotency_records", ["created_at"])
    op.create_table(
        "audit_seals",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("audit_id", sa.Uuid, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        now("sealed_at"),
    )
    op.create_index("ix_audit_seals_audit_id", "audit_seals", ["audit_id"], unique=True)
    op.create_table(
        "audit_anchors",
        sa.Column("population", sa.String(20), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        now("anchored_at"),
    )
    for statement in ANCHOR_ONLY_GROWS:
        op.execute(statement)
    # Pages go on after the last row seen, compared as a pair: both columns in one direction.
    op.drop_index("ix_users_created_at_id", "users")
    op.create_index("ix_users_created_at_id", "users", ["created_at", "id"])
    op.create_index("ix_users_org_id_created_at_id", "users", ["org_id", "created_at", "id"])
    # Few among many.
    op.create_index(
        "ix_users_platform_admin", "users", ["id"], postgresql_where=sa.text("is_platform_admin")
    )
    op.create_index("ix_user_roles_role_id", "user_roles", ["role_id"])
    op.drop_index("ix_users_search", "users")
    op.execute(SEARCH_TEXT)
    op.execute(
        "CREATE INDEX ix_users_search ON users"
        " USING gin (user_search_text(email, username, display_name) gin_trgm_ops)"
    )
    op.execute(
        "CREATE INDEX ix_users_display_name ON users (lower(display_name) text_pattern_ops)"
        " WHERE deleted_at IS NULL"
    )
    op.create_index("ix_audit_logs_created_at_id", "audit_logs", ["created_at", "id"])
    op.execute(
        "GRANT SELECT, INSERT, UPDATE, DELETE ON"
        f" refresh_tokens, password_history, rate_limits, idempotency_records TO {SERVICE}"
    )
    op.execute(f"GRANT SELECT, INSERT ON audit_seals TO {SERVICE}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON audit_anchors TO {SERVICE}")


def seed() -> None:
    """Permissions and system roles; those that are there already get what they lack."""
    rows = ", ".join(
        f"({literal(name)}, {literal(text)}, {literal(name.split(':')[0])},"
        f" {literal(name.split(':')[1])})"
        for name, text in PERMISSIONS.items()
    )
    op.execute(
        "INSERT INTO permissions (name, description, resource, action)"
        f" VALUES {rows} ON CONFLICT (name) DO NOTHING"
    )
    for name, (priority, description, permissions) in ROLES.items():
        op.execute(
            "INSERT INTO roles (name, description, is_system, priority)"
            f" SELECT {literal(name)}, {literal(description)}, true, {priority}"
            f" WHERE NOT EXISTS (SELECT FROM roles WHERE name = {literal(name)}"
            " AND org_id IS NULL)"
        )
        op.execute(
            f"UPDATE roles SET is_system = true WHERE name = {literal(name)} AND org_id IS NULL"
        )
        op.execute(
            "INSERT INTO role_permissions (role_id, permission_id)"
            " SELECT roles.id, permissions.id FROM roles, permissions"
            f" WHERE roles.name = {literal(name)} AND roles.org_id IS NULL"
            f" AND permissions.name IN ({', '.join(map(literal, permissions))})"
            " ON CONFLICT DO NOTHING"
        )


def free_names() -> None:
    for index, (table, column) in FREED.items():
        op.drop_index(index, table)
        op.create_index(
            index,
            table,
            [column],
            unique=True,
            postgresql_where=sa.text("deleted_at IS NULL"),
            # Beginnings of names are looked up as ranges of bytes.
            postgresql_ops={column: "text_pattern_ops"} if table == "users" else {},
        )
    op.drop_constraint("uq_team_org_name", "teams", type_="unique")
    op.create_index(
        "uq_team_org_name",
        "teams",
        ["org_id", sa.text("lower(name)")],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )


def divide_by_organization() -> None:
    """Row-level security, as a second wall behind the service's own."""
    for table, (visible, writable) in TENANT_ROWS.items():
        rights = TENANT_RIGHTS.get(table, "SELECT, INSERT, UPDATE, DELETE")
        op.execute(f"GRANT {rights} ON {table} TO {TENANT}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        # A constant, so that the planner forgets it and every index stays of use. (slm_service
        # passes by all policies, or the planner would use no statistics for its searches.)
        op.execute(
            f"CREATE POLICY service ON {table} TO {SERVICE}, {BACKEND}"
            " USING (true) WITH CHECK (true)"
        )
        # Programs of AutoBot that have rights of their own keep them.
        op.execute(
            f"CREATE POLICY others ON {table}"
            f" USING (current_user <> '{TENANT}') WITH CHECK (current_user <> '{TENANT}')"
        )
        op.execute(f"CREATE POLICY tenant ON {table} TO {TENANT} USING ({writable or visible})")
        if writable:
            op.execute(
                f"CREATE POLICY tenant_sees ON {table} FOR SELECT TO {TENANT} USING ({visible})"
            )
    for grant in TENANT_GRANTS:
        op.execute(f"GRANT {grant} TO {TENANT}")


def downgrade() -> None:
    """Permissions and system roles stay: people may have been given them."""
    if is_autobot():
        reunite()
    else:
        # The release before gave nobody but platform administrators any right.
        op.execute(
            "UPDATE users SET org_id = NULL WHERE org_id NOT IN (SELECT id FROM organizations)"
        )
        op.create_foreign_key(
            "users_org_id_fkey",
            *("users", "organizations", ["org_id"], ["id"]),
            ondelete="CASCADE",
        )
    take_names_back()
    op.drop_index("ix_audit_logs_created_at_id", "audit_logs")
    op.drop_index("ix_users_display_name", "users")
    op.drop_index("ix_users_search", "users")
    op.execute("DROP FUNCTION user_search_text")
    op.execute(
        "CREATE INDEX ix_users_search ON users USING gin (lower(email) gin_trgm_ops,"
        " lower(username) gin_trgm_ops, lower(display_name) gin_trgm_ops)"
    )
    op.drop_index("ix_user_roles_role_id", "user_roles")
    op.drop_index("ix_users_platform_admin", "users")
    op.drop_index("ix_users_org_id_created_at_id", "users")
    op.drop_index("ix_users_created_at_id", "users")
    op.create_index("ix_users_created_at_id", "users", [sa.text("created_at DESC"), "id"])
    for table in (
        *("audit_anchors", "audit_seals", "idempotency_records"),
        *("rate_limits", "password_history", "refresh_tokens"),
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION audit_anchor_only_grows()")
    op.drop_index("ix_auth_sessions_over_at", "auth_sessions")
    op.drop_column("auth_sessions", "refresh_secret")
    op.drop_column("auth_sessions", "refreshed_at")


def reunite() -> None:
    for table, (_, writable) in TENANT_ROWS.items():
        for policy in ("service", "others", "tenant", *(["tenant_sees"] if writable else [])):
            op.execute(f"DROP POLICY {policy} ON {table}")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute(f"REVOKE ALL ON {table} FROM {TENANT}")
    for grant in TENANT_GRANTS:
        op.execute(f"REVOKE {grant} FROM {TENANT}")


def take_names_back() -> None:
    """Deleted rows whose name is in use again get another one."""
    for index, (table, column) in FREED.items():
        op.drop_index(index, table)
        rename_deleted(table, column, [column])
        op.create_index(index, table, [column], unique=True)
    op.drop_index("uq_team_org_name", "teams")
    rename_deleted("teams", "name", ["org_id", "name"])
    op.create_unique_constraint("uq_team_org_name", "teams", ["org_id", "name"])


def rename_deleted(table: str, column: str, unique: list[str]) -> None:
    same = " AND ".join(f"other.{name} = {table}.{name}" for name in unique)
    # Of several deleted rows with one name, one can keep it.
    op.execute(
        f"UPDATE {table} SET {column} = left({column}, 60) || '-' || id"
        f" WHERE deleted_at IS NOT NULL AND EXISTS (SELECT FROM {table} other WHERE {same}"
        f" AND (other.deleted_at IS NULL OR other.id < {table}.id))"
    )
