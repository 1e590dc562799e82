"""The thirteen tables that AutoBot's installations have.

A database that AutoBot's own migration or `create_all` filled is adopted: a table that is there
already is compared with the shape below, gets the defaults and indexes that it lacks, and a
comment that marks it. Undoing this revision drops what it made and leaves adopted tables with
their rows (and with the defaults and indexes, which do them no harm).

Revision ID: 0001
Revises:
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.schema import CreateIndex, CreateSchema, CreateTable, DropSchema

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

REFERENCE = "user_management_reference"
ADOPTED = "Adopted by user_management: kept when its migration is undone."

SERVICE = "slm_service"
BACKEND = "autobot_backend"
# It authenticates and records that; it manages nobody.
BACKEND_GRANTS = (
    "SELECT (id, org_id, email, username, password_hash, display_name, is_active, is_verified,"
    " mfa_enabled, is_platform_admin, last_login_at, deleted_at), UPDATE (last_login_at) ON users",
    "SELECT (user_id, role_id) ON user_roles",
    "SELECT (id, org_id, name, priority) ON roles",
    "INSERT ON audit_logs",
)


def tables(schema: str | None) -> list[sa.Table]:
    """The thirteen tables in `schema`, in the order in which they can be created."""
    # By default an index outside the default schema would be named after its schema too.
    names = {"ix": "ix_%(table_name)s_%(column_0_name)s"}
    metadata = sa.MetaData(schema=schema, naming_convention=names)

    def key(name: str = "id") -> sa.Column[Any]:
        return sa.Column(name, sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid())

    def reference(
        name: str, table: str, on_delete: str = "CASCADE", **options: Any
    ) -> sa.Column[Any]:
        target = f"{schema}.{table}.id" if schema else f"{table}.id"
        return sa.Column(name, sa.Uuid, sa.ForeignKey(target, ondelete=on_delete), **options)

    def string(name: str, length: int, **options: Any) -> sa.Column[Any]:
        return sa.Column(name, sa.String(length), **options)

    def flag(name: str, default: str) -> sa.Column[Any]:
        return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.text(default))

    def number(name: str, default: str) -> sa.Column[Any]:
        return sa.Column(name, sa.Integer, nullable=False, server_default=sa.text(default))

    def json(name: str, default: str = "'{}'::jsonb") -> sa.Column[Any]:
        return sa.Column(name, JSONB, nullable=False, server_default=sa.text(default))

    def time(name: str) -> sa.Column[Any]:
        return sa.Column(name, sa.DateTime(timezone=True))

    def now(name: str, **options: Any) -> sa.Column[Any]:
        kind = sa.DateTime(timezone=True)
        return sa.Column(name, kind, nullable=False, server_default=sa.func.now(), **options)

    def timestamps() -> tuple[sa.Column[Any], sa.Column[Any]]:
        return now("created_at"), now("updated_at")

    def unique_index(name: str, length: int) -> sa.Column[Any]:
        return string(name, length, nullable=False, unique=True, index=True)

    sa.Table(
        "organizations",
        metadata,
        key(),
        string("name", 255, nullable=False),
        unique_index("slug", 100),
        sa.Column("description", sa.Text),
        json("settings"),
        string("subscription_tier", 50, server_default="free"),
        number("max_users", "-1"),
        flag("is_active", "true"),
        time("deleted_at"),
        *timestamps(),
    )
    sa.Table(
        "users",
        metadata,
        key(),
        reference("org_id", "organizations", index=True),
        unique_index("email", 255),
        unique_index("username", 100),
        string("password_hash", 255),
        string("display_name", 255),
        string("avatar_url", 500),
        sa.Column("bio", sa.Text),
        flag("is_active", "true"),
        flag("is_verified", "false"),
        flag("mfa_enabled", "false"),
        flag("is_platform_admin", "false"),
        json("preferences"),
        time("last_login_at"),
        time("email_verified_at"),
        time("deleted_at"),
        *timestamps(),
    )
    sa.Table(
        "teams",
        metadata,
        key(),
        reference("org_id", "organizations", nullable=False, index=True),
        string("name", 255, nullable=False),
        sa.Column("description", sa.Text),
        json("settings"),
        flag("is_default", "false"),
        time("deleted_at"),
        *timestamps(),
        sa.UniqueConstraint("org_id", "name", name="uq_team_org_name"),
    )
    sa.Table(
        "team_memberships",
        metadata,
        key(),
        reference("team_id", "teams", nullable=False, index=True),
        reference("user_id", "users", nullable=False, index=True),
        string("role", 50, nullable=False, server_default="member"),
        now("joined_at"),
        *timestamps(),
        sa.UniqueConstraint("team_id", "user_id", name="uq_team_user"),
    )
    sa.Table(
        "permissions",
        metadata,
        key(),
        unique_index("name", 100),
        sa.Column("description", sa.Text),
        string("resource", 100, nullable=False, index=True),
        string("action", 50, nullable=False),
        *timestamps(),
    )
    sa.Table(
        "roles",
        metadata,
        key(),
        reference("org_id", "organizations", index=True),
        string("name", 100, nullable=False),
        sa.Column("description", sa.Text),
        flag("is_system", "false"),
        number("priority", "0"),
        *timestamps(),
    )
    sa.Table(
        "role_permissions",
        metadata,
        reference("role_id", "roles", primary_key=True),
        reference("permission_id", "permissions", primary_key=True),
    )
    sa.Table(
        "user_roles",
        metadata,
        reference("user_id", "users", primary_key=True),
        reference("role_id", "roles", primary_key=True),
        reference("assigned_by", "users", "SET NULL"),
        *timestamps(),
    )
    sa.Table(
        "api_keys",
        metadata,
        key(),
        unique_index("key_hash", 255),
        string("key_prefix", 12, nullable=False, index=True),
        reference("user_id", "users", nullable=False, index=True),
        reference("team_id", "teams", index=True),
        string("name", 255, nullable=False),
        string("description", 500),
        json("scopes", "'[]'::jsonb"),
        flag("is_active", "true"),
        time("expires_at"),
        time("last_used_at"),
        number("usage_count", "0"),
        time("revoked_at"),
        reference("revoked_by", "users", "SET NULL"),
        *timestamps(),
    )
    sa.Table(
        "sso_providers",
        metadata,
        key(),
        reference("org_id", "organizations", index=True),
        string("provider_type", 50, nullable=False, index=True),
        string("name", 255, nullable=False),
        json("config"),
        flag("is_active", "true"),
        flag("is_social", "false"),
        flag("allow_user_creation", "true"),
        string("default_role", 100, server_default="user"),
        json("group_mapping"),
        time("last_sync_at"),
        *timestamps(),
    )
    sa.Table(
        "user_sso_links",
        metadata,
        key(),
        reference("user_id", "users", nullable=False, index=True),
        reference("provider_id", "sso_providers", nullable=False, index=True),
        string("external_id", 255, nullable=False),
        string("external_email", 255),
        json("metadata"),
        time("last_login_at"),
        *timestamps(),
        sa.UniqueConstraint("provider_id", "external_id", name="uq_provider_external_id"),
    )
    sa.Table(
        "user_mfa",
        metadata,
        key(),
        reference("user_id", "users", nullable=False, unique=True, index=True),
        string("method", 50, nullable=False, server_default="totp"),
        string("secret_encrypted", 500, nullable=False),
        string("backup_codes_encrypted", 2000),
        number("backup_codes_remaining", "10"),
        flag("is_verified", "false"),
        time("last_verified_at"),
        string("recovery_email", 255),
        *timestamps(),
    )
    sa.Table(
        "audit_logs",
        metadata,
        key(),
        reference("org_id", "organizations", "SET NULL", index=True),
        reference("user_id", "users", "SET NULL", index=True),
        string("action", 100, nullable=False, index=True),
        string("resource_type", 100, nullable=False, index=True),
        sa.Column("resource_id", sa.Uuid),
        string("outcome", 50, nullable=False, server_default="success"),
        json("details"),
        string("ip_address", 45),
        string("user_agent", 500),
        now("created_at", index=True),
        sa.Index("idx_audit_org_created", "org_id", "created_at"),
        sa.Index("idx_audit_user_created", "user_id", "created_at"),
        sa.Index("idx_audit_action_created", "action", "created_at"),
    )
    return metadata.sorted_tables


# Stops the migration with all differences at once, or gives each existing table the defaults that
# it lacks and the mark. The twin in the reference schema says how a table should look.
ADOPT = f"""
DO $$
DECLARE
    fault text;
    item record;
