-- The fleet manager's own database, with the administrators that AutoBot's pages and playbooks log in as. All have
-- the password Fleet-keeper-1.
CREATE TABLE users (
    id serial PRIMARY KEY,
    username varchar(64) NOT NULL UNIQUE,
    password_hash varchar(255) NOT NULL,
    is_active boolean DEFAULT true,
    is_admin boolean DEFAULT false,
    created_at timestamp DEFAULT now(),
    last_login timestamp
);
INSERT INTO users (username, password_hash, is_admin)
SELECT name, '$2b$12$ivc4ufRxmcSbztad061hJuiaFQoNp0N8anveoj5yiCpdzHGUIEnAG', true
FROM unnest(ARRAY['admin', 'ada', 'kira']) AS name;

CREATE TABLE nodes (
    id serial PRIMARY KEY,
    node_id varchar(64) NOT NULL UNIQUE,
    last_heartbeat timestamp
);
INSERT INTO nodes (node_id) VALUES ('slm'), ('redis'), ('backend');
