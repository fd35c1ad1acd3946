-- migrate:up

-- If another session holds a lock on the table for long, this migration fails: the engine must not wait behind it.
SET LOCAL lock_timeout = '10s';

-- Changed orders whose cache entries may be outdated. A row is written in the transaction that changes the orders, and is
-- deleted after the cache was updated. Engines of an older build use batches.cached_at and batches.changed_keys for this.
CREATE TABLE cache_pending (
    id           uuid PRIMARY KEY,
    batch_id     uuid NOT NULL,
    order_uids   text[] NOT NULL,
    committed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX cache_pending_committed_at_idx ON cache_pending (committed_at);

-- When the orders of a batch were written to the cache.
CREATE TABLE cached_batches (
    batch_id  uuid PRIMARY KEY REFERENCES batches ON DELETE CASCADE,
    cached_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- migrate:down

SET LOCAL lock_timeout = '10s';
UPDATE batches SET cached_at = cached_batches.cached_at FROM cached_batches WHERE cached_batches.batch_id = batches.batch_id;
UPDATE batches SET cached_at = NULL, changed_keys = p.uids
FROM (SELECT batch_id, array_agg(uid) AS uids FROM cache_pending, unnest(order_uids) AS uid GROUP BY batch_id) p
WHERE batches.batch_id = p.batch_id;
DROP TABLE cached_batches;
DROP TABLE cache_pending;
