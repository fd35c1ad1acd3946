-- migrate:up

SET LOCAL lock_timeout = '10s';
-- Changes when a replica takes over, also when it had been the primary before and has the same run_id.
ALTER TABLE cache_servers ADD COLUMN replication_id text NOT NULL DEFAULT '';

-- migrate:down

SET LOCAL lock_timeout = '10s';
ALTER TABLE cache_servers DROP COLUMN replication_id;
