-- Brings roles, database and privileges to what is wanted, and prints one line for each change.
--
-- psql variables
--   wanted  JSON: {database, owner, adopt_from, adopted: {table: [privilege]},
--           roles: [{name, connection_limit, login, bypass_rls, advisory_locks, settings: {},
--                    members: [name]}],
--           verifiers: {name: SCRAM verifier}}
--   check   true: print what would be done, and do nothing
\set ON_ERROR_STOP on
-- Errors must not quote the statement: it may hold a verifier.
\set VERBOSITY terse

CREATE TEMPORARY TABLE wanted AS
SELECT :'wanted'::jsonb AS document;

SELECT document ->> 'database' AS database, document ->> 'owner' AS owner FROM wanted \gset

CREATE TEMPORARY TABLE wanted_role AS
SELECT
    name, connection_limit, coalesce(login, true) AS login,
    coalesce(bypass_rls, false) AS bypass_rls, coalesce(settings, '{}') AS settings,
    coalesce(members, '{}') AS members, document -> 'verifiers' ->> name AS verifier
FROM wanted, jsonb_to_recordset(document -> 'roles') AS role (
    name text, connection_limit int, login boolean, bypass_rls boolean, settings jsonb,
    members text[]);

-- An earlier database is adopted as it is, but the services rely on its encoding.
DO $$
DECLARE
    present text := (
        SELECT pg_encoding_to_char(encoding)
        FROM pg_database, wanted
        WHERE datname = document ->> 'database'
    );
BEGIN
    IF present <> 'UTF8' THEN
        RAISE 'The database has the encoding % and must have UTF8. It was not changed. Dump it, '
            'rename it, run again, and restore the dump into the new one.', present;
    END IF;
END
$$;

CREATE TEMPORARY TABLE change (position int GENERATED ALWAYS AS IDENTITY, what text, statement text);

INSERT INTO change (what, statement)
SELECT format('role %s: create', name), format('CREATE ROLE %I', name)
FROM wanted_role
WHERE name NOT IN (SELECT rolname FROM pg_roles);

INSERT INTO change (what, statement)
SELECT
    format('role %s: attributes', name),
    format('ALTER ROLE %I %s NOSUPERUSER NOCREATEDB NOCREATEROLE INHERIT NOREPLICATION %s '
        'CONNECTION LIMIT %s', name, CASE WHEN login THEN 'LOGIN' ELSE 'NOLOGIN' END,
        CASE WHEN bypass_rls THEN 'BYPASSRLS' ELSE 'NOBYPASSRLS' END, connection_limit)
FROM wanted_role LEFT JOIN pg_roles ON rolname = name
WHERE (rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolinherit, rolreplication, rolbypassrls,
        rolconnlimit)
    IS DISTINCT FROM (login, false, false, false, true, false, bypass_rls, connection_limit);

INSERT INTO change (what, statement)
SELECT format('role %s: password', name), format('ALTER ROLE %I PASSWORD %L', name, verifier)
FROM wanted_role LEFT JOIN pg_authid ON rolname = name
WHERE rolpassword IS DISTINCT FROM verifier;

WITH present AS (
    SELECT granted.rolname AS name, taker.rolname AS member
    FROM pg_auth_members
        JOIN pg_roles AS granted ON granted.oid = roleid
        JOIN pg_roles AS taker ON taker.oid = member
), wanted_member AS (
    SELECT name, unnest(members) AS member
    FROM wanted_role
)
INSERT INTO change (what, statement)
SELECT format('role %s: %s may take it', name, member), format('GRANT %I TO %I', name, member)
FROM (TABLE wanted_member EXCEPT TABLE present) AS missing
UNION ALL
SELECT format('role %s: %s may not take it', name, member),
    format('REVOKE %I FROM %I', name, member)
FROM (SELECT present.* FROM present JOIN wanted_role USING (name) EXCEPT TABLE wanted_member)
    AS surplus;

-- Since 16 a migration finds a connection when the services have used up theirs.
INSERT INTO change (what, statement)
SELECT format('role %s: reserved connections', :'owner'),
    format('GRANT pg_use_reserved_connections TO %I', :'owner')
WHERE EXISTS (SELECT FROM pg_roles WHERE rolname = 'pg_use_reserved_connections')
AND NOT EXISTS (
    SELECT
    FROM pg_auth_members
        JOIN pg_roles AS granted ON granted.oid = roleid
        JOIN pg_roles AS taker ON taker.oid = member
    WHERE granted.rolname = 'pg_use_reserved_connections' AND taker.rolname = :'owner'
);

