-- migrate:up

-- One row: the Redis server in which the cache was last known to be correct. A different run_id means a restart,
-- perhaps from an old snapshot, or a failover to a replica: the server may contain outdated answers.
CREATE TABLE cache_servers (
    only_row     boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    run_id       text NOT NULL DEFAULT '',
    recovered_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO cache_servers DEFAULT VALUES;

-- Only changed orders can be cached in an old version. New orders add nothing to this index.
CREATE INDEX orders_changed_idx ON orders (updated_at, order_uid) WHERE updated_at > created_at;

-- migrate:down

DROP INDEX orders_changed_idx;
DROP TABLE cache_servers;
