-- A database as AutoBot's own migration 001 leaves it: now() and JSON have server defaults, flags
-- and numbers have none; also tables that are AutoBot's alone.
CREATE TABLE organizations (
    id uuid NOT NULL PRIMARY KEY,
    name varchar(255) NOT NULL,
    slug varchar(100) NOT NULL,
    description text,
    settings jsonb DEFAULT '{}' NOT NULL,
    subscription_tier varchar(50),
    max_users integer NOT NULL,
    is_active boolean NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    deleted_at timestamptz
);
CREATE UNIQUE INDEX ix_organizations_slug ON organizations (slug);

CREATE TABLE users (
    id uuid NOT NULL PRIMARY KEY,
    org_id uuid REFERENCES organizations (id) ON DELETE CASCADE,
    email varchar(255) NOT NULL,
    username varchar(100) NOT NULL,
    password_hash varchar(255),
    display_name varchar(255),
    avatar_url varchar(500),
    bio text,
    is_active boolean NOT NULL,
    is_verified boolean NOT NULL,
    mfa_enabled boolean NOT NULL,
    is_platform_admin boolean NOT NULL,
    preferences jsonb DEFAULT '{}' NOT NULL,
    last_login_at timestamptz,
    email_verified_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    deleted_at timestamptz
);
CREATE INDEX ix_users_org_id ON users (org_id);
CREATE UNIQUE INDEX ix_users_email ON users (email);
CREATE UNIQUE INDEX ix_users_username ON users (username);

CREATE TABLE teams (
    id uuid NOT NULL PRIMARY KEY,
    org_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    description text,
    settings jsonb DEFAULT '{}' NOT NULL,
    is_default boolean NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    deleted_at timestamptz,
    CONSTRAINT uq_team_org_name UNIQUE (org_id, name)
);
CREATE INDEX ix_teams_org_id ON teams (org_id);

CREATE TABLE team_memberships (
    id uuid NOT NULL PRIMARY KEY,
    team_id uuid NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role varchar(50) NOT NULL,
    joined_at timestamptz DEFAULT now() NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT uq_team_user UNIQUE (team_id, user_id)
);
CREATE INDEX ix_team_memberships_team_id ON team_memberships (team_id);
CREATE INDEX ix_team_memberships_user_id ON team_memberships (user_id);

CREATE TABLE permissions (
    id uuid NOT NULL PRIMARY KEY,
    name varchar(100) NOT NULL,
    description text,
    resource varchar(100) NOT NULL,
    action varchar(50) NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);
CREATE UNIQUE INDEX ix_permissions_name ON permissions (name);
CREATE INDEX ix_permissions_resource ON permissions (resource);

CREATE TABLE roles (
    id uuid NOT NULL PRIMARY KEY,
    org_id uuid REFERENCES organizations (id) ON DELETE CASCADE,
    name varchar(100) NOT NULL,
    description text,
    is_system boolean NOT NULL,
    priority integer NOT NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);
CREATE INDEX ix_roles_org_id ON roles (org_id);

CREATE TABLE role_permissions (
    role_id uuid NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    permission_id uuid NOT NULL REFERENCES permissions (id) ON DELETE CASCADE,
    PRIMARY KEY (role_id, permission_id)
);

CREATE TABLE user_roles (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    role_id uuid NOT NULL REFERENCES roles (id) ON DELETE CASCADE,
    assigned_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (user_id, role_id)
);

CREATE TABLE api_keys (
    id uuid NOT NULL PRIMARY KEY,
    key_hash varchar(255) NOT NULL,
    key_prefix varchar(12) NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    team_id uuid REFERENCES teams (id) ON DELETE CASCADE,
    name varchar(255) NOT NULL,
    description varchar(500),
    scopes jsonb DEFAULT '[]' NOT NULL,
    is_active boolean NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    usage_count integer NOT NULL,
    revoked_at timestamptz,
    revoked_by uuid REFERENCES users (id) ON DELETE SET NULL,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);
CREATE UNIQUE INDEX ix_api_keys_key_hash ON api_keys (key_hash);
CREATE INDEX ix_api_keys_key_prefix ON api_keys (key_prefix);
CREATE INDEX ix_api_keys_user_id ON api_keys (user_id);
CREATE INDEX ix_api_keys_team_id ON api_keys (team_id);

