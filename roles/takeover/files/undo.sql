-- Gives a database back to whom it belonged, and prints one line for each change. One that a deployment has made gets
-- a name that says so.
--
-- psql variable
--   wanted  JSON: {database, owner, kept: name, roles: [name],
--           found: [{kind, name, owner, rights: [{grantee, privilege, grantable}]}]}
--           `owner` had it from the deployments, `roles` are theirs, `found` is what was there before.
\set ON_ERROR_STOP on
CREATE TEMPORARY TABLE wanted AS
SELECT :'wanted'::jsonb AS document;

SELECT
    document ->> 'database' AS database, document ->> 'owner' AS owner, document ->> 'kept' AS kept,
    jsonb_array_length(document -> 'found') > 0 AS was_there,
    EXISTS (SELECT FROM pg_database WHERE datname = document ->> 'database') AS is_there
FROM wanted \gset

CREATE TEMPORARY TABLE change (position int GENERATED ALWAYS AS IDENTITY, what text, statement text);

-- They keep what they may do: a trigger of the deployments works with the rights of its owner.
INSERT INTO change (what, statement)
SELECT format('role %s: no login', rolname), format('ALTER ROLE %I NOLOGIN', rolname)
FROM pg_roles, wanted
WHERE rolcanlogin AND document -> 'roles' ? rolname;

INSERT INTO change (what, statement)
SELECT format('database %s: kept as %s', :'database', :'kept'),
    format('ALTER DATABASE %I RENAME TO %I', :'database', :'kept')
WHERE :'is_there' AND NOT :'was_there';

SELECT what FROM change ORDER BY position;
SELECT statement FROM change WHERE statement LIKE 'ALTER ROLE%' ORDER BY position \gexec
-- Whoever is connected goes on, but for those who may not any more, and those who would hold a name.
DO $$ BEGIN PERFORM pg_terminate_backend(pid, 10000)
FROM pg_stat_activity, wanted
WHERE document -> 'roles' ? usename
    OR datname = document ->> 'database' AND jsonb_array_length(document -> 'found') = 0; END $$;
SELECT statement FROM change WHERE statement LIKE 'ALTER DATABASE%' ORDER BY position \gexec

SELECT :'is_there' AND :'was_there' AS gives_back \gset
\if :gives_back
\connect :"database"

CREATE TEMPORARY TABLE change (position int GENERATED ALWAYS AS IDENTITY, what text, statement text);
CREATE TEMPORARY TABLE found AS
SELECT kind, name, owner, rights,
    -- A function has its own way of being named.
    kind || ' ' || CASE WHEN kind = 'FUNCTION' THEN 'pg_catalog.' || name
        WHEN kind = 'TABLE' THEN format('public.%I', name) ELSE quote_ident(name) END AS object
FROM jsonb_to_recordset(:'wanted'::jsonb -> 'found') AS object (kind text, name text, owner text, rights jsonb);
DELETE FROM found
WHERE owner NOT IN (SELECT rolname FROM pg_roles);

CREATE TEMPORARY VIEW present AS
SELECT 'DATABASE' AS kind, datname::text AS name, datdba AS owner,
    coalesce(datacl, acldefault('d', datdba)) AS acl
FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT 'SCHEMA', nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner))
FROM pg_namespace WHERE nspname = 'public'
UNION ALL
SELECT 'TABLE', relname, relowner, coalesce(relacl, acldefault('r', relowner))
FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'FUNCTION', oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner))
FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace;

SET lock_timeout = '10s';
INSERT INTO change (what, statement)
SELECT format('database %s: owner of %s', :'database', object),
    format('ALTER %s OWNER TO %I', object, found.owner)
FROM found JOIN present USING (kind, name)
WHERE found.owner <> pg_get_userbyid(present.owner);
SELECT what FROM change ORDER BY position;
SELECT statement FROM change ORDER BY position \gexec
TRUNCATE change;

-- The former owner's triggers and tables look at these tables.
INSERT INTO change (what, statement)
SELECT format('database %s: %s for %s', :'database', object, :'owner'),
    format('GRANT %s ON %s TO %I', wanted, object, :'owner')
FROM found JOIN present USING (kind, name) JOIN (
    VALUES ('SCHEMA', '{USAGE}'::text[]), ('TABLE', '{SELECT,INSERT,UPDATE,DELETE}')
) AS needed (kind, privileges) USING (kind)
    CROSS JOIN LATERAL (SELECT array_to_string(privileges, ', ') AS wanted) AS listed
WHERE :'owner' <> found.owner AND NOT privileges <@ ARRAY(
    SELECT privilege_type FROM aclexplode(acl) WHERE pg_get_userbyid(grantee) = :'owner'
)
UNION ALL
SELECT format('database %s: %s for %s', :'database', object, coalesce(grantee, 'everybody')),
    format('GRANT %s ON %s TO %s%s', string_agg(privilege, ', ' ORDER BY privilege), object,
        coalesce(quote_ident(grantee), 'PUBLIC'), CASE WHEN grantable THEN ' WITH GRANT OPTION' END)
FROM found JOIN present USING (kind, name)
    CROSS JOIN jsonb_to_recordset(rights) AS had (grantee text, privilege text, grantable boolean)
WHERE (grantee IS NULL OR grantee IN (SELECT rolname FROM pg_roles)) AND NOT EXISTS (
    SELECT FROM aclexplode(acl) AS has
    WHERE has.grantee = coalesce((SELECT oid FROM pg_roles WHERE rolname = had.grantee), 0)
        AND privilege_type = privilege
)
GROUP BY object, grantee, grantable;
SELECT what FROM change ORDER BY position;
SELECT statement FROM change ORDER BY position \gexec
\endif
