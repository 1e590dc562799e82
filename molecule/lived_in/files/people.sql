-- People beside those of AutoBot's schema. Their passwords: Fleet-keeper-1 of ada and kira, Everyday-robot-2 of the
-- others. kira and emil work all the time: clients.py.
UPDATE users SET password_hash = '$2b$12$ivc4ufRxmcSbztad061hJuiaFQoNp0N8anveoj5yiCpdzHGUIEnAG'
WHERE username = 'ada';
INSERT INTO users (id, org_id, email, username, password_hash, is_active, is_verified, mfa_enabled, is_platform_admin)
SELECT gen_random_uuid(), '00000000-0000-0000-0000-000000000001', name || '@autobot.local', name,
       CASE WHEN name = 'kira' THEN '$2b$12$ivc4ufRxmcSbztad061hJuiaFQoNp0N8anveoj5yiCpdzHGUIEnAG'
            ELSE '$2b$12$5uPBkU9bSYyolSJjXPyX2.5li/ri.1l7qf5ui98wvPrglW7ucZU8a' END,
       true, true, false, name = 'kira'
FROM unnest(ARRAY['ben', 'cleo', 'dario', 'emil', 'fay', 'gus', 'hana', 'kira']) AS name;