BEGIN
    CREATE TEMPORARY TABLE pair ON COMMIT DROP AS
        SELECT twin.oid AS twin, existing.oid AS existing, existing.relname AS name,
               existing.relkind AS kind, pg_get_userbyid(existing.relowner) AS owner
        FROM pg_class twin JOIN pg_class existing ON existing.relname = twin.relname
        WHERE twin.relnamespace = '{REFERENCE}'::regnamespace AND twin.relkind = 'r'
          AND existing.relnamespace = current_schema()::regnamespace;

    -- REASSIGN OWNED would hand over databases and objects that are none of these tables.
    SELECT string_agg(format('%s belongs to %s', name, owner), ', ' ORDER BY name) AS owners,
           string_agg(format('ALTER TABLE %I.%I OWNER TO %I;', current_schema(), name,
                             current_user), ' ' ORDER BY name) AS statements
    INTO item FROM pair WHERE owner <> current_user;
    IF item.owners IS NOT NULL THEN
        RAISE EXCEPTION 'Of the tables to adopt, % and not to %.', item.owners, current_user
        USING HINT = format('As superuser in this database: %s', item.statements);
    END IF;

    WITH shape(relation, line) AS (
        SELECT attrelid, format('column %s %s%s', attname, format_type(atttypid, atttypmod),
                                CASE WHEN attnotnull THEN ' not null' END)
        FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT conrelid, concat(CASE contype WHEN 'u' THEN conname || ' ' END,
                                replace(pg_get_constraintdef(oid), '{REFERENCE}.', ''))
        FROM pg_constraint WHERE contype IN ('p', 'f', 'u')
    ), difference(line) AS (
        SELECT name || ' is not a table' FROM pair WHERE kind <> 'r'
        UNION ALL
        SELECT format('%s lacks %s', name, line)
        FROM pair JOIN shape ON relation = twin
        WHERE line NOT IN (SELECT line FROM shape WHERE relation = existing)
        UNION ALL
        SELECT format('%s demands %s, which nothing would fill', name, attname)
        FROM pair JOIN pg_attribute ON attrelid = existing
        WHERE attnum > 0 AND NOT attisdropped AND attnotnull AND NOT atthasdef
          AND attidentity = ''
          AND attname NOT IN (SELECT attname FROM pg_attribute WHERE attrelid = twin)
        UNION ALL
        SELECT format('%s has another index %s', name, wanted.relname)
        FROM pair
        JOIN pg_index ON indrelid = twin
        JOIN pg_class wanted ON wanted.oid = indexrelid
        JOIN pg_class present ON present.relname = wanted.relname
                             AND present.relnamespace = current_schema()::regnamespace
        WHERE NOT indisprimary AND pg_get_indexdef(present.oid)
              <> replace(pg_get_indexdef(wanted.oid), '{REFERENCE}', current_schema())
    )
    SELECT string_agg(line, E'\\n' ORDER BY line) INTO fault FROM difference;
    IF fault IS NOT NULL THEN
        RAISE EXCEPTION E'Existing tables are not as AutoBot makes them:\\n%', fault
        USING HINT = 'No table was changed. Correct these tables, then migrate again.';
    END IF;

    FOR item IN
        SELECT name, wanted.attname, pg_get_expr(given.adbin, twin) AS value
        FROM pair
        JOIN pg_attrdef given ON given.adrelid = twin
        JOIN pg_attribute wanted ON wanted.attrelid = twin AND wanted.attnum = given.adnum
        JOIN pg_attribute present ON present.attrelid = existing
                                 AND present.attname = wanted.attname
        LEFT JOIN pg_attrdef had ON had.adrelid = existing AND had.adnum = present.attnum
        WHERE pg_get_expr(had.adbin, existing) IS DISTINCT FROM pg_get_expr(given.adbin, twin)
    LOOP
        EXECUTE format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT %s',
                       item.name, item.attname, item.value);
    END LOOP;

    FOR item IN SELECT name, obj_description(existing, 'pg_class') AS comment FROM pair LOOP
        EXECUTE format('COMMENT ON TABLE %I IS %L',
                       item.name, concat_ws(E'\\n', item.comment, '{ADOPTED}'));
    END LOOP;
    DROP TABLE pair;
