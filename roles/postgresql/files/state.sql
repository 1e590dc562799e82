-- One JSON object: what the server would refuse in the files as they are now, and whether it has
-- yet to take over what they say.
SELECT json_build_object(
    'errors', (
        SELECT coalesce(json_agg(message), '[]')
        FROM (
            SELECT format('pg_hba.conf line %s: %s', line_number, error)
            FROM pg_hba_file_rules
            WHERE error IS NOT NULL
            UNION ALL
            SELECT format('%s line %s: %s: %s', sourcefile, sourceline, name, error)
            FROM pg_file_settings
            -- A setting that waits for a restart counts as an error there, and is none.
            WHERE error IS NOT NULL
            AND name NOT IN (SELECT name FROM pg_settings WHERE context = 'postmaster')
        ) AS refused (message)
    ),
    'behind', EXISTS (SELECT FROM pg_settings WHERE pending_restart) OR pg_conf_load_time() < (
        -- What a run in check mode has not written is missing.
        SELECT coalesce(max((pg_stat_file(file, true)).modification), 'infinity')
        FROM unnest(ARRAY[:files]) AS file
    )
);
