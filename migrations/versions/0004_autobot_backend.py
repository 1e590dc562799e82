"""What the AutoBot backend may do: it lets people in, and cannot become one of them.

It never reads the hash of a password. It reads what the hash was made with, makes it anew from
the password that was typed, and the database compares. Whoever knows the hash may replace it, and
nobody else. So the password of the backend's role is of no use against a user's password.

Revision ID: 0004
Revises: 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

SERVICE = "slm_service"
BACKEND = "autobot_backend"

# As `security/hashing.py` knows them: an empty setting is that of something that is no hash.
SETTING_OF = r"""
CREATE FUNCTION setting_of_password_hash(hash text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
SELECT CASE
    WHEN hash ~ '^(bcrypt-sha384\$)?\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}$'
    THEN left(hash, -31)
    WHEN hash IS NOT NULL THEN ''
END
$$
"""
# Signature → (volatility, result, language, body). They run as the owner of the tables.
FUNCTIONS = {
    "password_setting(whose uuid)": (
        *("STABLE", "text", "sql"),
        "SELECT setting_of_password_hash(password_hash) FROM users WHERE id = whose",
    ),
    "password_matches(whose uuid, hash text)": (
        *("STABLE", "boolean", "sql"),
        "SELECT EXISTS (SELECT FROM users WHERE id = whose AND password_hash = hash)",
    ),
    "earlier_password_settings(whose uuid, newest integer)": (
        *("STABLE", "SETOF text", "sql"),
        "SELECT setting_of_password_hash(password_hash) FROM password_history"
        " WHERE user_id = whose ORDER BY created_at DESC LIMIT newest",
    ),
    "is_earlier_password(whose uuid, newest integer, hashes text[])": (
        *("STABLE", "boolean", "sql"),
        "SELECT EXISTS (SELECT FROM (SELECT password_hash FROM password_history"
        " WHERE user_id = whose ORDER BY created_at DESC LIMIT newest) AS earlier"
        " WHERE password_hash = ANY (hashes))",
    ),
    # `new_hash` is the same password at today's cost, or null. A login is no change to the account.
    # What is no hash cannot be known, and takes no other's place. The moment is now, to a minute.
    "note_login(whose uuid, hash text, new_hash text, moment timestamptz)": (
        *("VOLATILE", "boolean", "plpgsql"),
        """
BEGIN
    UPDATE users SET password_hash = coalesce(new_hash, hash), last_login_at = greatest(
        least(moment, now() + interval '1 minute'), now() - interval '1 minute')
    WHERE id = whose AND password_hash = hash AND setting_of_password_hash(hash) <> ''
        AND setting_of_password_hash(coalesce(new_hash, hash)) <> ''
        AND is_active AND deleted_at IS NULL;
    RETURN FOUND;
END
""",
    ),
    "change_password(whose uuid, hash text, new_hash text, remembered integer)": (
        *("VOLATILE", "boolean", "plpgsql"),
        """
BEGIN
    UPDATE users SET password_hash = new_hash, updated_at = now()
    WHERE id = whose AND password_hash = hash AND setting_of_password_hash(hash) <> ''
        AND setting_of_password_hash(new_hash) <> '' AND is_active AND deleted_at IS NULL;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO password_history (user_id, password_hash, created_at)
    VALUES (whose, hash, clock_timestamp());
    DELETE FROM password_history
    WHERE id IN (
        SELECT id FROM password_history
        WHERE user_id = whose ORDER BY created_at DESC OFFSET remembered
    );
    INSERT INTO user_credentials (user_id, password_changed_at)
    VALUES (whose, now())
    ON CONFLICT (user_id) DO UPDATE SET must_change_password = false, one_time_expires_at = NULL,
        password_changed_at = now(), updated_at = now();
    RETURN true;
END
""",
    ),
}

# Nobody goes on with a session that has ended, whatever else they may write.
ENDED_STAYS_ENDED = (
    """
CREATE FUNCTION auth_session_stays_ended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE 'A session that has ended stays so.' USING ERRCODE = 'check_violation';
END
$$
""",
    "CREATE TRIGGER stays_ended BEFORE UPDATE ON auth_sessions FOR EACH ROW"
    " WHEN (OLD.ended_at IS NOT NULL AND NEW.ended_at IS DISTINCT FROM OLD.ended_at)"
    " EXECUTE FUNCTION auth_session_stays_ended()",
)

# When a session of the backend's begins and ends is for the server to say: one that could be made
# old would be removed, and could then be begun anew under the same id. And the SLM server must be
# able to read what is written here. A minute for clocks.
BACKENDS_SESSIONS = (
    """
CREATE FUNCTION auth_session_of_backend() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.ended_at IS NOT NULL THEN
            RAISE 'A session that has ended stays so.' USING ERRCODE = 'check_violation';
        ELSIF NEW.ended_at IS NOT NULL THEN
            NEW.ended_at := now();
            NEW.expires_at := OLD.expires_at;
        ELSIF OLD.expires_at < now() - interval '1 minute'
            OR NEW.expires_at < least(OLD.expires_at, now()) - interval '1 minute' THEN
            RAISE 'A session that is over does not go on, and none is put into the past.'
                USING ERRCODE = 'check_violation';
        END IF;
        NEW.refreshed_at := CASE WHEN NEW.refreshed_at IS NOT NULL THEN now() END;
    END IF;
    IF NOT isfinite(NEW.expires_at) OR NEW.expires_at > NEW.created_at + interval '31 days' THEN
        RAISE 'No session lasts longer than 31 days.' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END
$$
""",
    "CREATE TRIGGER of_backend BEFORE INSERT OR UPDATE ON auth_sessions FOR EACH ROW"
    f" WHEN (current_user = '{BACKEND}') EXECUTE FUNCTION auth_session_of_backend()",
    """
CREATE FUNCTION refresh_token_of_backend() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.used_at IS NOT NULL THEN
        RAISE 'A refresh token that was used stays so.' USING ERRCODE = 'check_violation';
    END IF;
    NEW.used_at := now();
    RETURN NEW;
END
$$
""",
    "CREATE TRIGGER of_backend BEFORE UPDATE ON refresh_tokens FOR EACH ROW"
    f" WHEN (current_user = '{BACKEND}') EXECUTE FUNCTION refresh_token_of_backend()",
)
# An event that nobody can read would hide those around it.
BACKENDS_EVENTS = (
    f"CREATE POLICY of_backend ON audit_logs AS RESTRICTIVE FOR INSERT TO {BACKEND} WITH CHECK ("
    "jsonb_typeof(details) = 'object' AND octet_length(details::text) <= 4000"
    """ AND NOT details @? '$.* ? (@.type() == "object" || @.type() == "array")')"""
)

TABLES = (
    *("users", "user_credentials", "organizations", "user_roles", "roles", "role_permissions"),
    *("permissions", "auth_sessions", "refresh_tokens", "rate_limits", "audit_logs"),
)
GRANTS = (
    "SELECT (id, org_id, email, username, is_active, is_platform_admin, last_login_at, deleted_at)"
    " ON users",
    "SELECT (user_id, must_change_password, one_time_expires_at) ON user_credentials",
    "SELECT (id, is_active, deleted_at) ON organizations",
    "SELECT (user_id, role_id) ON user_roles",
    "SELECT (id, org_id, name) ON roles",
    "SELECT (role_id, permission_id) ON role_permissions",
    "SELECT (id, name) ON permissions",
    "SELECT (id, user_id, created_at, expires_at, ended_at, refresh_secret, ip_address),"
    " INSERT (id, user_id, expires_at, refresh_secret, ip_address, user_agent),"
    " UPDATE (expires_at, refreshed_at, ended_at, end_reason) ON auth_sessions",
    "SELECT (token_hash, session_id, used_at), INSERT (token_hash, session_id),"
    " UPDATE (used_at) ON refresh_tokens",
    "SELECT, INSERT (scope, key, failures, window_started_at, expires_at),"
    " UPDATE (failures, window_started_at, blocked_until, expires_at), DELETE ON rate_limits",
    # When an event was is for the server to say.
    "INSERT (id, org_id, user_id, action, resource_type, resource_id, outcome, details,"
    " ip_address, user_agent) ON audit_logs",
)
# What revisions 0001 and 0002 gave it.
EARLIER_GRANTS = (
    "SELECT (id, org_id, email, username, password_hash, display_name, is_active, is_verified,"
    " mfa_enabled, is_platform_admin, last_login_at, deleted_at), UPDATE (last_login_at) ON users",
    "SELECT (user_id, role_id) ON user_roles",
    "SELECT (id, org_id, name, priority) ON roles",
    "INSERT ON audit_logs",
    "SELECT, INSERT, UPDATE (ended_at, end_reason) ON auth_sessions",
    "SELECT ON user_credentials",
)


def is_autobot() -> bool:
    answer: bool = op.get_context().opts["population"] == "autobot"
    return answer


def version_table() -> str:
    found: str = op.get_context().version_table
    return found


def upgrade() -> None:
    op.execute(SETTING_OF)
    op.execute("REVOKE ALL ON FUNCTION setting_of_password_hash FROM PUBLIC")
    callers = f"{SERVICE}, {BACKEND}" if is_autobot() else SERVICE
    for signature, (volatility, result, language, body) in FUNCTIONS.items():
        op.execute(
            f"CREATE FUNCTION {signature} RETURNS {result} LANGUAGE {language} {volatility}"
            f" SECURITY DEFINER SET search_path = public, pg_temp AS $${body}$$"
        )
        name = signature.partition("(")[0]
        op.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO {callers}")
    for statement in ENDED_STAYS_ENDED:
        op.execute(statement)
    if is_autobot():
        for statement in (*BACKENDS_SESSIONS, BACKENDS_EVENTS):
            op.execute(statement)
        op.execute(
            "REVOKE ALL ON FUNCTION auth_session_of_backend, refresh_token_of_backend FROM PUBLIC"
        )
        grant_anew(GRANTS)
        op.execute(f"GRANT SELECT ON {version_table()} TO {BACKEND}")


def grant_anew(grants: tuple[str, ...]) -> None:
    op.execute(f"REVOKE ALL ON {', '.join(TABLES)} FROM {BACKEND}")
    for grant in grants:
        op.execute(f"GRANT {grant} TO {BACKEND}")


def downgrade() -> None:
    if is_autobot():
        op.execute(f"REVOKE ALL ON {version_table()} FROM {BACKEND}")
        grant_anew(EARLIER_GRANTS)
        op.execute("DROP POLICY of_backend ON audit_logs")
        op.execute("DROP TRIGGER of_backend ON auth_sessions")
        op.execute("DROP FUNCTION auth_session_of_backend")
        op.execute("DROP TRIGGER of_backend ON refresh_tokens")
        op.execute("DROP FUNCTION refresh_token_of_backend")
    op.execute("DROP TRIGGER stays_ended ON auth_sessions")
    op.execute("DROP FUNCTION auth_session_stays_ended")
    for signature in FUNCTIONS:
        op.execute(f"DROP FUNCTION {signature.partition('(')[0]}")
    op.execute("DROP FUNCTION setting_of_password_hash")