WITH present AS (
    SELECT rolname, split_part(entry, '=', 1) AS key, entry
    FROM pg_db_role_setting
        JOIN pg_roles ON pg_roles.oid = setrole
        CROSS JOIN unnest(setconfig) AS entry
    WHERE setdatabase = 0
)
INSERT INTO change (what, statement)
SELECT format('role %s: %s', name, key), format('ALTER ROLE %I SET %I TO %L', name, key, value)
FROM wanted_role CROSS JOIN jsonb_each_text(settings)
WHERE (name, format('%s=%s', key, value)) NOT IN (SELECT rolname, entry FROM present)
UNION ALL
SELECT format('role %s: %s', name, key), format('ALTER ROLE %I RESET %I', name, key)
FROM wanted_role JOIN present ON rolname = name
WHERE NOT settings ? key;

WITH present AS (
    SELECT pg_get_userbyid(datdba) AS owner
    FROM pg_database
    WHERE datname = :'database'
), privilege AS (
    SELECT grantee, privilege_type
    FROM pg_database, aclexplode(coalesce(datacl, acldefault('d', datdba)))
    WHERE datname = :'database'
)
INSERT INTO change (what, statement)
SELECT format('database %s: create', :'database'),
    -- The builtin provider sorts alike on every host and after every upgrade of the C library.
    format('CREATE DATABASE %I OWNER %I TEMPLATE template0 ENCODING ''UTF8'' LOCALE ''C.UTF-8'' %s',
        :'database', :'owner',
        CASE WHEN current_setting('server_version_num')::int >= 170000
            THEN 'LOCALE_PROVIDER builtin BUILTIN_LOCALE ''C.UTF-8''' END)
WHERE NOT EXISTS (SELECT FROM present)
UNION ALL
SELECT format('database %s: owner', :'database'),
    format('ALTER DATABASE %I OWNER TO %I', :'database', :'owner')
WHERE EXISTS (SELECT FROM present WHERE owner <> :'owner')
UNION ALL
SELECT format('database %s: nothing for PUBLIC', :'database'),
    format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'database')
WHERE NOT EXISTS (SELECT FROM present) OR EXISTS (SELECT FROM privilege WHERE grantee = 0)
UNION ALL
SELECT format('database %s: %s may connect', :'database', name),
    format('GRANT CONNECT ON DATABASE %I TO %I', :'database', name)
FROM wanted_role
WHERE login AND name <> :'owner' AND NOT EXISTS (
    SELECT
    FROM privilege JOIN pg_roles ON pg_roles.oid = grantee
    WHERE rolname = name AND privilege_type = 'CONNECT'
)
UNION ALL
-- Who had the tables that are adopted goes on using them.
SELECT format('database %s: %s may connect', :'database', rolname),
    format('GRANT CONNECT ON DATABASE %I TO %I', :'database', rolname)
FROM pg_roles
WHERE rolname = (SELECT document ->> 'adopt_from' FROM wanted) AND (
    -- As owner it may, until then.
    rolname IN (SELECT owner FROM present) OR NOT EXISTS (
        SELECT FROM privilege WHERE grantee = pg_roles.oid AND privilege_type = 'CONNECT'
    )
);

SELECT what FROM change ORDER BY position;
\if :check
\else
SELECT statement FROM change ORDER BY position \gexec
\endif

-- What is inside the database; in check mode it may not be there.
SELECT EXISTS (SELECT FROM pg_database WHERE datname = :'database') AS present \gset
\if :present
\connect :"database"

CREATE TEMPORARY TABLE change (position int GENERATED ALWAYS AS IDENTITY, what text, statement text);

WITH privilege AS (
    SELECT grantee, privilege_type
    FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner)))
    WHERE nspname = 'public'
)
INSERT INTO change (what, statement)
SELECT format('database %s: owner of schema public', :'database'),
    format('ALTER SCHEMA public OWNER TO %I', :'owner')
FROM pg_namespace
WHERE nspname = 'public' AND pg_get_userbyid(nspowner) <> :'owner'
UNION ALL
SELECT format('database %s: nothing for PUBLIC in schema public', :'database'),
    'REVOKE ALL ON SCHEMA public FROM PUBLIC'
WHERE EXISTS (SELECT FROM privilege WHERE grantee = 0)
UNION ALL
SELECT format('database %s: %s may use schema public', :'database', name),
    format('GRANT USAGE ON SCHEMA public TO %I', name)
FROM jsonb_to_recordset(:'wanted'::jsonb -> 'roles') AS role (name text)
WHERE name <> :'owner' AND NOT EXISTS (
    SELECT
    FROM privilege JOIN pg_roles ON pg_roles.oid = grantee
    WHERE rolname = name AND privilege_type = 'USAGE'
);