CREATE TABLE sso_providers (
    id uuid NOT NULL PRIMARY KEY,
    org_id uuid REFERENCES organizations (id) ON DELETE CASCADE,
    provider_type varchar(50) NOT NULL,
    name varchar(255) NOT NULL,
    config jsonb DEFAULT '{}' NOT NULL,
    is_active boolean NOT NULL,
    is_social boolean NOT NULL,
    allow_user_creation boolean NOT NULL,
    default_role varchar(100),
    group_mapping jsonb DEFAULT '{}' NOT NULL,
    last_sync_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);
CREATE INDEX ix_sso_providers_org_id ON sso_providers (org_id);
CREATE INDEX ix_sso_providers_provider_type ON sso_providers (provider_type);

CREATE TABLE user_sso_links (
    id uuid NOT NULL PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider_id uuid NOT NULL REFERENCES sso_providers (id) ON DELETE CASCADE,
    external_id varchar(255) NOT NULL,
    external_email varchar(255),
    metadata jsonb DEFAULT '{}' NOT NULL,
    last_login_at timestamptz,
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL,
    CONSTRAINT uq_provider_external_id UNIQUE (provider_id, external_id)
);
CREATE INDEX ix_user_sso_links_user_id ON user_sso_links (user_id);
CREATE INDEX ix_user_sso_links_provider_id ON user_sso_links (provider_id);

CREATE TABLE user_mfa (
    id uuid NOT NULL PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    method varchar(50) NOT NULL,
    secret_encrypted varchar(500) NOT NULL,
    backup_codes_encrypted varchar(2000),
    backup_codes_remaining integer NOT NULL,
    is_verified boolean NOT NULL,
    last_verified_at timestamptz,
    recovery_email varchar(255),
    created_at timestamptz DEFAULT now() NOT NULL,
    updated_at timestamptz DEFAULT now() NOT NULL
);
CREATE UNIQUE INDEX ix_user_mfa_user_id ON user_mfa (user_id);

CREATE TABLE audit_logs (
    id uuid NOT NULL PRIMARY KEY,
    org_id uuid REFERENCES organizations (id) ON DELETE SET NULL,
    user_id uuid REFERENCES users (id) ON DELETE SET NULL,
    action varchar(100) NOT NULL,
    resource_type varchar(100) NOT NULL,
    resource_id uuid,
    outcome varchar(50) NOT NULL,
    details jsonb DEFAULT '{}' NOT NULL,
    ip_address varchar(45),
    user_agent varchar(500),
    created_at timestamptz DEFAULT now() NOT NULL
);
CREATE INDEX ix_audit_logs_org_id ON audit_logs (org_id);
CREATE INDEX ix_audit_logs_user_id ON audit_logs (user_id);
CREATE INDEX ix_audit_logs_action ON audit_logs (action);
CREATE INDEX ix_audit_logs_resource_type ON audit_logs (resource_type);
CREATE INDEX ix_audit_logs_created_at ON audit_logs (created_at);
CREATE INDEX idx_audit_org_created ON audit_logs (org_id, created_at);
CREATE INDEX idx_audit_user_created ON audit_logs (user_id, created_at);
CREATE INDEX idx_audit_action_created ON audit_logs (action, created_at);

CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL CONSTRAINT alembic_version_pkc PRIMARY KEY
);
INSERT INTO alembic_version VALUES ('20260309_007');

CREATE TABLE terminal_activities (
    id uuid NOT NULL PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    command text NOT NULL
);

INSERT INTO organizations (id, name, slug, settings, subscription_tier, max_users, is_active)
VALUES ('00000000-0000-0000-0000-000000000001', 'Default Organization', 'default', '{}', 'free',
        -1, true);
INSERT INTO users (id, org_id, email, username, password_hash, is_active, is_verified, mfa_enabled,
                   is_platform_admin, preferences)
VALUES ('00000000-0000-0000-0000-000000000002', '00000000-0000-0000-0000-000000000001',
        'ada@autobot.local', 'ada', '$2b$12$hash', true, true, false, true, '{"theme": "dark"}');
INSERT INTO audit_logs (id, user_id, action, resource_type, outcome, details)
VALUES ('00000000-0000-0000-0000-000000000003', '00000000-0000-0000-0000-000000000002',
        'login_success', 'user', 'success', '{}');
INSERT INTO terminal_activities VALUES ('00000000-0000-0000-0000-000000000004',
        '00000000-0000-0000-0000-000000000002', 'uptime');
