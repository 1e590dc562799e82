"""Indexes for the orders that users are listed in, and policies that look users up by theirs.

By user name and e-mail address the indexes that keep them unique serve already; of one
organization none did. Who never logged in did so before everybody else.

Whether a row is a tenant's was asked of the list of all of the tenant's users, which was made anew
by each statement: seconds for an organization of many.

Revision ID: 0005
Revises: 0004
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LAST_LOGIN = "coalesce(last_login_at, '-infinity'::timestamptz)"
VISIBLE = "deleted_at IS NULL"
# Those who are in no organization cost nothing here.
BOUND = f"{VISIBLE} AND org_id IS NOT NULL"
# name → (columns, condition)
INDEXES = {
    "ix_users_last_login": (f"{LAST_LOGIN}, id", VISIBLE),
    "ix_users_org_id_last_login": (f"org_id, {LAST_LOGIN}, id", BOUND),
    "ix_users_org_id_username": ("org_id, username text_pattern_ops", BOUND),
    "ix_users_org_id_email": ("org_id, email text_pattern_ops", BOUND),
}

IN_LIST = "user_id IN (SELECT id FROM users)"
LOOKED_UP = "EXISTS (SELECT FROM users WHERE users.id = user_id)"
SEEN_ROLE = "role_id IN (SELECT id FROM roles)"
# (table, policy) → what it asks, with how the user is found
POLICIES = {
    ("team_memberships", "tenant"): "team_id IN (SELECT id FROM teams) AND {}",
    ("user_roles", "tenant"): f"{{}} AND {SEEN_ROLE}",
    ("user_roles", "tenant_sees"): "{}",
    ("auth_sessions", "tenant"): "{}",
    ("user_credentials", "tenant"): "{}",
    ("password_history", "tenant"): "{}",
}


def upgrade() -> None:
    for name, (columns, condition) in INDEXES.items():
        op.execute(f"CREATE INDEX {name} ON users ({columns}) WHERE {condition}")
    find_users(LOOKED_UP)


def find_users(how: str) -> None:
    if op.get_context().opts["population"] == "autobot":
        for (table, policy), condition in POLICIES.items():
            op.execute(f"ALTER POLICY {policy} ON {table} USING ({condition.format(how)})")


def downgrade() -> None:
    find_users(IN_LIST)
    for name in INDEXES:
        op.drop_index(name, "users")