-- AutoBot's tables, and those alone: REASSIGN OWNED would hand over all that a role has. An AutoBot
-- that works with them would wait for a lock behind whoever has the table now, and all others behind it.
SET lock_timeout = '10s';
WITH adopted AS (
    SELECT pg_class.oid, relname, relowner, relacl, pg_roles.oid AS former, rolname, privileges
    FROM jsonb_each(:'wanted'::jsonb -> 'adopted') AS listed (name, privileges)
        JOIN pg_class ON relname = name AND relkind = 'r' AND relnamespace = 'public'::regnamespace
        JOIN pg_roles ON rolname = :'wanted'::jsonb ->> 'adopt_from'
), granted AS (
    SELECT relname, string_agg(privilege, ', ') AS privileges
    FROM adopted CROSS JOIN jsonb_array_elements_text(privileges) AS privilege
    WHERE relowner = former OR NOT EXISTS (
        SELECT FROM aclexplode(relacl) WHERE grantee = former AND privilege_type = privilege
    )
    GROUP BY relname
)
INSERT INTO change (what, statement)
SELECT format('database %s: owner of table %s', :'database', relname),
    format('ALTER TABLE public.%I OWNER TO %I', relname, :'owner')
FROM adopted WHERE relowner = former
UNION ALL
SELECT format('database %s: %s may use schema public', :'database', rolname),
    format('GRANT USAGE ON SCHEMA public TO %I', rolname)
FROM (SELECT DISTINCT former, rolname FROM adopted) AS role
WHERE EXISTS (
    -- As owner it may, until then.
    SELECT FROM pg_namespace WHERE nspname = 'public' AND nspowner = former
) OR NOT EXISTS (
    SELECT FROM pg_namespace, aclexplode(nspacl)
    WHERE nspname = 'public' AND grantee = former AND privilege_type = 'USAGE'
)
UNION ALL
SELECT format('database %s: %s may %s in %s', :'database', rolname, granted.privileges, relname),
    format('GRANT %s ON TABLE public.%I TO %I', granted.privileges, relname, rolname)
FROM granted JOIN adopted USING (relname);

-- Functions that everybody may call, and that let whoever connects keep others waiting or fill the
-- disk. Reading and writing files of the server is for superusers anyway. Roles of others that
-- may connect keep what they had.
WITH guarded AS (
    SELECT
        CASE WHEN proname ~ 'advisory' THEN 'advisory locks' ELSE 'large objects' END AS kind,
        oid, coalesce(proacl, acldefault('f', proowner)) AS acl
    FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
        AND proname ~ '^(pg_(try_)?advisory_|lo_(?!import|export)|loread$|lowrite$)'
), wanted_role AS (
    SELECT name, coalesce(advisory_locks, false) AS advisory_locks
    FROM jsonb_to_recordset(:'wanted'::jsonb -> 'roles') AS role (name text, advisory_locks boolean)
), other AS (
    SELECT rolname AS name
    FROM pg_database CROSS JOIN aclexplode(datacl) JOIN pg_roles ON pg_roles.oid = grantee
    WHERE datname = :'database' AND privilege_type = 'CONNECT'
        AND rolname NOT IN (SELECT name FROM wanted_role)
), caller AS (
    SELECT kind, name
    FROM (VALUES ('advisory locks'), ('large objects')) AS kinds (kind) CROSS JOIN (
        SELECT :'owner'::name AS name UNION SELECT name FROM other
    ) AS trusted
    UNION
    SELECT 'advisory locks', name FROM wanted_role WHERE advisory_locks
), executed AS (
    SELECT kind, guarded.oid, grantee
    FROM guarded CROSS JOIN aclexplode(acl)
    WHERE privilege_type = 'EXECUTE'
)
INSERT INTO change (what, statement)
SELECT format('database %s: no %s for PUBLIC', :'database', kind),
    format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC',
        string_agg(oid::regprocedure::text, ', '))
FROM executed
WHERE grantee = 0
GROUP BY kind
UNION ALL
SELECT format('database %s: %s for %s', :'database', kind, name),
    format('GRANT EXECUTE ON FUNCTION %s TO %I', string_agg(oid::regprocedure::text, ', '), name)
FROM guarded JOIN caller USING (kind)
WHERE NOT EXISTS (
    SELECT
    FROM executed JOIN pg_roles ON pg_roles.oid = grantee
    WHERE executed.oid = guarded.oid AND rolname = name
)
GROUP BY kind, name
UNION ALL
SELECT format('database %s: no %s for %s', :'database', kind, rolname),
    format('REVOKE EXECUTE ON FUNCTION %s FROM %I', string_agg(executed.oid::regprocedure::text, ', '),
        rolname)
FROM executed JOIN pg_roles ON pg_roles.oid = grantee JOIN wanted_role ON name = rolname
WHERE (kind, rolname) NOT IN (SELECT kind, name FROM caller)
GROUP BY kind, rolname;

SELECT what FROM change ORDER BY position;
\if :check
\else
SELECT statement FROM change ORDER BY position \gexec
\endif
\endif
