-- Brings roles, database and privileges to what is wanted, and prints one line for each change.
--
-- psql variables
--   wanted  JSON: {database, owner,
--           roles: [{name, connection_limit, login, bypass_rls, settings: {}, members: [name]}],
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

SELECT what FROM change ORDER BY position;
\if :check
\else
SELECT statement FROM change ORDER BY position \gexec
\endif
\endif