END
$$
"""  # noqa: S608

# Drops the tables that revision 0001 made; takes the mark and our privileges off the others.
ABANDON = """
DO $$
DECLARE
    mark constant text := '{mark}';
    made text;
    item record;
BEGIN
    FOR item IN
        SELECT relname AS name, obj_description(oid, 'pg_class') AS comment
        FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relname IN ({names})
    LOOP
        IF item.comment LIKE '%' || mark THEN
            EXECUTE format('REVOKE ALL ON %I FROM {roles}', item.name);
            EXECUTE format('COMMENT ON TABLE %I IS %L', item.name,
                           nullif(rtrim(replace(item.comment, mark, ''), E'\\n'), ''));
        ELSE
            made := concat_ws(', ', made, format('%I', item.name));
        END IF;
    END LOOP;
    IF made IS NOT NULL THEN
        EXECUTE 'DROP TABLE ' || made;
    END IF;
END
$$
"""

REQUIRE_ROLE = """
DO $$
BEGIN
    IF to_regrole('{role}') IS NULL THEN
        RAISE EXCEPTION 'Role {role} does not exist.'
        USING HINT = 'The deployment makes it: run site.yml first.';
    END IF;
END
$$
"""


def roles() -> list[str]:
    """The roles at run time of the database that is migrated."""
    is_autobot = op.get_context().opts["population"] == "autobot"
    return [SERVICE, BACKEND] if is_autobot else [SERVICE]


def create(schema: str | None) -> None:
    for table in tables(schema):
        op.execute(CreateTable(table, if_not_exists=True))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            op.execute(CreateIndex(index, if_not_exists=True))


def upgrade() -> None:
    for role in roles():
        op.execute(REQUIRE_ROLE.format(role=role))

    op.execute(CreateSchema(REFERENCE))
    create(REFERENCE)
    op.execute(ADOPT)
    op.execute(DropSchema(REFERENCE, cascade=True))
    create(None)

    for table in tables(None):
        rights = "SELECT, INSERT"
        if table.name != "audit_logs":
            rights += ", UPDATE, DELETE"
        op.execute(f"GRANT {rights} ON {table.name} TO {SERVICE}")
    op.execute(f"GRANT SELECT ON {op.get_context().version_table} TO {SERVICE}")
    if BACKEND in roles():
        for grant in BACKEND_GRANTS:
            op.execute(f"GRANT {grant} TO {BACKEND}")


def downgrade() -> None:
    names = ", ".join(f"'{table.name}'" for table in tables(None))
    op.execute(ABANDON.format(mark=ADOPTED, names=names, roles=", ".join(roles())))
    op.execute(f"REVOKE ALL ON {op.get_context().version_table} FROM {SERVICE}")
